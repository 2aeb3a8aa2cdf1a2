//! The answer of a service, or the fault in its place, as the client gets it.

use bytes::Bytes;

use super::{Reply, bridge, caller::Caller};
use crate::{
    config::ServiceName,
    jsonrpc::{Kind, Message},
    mcp::{Answered, HubFault, Outcome, code, field, method},
    upstream::{Connection, Service},
};

/// The service's answer under the client's own id.
pub(super) fn reply(caller: &Caller, connection: &Connection, request: &Message, answer: &Message) -> Reply {
    let id = request.id().unwrap_or("null");
    let message: Bytes = bridge::answer(caller.era(), connection.variant().era, request.method(), answer, id);
    let error = match answer.kind() {
        Kind::Error => answer
            .body_text()
            .and_then(|error| field(error, "code"))
            .and_then(|code| code.get().parse().ok())
            .map(|code: i32| {
                // A server refuses before it dispatches where the client lacks a capability (2026-07-28, HTTP 400), and so
                // it does where it does not know the method (404).
                let early = code == code::MISSING_CLIENT_CAPABILITY
                    || (code == code::METHOD_NOT_FOUND && !KNOWN.contains(&request.method()));
                (
                    code,
                    if early {
                        Answered::BeforeDispatch
                    } else {
                        Answered::InBand
                    },
                )
            }),
        Kind::Request | Kind::Notification | Kind::Result => None,
    };
    Reply {
        message: Some(message),
        error,
    }
}

const KNOWN: [&str; 4] = [
    method::TOOLS_CALL,
    method::PROMPTS_GET,
    method::RESOURCES_READ,
    method::COMPLETE,
];

/// No answer in time. With `unsent` the service has seen nothing of the call: it did not read its input all the while.
pub(super) fn timed_out(service: &Service, unsent: bool) -> HubFault {
    let name = service.name();
    let limit = service.config().timeouts.call;
    let (outcome, rest) = if unsent {
        let rest = "it does not read its input, the fault lies there. The call was not sent and can be repeated safely";
        (Outcome::NotSent, rest)
    } else {
        let rest = "the service is too slow, or the limit too short. It was told to stop; whether the call took effect is not known. \
                    Find that out before you repeat it";
        (Outcome::Unknown, rest)
    };
    HubFault {
        code: code::TIMEOUT,
        reason: "timeout",
        service: name.to_string(),
        retryable: unsent,
        outcome,
        message: format!("service `{name}` did not answer within {limit:?} (`services.{name}.timeouts.call`): {rest}"),
        stderr: Vec::new(),
        exit: None,
    }
}

/// There is no such service, or not any more.
pub(super) fn not_running(name: &ServiceName) -> HubFault {
    HubFault {
        code: code::UNAVAILABLE,
        reason: "disabled",
        service: name.to_string(),
        retryable: false,
        outcome: Outcome::NotSent,
        message: format!("service `{name}` is disabled or being removed; the call was not sent"),
        stderr: Vec::new(),
        exit: None,
    }
}
