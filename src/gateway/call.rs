//! A request on its way to a service and its answer on the way back, whatever processes it meets in between.

use std::sync::Arc;

use tokio::{
    sync::Notify,
    time::{Instant, timeout_at},
};

use super::{
    Gateway, Reply,
    answered::{not_running, reply, timed_out},
    bridge,
    caller::Caller,
    client::{Cancel, Cancellable},
    logging,
    repeat::{Facts, Next, next},
    target::Edit,
};
use crate::{
    config::ServiceName,
    jsonrpc::{Message, text_of},
    mcp::{Answered, CallParams, ErrorAnswer, HubFault, Outcome, code, method},
    supervisor::Event,
    telemetry::CallOutcome,
    upstream::{Connection, Ended, Patience, Service},
};

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
    let Some(mut service) = gateway.shared.services.get(name) else {
        return Reply::error(request.id(), &ErrorAnswer::from(not_running(name)), Answered::InBand);
    };
    let mut call = Call {
        gateway,
        caller,
        request,
        params,
        edit,
        deadline: Instant::now() + service.config().timeouts.call,
        held: None,
        tries: 0,
        interrupted: None,
    };
    loop {
        let counted = InFlightCount::begin(&service);
        let ended = call.attempt(&service).await;
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
            Err(fault) => match call.go_on(&mut service, fault).await {
                Ok(()) => continue,
                Err(ended) => ended,
            },
        };
        service.meter().answered(outcome, begun.elapsed());
        return reply;
    }
}

/// One request.
struct Call<'a> {
    gateway: &'a Gateway,
    caller: &'a Caller,
    request: &'a Message,
    params: &'a CallParams<'a>,
    edit: Option<Edit>,
    /// For all tries together.
    deadline: Instant,
    /// How the client takes it back, from the moment that it first waits or is sent.
    held: Option<Cancellable>,
    tries: usize,
    /// How the first sending of a call ended that was sent once more.
    interrupted: Option<Box<HubFault>>,
}

