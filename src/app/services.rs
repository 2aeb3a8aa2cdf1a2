//! Launches the configured services, and replaces those that a new configuration changes.

use std::{collections::BTreeMap, sync::Arc};

use tokio::time::Instant;

use crate::{
    catalog::Naming,
    config::{self, Config, Replace, ServiceName},
    gateway::{Gateway, GatewayEvents},
    lifecycle::Tasks,
    mcp::Era,
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
}

impl Launcher {
    /// Launches every service; eras that were found out before are believed.
    pub(super) fn launch_all(&self, config: &Config, mut eras: BTreeMap<ServiceName, EraVerdict>) {
        for service in config.services.values() {
            self.list(service);
            let known = eras.remove(&service.name).unwrap_or_default();
            let running = self.launch(service.clone(), known);
            self.gateway.add_service(Arc::clone(&running));
            self.learn(&running);
        }
    }

    /// A lazy service is started once to learn what it offers, for nobody calls a tool that nobody can see.
    fn learn(&self, service: &Service) {
        if self
            .gateway
            .catalog()
            .introduction(service.name(), Era::Legacy)
            .is_none()
        {
            service.wake();
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
            if let Some(service) = self.gateway.remove_service(name) {
                service.retire();
            }
            self.gateway.catalog().remove(name);
            self.gateway.lists_changed(name);
            tracing::info!(service = %name, "removed");
        }
        for service in new.services.values() {
            let (before, name) = (old.services.get(&service.name), &service.name);
            if changes.added.contains(name) {
                self.list(service);
                let running = self.launch(service.clone(), EraVerdict::default());
                self.gateway.add_service(Arc::clone(&running));
                self.learn(&running);
                tracing::info!(service = %name, "added");
            } else if changes.changed.contains(name) {
                self.list(service);
                match (before, self.gateway.service(name)) {
                    (Some(before), Some(running)) if Service::same_process(before, service) => {
                        running.reconfigure(service.clone());
                    }
                    (_, Some(running)) => self.replace(running, service.clone()),
                    (_, None) => drop(
                        self.gateway
                            .add_service(self.launch(service.clone(), EraVerdict::default())),
                    ),
                }
                self.gateway.lists_changed(name);
                tracing::info!(service = %name, "changed");
            }
        }
        if !changes.needs_restart.is_empty() {
            tracing::warn!(keys = ?changes.needs_restart, "these settings hold only after a restart of the hub");
        }
    }

    /// Puts a new generation in the place of a running one: ready before the old one drains, unless two can't live side by
    /// side.
    fn replace(&self, old: Arc<Service>, config: config::Service) {
        let (launcher, overlap) = (self.clone(), config.replace == Replace::Overlap && config.enabled);
        if !overlap {
            old.retire();
            drop(
                launcher
                    .gateway
                    .add_service(launcher.launch(config, EraVerdict::default())),
            );
            return;
        }
        self.tasks.spawn("app.replace", async move {
            let deadline = Instant::now() + config.timeouts.start;
            let fresh = launcher.launch(config, EraVerdict::default());
            fresh.settled(deadline).await;
            launcher.gateway.add_service(Arc::clone(&fresh));
            let variants: Vec<_> = fresh.units().into_iter().map(|(variant, _)| variant).collect();
            launcher.gateway.catalog().keep_only(fresh.name(), &variants);
            launcher.gateway.lists_changed(fresh.name());
            old.retire();
        });
    }
}
