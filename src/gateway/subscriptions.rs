//! The table of who wants to know when a resource changes. It outlives the processes that are asked for it.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Mutex, MutexGuard, PoisonError},
};

use super::ClientId;
use crate::{
    config::ServiceName,
    upstream::{Connection, Variant, Wanted},
};

/// Who is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) enum Subscriber {
    /// A legacy client.
    Client(ClientId),
    /// A modern stream.
    Listen(u64),
}

/// A resource of a service.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Watched {
    pub(super) service: ServiceName,
    pub(super) uri: Box<str>,
}

/// How it is watched for a subscriber.
#[derive(Clone, Copy, Debug)]
pub(super) struct Watcher {
    /// What connection the subscriber wants: it may get another one from the next generation of the service.
    pub(super) wanted: Wanted,
    /// The one it has.
    pub(super) variant: Variant,
}

/// The table of all subscriptions.
#[derive(Debug, Default)]
pub(super) struct Subscriptions {
    table: Mutex<BTreeMap<Watched, BTreeMap<Subscriber, Watcher>>>,
}

impl Subscriptions {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<Watched, BTreeMap<Subscriber, Watcher>>> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Who is told of `uri` by `connection`.
    pub(super) fn of(&self, connection: &Connection, uri: &str) -> Vec<Subscriber> {
        let key = Watched {
            service: connection.service().clone(),
            uri: uri.into(),
        };
        let table = self.lock();
        let watchers = table.get(&key).into_iter().flatten();
        watchers
            .filter(|(_, watcher)| watcher.variant == connection.variant())
            .map(|(subscriber, _)| *subscriber)
            .collect()
    }

    /// What is to be watched on the connection of `service` that `belongs` picks by a watcher.
    pub(super) fn uris(&self, service: &ServiceName, belongs: impl Fn(&Watcher) -> bool) -> BTreeSet<String> {
        let table = self.lock();
        table
            .iter()
            .filter(|(key, watchers)| key.service == *service && watchers.values().any(&belongs))
            .map(|(key, _)| key.uri.to_string())
            .collect()
    }

    /// Gives the watchers of `service` the connections that it picks for them now.
    pub(super) fn rehome(&self, service: &ServiceName, pick: impl Fn(Wanted) -> Option<Variant>) {
        let mut table = self.lock();
        let watchers = table.iter_mut().filter(|(key, _)| key.service == *service);
        for watcher in watchers.flat_map(|(_, watchers)| watchers.values_mut()) {
            watcher.variant = pick(watcher.wanted).unwrap_or(watcher.variant);
        }
    }

    /// Adds; `true` if it is new to `subscriber`.
    pub(super) fn add(&self, key: Watched, subscriber: Subscriber, watcher: Watcher) -> bool {
        self.lock()
            .entry(key)
            .or_default()
            .insert(subscriber, watcher)
            .is_none()
    }

    /// Removes what `subscriber` watches, of that the resource `uri` only if there is one; says on which connections it did.
    pub(super) fn remove(&self, subscriber: Subscriber, uri: Option<&str>) -> Vec<(ServiceName, Variant)> {
        let mut left = Vec::new();
        self.lock().retain(|key, watchers| {
            if uri.is_none_or(|uri| *key.uri == *uri)
                && let Some(watcher) = watchers.remove(&subscriber)
            {
                left.push((key.service.clone(), watcher.variant));
            }
            !watchers.is_empty()
        });
        left.sort();
        left.dedup();
        left
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mcp::{Era, Features};

    const ONE: Subscriber = Subscriber::Client(ClientId(1));
    const STREAM: Subscriber = Subscriber::Listen(1);

    fn watched(service: &str, uri: &str) -> Watched {
        Watched {
            service: ServiceName::new(service).unwrap(),
            uri: uri.into(),
        }
    }

    fn watcher(era: Era, variant: Variant) -> Watcher {
        Watcher {
            wanted: Wanted {
                era,
                features: Features::NONE,
                client: None,
            },
            variant,
        }
    }

    #[test]
    fn a_new_generation_takes_over_what_is_watched() {
        let table = Subscriptions::default();
        let name = ServiceName::new("a").unwrap();
        let legacy = watcher(Era::Legacy, Variant::BASE);
        assert!(table.add(watched("a", "x://1"), ONE, legacy));
        assert!(!table.add(watched("a", "x://1"), ONE, legacy));
        assert!(table.add(watched("a", "x://2"), STREAM, watcher(Era::Modern, Variant::MODERN)));
        table.add(watched("b", "x://1"), ONE, legacy);
        let on = |variant| table.uris(&name, |watcher| watcher.variant == variant);
        assert_eq!(on(Variant::BASE), BTreeSet::from(["x://1".to_owned()]));
        // From now on it speaks the modern era only.
        table.rehome(&name, |_| Some(Variant::MODERN));
        assert!(on(Variant::BASE).is_empty());
        assert_eq!(
            on(Variant::MODERN),
            BTreeSet::from(["x://1".to_owned(), "x://2".to_owned()])
        );
        // What it will speak is not known yet: nothing changes.
        table.rehome(&name, |_| None);
        assert_eq!(on(Variant::MODERN).len(), 2);
    }

    #[test]
    fn who_leaves_watches_nothing() {
        let table = Subscriptions::default();
        let legacy = watcher(Era::Legacy, Variant::BASE);
        for (service, uri) in [("a", "x://1"), ("a", "x://2"), ("b", "x://1")] {
            table.add(watched(service, uri), ONE, legacy);
        }
        table.add(watched("a", "x://2"), STREAM, legacy);
        let names =
            |left: Vec<(ServiceName, Variant)>| left.iter().map(|(name, _)| name.to_string()).collect::<Vec<_>>();
        assert_eq!(names(table.remove(ONE, Some("x://1"))), ["a", "b"]);
        assert_eq!(names(table.remove(ONE, None)), ["a"]);
        assert_eq!(names(table.remove(ONE, None)), [""; 0]);
        assert_eq!(names(table.remove(STREAM, None)), ["a"]);
        assert!(table.lock().is_empty());
    }
}
