//! One service: its connections by variant, and which of them serves whom.

use std::sync::{
    Arc, Mutex, MutexGuard, PoisonError,
    atomic::{AtomicBool, Ordering},
};

use arc_swap::ArcSwap;
use tokio::{
    sync::watch,
    time::{Instant, timeout_at},
};

use super::{Connection, EraVerdict, Introduction, Listener, Offers, Variant, handshake::Greeting};
use crate::{
    config::{self, EraChoice, ServiceName, Sharing},
    mcp::{Era, Features, HubFault, Outcome, code},
    telemetry::CallMeter,
    supervisor::{Event, State, Status, Unit, UnitContext, UnitSpec},
};

/// What connections find out.
pub(super) trait Learned: Send + Sync + 'static {
    /// The server introduced itself, or its lists changed.
    fn learned(&self, from: &Arc<Connection>, introduction: Arc<Introduction>, offers: Arc<Offers>);
    /// The server does or does not speak `era`.
    fn speaks(&self, service: &ServiceName, era: Era, does: bool);
}

/// What a service tells those above it. Must not block.
pub trait ServiceEvents: Listener {
    /// A connection learned what its server offers.
    fn learned(&self, service: &config::Service, variant: Variant, introduction: Arc<Introduction>, offers: Arc<Offers>);
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

/// Describes the unit of a variant; the composition root knows folders, logs and limits.
pub type Describe = dyn Fn(&config::Service, &Variant) -> UnitSpec + Send + Sync;

#[derive(Clone)]
struct Slot {
    variant: Variant,
    unit: Unit<Connection>,
    status: watch::Receiver<Status<Connection>>,
}

/// Handle to one configured service.
pub struct Service {
    name: ServiceName,
    config: ArcSwap<config::Service>,
    describe: Arc<Describe>,
    context: UnitContext,
    line_limit: usize,
    events: Arc<dyn ServiceEvents>,
    slots: ArcSwap<Vec<Slot>>,
    /// Serialises the addition and removal of slots.
    changes: Mutex<()>,
    /// Set once another generation took over: nothing is started any more.
    retired: AtomicBool,
    meter: CallMeter,
    verdict: watch::Sender<EraVerdict>,
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

    fn first_variant(&self) -> Variant {
        match self.era_for(Era::Legacy) {
            Some(Era::Modern) => Variant::MODERN,
            Some(Era::Legacy) | None => Variant::BASE,
        }
    }

    fn era_for(&self, client: Era) -> Option<Era> {
        match self.config().era {
            EraChoice::Legacy => Some(Era::Legacy),
            EraChoice::Modern => Some(Era::Modern),
            EraChoice::Match => self.verdict.borrow().choose(client),
        }
    }

    /// Which connection a client gets; `None` if it has to be found out first whether the server speaks the modern era.
    fn variant_for(&self, wanted: Wanted) -> Option<Variant> {
        let owner = match self.config().sharing {
            Sharing::Shared => None,
            Sharing::PerClient => wanted.client,
        };
        Some(match self.era_for(wanted.era)? {
            Era::Modern => Variant {
                owner,
                ..Variant::MODERN
            },
            Era::Legacy if wanted.era == Era::Modern => Variant { owner, ..Variant::BASE },
            Era::Legacy => Variant {
                era: Era::Legacy,
                // Roots belong to one client: a connection that several share must not hold any.
                features: if owner.is_some() {
                    wanted.features
                } else {
                    wanted.features.without(Features::ROOTS)
                },
                owner,
            },
        })
    }

    /// The connection for `wanted` if it is ready now: no lock, no wait.
    #[must_use]
    pub fn ready(&self, wanted: Wanted) -> Option<Arc<Connection>> {
        let variant = self.variant_for(wanted)?;
        let slots = self.slots.load();
        let slot = slots.iter().find(|slot| slot.variant == variant)?;
        slot.status.borrow().session.clone()
    }

    /// The connection for `wanted`, started if need be and waited for until `deadline`.
    ///
    /// # Errors
    /// [`Unavailable`] at once if the service is down and will not be tried soon, else at the deadline.
    pub async fn connection(
        self: &Arc<Self>,
        wanted: Wanted,
        deadline: Instant,
    ) -> Result<Arc<Connection>, Unavailable> {
        if let Some(connection) = self.ready(wanted) {
            return Ok(connection);
        }
        let variant = match self.variant_for(wanted) {
            Some(variant) => variant,
            None => self.find_out(wanted, deadline).await,
        };
        let result = self.wait_ready(variant, deadline).await;
        // A server that turned out to speak the other era only is asked in that one.
        match (result, self.variant_for(wanted)) {
            (Err(_), Some(better)) if better != variant => self.wait_ready(better, deadline).await,
            (result, _) => result,
        }
    }

    async fn wait_ready(self: &Arc<Self>, variant: Variant, deadline: Instant) -> Result<Arc<Connection>, Unavailable> {
        let Some(mut slot) = self.slot(variant) else {
            return Err(Unavailable(Box::new(self.replaced())));
        };
        slot.unit.want();
        let mut verdict = self.verdict.subscribe();
        let waited = timeout_at(deadline, async {
            tokio::select! {
                status = slot.status.wait_for(|status| status.session.is_some() || !status.may_become_ready()) => {
                    status.ok().and_then(|status| status.session.clone())
                }
                _ = verdict.wait_for(|verdict| speaks(*verdict, variant.era) == Some(false)) => None,
            }
        });
        match waited.await {
            Ok(Some(connection)) => Ok(connection),
            Ok(None) | Err(_) => Err(Unavailable(Box::new(self.unavailable(&slot.status.borrow())))),
        }
    }

