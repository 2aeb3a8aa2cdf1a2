//! The connections of a service: added when first wanted, removed when they turn out to be of the wrong era.

use std::sync::{Arc, MutexGuard, PoisonError};

use tokio::sync::watch;

use super::{
    Connection, Introduction, Listener, Offers, Service, ServiceEvents, Variant, Wishes, handshake::Greeting,
    service::Learned, variant::speaks,
};
use crate::{
    config::{EraChoice, ServiceName},
    mcp::Era,
    supervisor::{Status, Unit},
    telemetry::ServiceChanged,
};

/// One unit and the latest of it.
#[derive(Clone)]
pub(super) struct Slot {
    pub(super) variant: Variant,
    pub(super) unit: Unit<Connection>,
    pub(super) status: watch::Receiver<Status<Connection>>,
}

impl Service {
    pub(super) fn decide(&self, era: Era, does: bool) {
        let changed = self.verdict.send_if_modified(|verdict| {
            let before = std::mem::replace(verdict, verdict.with(era, does));
            before != *verdict
        });
        if !changed {
            return;
        }
        let verdict = *self.verdict.borrow();
        tracing::debug!(service = %self.name, era = era.as_str(), does, "found out an era");
        self.events.verdict(&self.config(), verdict);
    }

    pub(super) fn has_slot(&self, variant: Variant) -> bool {
        self.slots.load().iter().any(|slot| slot.variant == variant)
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, ()> {
        self.changes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The slot of a variant, launched if there is none; `None` once the service is retired.
    pub(super) fn slot(self: &Arc<Self>, variant: Variant) -> Option<Slot> {
        let found = |slots: &[Slot]| slots.iter().find(|slot| slot.variant == variant).cloned();
        if let Some(slot) = found(&self.slots.load()) {
            return Some(slot);
        }
        let _changing = self.lock();
        if let Some(slot) = found(&self.slots.load()) {
            return Some(slot);
        }
        if self.is_retired() {
            return None;
        }
        let unit = Unit::launch(
            (self.describe)(&self.config(), &variant, variant == self.first_variant()),
            Greeting {
                service: self.name.clone(),
                variant,
                listener: Arc::new(ListenerRelay(Arc::clone(&self.events))),
                learned: Arc::new(LearnedRelay(Arc::downgrade(self))),
                line_limit: self.line_limit,
                tasks: self.context.tasks.clone(),
            },
            &self.context,
        );
        let slot = Slot {
            variant,
            status: unit.status(),
            unit,
        };
        let mut slots = Vec::clone(&self.slots.load());
        slots.push(slot.clone());
        self.slots.store(Arc::new(slots));
        self.watch(&slot);
        Some(slot)
    }

    /// Publishes state changes, and removes a unit that turned out to be of the wrong era.
    fn watch(self: &Arc<Self>, slot: &Slot) {
        let (weak, mut slot) = (Arc::downgrade(self), slot.clone());
        self.context.tasks.clone().spawn("upstream.watch", async move {
            let (mut last, mut restarts, label) = (None, 0, slot.variant.label());
            loop {
                let (state, now) = {
                    let status = slot.status.borrow_and_update();
                    (status.state, status.restarts)
                };
                let Some(service) = weak.upgrade() else { return };
                if last.replace(state) != Some(state) {
                    let changed = ServiceChanged {
                        service: &service.name,
                        unit: &label,
                        state: state.as_str(),
                        reason: None,
                        restart: std::mem::replace(&mut restarts, now) < now,
                        serving: service.is_serving(),
                    };
                    changed.emit();
                    service.events.state(&service.name, slot.variant, state);
                }
                let mut verdict = service.verdict.subscribe();
                if service.is_wrong_era(slot.variant.era) {
                    service.remove(slot.variant);
                    if service.slots.load().is_empty() {
                        service.slot(service.first_variant());
                    }
                    return;
                }
                drop(service);
                tokio::select! {
                    changed = slot.status.changed() => if changed.is_err() { return },
                    changed = verdict.changed() => if changed.is_err() { return },
                }
            }
        });
    }

    pub(super) fn is_wrong_era(&self, era: Era) -> bool {
        self.config().era == EraChoice::Match && speaks(*self.verdict.borrow(), era) == Some(false)
    }

    pub(super) fn remove(&self, variant: Variant) {
        let _changing = self.lock();
        let (gone, kept): (Vec<Slot>, Vec<Slot>) = self
            .slots
            .load()
            .iter()
            .cloned()
            .partition(|slot| slot.variant == variant);
        self.slots.store(Arc::new(kept));
        for slot in gone {
            drop(slot.unit.retire());
        }
    }
}

/// Narrows the service's events to what a connection may call.
struct ListenerRelay(Arc<dyn ServiceEvents>);

impl Listener for ListenerRelay {
    fn notification(&self, from: &Arc<Connection>, message: crate::jsonrpc::Message) {
        self.0.notification(from, message);
    }

    fn request(&self, from: &Arc<Connection>, message: crate::jsonrpc::Message) {
        self.0.request(from, message);
    }
}

struct LearnedRelay(std::sync::Weak<Service>);

impl Learned for LearnedRelay {
    fn learned(&self, from: &Arc<Connection>, introduction: Arc<Introduction>, offers: Arc<Offers>) {
        if let Some(service) = self.0.upgrade() {
            service
                .events
                .learned(&service.config(), from.variant(), introduction, offers);
        }
    }

    fn wishes(&self, variant: Variant) -> Wishes {
        let service = self.0.upgrade();
        service.map_or_else(Wishes::default, |service| service.events.wishes(&service, variant))
    }

    fn speaks(&self, _: &ServiceName, era: Era, does: bool) {
        if let Some(service) = self.0.upgrade() {
            service.decide(era, does);
        }
    }
}
