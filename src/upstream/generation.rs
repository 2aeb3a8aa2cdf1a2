//! One generation of a service, as those see it who replace it: whether it is up, in trouble, or lost.

use std::{
    sync::{Arc, PoisonError, atomic::Ordering},
    time::Duration,
};

use futures_util::{
    FutureExt as _,
    future::{BoxFuture, join_all, select_all},
};
use tokio::time::{Instant, sleep, timeout_at};

use super::{Connection, Service, Variant, service::usable, slots::Slot};
use crate::{
    supervisor::{State, Status},
    telemetry::note_ready,
};

/// How often it is looked again where nothing tells of a change: units come and go when an era is found out.
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// What was retired with a service.
#[derive(Default)]
pub(super) struct Leaving {
    slots: Vec<Slot>,
    /// They may have calls to finish.
    connections: Vec<Arc<Connection>>,
}

impl Service {
    /// Drains and stops every unit for good. The future resolves when nothing of them is left; it may be dropped.
    pub fn retire(&self) -> BoxFuture<'static, ()> {
        let _changing = self.lock();
        self.retired.store(true, Ordering::Release);
        self.set_serving(false);
        let mut leaving = self.leaving.lock().unwrap_or_else(PoisonError::into_inner);
        leaving.connections.extend(self.live());
        let slots = self.slots.swap(Arc::new(Vec::new()));
        leaving.slots.extend(slots.iter().cloned());
        // Asked again, a unit that is on its way out says when it is gone.
        let gone: Vec<_> = leaving.slots.iter().map(|slot| slot.unit.retire()).collect();
        async move {
            join_all(gone).await;
        }
        .boxed()
    }

    /// Calls go to this generation from now on: its state is the service's.
    pub fn serve(&self) {
        self.set_serving(true);
    }

    pub(super) fn is_serving(&self) -> bool {
        self.serving.load(Ordering::Acquire)
    }

    fn set_serving(&self, serving: bool) {
        if self.serving.swap(serving, Ordering::AcqRel) == serving {
            return;
        }
        for (variant, status) in self.units() {
            note_ready(&self.name, &variant.label(), serving && status.state == State::Ready);
        }
    }

    /// The units that were retired and are not gone yet.
    #[must_use]
    pub fn leaving(&self) -> Vec<(Variant, Status<Connection>)> {
        let leaving = self.leaving.lock().unwrap_or_else(PoisonError::into_inner);
        let units = leaving
            .slots
            .iter()
            .map(|slot| (slot.variant, slot.status.borrow().clone()));
        units.filter(|(_, status)| status.state != State::Stopped).collect()
    }

    /// How many calls are in flight, those included that a retired unit may still answer.
    #[must_use]
    pub fn calls_in_flight(&self) -> usize {
        self.connections()
            .iter()
            .map(|connection| connection.calls_in_flight())
            .sum()
    }

    /// The hub stops: ends every call that is in flight.
    pub fn cut_off(&self) {
        for connection in self.connections() {
            connection.cut_off();
        }
    }

    fn connections(&self) -> Vec<Arc<Connection>> {
        let leaving = self.leaving.lock().unwrap_or_else(PoisonError::into_inner);
        let mut connections = self.live();
        connections.extend(leaving.connections.iter().cloned());
        connections
    }

    /// Whether calls go through now.
    #[must_use]
    pub fn is_live(&self) -> bool {
        !self.live().is_empty()
    }

    /// Resolves when calls go through, or, where `rest` is as good, when the next call would start it.
    pub async fn up(&self, rest: bool) {
        self.until(|slots| {
            slots.iter().any(|slot| {
                let status = slot.status.borrow();
                usable(&status).is_some() || (rest && status.state == State::Stopped && status.wakeable)
            })
        })
        .await;
    }

    /// Resolves when a process failed or could not be started, at the latest at `deadline`.
    pub async fn in_trouble(&self, deadline: Instant) {
        let failed = self.until(|slots| {
            slots.iter().any(|slot| match slot.status.borrow().state {
                State::Backoff | State::CrashLoop | State::Misconfigured => true,
                State::Disabled
                | State::Stopped
                | State::Queued
                | State::Spawning
                | State::Handshaking
                | State::Ready
                | State::Degraded
                | State::Draining
                | State::Stopping => false,
            })
        });
        // The deadline is trouble of its own.
        drop(timeout_at(deadline, failed).await);
    }

    /// Resolves when it takes no calls and will not soon.
    pub async fn lost(&self) {
        self.until(are_lost).await;
    }

    /// Whether it takes no calls and will not soon.
    #[must_use]
    pub fn is_lost(&self) -> bool {
        are_lost(&self.slots.load())
    }

    /// Waits for a change of a unit until `holds` of those whose era is not refused.
    async fn until(&self, holds: impl Fn(&[Slot]) -> bool) {
        loop {
            let mut slots = Vec::clone(&self.slots.load());
            slots.retain(|slot| !self.is_wrong_era(slot.variant.era));
            for slot in &mut slots {
                // Changes from now on count.
                drop(slot.status.borrow_and_update());
            }
            if holds(&slots) {
                return;
            }
            let mut changes: Vec<BoxFuture<'_, ()>> = vec![sleep(LOOK_EVERY).boxed()];
            changes.extend(slots.iter_mut().map(|slot| changed(slot).boxed()));
            select_all(changes).await;
        }
    }
}

async fn changed(slot: &mut Slot) {
    if slot.status.changed().await.is_err() {
        // Its unit has ended for good.
        std::future::pending::<()>().await;
    }
}

fn are_lost(slots: &[Slot]) -> bool {
    let lost = |slot: &Slot| {
        let status = slot.status.borrow();
        match status.state {
            State::Stopped => !status.wakeable,
            State::Disabled | State::CrashLoop | State::Misconfigured => true,
            State::Queued
            | State::Spawning
            | State::Handshaking
            | State::Ready
            | State::Degraded
            | State::Draining
            | State::Stopping
            | State::Backoff => false,
        }
    };
    !slots.is_empty() && slots.iter().all(lost)
}
