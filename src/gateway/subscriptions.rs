//! Who wants to know when a resource changes, and what the services are asked for that.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tokio::time::Instant;

use super::{ClientId, Gateway, Reply, call, caller::Caller, forward, greet::empty_result, hub::required_text};
use crate::{
    config::ServiceName,
    jsonrpc::{Message, json_string},
    mcp::{Answered, CallParams, Era, ErrorAnswer, method},
    upstream::{Connection, Patience, Variant},
};

/// Who is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) enum Subscriber {
    /// A legacy client.
    Client(ClientId),
    /// A modern stream.
    Listen(u64),
}

/// What is watched: a resource on one of a service's connections.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Watched {
    service: ServiceName,
    variant: Variant,
    uri: Box<str>,
}

/// The table of all subscriptions.
#[derive(Debug, Default)]
pub(super) struct Subscriptions {
    table: Mutex<BTreeMap<Watched, BTreeSet<Subscriber>>>,
}

impl Subscriptions {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<Watched, BTreeSet<Subscriber>>> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Who watches `uri` on `connection`.
    pub(super) fn of(&self, connection: &Connection, uri: &str) -> Vec<Subscriber> {
        let key = watched(connection, uri);
        self.lock().get(&key).into_iter().flatten().copied().collect()
    }

    /// What is watched on `connection`.
    pub(super) fn uris(&self, service: &ServiceName, variant: Variant) -> Vec<String> {
        self.lock()
            .keys()
            .filter(|key| key.service == *service && key.variant == variant)
            .map(|key| key.uri.to_string())
            .collect()
    }

    /// Adds; `true` if nobody watched it before.
    fn add(&self, key: Watched, subscriber: Subscriber) -> bool {
        let mut table = self.lock();
        let subscribers = table.entry(key).or_default();
        subscribers.insert(subscriber);
        subscribers.len() == 1
    }

    fn has(&self, key: &Watched, subscriber: Subscriber) -> bool {
        self.lock()
            .get(key)
            .is_some_and(|subscribers| subscribers.contains(&subscriber))
    }

    /// Removes; `true` if nobody watches it any more.
    fn remove(&self, key: &Watched, subscriber: Subscriber) -> bool {
        let mut table = self.lock();
        let Some(subscribers) = table.get_mut(key) else {
            return false;
        };
        let removed = subscribers.remove(&subscriber);
        let last = subscribers.is_empty();
        if last {
            table.remove(key);
        }
        removed && last
    }

    fn of_subscriber(&self, subscriber: Subscriber) -> Vec<Watched> {
        self.lock()
            .iter()
            .filter(|(_, subscribers)| subscribers.contains(&subscriber))
            .map(|(key, _)| key.clone())
            .collect()
    }
}

fn watched(connection: &Connection, uri: &str) -> Watched {
    Watched {
        service: connection.service().clone(),
        variant: connection.variant(),
        uri: uri.into(),
    }
}

/// `resources/subscribe`: asked of the service for each client, so that a refusal reaches it.
pub(super) async fn subscribe(gateway: &Gateway, caller: &Caller, request: &Message, params: &CallParams<'_>) -> Reply {
    let uri = match required_text(params.uri, "uri") {
        Ok(uri) => uri,
        Err(error) => return Reply::error(request.id(), &error, Answered::InBand),
    };
    let subscriber = Subscriber::Client(caller.client.id());
    let not_found = || Reply::error(request.id(), &caller.resource_not_found(&uri), Answered::InBand);
    let Some(service) = forward::owner_of(gateway, caller, &uri).and_then(|name| gateway.shared.services.get(&name))
    else {
        return not_found();
    };
    let deadline = Instant::now() + service.config().timeouts.call;
    let connection = match service.connection(caller.wanted(), deadline, Patience::Short).await {
        Ok(connection) => connection,
        Err(unavailable) => return Reply::error(request.id(), &ErrorAnswer::from(*unavailable.0), Answered::InBand),
    };
    let key = watched(&connection, &uri);
    if connection.variant().era == Era::Modern {
        if gateway.shared.subscriptions.add(key, subscriber) {
            gateway.watch_upstream(&connection, &[uri.into_owned()]);
        }
        return Reply::ok(empty_result(request));
    }
    // On the list before the service answers, so that no change in between is missed.
    let anew = !gateway.shared.subscriptions.has(&key, subscriber);
    gateway.shared.subscriptions.add(key.clone(), subscriber);
    let reply = call::send(gateway, caller, service.name(), request, params, None).await;
    let refused = reply.error.is_some() || reply.message.is_none();
    if refused && anew && gateway.shared.subscriptions.remove(&key, subscriber) {
        gateway.unwatch(&key);
    }
    reply
}

