//! Launches the configured services, and replaces those that a new configuration changes.

use std::{
    collections::{BTreeMap, HashMap},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::{
    catalog::Naming,
    config::{self, Config, Replace, ServiceName},
    gateway::{Gateway, GatewayEvents},
    lifecycle::Tasks,
    supervisor::UnitContext,
    upstream::{Describe, EraVerdict, Service, ServiceEvents},
};

/// All that a service needs to be launched.
#[derive(Clone)]
pub(super) struct Launcher {
    pub(super) gateway: Gateway,
    pub(super) events: GatewayEvents,
    pub(super) describe: Arc<Describe>,
    pub(super) context: UnitContext,
    pub(super) line_limit: usize,
    pub(super) name_limit: usize,
    pub(super) tasks: Tasks,
    pub(super) replacing: Replacing,
}

impl Launcher {
    /// Launches every service; eras that were found out before are believed.
    pub(super) fn launch_all(&self, config: &Config, mut eras: BTreeMap<ServiceName, EraVerdict>) {
        for service in config.services.values() {
            self.list(service);
            let known = eras.remove(&service.name).unwrap_or_default();
            self.take_over(&self.launch(service.clone(), known));
        }
    }

    /// A disabled service has no place in the catalog.
    pub(super) fn list(&self, service: &config::Service) {
        if service.enabled {
            let naming = Naming::of(service, self.name_limit);
            self.gateway.catalog().configure(&service.name, naming);
        } else {
            self.gateway.catalog().remove(&service.name);
        }
    }

    fn launch(&self, service: config::Service, known: EraVerdict) -> Arc<Service> {
        let events: Arc<dyn ServiceEvents> = Arc::new(self.events.clone());
        Service::launch(
            service,
            Arc::clone(&self.describe),
            self.context.clone(),
            self.line_limit,
            events,
            known,
        )
    }

    /// Takes over what is new; what did not change is not touched.
    pub(super) fn apply(&self, old: &Config, new: &Config) {
        let changes = config::diff(old, new);
        for name in &changes.removed {
            self.replacing.call_off(name);
            if let Some(service) = self.gateway.remove_service(name) {
                drop(service.retire());
            }
            self.gateway.catalog().remove(name);
            self.gateway.lists_changed(name);
            tracing::info!(service = %name, "removed");
        }
        for service in new.services.values() {
            let (before, name) = (old.services.get(&service.name), &service.name);
            if changes.added.contains(name) {
                self.list(service);
                self.take_over(&self.launch(service.clone(), EraVerdict::default()));
                tracing::info!(service = %name, "added");
            } else if changes.changed.contains(name) {
                self.list(service);
                // While it is being replaced, what runs is not what `before` says.
                let settled = !self.replacing.call_off(name);
                match (before, self.gateway.service(name)) {
                    (Some(before), Some(running)) if settled && Service::same_process(before, service) => {
                        running.reconfigure(service.clone());
                    }
                    (_, Some(running)) => self.replace(running, service.clone()),
                    (_, None) => self.take_over(&self.launch(service.clone(), EraVerdict::default())),
                }
                self.gateway.lists_changed(name);
                tracing::info!(service = %name, "changed");
            }
        }
        if !changes.needs_restart.is_empty() {
            tracing::warn!(keys = ?changes.needs_restart, "these settings hold only after a restart of the hub");
        }
    }

    /// From now on calls go to `service`. One that is to rest until it is called is started once if nothing is known of it: nobody
    /// can call what nobody can see.
    fn take_over(&self, service: &Arc<Service>) {
        if service.config().enabled && !self.gateway.catalog().is_known(service.name()) {
            service.wake();
        }
        drop(self.gateway.add_service(service));
    }

    /// Puts a new generation in the place of a running one: ready before the old one drains, unless two can't live side by
    /// side; then calls wait for the new one.
    fn replace(&self, old: Arc<Service>, config: config::Service) {
        let (launcher, called_off) = (self.clone(), self.replacing.begin(old.name()));
        self.tasks.spawn("app.replace", async move {
            if config.replace == Replace::Overlap && config.enabled {
                launcher.overlap(&old, config, &called_off).await;
            } else {
                launcher.stop_first(&old, config, &called_off).await;
            }
        });
    }

    async fn overlap(&self, old: &Service, config: config::Service, called_off: &CancellationToken) {
        let deadline = Instant::now() + config.timeouts.start;
        let fresh = self.launch(config, EraVerdict::default());
        tokio::select! {
            () = fresh.settled(deadline) => {}
            () = called_off.cancelled() => {}
        }
        let done = self.replacing.finish(old.name(), called_off, || {
            let variants: Vec<_> = fresh.units().into_iter().map(|(variant, _)| variant).collect();
            self.take_over(&fresh);
            self.gateway.catalog().keep_only(fresh.name(), &variants);
        });
        if done {
            self.gateway.lists_changed(fresh.name());
            drop(old.retire());
        } else {
            drop(fresh.retire());
        }
    }

    async fn stop_first(&self, old: &Service, config: config::Service, called_off: &CancellationToken) {
        old.retire().await;
        let done = self.replacing.finish(old.name(), called_off, || {
            self.take_over(&self.launch(config, EraVerdict::default()));
        });
        if done {
            self.gateway.lists_changed(old.name());
        }
    }
}

/// The replacements under way. A newer configuration calls an older one's off.
#[derive(Clone, Debug, Default)]
pub(super) struct Replacing(Arc<Mutex<HashMap<ServiceName, CancellationToken>>>);

impl Replacing {
    fn lock(&self) -> MutexGuard<'_, HashMap<ServiceName, CancellationToken>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn begin(&self, name: &ServiceName) -> CancellationToken {
        let called_off = CancellationToken::new();
        self.lock().insert(name.clone(), called_off.clone());
        called_off
    }

    /// Whether there was one under way.
    fn call_off(&self, name: &ServiceName) -> bool {
        let under_way = self.lock().remove(name);
        under_way.inspect(CancellationToken::cancel).is_some()
    }

    /// Does `switch` unless the replacement has been called off, which can't happen in between.
    fn finish(&self, name: &ServiceName, called_off: &CancellationToken, switch: impl FnOnce()) -> bool {
        let mut under_way = self.lock();
        if called_off.is_cancelled() {
            return false;
        }
        switch();
        under_way.remove(name);
        true
    }
}
