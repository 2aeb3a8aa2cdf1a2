//! Puts new generations of services in the place of running ones, as [`Stage`] decides.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::services::Launcher;
use crate::{
    config::{self, Replace, ServiceName},
    supervisor::replacement::{Act, Manner, News, Stage},
    upstream::{EraVerdict, Service},
};

/// The replacements under way, and the generations on their way out.
#[derive(Clone, Debug, Default)]
pub(super) struct Replacing(Arc<Mutex<Board>>);

#[derive(Debug, Default)]
struct Board {
    under_way: BTreeMap<ServiceName, Entry>,
    leaving: Vec<Arc<Service>>,
}

/// One replacement.
#[derive(Debug)]
struct Entry {
    stage: Stage,
    /// The latest configuration.
    wanted: config::Service,
    /// The generation that has not taken over yet.
    next: Option<Arc<Service>>,
    /// Cancelled when `next` is called off or has taken over.
    watch: CancellationToken,
}

impl Replacing {
    fn lock(&self) -> MutexGuard<'_, Board> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The generation of `name` that has not taken over yet.
    pub(super) fn next(&self, name: &ServiceName) -> Option<Arc<Service>> {
        self.lock().under_way.get(name)?.next.clone()
    }

    /// The generations that drain or stop.
    pub(super) fn leaving(&self) -> Vec<Arc<Service>> {
        self.lock().leaving.clone()
    }
}

impl Launcher {
    /// A running service has a new configuration.
    pub(super) fn change(&self, running: &Arc<Service>, wanted: config::Service) {
        let mut board = self.replacing.lock();
        let entry = board.under_way.get_mut(running.name());
        if let Some(entry) = entry {
            entry.wanted = wanted.clone();
            if let Some(next) = &entry.next
                && Service::same_process(&next.config(), &wanted)
            {
                next.reconfigure(wanted);
                return;
            }
        }
        if !running.is_retired() && Service::same_process(&running.config(), &wanted) {
            self.list(&wanted);
            running.reconfigure(wanted.clone());
            self.feed(&mut board, &wanted, News::Keep);
            self.gateway.lists_changed(running.name());
            return;
        }
        let manner = match wanted.replace {
            _ if !wanted.enabled => Manner::AtOnce,
            Replace::StopFirst => Manner::StopFirst,
            Replace::Overlap if running.is_lost() => Manner::AtOnce,
            Replace::Overlap => Manner::Overlap,
        };
        self.feed(&mut board, &wanted, News::Replace(manner));
    }

    /// A service is no longer configured.
    pub(super) fn remove(&self, running: &Arc<Service>) {
        let mut board = self.replacing.lock();
        let config = config::Service::clone(&running.config());
        self.feed(&mut board, &config, News::Remove);
    }

    /// Tells the machine of a service what happened, and does what it says.
    fn feed(&self, board: &mut Board, latest: &config::Service, news: News) {
        let name = &latest.name;
        let mut entry = board.under_way.remove(name).unwrap_or_else(|| Entry {
            stage: Stage::default(),
            wanted: latest.clone(),
            next: None,
            watch: CancellationToken::new(),
        });
        let (stage, acts) = entry.stage.step(news);
        tracing::debug!(service = %name, from = %entry.stage, to = %stage, ?news, "replacing");
        entry.stage = stage;
        for act in acts {
            self.act(board, &mut entry, act);
        }
        match stage {
            Stage::Settled | Stage::Removed => {}
            Stage::Overlapping | Stage::Overdue | Stage::Vacating => {
                board.under_way.insert(name.clone(), entry);
            }
        }
    }

    fn act(&self, board: &mut Board, entry: &mut Entry, act: Act) {
        let name = entry.wanted.name.clone();
        match act {
            Act::Launch => {
                let next = self.launch(entry.wanted.clone(), EraVerdict::default());
                entry.watch = CancellationToken::new();
                if entry.stage == Stage::Overlapping
                    && let Some(old) = self.gateway.service(&name)
                {
                    self.watch(old, Arc::clone(&next), entry.watch.clone());
                }
                entry.next = Some(next);
            }
            Act::CallOff => {
                entry.watch.cancel();
                if let Some(next) = entry.next.take() {
                    self.see_off(board, next);
                }
            }
            Act::TakeOver => {
                entry.watch.cancel();
                let Some(next) = entry.next.take() else { return };
                if next.is_live() {
                    let variants: Vec<_> = next.units().into_iter().map(|(variant, _)| variant).collect();
                    self.gateway.catalog().keep_only(&name, &variants);
                }
                if let Some(old) = self.take_over(&next) {
                    self.see_off(board, old);
                }
                next.serve();
                self.gateway.lists_changed(&name);
                tracing::info!(service = %name, "{name}: calls go to the new configuration's process");
            }
            Act::Retire => {
                let current = if entry.stage == Stage::Removed {
                    self.gateway.remove_service(&name)
                } else {
                    self.gateway.service(&name)
                };
                if let Some(current) = current {
                    self.see_off(board, current);
                }
            }
            Act::Tell => {
                let why = entry.next.as_ref().and_then(|next| last_words(next));
                tracing::warn!(
                    service = %name,
                    reason = why,
                    "{name}: the process of the new configuration does not get ready; the old one serves on"
                );
            }
        }
    }

    /// Retires a generation, and keeps it in sight until nothing of it is left.
    fn see_off(&self, board: &mut Board, service: Arc<Service>) {
        let (gone, launcher) = (service.retire(), self.clone());
        board.leaving.push(Arc::clone(&service));
        self.tasks.spawn("app.leaving", async move {
            gone.await;
            let mut board = launcher.replacing.lock();
            board.leaving.retain(|leaving| !Arc::ptr_eq(leaving, &service));
            let current = launcher.gateway.service(service.name());
            if current.is_some_and(|current| Arc::ptr_eq(&current, &service))
                && let Some(wanted) = board.under_way.get(service.name()).map(|entry| entry.wanted.clone())
            {
                launcher.feed(&mut board, &wanted, News::Vacated);
            }
        });
    }

    /// Follows a new generation until it takes over or is called off.
    fn watch(&self, old: Arc<Service>, next: Arc<Service>, called_off: CancellationToken) {
        let launcher = self.clone();
        // Calls that the old one answers at once should not wait for the new one's start.
        let may_rest = !old.is_live();
        if !may_rest {
            next.wake();
        }
        let deadline = Instant::now() + next.config().timeouts.start;
        self.tasks.spawn("app.replace", async move {
            let mut told = false;
            loop {
                let news = tokio::select! {
                    biased;
                    () = called_off.cancelled() => return,
                    () = next.up(may_rest) => News::Ready,
                    () = old.lost() => News::Lost,
                    () = next.in_trouble(deadline), if !told => News::Late,
                };
                told = true;
                let mut board = launcher.replacing.lock();
                // Under the lock: what was called off since says nothing.
                if called_off.is_cancelled() {
                    return;
                }
                let config = config::Service::clone(&next.config());
                launcher.feed(&mut board, &config, news);
            }
        });
    }
}

/// Why a generation is not up, if one of its processes said so.
fn last_words(service: &Service) -> Option<String> {
    let units = service.units();
    units
        .iter()
        .find_map(|(_, status)| status.last_exit.as_ref().map(ToString::to_string))
}
