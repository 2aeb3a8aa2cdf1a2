//! One service: its connections by variant, and which of them serves whom.

use std::sync::{
    Arc, Mutex,
    atomic::{AtomicBool, Ordering},
};

use arc_swap::ArcSwap;
use tokio::sync::watch;

use super::{
    Connection, EraVerdict, Introduction, Listener, Offers, Variant, Wishes, generation::Leaving, slots::Slot,
};
use crate::{
    config::{self, ServiceName},
    mcp::{Era, Features, HubFault},
    supervisor::{Event, State, Status, UnitContext, UnitSpec},
    telemetry::CallMeter,
};

/// What connections find out.
pub(super) trait Learned: Send + Sync + 'static {
    /// The server introduced itself, or its lists changed.
    fn learned(&self, from: &Arc<Connection>, introduction: Arc<Introduction>, offers: Arc<Offers>);
    /// What clients want of the connections of `variant`.
    fn wishes(&self, variant: Variant) -> Wishes;
    /// The server does or does not speak `era`.
    fn speaks(&self, service: &ServiceName, era: Era, does: bool);
}

/// What a service tells those above it. Must not block.
pub trait ServiceEvents: Listener {
    /// A connection learned what its server offers.
    fn learned(
        &self,
        service: &config::Service,
        variant: Variant,
        introduction: Arc<Introduction>,
        offers: Arc<Offers>,
    );
    /// What clients want of the service's connections of `variant`: asked for every new process.
    fn wishes(&self, service: &Service, variant: Variant) -> Wishes;
    /// The eras the service speaks are known better now.
    fn verdict(&self, service: &config::Service, verdict: EraVerdict);
    /// A unit changed its state.
    fn state(&self, service: &ServiceName, variant: Variant, state: State);
}

/// Who wants a connection.
#[derive(Clone, Copy, Debug)]
pub struct Wanted {
    /// The client's era.
    pub era: Era,
    /// What it can do.
    pub features: Features,
    /// Its number; only looked at with `sharing: per-client`, and `None` for callers without a session.
    pub client: Option<u64>,
}

/// Why there is no connection: the fault to answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unavailable(pub Box<HubFault>);

/// Describes the unit of a variant, which may be the service's first one; the composition root knows folders, logs and limits.
pub type Describe = dyn Fn(&config::Service, &Variant, bool) -> UnitSpec + Send + Sync;

/// Handle to one configured service.
pub struct Service {
    pub(super) name: ServiceName,
    pub(super) config: ArcSwap<config::Service>,
    pub(super) describe: Arc<Describe>,
    pub(super) context: UnitContext,
    pub(super) line_limit: usize,
    pub(super) events: Arc<dyn ServiceEvents>,
    pub(super) slots: ArcSwap<Vec<Slot>>,
    /// Serialises the addition and removal of slots.
    pub(super) changes: Mutex<()>,
    /// What was retired with the service.
    pub(super) leaving: Mutex<Leaving>,
    /// Whether calls go to this generation.
    pub(super) serving: AtomicBool,
    /// Set once another generation took over: nothing is started any more.
    pub(super) retired: AtomicBool,
    meter: CallMeter,
    pub(super) verdict: watch::Sender<EraVerdict>,
}

impl std::fmt::Debug for Service {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Service")
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}

impl Service {
    /// Launches the service's first unit, unless it is disabled.
    pub fn launch(
        config: config::Service,
        describe: Arc<Describe>,
        context: UnitContext,
        line_limit: usize,
        events: Arc<dyn ServiceEvents>,
        known: EraVerdict,
    ) -> Arc<Self> {
        let meter = CallMeter::new(&config.name);
        let service = Arc::new(Self {
            name: config.name.clone(),
            config: ArcSwap::from_pointee(config),
            describe,
            context,
            line_limit,
            events,
            slots: ArcSwap::from_pointee(Vec::new()),
            changes: Mutex::new(()),
            leaving: Mutex::default(),
            serving: AtomicBool::new(false),
            retired: AtomicBool::new(false),
            meter,
            verdict: watch::Sender::new(known),
        });
        service.slot(service.first_variant());
        service
    }

    /// Its configuration.
    #[must_use]
    pub fn config(&self) -> arc_swap::Guard<Arc<config::Service>> {
        self.config.load()
    }

    /// Takes over settings that concern no running process (see [`Self::same_process`]).
    pub fn reconfigure(&self, config: config::Service) {
        self.config.store(Arc::new(config));
    }

    /// Whether two configurations differ in nothing that a running process would notice.
    #[must_use]
    pub fn same_process(one: &config::Service, other: &config::Service) -> bool {
        let mut like = other.clone();
        like.prefix = one.prefix.clone();
        like.when_down = one.when_down;
        like.tools.clone_from(&one.tools);
        like.timeouts.call = one.timeouts.call;
        like.replace = one.replace;
        *one == like
    }

    /// Counts its calls.
    #[must_use]
    pub fn meter(&self) -> &CallMeter {
        &self.meter
    }

    /// Whether another generation has taken over.
    #[must_use]
    pub fn is_retired(&self) -> bool {
        self.retired.load(Ordering::Acquire)
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &ServiceName {
        &self.name
    }

    /// The client is gone: so are the connections that were its own.
    pub fn release(&self, client: u64) {
        let owned: Vec<Variant> = self
            .slots
            .load()
            .iter()
            .map(|slot| slot.variant)
            .filter(|variant| variant.owner == Some(client))
            .collect();
        for variant in owned {
            self.remove(variant);
        }
    }

    /// Every connection that is ready.
    #[must_use]
    pub fn live(&self) -> Vec<Arc<Connection>> {
        let slots = self.slots.load();
        slots.iter().filter_map(|slot| usable(&slot.status.borrow())).collect()
    }

    /// Whether it is not running because nobody needs it: the next call starts it.
    #[must_use]
    pub fn rests(&self) -> bool {
        let slots = self.slots.load();
        slots.iter().any(|slot| {
            let status = slot.status.borrow();
            status.state == State::Stopped && status.wakeable
        })
    }

    /// Starts a service that rests, as a call would.
    pub fn wake(&self) {
        if let Some(slot) = self.slots.load().first() {
            slot.unit.want();
        }
    }

    /// All units with their states, the first one first.
    #[must_use]
    pub fn units(&self) -> Vec<(Variant, Status<Connection>)> {
        let slots = self.slots.load();
        slots
            .iter()
            .map(|slot| (slot.variant, slot.status.borrow().clone()))
            .collect()
    }

    /// Tells the supervisor how a call on `connection` went, for its health.
    pub fn report(&self, connection: &Connection, event: Event) {
        let slots = self.slots.load();
        if let Some(slot) = slots.iter().find(|slot| slot.variant == connection.variant()) {
            slot.unit.report(event);
        }
    }
}

/// The connection of a unit, unless it is known to be over already: the unit learns of that a moment later.
pub(super) fn usable(status: &Status<Connection>) -> Option<Arc<Connection>> {
    status.session.clone().filter(|connection| !connection.is_over())
}