/// `resources/unsubscribe`.
pub(super) fn unsubscribe(gateway: &Gateway, caller: &Caller, request: &Message, params: &CallParams<'_>) -> Reply {
    let uri = match required_text(params.uri, "uri") {
        Ok(uri) => uri,
        Err(error) => return Reply::error(request.id(), &error, Answered::InBand),
    };
    let subscriber = Subscriber::Client(caller.client.id());
    for key in gateway.shared.subscriptions.of_subscriber(subscriber) {
        if *key.uri == *uri && gateway.shared.subscriptions.remove(&key, subscriber) {
            gateway.unwatch(&key);
        }
    }
    Reply::ok(empty_result(request))
}

impl Gateway {
    /// Subscribes; `false` if nobody has the resource or its service can't be reached.
    pub(super) async fn watch_resource(&self, caller: &Caller, uri: &str, subscriber: Subscriber) -> bool {
        let Some(service) = forward::owner_of(self, caller, uri).and_then(|name| self.shared.services.get(&name))
        else {
            return false;
        };
        let deadline = Instant::now() + service.config().timeouts.call;
        let Ok(connection) = service.connection(caller.wanted(), deadline, Patience::Short).await else {
            return false;
        };
        if self.shared.subscriptions.add(watched(&connection, uri), subscriber) {
            self.watch_upstream(&connection, &[uri.to_owned()]);
        }
        true
    }

    /// Asks a connection for updates of `uris` (legacy), or of all that is watched on it (modern).
    pub(super) fn watch_upstream(&self, connection: &Arc<Connection>, uris: &[String]) {
        match connection.variant().era {
            Era::Modern => {
                connection.listen(
                    &self
                        .shared
                        .subscriptions
                        .uris(connection.service(), connection.variant()),
                );
            }
            Era::Legacy => {
                for uri in uris {
                    send_quietly(connection, method::RESOURCES_SUBSCRIBE, uri);
                }
            }
        }
    }

    fn unwatch(&self, key: &Watched) {
        let Some(service) = self.shared.services.get(&key.service) else {
            return;
        };
        for connection in service.live().iter().filter(|live| live.variant() == key.variant) {
            match key.variant.era {
                Era::Modern => connection.listen(&self.shared.subscriptions.uris(&key.service, key.variant)),
                Era::Legacy => send_quietly(connection, method::RESOURCES_UNSUBSCRIBE, &key.uri),
            }
        }
    }

    pub(super) fn forget_subscriptions(&self, client: ClientId) {
        self.forget_subscriber(Subscriber::Client(client));
    }

    pub(super) fn forget_subscriber(&self, subscriber: Subscriber) {
        for key in self.shared.subscriptions.of_subscriber(subscriber) {
            if self.shared.subscriptions.remove(&key, subscriber) {
                self.unwatch(&key);
            }
        }
    }
}

/// A request whose answer changes nothing: it is sent and its answer dropped.
pub(super) fn send_quietly(connection: &Arc<Connection>, method: &str, uri: &str) {
    let sent = connection.call(None, |number| {
        format!(
            "{{\"jsonrpc\":\"2.0\",\"id\":{number},\"method\":\"{method}\",\"params\":{{\"uri\":{}}}}}",
            json_string(uri)
        )
        .into()
    });
    match sent {
        Ok(mut call) => call.cancel_on_drop(false),
        Err(error) => tracing::debug!(method, error = error.0.message, "could not be sent"),
    }
}
