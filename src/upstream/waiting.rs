//! Which connection serves a client, and how long it is waited for.

use std::{sync::Arc, time::Duration};

use tokio::time::{Instant, timeout_at};

use super::{Connection, Service, Unavailable, Variant, Wanted, faults, service::usable, slots::Slot, variant::speaks};
use crate::{
    config::{EraChoice, Sharing},
    mcp::{Era, Features},
    supervisor::{LastExit, State, Status},
};

/// A restart that is further away than this is not waited for: the caller learns at once what is wrong.
const WORTH_WAITING: Duration = Duration::from_secs(2);

/// What a caller is ready to wait for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Patience {
    /// A start that is near. If that fails, the caller learns why at once.
    Short,
    /// Any start that will come by itself, also after others have failed.
    Long,
}

impl Service {
    pub(super) fn first_variant(&self) -> Variant {
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

    /// Which connection `wanted` gets at present; `None` while that is to be found out.
    #[must_use]
    pub fn variant_of(&self, wanted: Wanted) -> Option<Variant> {
        self.variant_for(wanted)
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
        usable(&slot.status.borrow())
    }

    /// The connection for `wanted`, started if need be and waited for until `deadline`.
    ///
    /// # Errors
    /// [`Unavailable`] at once if the service is down and will not be tried soon, else at the deadline.
    pub async fn connection(
        self: &Arc<Self>,
        wanted: Wanted,
        deadline: Instant,
        patience: Patience,
    ) -> Result<Arc<Connection>, Unavailable> {
        if let Some(connection) = self.ready(wanted) {
            return Ok(connection);
        }
        let variant = match self.variant_for(wanted) {
            Some(variant) => variant,
            None => self.find_out(wanted, deadline).await,
        };
        let result = self.wait_ready(variant, deadline, patience).await;
        // A server that turned out to speak the other era only is asked in that one.
        match (result, self.variant_for(wanted)) {
            (Err(_), Some(better)) if better != variant => self.wait_ready(better, deadline, patience).await,
            (result, _) => result,
        }
    }

    async fn wait_ready(
        self: &Arc<Self>,
        variant: Variant,
        deadline: Instant,
        patience: Patience,
    ) -> Result<Arc<Connection>, Unavailable> {
        let Some(slot) = self.slot(variant) else {
            return Err(Unavailable(Box::new(faults::replaced(&self.name))));
        };
        slot.unit.want();
        let mut verdict = self.verdict.subscribe();
        let waited = timeout_at(deadline, async {
            tokio::select! {
                connection = wait_for_connection(slot.clone(), patience) => connection,
                _ = verdict.wait_for(|verdict| speaks(*verdict, variant.era) == Some(false)) => None,
            }
        });
        match waited.await {
            Ok(Some(connection)) => Ok(connection),
            Ok(None) | Err(_) => Err(Unavailable(Box::new(faults::unavailable(
                &self.name,
                &slot.status.borrow(),
            )))),
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
}

/// The unit's connection as soon as there is one; `None` once waiting makes no sense.
async fn wait_for_connection(mut slot: Slot, patience: Patience) -> Option<Arc<Connection>> {
    let begun = Begun::with(&slot.status.borrow());
    loop {
        {
            let status = slot.status.borrow_and_update();
            if let Some(connection) = usable(&status) {
                return Some(connection);
            }
            if begun.is_hopeless(&status, patience) {
                return None;
            }
            if status.state == State::Stopped {
                // It may have gone to rest after it was told that it is wanted.
                slot.unit.want();
            }
        }
        slot.status.changed().await.ok()?;
    }
}

/// How things stood when a wait began.
struct Begun {
    at: Instant,
    last_exit: Option<Arc<LastExit>>,
    restarts: u64,
    /// A process was ending, whose end is no failure of the start that is waited for.
    ending: bool,
}

impl Begun {
    fn with(status: &Status<Connection>) -> Self {
        Self {
            at: Instant::now(),
            last_exit: status.last_exit.clone(),
            restarts: status.restarts,
            ending: match status.state {
                State::Ready | State::Degraded | State::Draining | State::Stopping => true,
                State::Disabled
                | State::Stopped
                | State::Queued
                | State::Spawning
                | State::Handshaking
                | State::Backoff
                | State::CrashLoop
                | State::Misconfigured => false,
            },
        }
    }

    /// Whether waiting on makes no sense: the unit won't be tried again soon, or a start has failed since the wait began.
    fn is_hopeless(&self, status: &Status<Connection>, patience: Patience) -> bool {
        match status.state {
            // What follows shows when the process is gone: another start, a wait, or rest.
            State::Draining | State::Stopping => false,
            State::Backoff if patience == Patience::Long => false,
            State::Backoff => {
                let failed = match (&status.last_exit, &self.last_exit) {
                    (Some(now), Some(before)) => !Arc::ptr_eq(now, before),
                    (now, None) => now.is_some(),
                    (None, Some(_)) => false,
                };
                let far_away = status.retry_at.is_some_and(|at| at > self.at + WORTH_WAITING);
                far_away || (failed && (!self.ending || status.restarts > self.restarts))
            }
            State::Disabled
            | State::Stopped
            | State::Queued
            | State::Spawning
            | State::Handshaking
            | State::Ready
            | State::Degraded
            | State::CrashLoop
            | State::Misconfigured => !status.may_become_ready(),
        }
    }
}
