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

/// The connection is over and nothing more is known.
pub(super) fn gone(service: &ServiceName) -> HubFault {
    let message = format!("service `{service}` has just ended; the call was not sent");
    fault(service, code::CHILD_EXITED, "child_exited", Outcome::NotSent, message)
}

/// The process ended while calls were in flight.
pub(super) fn exited(service: &ServiceName, exit: &LastExit) -> HubFault {
    let message =
        format!("service `{service}` ended during the call ({exit}); whether the call took effect is not known");
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
pub(super) fn stalled(service: &ServiceName) -> HubFault {
    let message = format!("service `{service}` does not read its input; the call was not sent");
    fault(service, code::CHILD_STALLED, "child_stalled", Outcome::NotSent, message)
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
