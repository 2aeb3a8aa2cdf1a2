//! Launches the configured services, and finds out what a new configuration changes.

use std::{collections::BTreeMap, sync::Arc};

use super::replacing::Replacing;
use crate::{
    catalog::Naming,
    config::{self, Config, ServiceName},
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
            let known = eras.remove(&service.name).unwrap_or_default();
            self.add(service, known);
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

    /// Starts a generation; calls go to it once it takes over.
    pub(super) fn launch(&self, service: config::Service, known: EraVerdict) -> Arc<Service> {
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
            if let Some(service) = self.gateway.service(name) {
                self.remove(&service);
            }
            drop(self.gateway.remove_service(name));
            self.gateway.catalog().remove(name);
            self.gateway.lists_changed(name);
            tracing::info!(service = %name, "removed");
        }
        for service in new.services.values() {
            let name = &service.name;
            if changes.added.contains(name) {
                self.add(service, EraVerdict::default());
                self.gateway.lists_changed(name);
                tracing::info!(service = %name, "added");
            } else if changes.changed.contains(name) {
                match self.gateway.service(name) {
                    Some(running) => self.change(&running, service.clone()),
                    None => self.add(service, EraVerdict::default()),
                }
                tracing::info!(service = %name, "changed");
            }
        }
        if !changes.needs_restart.is_empty() {
            tracing::warn!(keys = ?changes.needs_restart, "these settings hold only after a restart of the hub");
        }
    }

    /// Launches a service that is not there yet.
    fn add(&self, service: &config::Service, known: EraVerdict) {
        let launched = self.launch(service.clone(), known);
        drop(self.take_over(&launched));
        launched.serve();
    }

    /// From now on calls go to `service`; the generation they went to before comes back. One that is to rest until it is called is
    /// started once if nothing is known of it: nobody can call what nobody can see.
    pub(super) fn take_over(&self, service: &Arc<Service>) -> Option<Arc<Service>> {
        self.list(&service.config());
        if service.config().enabled && !self.gateway.catalog().is_known(service.name()) {
            service.wake();
        }
        self.gateway.add_service(service)
    }
}
