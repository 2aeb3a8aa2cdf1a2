//! The running services by name, as an immutable map that reloads replace.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
};

use arc_swap::ArcSwap;
use tokio::sync::watch;

use crate::{config::ServiceName, upstream::Service};

/// All services that run.
#[derive(Debug, Default)]
pub(super) struct Services {
    map: ArcSwap<BTreeMap<ServiceName, Arc<Service>>>,
    changes: Mutex<()>,
    changed: watch::Sender<()>,
}

impl Services {
    pub(super) fn get(&self, name: &ServiceName) -> Option<Arc<Service>> {
        self.map.load().get(name).cloned()
    }

    pub(super) fn all(&self) -> Vec<Arc<Service>> {
        self.map.load().values().cloned().collect()
    }

    /// Adds or replaces; the one replaced comes back.
    pub(super) fn insert(&self, service: Arc<Service>) -> Option<Arc<Service>> {
        let _changing = self.changes.lock().unwrap_or_else(PoisonError::into_inner);
        let mut map = BTreeMap::clone(&self.map.load());
        let old = map.insert(service.name().clone(), service);
        self.map.store(Arc::new(map));
        self.changed.send_replace(());
        old
    }

    /// What stands in the place of `old`, as soon as something else does; `None` if nothing does.
    pub(super) async fn successor(&self, old: &Arc<Service>) -> Option<Arc<Service>> {
        let mut changed = self.changed.subscribe();
        loop {
            match self.get(old.name()) {
                Some(service) if Arc::ptr_eq(&service, old) => {}
                other => return other,
            }
            changed.changed().await.ok()?;
        }
    }

    pub(super) fn remove(&self, name: &ServiceName) -> Option<Arc<Service>> {
        let _changing = self.changes.lock().unwrap_or_else(PoisonError::into_inner);
        let mut map = BTreeMap::clone(&self.map.load());
        let old = map.remove(name);
        self.map.store(Arc::new(map));
        self.changed.send_replace(());
        old
    }
}
