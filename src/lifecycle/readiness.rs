//! Whether the process may be sent work: it is ready when nothing is left that said it is not.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
};

use tokio::sync::watch;

/// What is still missing before the process is ready. Clones share one list.
#[derive(Clone, Debug)]
pub struct Readiness {
    missing: Arc<Mutex<BTreeMap<u64, &'static str>>>,
    ready: Arc<watch::Sender<bool>>,
}

/// Holds readiness back for as long as it lives; drop it when its part is ready.
#[derive(Debug)]
#[must_use = "dropping the guard says that the part is ready"]
pub struct NotReady {
    readiness: Readiness,
    id: u64,
}

impl Default for Readiness {
    fn default() -> Self {
        Self {
            missing: Arc::default(),
            ready: Arc::new(watch::Sender::new(true)),
        }
    }
}

impl Readiness {
    /// Says that `part` is not ready until the guard is dropped.
    pub fn wait_for(&self, part: &'static str) -> NotReady {
        let mut missing = self.missing.lock().unwrap_or_else(PoisonError::into_inner);
        let id = missing.last_key_value().map_or(0, |(last, _)| last + 1);
        missing.insert(id, part);
        self.ready.send_replace(false);
        NotReady {
            readiness: self.clone(),
            id,
        }
    }

    /// The names of the parts that are not ready, oldest first; empty means ready.
    pub fn missing(&self) -> Vec<&'static str> {
        let missing = self.missing.lock().unwrap_or_else(PoisonError::into_inner);
        missing.values().copied().collect()
    }

    /// Whether nothing is missing.
    pub fn is_ready(&self) -> bool {
        *self.ready.borrow()
    }

    /// Resolves when nothing is missing.
    pub async fn ready(&self) {
        let mut ready = self.ready.subscribe();
        ready
            .wait_for(|ready| *ready)
            .await
            .map(drop)
            .expect("the sender lives in self");
    }
}

impl Drop for NotReady {
    fn drop(&mut self) {
        let readiness = &self.readiness;
        let mut missing = readiness.missing.lock().unwrap_or_else(PoisonError::into_inner);
        missing.remove(&self.id);
        readiness.ready.send_replace(missing.is_empty());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn ready_when_the_last_guard_is_gone() {
        let readiness = Readiness::default();
        assert!(readiness.is_ready());
        let (doors, storage) = (readiness.wait_for("doors"), readiness.wait_for("storage"));
        assert_eq!(readiness.missing(), ["doors", "storage"]);
        drop(doors);
        assert_eq!((readiness.missing(), readiness.is_ready()), (vec!["storage"], false));
        drop(storage);
        readiness.ready().await;
        assert!(readiness.is_ready());
    }
}
