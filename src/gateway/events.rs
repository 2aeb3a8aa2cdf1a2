//! What services tell the gateway: lists, eras, states, and messages to clients.

use std::sync::{Arc, OnceLock};

use super::{Gateway, fanout, server_requests};
use crate::{
    catalog::{Presence, StoredOffers},
    config::{self, ServiceName},
    jsonrpc::Message,
    supervisor::State,
    upstream::{
        Connection, EraVerdict, Introduction, ListKind, Listener, Offers, Service, ServiceEvents, Variant, Wishes,
    },
};

/// Keeps what is worth keeping over a restart. Called from reading tasks: must not block.
pub trait Keeper: Send + Sync + 'static {
    /// A service's catalogue changed.
    fn keep_catalog(&self, service: &config::Service, variant: Variant, stored: StoredOffers);
    /// The eras of a service are known better.
    fn keep_eras(&self, service: &config::Service, verdict: EraVerdict);
}

/// Takes the events of all services. Made before the gateway's services, which it is given to.
#[derive(Clone)]
pub struct GatewayEvents {
    gateway: Gateway,
    keeper: Arc<OnceLock<Arc<dyn Keeper>>>,
}

impl std::fmt::Debug for GatewayEvents {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("GatewayEvents").finish_non_exhaustive()
    }
}

impl GatewayEvents {
    /// Events of the services of `gateway`.
    #[must_use]
    pub fn new(gateway: Gateway) -> Self {
        Self {
            gateway,
            keeper: Arc::default(),
        }
    }

    /// From now on catalogues are kept by `keeper` (the first one given stays).
    pub fn keep_with(&self, keeper: Arc<dyn Keeper>) {
        drop(self.keeper.set(keeper));
    }
}

impl Listener for GatewayEvents {
    fn notification(&self, from: &Arc<Connection>, message: Message) {
        fanout::notification(&self.gateway, from, &message);
    }

    fn request(&self, from: &Arc<Connection>, message: Message) {
        server_requests::pass_on(&self.gateway, from, &message);
    }
}

impl ServiceEvents for GatewayEvents {
    fn learned(
        &self,
        service: &config::Service,
        variant: Variant,
        introduction: Arc<Introduction>,
        offers: Arc<Offers>,
    ) {
        let changed = self
            .gateway
            .catalog()
            .learn(&service.name, variant, &introduction, &offers);
        if !changed.is_empty() {
            fanout::lists_changed(&self.gateway, &service.name, &changed);
        }
        if let (Some(keeper), None) = (self.keeper.get(), variant.owner) {
            keeper.keep_catalog(service, variant, StoredOffers::of(variant, &introduction, &offers));
        }
    }

    fn wishes(&self, service: &Service, variant: Variant) -> Wishes {
        self.gateway.wishes(service, variant)
    }

    fn verdict(&self, service: &config::Service, verdict: EraVerdict) {
        if let Some(keeper) = self.keeper.get() {
            keeper.keep_eras(service, verdict);
        }
    }

    fn state(&self, service: &ServiceName, _: Variant, state: State) {
        let Some(running) = self.gateway.shared.services.get(service) else {
            return;
        };
        self.gateway.note_presence(&running);
        if state == State::Ready {
            self.gateway.watch_again(&running);
        }
    }
}

impl Gateway {
    /// What has to be true of a service from the moment calls go to it: whether it counts as up, and that its connections watch
    /// what clients watch.
    pub(super) fn took_over(&self, service: &Service) {
        self.note_presence(service);
        self.watch_again(service);
    }

    /// A service that rests is up: the next call starts it.
    fn note_presence(&self, service: &Service) {
        let up = service.rests() || !service.live().is_empty();
        let presence = if up { Presence::Up } else { Presence::Down };
        if self.catalog().set_presence(service.name(), presence) {
            fanout::lists_changed(self, service.name(), &ListKind::ALL);
        }
    }
}
