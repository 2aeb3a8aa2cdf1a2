//! A request on its way to a service and its answer on the way back.

use std::sync::Arc;

use bytes::Bytes;
use tokio::{
    sync::Notify,
    time::{Instant, timeout_at},
};

use super::{
    Client, Gateway, Reply, bridge, caller::Caller, client::Cancel, hub::required_text, logging, target::Edit,
};
use crate::{
    catalog::Scope,
    config::ServiceName,
    jsonrpc::{Kind, Message},
    mcp::{Answered, CallParams, Era, ErrorAnswer, Features, HubFault, Outcome, code, field, method},
    supervisor::Event,
    telemetry::CallOutcome,
    upstream::{Connection, Ended, ListKind, Service, Wanted},
};

/// How many processes or generations of a service one call may meet at the moment of their end.
const TRIES: usize = 5;

/// `tools/call` and `prompts/get`: found by name.
pub(super) async fn named(
    gateway: &Gateway,
    caller: &Caller,
    request: &Message,
    params: &CallParams<'_>,
    kind: ListKind,
) -> Reply {
    let name = match required_text(params.name, "name") {
        Ok(name) => name,
        Err(error) => return Reply::error(request.id(), &error, Answered::InBand),
    };
    let view = gateway.catalog().view(&caller.audience());
    let Some(entry) = view.table(kind).find(&name) else {
        if let Scope::Service(only) = caller.client.scope()
            && gateway.catalog().introduction(only, caller.era()).is_none()
        {
            // Nothing is known of this service yet; it can tell itself, or why it is not up.
            return send(gateway, caller, only, request, params, None).await;
        }
        let what = if kind == ListKind::Tools { "tool" } else { "prompt" };
        let error = ErrorAnswer::invalid_params(format!("Unknown {what}: {name}"));
        return Reply::error(request.id(), &error, Answered::InBand);
    };
    let edit = match (&entry.original, params.name) {
        (Some(original), Some(raw)) => Some(Edit::new(request.span_of(raw.get()), original.as_bytes())),
        (None, _) | (_, None) => None,
    };
    send(gateway, caller, &entry.service, request, params, edit).await
}

/// `resources/read`: found by URI.
pub(super) async fn resource(gateway: &Gateway, caller: &Caller, request: &Message, params: &CallParams<'_>) -> Reply {
    let uri = match required_text(params.uri, "uri") {
        Ok(uri) => uri,
        Err(error) => return Reply::error(request.id(), &error, Answered::InBand),
    };
    match owner_of(gateway, caller, &uri) {
        Some(service) => send(gateway, caller, &service, request, params, None).await,
        None => Reply::error(request.id(), &caller.resource_not_found(&uri), Answered::InBand),
    }
}

/// Whose resource `uri` is; on an endpoint of one service always that service's.
pub(super) fn owner_of(gateway: &Gateway, caller: &Caller, uri: &str) -> Option<ServiceName> {
    match caller.client.scope() {
        Scope::Service(name) => Some(name.clone()),
        Scope::All => gateway.catalog().view(&caller.audience()).route_uri(uri).cloned(),
    }
}

/// A method the hub does not know: an endpoint of one service passes it on, the merged one can't tell to whom.
pub(super) async fn unknown(gateway: &Gateway, caller: &Caller, request: &Message, params: &CallParams<'_>) -> Reply {
    match caller.client.scope() {
        Scope::Service(name) => send(gateway, caller, name, request, params, None).await,
        Scope::All => {
            let error = ErrorAnswer::method_not_found(request.method());
            Reply::error(request.id(), &error, Answered::BeforeDispatch)
        }
    }
}

/// An unknown notification of a client goes where its unknown requests go.
pub(super) fn unknown_notification(gateway: &Gateway, client: &Arc<Client>, notification: &Message) {
    let Scope::Service(name) = client.scope() else { return };
    let Some(service) = gateway.shared.services.get(name) else {
        return;
    };
    // Whoever never introduced itself is modern.
    let wanted = client.handshake().map_or(
        Wanted {
            era: Era::Modern,
            features: Features::NONE,
            client: None,
        },
        |(revision, features, _)| Wanted {
            era: revision.era(),
            features,
            client: Some(client.id().0),
        },
    );
    if let Some(connection) = service.ready(wanted) {
        connection.notify(notification.bytes());
    }
}

/// Sends a request to a service and waits for its answer, at most for the service's call limit.
pub(super) async fn send(
    gateway: &Gateway,
    caller: &Caller,
    name: &ServiceName,
    request: &Message,
    params: &CallParams<'_>,
    edit: Option<Edit>,
) -> Reply {
    let begun = std::time::Instant::now();
    let mut serving = gateway.shared.services.get(name);
    let mut tries = 0;
    while let Some(service) = serving {
        tries += 1;
        let counted = InFlightCount::begin(&service);
        let ended = attempt(&service, caller, request, params, edit.clone()).await;
        drop(counted);
        let (reply, outcome) = match ended {
            Ok(reply) => {
                let outcome = match (&reply.message, reply.error) {
                    (None, _) => CallOutcome::Cancelled,
                    (Some(_), Some(_)) => CallOutcome::Error,
                    (Some(_), None) => CallOutcome::Ok,
                };
                (reply, outcome)
            }
            // A call that meets a service at the moment it is replaced goes to its successor.
            Err(fault) if tries < TRIES && fault.outcome == Outcome::NotSent && service.is_retired() => {
                match successor(gateway, caller, request, &service).await {
                    Ok(found) => {
                        serving = found;
                        continue;
                    }
                    Err(reply) => (reply, CallOutcome::Cancelled),
                }
            }
            // One that meets a process at the moment it ends goes to the next process, or learns why there is none.
            Err(fault) if tries < TRIES && fault.outcome == Outcome::NotSent && fault.code == code::CHILD_EXITED => {
                serving = Some(service);
                continue;
            }
            Err(fault) => {
                let outcome = match fault.code {
                    code::TIMEOUT => CallOutcome::Timeout,
                    _ => CallOutcome::Unavailable,
                };
                (
                    Reply::error(request.id(), &ErrorAnswer::from(*fault), Answered::InBand),
                    outcome,
                )
            }
        };
        service.meter().answered(outcome, begun.elapsed());
        return reply;
    }
    Reply::error(request.id(), &ErrorAnswer::from(not_running(name)), Answered::InBand)
}

