//! The handle of a unit: what others hold, ask and watch. The task behind it owns everything else.

use std::{
    fmt,
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use futures_util::future::BoxFuture;
use tokio::sync::watch;

use super::{
    UnitContext, UnitSpec,
    contract::{Event, Handshake, Session},
    driver,
    orders::Orders,
    state::{Input, Rest, State},
    status::Status,
    stderr::Tail,
};

/// One supervised process slot. Clones are one unit; when the last is dropped, the unit is retired.
pub struct Unit<S> {
    shared: Arc<Shared<S>>,
}

struct Shared<S> {
    spec: Arc<UnitSpec>,
    orders: Arc<Orders>,
    status: watch::Receiver<Status<S>>,
    stderr: Tail,
}

impl<S> Drop for Shared<S> {
    fn drop(&mut self) {
        self.orders.give(Input::Stop(Rest::Retired));
    }
}

impl<S> Clone for Unit<S> {
    fn clone(&self) -> Self {
        Self {
            shared: Arc::clone(&self.shared),
        }
    }
}

impl<S> fmt::Debug for Unit<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Unit")
            .field("service", &self.shared.spec.service)
            .field("unit", &self.shared.spec.unit)
            .finish_non_exhaustive()
    }
}

impl<S: Session> Unit<S> {
    /// Starts the task that looks after one process slot. Returns at once; an eager unit is in line
    /// for its start by then.
    pub fn launch<H>(spec: UnitSpec, handshake: H, context: &UnitContext) -> Self
    where
        H: Handshake<Session = S>,
    {
        let (spec, orders, stderr) = (Arc::new(spec), Arc::default(), Tail::default());
        let status = driver::start(
            Arc::clone(&spec),
            handshake,
            context.clone(),
            Arc::clone(&orders),
            stderr.clone(),
        );
        Self {
            shared: Arc::new(Shared {
                spec,
                orders,
                status,
                stderr,
            }),
        }
    }

    /// What it was launched with.
    pub fn spec(&self) -> &UnitSpec {
        &self.shared.spec
    }

    /// Follows the unit; `borrow()` on it is the present.
    pub fn status(&self) -> watch::Receiver<Status<S>> {
        self.shared.status.clone()
    }

    /// The session to send a call to now, if the unit is ready. One short read lock.
    pub fn session(&self) -> Option<Arc<S>> {
        self.shared.status.borrow().session.clone()
    }

    /// Starts it, also out of `disabled`, `backoff`, `crash_loop` and `misconfigured`, with earlier failures forgiven.
    /// The ticket resolves when it is ready, or failed.
    pub fn start(&self) -> Ticket {
        self.give(Input::Start)
    }

    /// Lets calls in flight finish, then stops it until somebody starts it. The ticket resolves when
    /// nothing of the process is left.
    pub fn stop(&self) -> Ticket {
        self.give(Input::Stop(Rest::Stopped))
    }

    /// Like [`Self::stop`], and shows as `disabled`.
    pub fn disable(&self) -> Ticket {
        self.give(Input::Stop(Rest::Disabled))
    }

    /// Stops it as [`Self::stop`] does, then starts it. The ticket resolves when it is ready, or failed.
    pub fn restart(&self) -> Ticket {
        self.give(Input::Restart)
    }

    /// Stops it for good. The ticket resolves when nothing of it is left.
    pub fn retire(&self) -> Ticket {
        self.give(Input::Stop(Rest::Retired))
    }

    /// Takes the patience out of the stop under way: SIGTERM now, SIGKILL a second later.
    pub fn hurry(&self) {
        self.shared.orders.hurry();
    }

    /// Says that a call waits: starts a lazy or idle unit, and moves a queued one ahead. Cheap, may be
    /// called for every such call.
    pub fn want(&self) {
        self.shared.orders.want();
    }

    /// Tells how a call went, for the health of the unit.
    pub fn report(&self, event: Event) {
        self.shared.orders.report(event);
    }

    /// The last `lines` lines that its processes wrote to stderr, oldest first.
    pub fn stderr_tail(&self, lines: usize) -> Vec<String> {
        self.shared.stderr.last(lines)
    }

    fn give(&self, order: Input) -> Ticket {
        let number = self.shared.orders.give(order);
        let mut status = self.status();
        Ticket(Box::pin(async move {
            let settled = status
                .wait_for(|status| status.settled >= number)
                .await
                .map(|status| status.state);
            // The task has ended: the last state stands.
            settled.unwrap_or_else(|_closed| status.borrow().state)
        }))
    }
}

/// Resolves to the unit's state when an order was carried out, or a later one was instead. May be dropped: the order stands.
#[must_use = "await it to know when the order was carried out, or drop it"]
pub struct Ticket(BoxFuture<'static, State>);

impl Future for Ticket {
    type Output = State;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<State> {
        self.0.as_mut().poll(cx)
    }
}

impl fmt::Debug for Ticket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ticket").finish_non_exhaustive()
    }
}
