//! What a door opens to: the whole hub, or one service of it.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, OnceLock, PoisonError},
};

use super::http::access::{Access, Caller};
use crate::{
    config::ServiceName,
    gateway::{Client, Gateway, OnDrop, Opening, Principal, Scope},
    mcp::Nowhere,
};

/// One scope as clients reach it over HTTP.
#[derive(Debug)]
pub(crate) struct Endpoint {
    scope: Scope,
    /// What its paths begin with: empty, or `/services/{name}`.
    base: String,
    /// The client behind all modern requests of each principal: they bring their state with them.
    modern: Box<[OnceLock<Arc<Client>>]>,
}

impl Endpoint {
    /// All services, for that many principals.
    pub(crate) fn all(principals: usize) -> Self {
        Self::new(Scope::All, String::new(), principals)
    }

    fn new(scope: Scope, base: String, principals: usize) -> Self {
        Self {
            scope,
            base,
            modern: (0..principals).map(|_| OnceLock::new()).collect(),
        }
    }

    /// What it shows.
    pub(crate) fn scope(&self) -> &Scope {
        &self.scope
    }

    /// What its paths begin with.
    pub(crate) fn base(&self) -> &str {
        &self.base
    }

    /// The client behind the modern requests of `caller`.
    pub(crate) fn modern_client(&self, gateway: &Gateway, access: &Access, caller: Caller) -> Arc<Client> {
        let open = || gateway.open(self.opening(access, caller, OnDrop::Cancel, Arc::new(Nowhere)));
        let slot = self.modern.get(usize::try_from(caller.0).unwrap_or(usize::MAX));
        slot.map_or_else(open, |slot| Arc::clone(slot.get_or_init(open)))
    }

    /// How a client of this endpoint is opened.
    pub(crate) fn opening(
        &self,
        access: &Access,
        caller: Caller,
        on_drop: OnDrop,
        outbox: Arc<dyn crate::gateway::Outbox>,
    ) -> Opening {
        let nobody = || Principal {
            name: Arc::from("local"),
        };
        Opening {
            scope: self.scope.clone(),
            principal: access.principal(caller).cloned().unwrap_or_else(nobody),
            on_drop,
            outbox,
        }
    }
}

/// All endpoints.
#[derive(Debug)]
pub(crate) struct Endpoints {
    all: Arc<Endpoint>,
    services: Mutex<HashMap<ServiceName, Arc<Endpoint>>>,
    principals: usize,
}

impl Endpoints {
    pub(crate) fn new(principals: usize) -> Self {
        Self {
            all: Arc::new(Endpoint::all(principals)),
            services: Mutex::default(),
            principals,
        }
    }

    /// Where all services are.
    pub(crate) fn all(&self) -> &Arc<Endpoint> {
        &self.all
    }

    /// Where the service `name` is, if there is one.
    pub(crate) fn service(&self, name: &str, gateway: &Gateway) -> Option<Arc<Endpoint>> {
        let known = self.lock().get(name).map(Arc::clone);
        if let Some(endpoint) = known {
            return gateway.knows(endpoint.scope()).then_some(endpoint);
        }
        let name = ServiceName::new(name).ok()?;
        let scope = Scope::Service(name.clone());
        if !gateway.knows(&scope) {
            return None;
        }
        let endpoint = Arc::new(Endpoint::new(scope, format!("/services/{name}"), self.principals));
        // Two requests may come first at once; both use what the table holds then.
        Some(Arc::clone(self.lock().entry(name).or_insert(endpoint)))
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<ServiceName, Arc<Endpoint>>> {
        self.services.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