/// Waits for what takes the place of a service that is being replaced, at most as long as a call may take.
async fn successor(
    gateway: &Gateway,
    caller: &Caller,
    request: &Message,
    old: &Arc<Service>,
) -> Result<Option<Arc<Service>>, Reply> {
    let deadline = Instant::now() + old.config().timeouts.call;
    let waiter = Arc::new(Notify::new());
    let _cancellable = caller
        .client
        .cancellable(request.id().unwrap_or("null"), Cancel::Waiting(Arc::clone(&waiter)));
    tokio::select! {
        found = timeout_at(deadline, gateway.shared.services.successor(old)) => Ok(found.ok().flatten()),
        () = waiter.notified() => Err(Reply::none()),
    }
}

/// Counts a call as in flight for as long as it lives, also if its future is dropped.
struct InFlightCount<'a>(&'a Service);

impl<'a> InFlightCount<'a> {
    fn begin(service: &'a Service) -> Self {
        service.meter().sent();
        Self(service)
    }
}

impl Drop for InFlightCount<'_> {
    fn drop(&mut self) {
        self.0.meter().over();
    }
}

async fn attempt(
    service: &Arc<Service>,
    caller: &Caller,
    request: &Message,
    params: &CallParams<'_>,
    edit: Option<Edit>,
) -> Result<Reply, Box<HubFault>> {
    let deadline = Instant::now() + service.config().timeouts.call;
    let id = request.id().unwrap_or("null");
    let wanted = caller.wanted();
    let mut waiting = None;
    let connection = if let Some(connection) = service.ready(wanted) {
        connection
    } else {
        let waiter = Arc::new(Notify::new());
        let cancellable = caller.client.cancellable(id, Cancel::Waiting(Arc::clone(&waiter)));
        let (_, waiter) = waiting.insert((cancellable, waiter));
        tokio::select! {
            connection = service.connection(wanted, deadline) => connection.map_err(|unavailable| unavailable.0)?,
            () = waiter.notified() => return Ok(Reply::none()),
        }
    };
    logging::ensure_level(&connection, caller);
    let mut edits: Vec<Edit> = edit.into_iter().collect();
    bridge::request_edits(
        caller.era(),
        caller.log_from(),
        &connection,
        request,
        params,
        &mut edits,
    );
    let origin = caller.origin(params);
    let token = params.meta.progress_token.map(|token| request.span_of(token.get()));
    let mut call = connection
        .call(Some(origin), |number| bridge::renumbered(request, number, token, edits))
        .map_err(|error| error.0)?;
    call.cancel_on_drop(caller.cancels_on_drop());
    let sent = Cancel::Sent(Arc::clone(&connection), call.number());
    let (_cancellable, waiter) = match waiting {
        Some((cancellable, waiter)) => {
            cancellable.update(sent);
            (cancellable, Some(waiter))
        }
        None => (caller.client.cancellable(id, sent), None),
    };
    // Taken back while it was still on its way out of the hub?
    let number = call.number();
    let answered = async {
        tokio::select! {
            biased;
            ended = &mut call => ended,
            () = taken_back(waiter.as_deref()) => {
                connection.cancel(number);
                (&mut call).await
            }
        }
    };
    match timeout_at(deadline, answered).await {
        Ok(Ended::Answer(answer)) => {
            service.report(&connection, Event::CallAnswered);
            Ok(reply(caller, &connection, request, &answer))
        }
        Ok(Ended::Fault(fault)) => Err(fault),
        Ok(Ended::Cancelled) => Ok(Reply::none()),
        Err(_) => {
            call.cancel_on_drop(true);
            service.report(&connection, Event::CallTimedOut);
            Err(Box::new(timed_out(service)))
        }
    }
}

/// Resolves when a request that waited for its connection is taken back; never for one that did not wait.
async fn taken_back(waiter: Option<&Notify>) {
    match waiter {
        Some(waiter) => waiter.notified().await,
        None => std::future::pending().await,
    }
}

fn reply(caller: &Caller, connection: &Connection, request: &Message, answer: &Message) -> Reply {
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

fn timed_out(service: &Service) -> HubFault {
    let name = service.name();
    let limit = service.config().timeouts.call;
    HubFault {
        code: code::TIMEOUT,
        reason: "timeout",
        service: name.to_string(),
        retryable: false,
        outcome: Outcome::Unknown,
        message: format!(
            "service `{name}` did not answer within {limit:?} (`services.{name}.timeouts.call`); it was told to stop, \
             whether the call took effect is not known"
        ),
        stderr: Vec::new(),
        exit: None,
    }
}

fn not_running(name: &ServiceName) -> HubFault {
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
