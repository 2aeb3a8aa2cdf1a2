//! The faults of upstream calls: what a caller is told when a service can't answer.

use super::Connection;
use crate::{
    config::ServiceName,
    mcp::{HubFault, Outcome, ProcessEnd, code},
    supervisor::{LastExit, Status},
};

fn fault(service: &ServiceName, code: i32, reason: &'static str, outcome: Outcome, message: String) -> HubFault {
    HubFault {
        code,
        reason,
        service: service.to_string(),
        retryable: outcome == Outcome::NotSent,
        outcome,
        message,
        stderr: Vec::new(),
        exit: None,
    }
}

/// The connection is over and the service has seen nothing of the call.
pub(super) fn gone(service: &ServiceName) -> HubFault {
    let message = format!(
        "service `{service}` has just ended, the fault lies there; the call was not sent and can be repeated safely"
    );
    fault(service, code::CHILD_EXITED, "child_exited", Outcome::NotSent, message)
}

/// The process ended while calls were in flight.
pub(super) fn exited(service: &ServiceName, exit: &LastExit) -> HubFault {
    let whose = if exit.asked {
        "which somebody asked for"
    } else {
        "the fault lies there"
    };
    let message = format!(
        "service `{service}` ended during the call ({exit}), {whose}; whether the call took effect is not known. \
         Find that out before you repeat it"
    );
    HubFault {
        stderr: exit.stderr.clone(),
        exit: Some(ProcessEnd {
            reason: exit.reason.to_string(),
            code: exit.code,
            signal: exit.signal,
        }),
        ..fault(service, code::CHILD_EXITED, "child_exited", Outcome::Unknown, message)
    }
}

/// The queue towards the process is full.
pub(super) fn queue_full(service: &ServiceName) -> HubFault {
    let message = format!(
        "service `{service}` does not read its input and too much waits for it, the fault lies there; the call was not sent. \
         Repeat it when the service reads again: it is restarted if it goes on like this"
    );
    fault(service, code::CHILD_STALLED, "child_stalled", Outcome::NotSent, message)
}

/// The process read nothing for too long and is being put down.
pub(super) fn stalled(service: &ServiceName, outcome: Outcome) -> HubFault {
    let rest = match outcome {
        Outcome::NotSent => "the call was not sent and can be repeated safely",
        Outcome::Unknown | Outcome::Done => {
            "whether the call took effect is not known. Find that out before you repeat it"
        }
    };
    let message =
        format!("service `{service}` stopped reading its input and is being restarted, the fault lies there; {rest}");
    fault(service, code::CHILD_STALLED, "child_stalled", outcome, message)
}

/// The answer did not fit.
pub(super) fn too_long(service: &ServiceName, length: u64) -> HubFault {
    let message = format!(
        "service `{service}` answered with more in one message than `limits.max_line_bytes` allows ({length} bytes were read); \
         the call ran, its answer was dropped"
    );
    fault(service, code::OVERLOADED, "answer_too_long", Outcome::Done, message)
}

/// The answer is broken.
pub(super) fn unreadable(service: &ServiceName, why: &str) -> HubFault {
    let message = format!(
        "service `{service}` answered with what is no JSON-RPC message ({why}); the call ran, its answer was dropped"
    );
    fault(service, code::OVERLOADED, "answer_unreadable", Outcome::Done, message)
}

/// The hub stops and can't wait any longer.
pub(super) fn draining(service: &ServiceName) -> HubFault {
    let message = format!(
        "the hub is stopping and service `{service}` did not answer in time; whether the call took effect is not known"
    );
    fault(service, code::DRAINING, "draining", Outcome::Unknown, message)
}

/// Another generation took over before the call was sent.
pub(super) fn replaced(service: &ServiceName) -> HubFault {
    let message = format!("service `{service}` was replaced or removed; the call was not sent");
    fault(service, code::UNAVAILABLE, "replaced", Outcome::NotSent, message)
}

/// The service is down.
pub(super) fn unavailable(service: &ServiceName, status: &Status<Connection>) -> HubFault {
    let exit = status.last_exit.as_deref();
    let why = exit.map_or_else(String::new, |exit| format!(": {exit}"));
    let message = format!(
        "service `{service}` is not available (state `{}`{why}); the call was not sent",
        status.state.as_str()
    );
    HubFault {
        stderr: exit.map(|exit| exit.stderr.clone()).unwrap_or_default(),
        ..fault(service, code::UNAVAILABLE, "unavailable", Outcome::NotSent, message)
    }
}