    /// Tries the modern era on a process of its own, never on the one that serves.
    async fn find_out(self: &Arc<Self>, wanted: Wanted, deadline: Instant) -> Variant {
        let mut verdict = self.verdict.subscribe();
        let Some(mut slot) = self.slot(Variant::MODERN) else {
            return Variant::BASE;
        };
        slot.unit.want();
        let decided = async {
            tokio::select! {
                _ = verdict.wait_for(|verdict| verdict.modern.is_some()) => {}
                // The probe died without a word, or hung until its limit: this server is legacy.
                _ = slot.status.wait_for(|status| {
                    status.last_exit.is_some() || !status.may_become_ready()
                }) => self.decide(Era::Modern, false),
            }
        };
        if timeout_at(deadline, decided).await.is_err() {
            return Variant::BASE;
        }
        self.variant_for(wanted).unwrap_or(Variant::BASE)
    }

    /// Finds out in the background whether the server speaks the modern era, if that is not known.
    pub fn find_out_era(self: &Arc<Self>) {
        let wanted = Wanted {
            era: Era::Modern,
            features: Features::NONE,
            client: None,
        };
        if self.config().enabled && self.variant_for(wanted).is_none() && !self.has_slot(Variant::MODERN) {
            let service = Arc::clone(self);
            let deadline = Instant::now() + self.config().timeouts.start;
            self.context.tasks.clone().spawn("upstream.probe", async move {
                service.find_out(wanted, deadline).await;
            });
        }
    }

    fn decide(&self, era: Era, does: bool) {
        let changed = self.verdict.send_if_modified(|verdict| {
            let known = match era {
                Era::Legacy => &mut verdict.legacy,
                Era::Modern => &mut verdict.modern,
            };
            known.replace(does) != Some(does)
        });
        if !changed {
            return;
        }
        let verdict = *self.verdict.borrow();
        tracing::info!(service = %self.name, era = era.as_str(), does, "found out an era");
        self.events.verdict(&self.config(), verdict);
    }

    fn has_slot(&self, variant: Variant) -> bool {
        self.slots.load().iter().any(|slot| slot.variant == variant)
    }

    fn lock(&self) -> MutexGuard<'_, ()> {
        self.changes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The slot of a variant, launched if there is none; `None` once the service is retired.
    fn slot(self: &Arc<Self>, variant: Variant) -> Option<Slot> {
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
            (self.describe)(&self.config(), &variant),
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
            let mut last = None;
            loop {
                let state = slot.status.borrow_and_update().state;
                let Some(service) = weak.upgrade() else { return };
                if last.replace(state) != Some(state) {
                    service.events.state(&service.name, slot.variant, state);
                }
                if service.is_wrong_era(slot.variant.era) {
                    service.remove(slot.variant);
                    if service.slots.load().is_empty() {
                        service.slot(service.first_variant());
                    }
                    return;
                }
                let mut verdict = service.verdict.subscribe();
                drop(service);
                tokio::select! {
                    changed = slot.status.changed() => if changed.is_err() { return },
                    changed = verdict.changed() => if changed.is_err() { return },
                }
            }
        });
    }

    fn is_wrong_era(&self, era: Era) -> bool {
        self.config().era == EraChoice::Match && speaks(*self.verdict.borrow(), era) == Some(false) && {
            // A service that speaks neither era keeps its unit, so that its failure shows.
            let verdict = *self.verdict.borrow();
            !(verdict.legacy == Some(false) && verdict.modern == Some(false) && era == Era::Legacy)
        }
    }

    fn remove(&self, variant: Variant) {
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

    /// Drains and stops every unit for good.
    pub fn retire(&self) {
        let _changing = self.lock();
        self.retired.store(true, Ordering::Release);
        for slot in self.slots.swap(Arc::new(Vec::new())).iter() {
            drop(slot.unit.retire());
        }
    }

    /// Resolves when the first unit is ready or will not be soon, at the latest at `deadline`.
    pub async fn settled(&self, deadline: Instant) {
        let Some(mut slot) = self.slots.load().first().cloned() else {
            return;
        };
        let settled = slot
            .status
            .wait_for(|status| status.session.is_some() || !status.may_become_ready());
        // At the deadline the caller goes on with what there is.
        drop(timeout_at(deadline, settled).await);
    }

    /// Every connection that is ready.
    #[must_use]
    pub fn live(&self) -> Vec<Arc<Connection>> {
        let slots = self.slots.load();
        slots
            .iter()
            .filter_map(|slot| slot.status.borrow().session.clone())
            .collect()
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

    fn replaced(&self) -> HubFault {
        HubFault {
            code: code::UNAVAILABLE,
            reason: "replaced",
            service: self.name.to_string(),
            retryable: true,
            outcome: Outcome::NotSent,
            message: format!("service `{}` was replaced or removed; the call was not sent", self.name),
            stderr: Vec::new(),
        }
    }

    fn unavailable(&self, status: &Status<Connection>) -> HubFault {
        let name = &self.name;
        let exit = status.last_exit.as_deref();
        let state = status.state;
        let why = exit.map_or_else(String::new, |exit| format!(": {exit}"));
        HubFault {
            code: code::UNAVAILABLE,
            reason: "unavailable",
            service: name.to_string(),
            retryable: true,
            outcome: Outcome::NotSent,
            message: format!(
                "service `{name}` is not available (state `{}`{why}); the call was not sent",
                state.as_str()
            ),
            stderr: exit.map(|exit| exit.stderr.clone()).unwrap_or_default(),
        }
    }
}

fn speaks(verdict: EraVerdict, era: Era) -> Option<bool> {
    match era {
        Era::Legacy => verdict.legacy,
        Era::Modern => verdict.modern,
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

    fn speaks(&self, _: &ServiceName, era: Era, does: bool) {
        if let Some(service) = self.0.upgrade() {
            service.decide(era, does);
        }
    }
}
