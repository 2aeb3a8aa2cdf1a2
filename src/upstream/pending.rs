//! Calls in flight on one connection: their numbers, where their answers go, and what happens when nobody waits any more.

use std::{
    collections::HashMap,
    future::Future,
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll},
};

use tokio::sync::oneshot;

use super::{Connection, faults};
use crate::{
    jsonrpc::Message,
    mcp::{HubFault, LogLevel, Outbox},
};

/// Whose call it is, for messages of the service that belong to it.
#[derive(Clone)]
pub struct Origin {
    /// Number of the client.
    pub client: u64,
    /// Whether all calls of that number are one client's. Modern callers over HTTP have no session: they share a number.
    pub session: bool,
    /// Where progress, log messages and server requests of this call go.
    pub related: Arc<dyn Outbox>,
    /// The client's own progress token, raw.
    pub progress_token: Option<Box<str>>,
    /// The least severe log message the caller wants; `None`: none at all.
    pub log_from: Option<LogLevel>,
}

impl std::fmt::Debug for Origin {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Origin")
            .field("client", &self.client)
            .finish_non_exhaustive()
    }
}

impl Origin {
    /// Whether both calls are certainly one client's.
    fn is_of_same_client(&self, other: &Self) -> bool {
        let one_session = self.session && other.session;
        self.client == other.client && (one_session || Arc::ptr_eq(&self.related, &other.related))
    }
}

/// How a call ended upstream.
#[derive(Debug)]
pub enum Ended {
    /// With the service's own answer, result or error; its id is the connection's number for the call.
    Answer(Message),
    /// Without one; the fault says why.
    Fault(Box<HubFault>),
    /// The client took the request back.
    Cancelled,
}

#[derive(Debug)]
struct Pending {
    answer: oneshot::Sender<Ended>,
    origin: Option<Origin>,
}

/// The table of one connection. Numbers are never used twice.
#[derive(Debug, Default)]
pub(super) struct PendingCalls {
    table: Mutex<Table>,
}

#[derive(Debug, Default)]
struct Table {
    last: u64,
    calls: HashMap<u64, Pending>,
    /// How many of them are clients' calls; the others are the hub's own.
    of_clients: usize,
    /// Set once the connection is over: what later calls are refused with.
    ended: Option<Box<HubFault>>,
}

impl Table {
    fn take(&mut self, number: u64) -> Option<Pending> {
        let pending = self.calls.remove(&number)?;
        self.of_clients -= usize::from(pending.origin.is_some());
        Some(pending)
    }
}

impl PendingCalls {
    fn lock(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A number for a call that is about to be sent.
    pub(super) fn begin(&self, origin: Option<Origin>) -> Result<(u64, oneshot::Receiver<Ended>), Box<HubFault>> {
        let (answer, receiver) = oneshot::channel();
        let mut table = self.lock();
        if let Some(fault) = &table.ended {
            return Err(fault.clone());
        }
        table.last += 1;
        let number = table.last;
        table.of_clients += usize::from(origin.is_some());
        table.calls.insert(number, Pending { answer, origin });
        Ok((number, receiver))
    }

    /// Hands an answer to whoever waits; `false` if nobody does (late or never asked).
    pub(super) fn answer(&self, number: u64, ended: Ended) -> bool {
        let pending = self.lock().take(number);
        pending.is_some_and(|pending| pending.answer.send(ended).is_ok())
    }

    /// Forgets a call nobody waits for; `true` if it was still in flight.
    pub(super) fn forget(&self, number: u64) -> bool {
        self.lock().take(number).is_some()
    }

    /// Ends a call of the hub's own that the server takes no further; `false` if there is none of that number.
    pub(super) fn end_own(&self, number: u64) -> bool {
        let mut table = self.lock();
        let own = table.calls.get(&number).is_some_and(|pending| pending.origin.is_none());
        let pending = own.then(|| table.take(number)).flatten();
        drop(table);
        pending.is_some_and(|pending| pending.answer.send(Ended::Cancelled).is_ok())
    }

    /// Whose call `number` is.
    pub(super) fn origin(&self, number: u64) -> Option<Origin> {
        self.lock()
            .calls
            .get(&number)
            .and_then(|pending| pending.origin.clone())
    }

    /// How many calls were ever begun.
    pub(super) fn begun(&self) -> u64 {
        self.lock().last
    }

    /// How many calls of clients are in flight.
    pub(super) fn of_clients(&self) -> usize {
        self.lock().of_clients
    }

    /// The client whose call a message without attribution must belong to: the newest call's, if all calls in flight are one
    /// client's. `Ok(None)` if no client's call is in flight, `Err` if several clients' are.
    pub(super) fn only_client(&self) -> Result<Option<Origin>, ()> {
        let table = self.lock();
        let mut newest: Option<(u64, &Origin)> = None;
        for (number, pending) in &table.calls {
            let Some(origin) = &pending.origin else { continue };
            match newest {
                Some((_, other)) if !other.is_of_same_client(origin) => return Err(()),
                Some((latest, _)) if latest > *number => {}
                Some(_) | None => newest = Some((*number, origin)),
            }
        }
        Ok(newest.map(|(_, origin)| origin.clone()))
    }

    /// Ends every call, and every later one, with what `fault` says.
    pub(super) fn end(&self, fault: &HubFault) {
        let calls = {
            let mut table = self.lock();
            table.ended.get_or_insert_with(|| {
                // A call that comes after the end was never sent.
                Box::new(HubFault {
                    outcome: crate::mcp::Outcome::NotSent,
                    retryable: true,
                    ..fault.clone()
                })
            });
            table.of_clients = 0;
            std::mem::take(&mut table.calls)
        };
        for pending in calls.into_values() {
            // A caller that left meanwhile needs no answer.
            drop(pending.answer.send(Ended::Fault(Box::new(fault.clone()))));
        }
    }
}

/// A call that was sent. Resolves to its end; dropped before, it leaves the table, and the service is told if it was set to
/// [`Self::cancel_on_drop`].
#[derive(Debug)]
pub struct InFlight {
    number: u64,
    answer: oneshot::Receiver<Ended>,
    connection: Arc<Connection>,
    cancel_on_drop: bool,
    done: bool,
}

impl InFlight {
    pub(super) fn new(number: u64, answer: oneshot::Receiver<Ended>, connection: Arc<Connection>) -> Self {
        Self {
            number,
            answer,
            connection,
            cancel_on_drop: true,
            done: false,
        }
    }

    /// The connection's number for it.
    #[must_use]
    pub fn number(&self) -> u64 {
        self.number
    }

    /// Takes it back before the service has seen anything of it; `false` if it may have.
    pub fn withdraw(&self) -> bool {
        self.connection.withdraw(self.number)
    }

    /// Whether dropping it sends `notifications/cancelled` (it does unless told otherwise).
    pub fn cancel_on_drop(&mut self, cancel: bool) {
        self.cancel_on_drop = cancel;
    }
}

impl Future for InFlight {
    type Output = Ended;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Ended> {
        Pin::new(&mut self.answer).poll(context).map(|ended| {
            self.done = true;
            ended.unwrap_or_else(|_| Ended::Fault(Box::new(faults::gone(self.connection.service()))))
        })
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        if !self.done && self.connection.forget(self.number) && self.cancel_on_drop {
            self.connection.send_cancelled(self.number);
        }
    }
}