impl Call<'_> {
    /// Notes how the client takes it back from now on; `false` if it has done so already.
    fn hold(&mut self, cancel: Cancel) -> bool {
        if let Some(held) = &self.held {
            return held.update(cancel);
        }
        let id = self.request.id().unwrap_or("null");
        self.held = Some(self.caller.client.cancellable(id, cancel));
        true
    }

    async fn attempt(&mut self, service: &Arc<Service>) -> Result<Reply, Box<HubFault>> {
        self.tries += 1;
        let Some(connection) = self.connection(service).await? else {
            return Ok(Reply::none());
        };
        let (caller, request, params) = (self.caller, self.request, self.params);
        logging::ensure_level(&connection, caller);
        let mut edits: Vec<Edit> = self.edit.clone().into_iter().collect();
        bridge::request_edits(
            caller.era(),
            caller.log_from(),
            &connection,
            request,
            params,
            &mut edits,
        );
        let token = params.meta.progress_token.map(|token| request.span_of(token.get()));
        let mut call = connection
            .call(Some(caller.origin(params)), |number| {
                bridge::renumbered(request, number, token, edits)
            })
            .map_err(|error| error.0)?;
        call.cancel_on_drop(caller.cancels_on_drop());
        if !self.hold(Cancel::Sent(Arc::clone(&connection), call.number())) {
            // Taken back while it was on its way out of the hub.
            connection.cancel(call.number());
        }
        match timeout_at(self.deadline, &mut call).await {
            Ok(Ended::Answer(answer)) => {
                service.report(&connection, Event::CallAnswered);
                Ok(reply(caller, &connection, request, &answer))
            }
            Ok(Ended::Fault(fault)) => Err(fault),
            Ok(Ended::Cancelled) => Ok(Reply::none()),
            Err(_) => {
                let unsent = call.withdraw();
                call.cancel_on_drop(!unsent);
                service.report(&connection, Event::CallTimedOut);
                Err(Box::new(timed_out(service, unsent)))
            }
        }
    }

    /// The connection to send it on, waited for if need be; `None` if the client took the request back meanwhile.
    async fn connection(&mut self, service: &Arc<Service>) -> Result<Option<Arc<Connection>>, Box<HubFault>> {
        let wanted = self.caller.wanted();
        if let Some(connection) = service.ready(wanted) {
            return Ok(Some(connection));
        }
        let waiter = Arc::new(Notify::new());
        if !self.hold(Cancel::Waiting(Arc::clone(&waiter))) {
            return Ok(None);
        }
        let patience = if self.interrupted.is_some() {
            Patience::Long
        } else {
            Patience::Short
        };
        tokio::select! {
            biased;
            () = waiter.notified() => Ok(None),
            connection = service.connection(wanted, self.deadline, patience) => {
                connection.map(Some).map_err(|unavailable| unavailable.0)
            }
        }
    }

    /// After a try without an answer: `Ok` if there is to be another one, to what stands in `service` then.
    async fn go_on(&mut self, service: &mut Arc<Service>, fault: Box<HubFault>) -> Result<(), (Reply, CallOutcome)> {
        let facts = Facts {
            tries: self.tries,
            replaced: service.is_retired(),
            safe_to_repeat: self.is_safe_to_repeat(service),
            repeated: self.interrupted.is_some(),
            taken_back: self.held.as_ref().is_some_and(Cancellable::is_taken_back),
            late: Instant::now() >= self.deadline,
            draining: self.gateway.shared.draining.is_cancelled(),
        };
        let replaced = match next(&fault, facts) {
            Next::GiveUp => return Err(self.give_up(fault)),
            Next::TakenBack => return Err((Reply::none(), CallOutcome::Cancelled)),
            Next::Again { replaced } => replaced,
            Next::Repeat { replaced } => {
                let name = service.name();
                tracing::info!(service = %name, reason = fault.reason, "a call that was interrupted is sent once more");
                self.interrupted = Some(fault);
                replaced
            }
        };
        if replaced {
            match self.successor(service).await? {
                Some(found) => *service = found,
                None => return Err(self.give_up(Box::new(not_running(service.name())))),
            }
        }
        Ok(())
    }

    /// Waits for what takes the place of a service that is being replaced, at most as long as a call may take.
    async fn successor(&mut self, old: &Arc<Service>) -> Result<Option<Arc<Service>>, (Reply, CallOutcome)> {
        let waiter = Arc::new(Notify::new());
        let taken_back = (Reply::none(), CallOutcome::Cancelled);
        if !self.hold(Cancel::Waiting(Arc::clone(&waiter))) {
            return Err(taken_back);
        }
        tokio::select! {
            biased;
            () = waiter.notified() => Err(taken_back),
            found = timeout_at(self.deadline, self.gateway.shared.services.successor(old)) => Ok(found.ok().flatten()),
        }
    }

    /// Whether the operator says of the tool that calling it twice does no more than calling it once. Asked only after a fault.
    fn is_safe_to_repeat(&self, service: &Service) -> bool {
        let config = service.config();
        if config.tools.is_empty() || self.request.method() != method::TOOLS_CALL {
            return false;
        }
        // By the service's own name for it.
        let name = match &self.edit {
            Some(edit) => serde_json::from_slice::<String>(&edit.replacement).ok(),
            None => self.params.name.and_then(text_of).map(std::borrow::Cow::into_owned),
        };
        name.and_then(|name| config.tools.get(&name))
            .is_some_and(|tool| tool.safe_to_repeat)
    }

    /// The error to answer. Of a call that was sent twice it says so; one that was sent once and could not be sent again ends in what
    /// became of that.
    fn give_up(&mut self, fault: Box<HubFault>) -> (Reply, CallOutcome) {
        let (fault, attempt) = match self.interrupted.take() {
            None => (fault, None),
            Some(mut first) if fault.outcome == Outcome::NotSent => {
                first.message = format!("{}. It could not be sent once more: {}", first.message, fault.message);
                (first, Some(1))
            }
            Some(_) => (fault, Some(2)),
        };
        let outcome = match fault.code {
            code::TIMEOUT => CallOutcome::Timeout,
            _ => CallOutcome::Unavailable,
        };
        let mut error = ErrorAnswer::from(*fault);
        if let Some(attempt) = attempt {
            error = error.noting("attempt", attempt);
        }
        (Reply::error(self.request.id(), &error, Answered::InBand), outcome)
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
