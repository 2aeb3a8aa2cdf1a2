//! Watching resources: what clients ask for, and what the services are asked for that.

use tokio::time::Instant;

use super::{
    ClientId, Gateway, Reply, call,
    caller::Caller,
    forward,
    greet::empty_result,
    hub::required_text,
    logging,
    subscriptions::{Subscriber, Watched, Watcher},
};
use crate::{
    config::ServiceName,
    jsonrpc::Message,
    mcp::{Answered, CallParams, Era, ErrorAnswer},
    upstream::{Patience, Service, Variant, Wishes},
};

/// `resources/subscribe`: asked of the service for each client, so that a refusal reaches it.
pub(super) async fn subscribe(gateway: &Gateway, caller: &Caller, request: &Message, params: &CallParams<'_>) -> Reply {
    let uri = match required_text(params.uri, "uri") {
        Ok(uri) => uri,
        Err(error) => return Reply::error(request.id(), &error, Answered::InBand),
    };
    let Some(service) = forward::owner_of(gateway, caller, &uri).and_then(|name| gateway.shared.services.get(&name))
    else {
        return Reply::error(request.id(), &caller.resource_not_found(&uri), Answered::InBand);
    };
    let deadline = Instant::now() + service.config().timeouts.call;
    let wanted = caller.wanted();
    let connection = match service.connection(wanted, deadline, Patience::Short).await {
        Ok(connection) => connection,
        Err(unavailable) => return Reply::error(request.id(), &ErrorAnswer::from(*unavailable.0), Answered::InBand),
    };
    let (name, variant) = (service.name(), connection.variant());
    let key = Watched {
        service: name.clone(),
        uri: (*uri).into(),
    };
    let subscriber = Subscriber::Client(caller.client.id());
    // On the list before the service answers, so that no change in between is missed, and no process either.
    let anew = gateway
        .shared
        .subscriptions
        .add(key, subscriber, Watcher { wanted, variant });
    if variant.era == Era::Modern {
        gateway.refresh(name, variant);
        return Reply::ok(empty_result(request));
    }
    let reply = call::send(gateway, caller, name, request, params, None).await;
    if reply.error.is_none() && reply.message.is_some() {
        for connection in service.live().iter().filter(|live| live.variant() == variant) {
            connection.is_watching(&uri);
        }
    } else if anew {
        gateway.leave(subscriber, Some(&uri));
    }
    reply
}

/// `resources/unsubscribe`.
pub(super) fn unsubscribe(gateway: &Gateway, caller: &Caller, request: &Message, params: &CallParams<'_>) -> Reply {
    match required_text(params.uri, "uri") {
        Ok(uri) => {
            gateway.leave(Subscriber::Client(caller.client.id()), Some(&uri));
            Reply::ok(empty_result(request))
        }
        Err(error) => Reply::error(request.id(), &error, Answered::InBand),
    }
}

impl Gateway {
    /// Subscribes; `false` if nobody has the resource or its service can't be reached.
    pub(super) async fn watch_resource(&self, caller: &Caller, uri: &str, subscriber: Subscriber) -> bool {
        let Some(service) = forward::owner_of(self, caller, uri).and_then(|name| self.shared.services.get(&name))
        else {
            return false;
        };
        let deadline = Instant::now() + service.config().timeouts.call;
        let wanted = caller.wanted();
        let Ok(connection) = service.connection(wanted, deadline, Patience::Short).await else {
            return false;
        };
        let variant = connection.variant();
        let key = Watched {
            service: service.name().clone(),
            uri: uri.into(),
        };
        self.shared
            .subscriptions
            .add(key, subscriber, Watcher { wanted, variant });
        self.refresh(service.name(), variant);
        true
    }

    /// Asks the connections of `variant` for what is watched on them, no more and no less.
    fn refresh(&self, service: &ServiceName, variant: Variant) {
        let Some(running) = self.shared.services.get(service) else {
            return;
        };
        for connection in running.live().iter().filter(|live| live.variant() == variant) {
            let belongs = |watcher: &Watcher| watcher.variant == variant;
            connection.watch(|| self.shared.subscriptions.uris(service, belongs));
        }
    }

    /// What clients want of a new process of `variant`. It may be of a generation that serves nobody yet.
    pub(super) fn wishes(&self, service: &Service, variant: Variant) -> Wishes {
        let belongs = |watcher: &Watcher| service.variant_of(watcher.wanted).unwrap_or(watcher.variant) == variant;
        Wishes {
            log_from: logging::wanted_level(self, service.name(), variant),
            uris: self.shared.subscriptions.uris(service.name(), belongs),
        }
    }

    /// Calls go to the connections of `service` as they are now: they are told what changed since they began.
    pub(super) fn watch_again(&self, service: &Service) {
        let name = service.name();
        self.shared
            .subscriptions
            .rehome(name, |wanted| service.variant_of(wanted));
        for connection in service.live() {
            if let Some(level) = logging::wanted_level(self, name, connection.variant()) {
                connection.log_from(level);
            }
            self.refresh(name, connection.variant());
        }
    }

    pub(super) fn forget_subscriptions(&self, client: ClientId) {
        self.leave(Subscriber::Client(client), None);
    }

    pub(super) fn forget_subscriber(&self, subscriber: Subscriber) {
        self.leave(subscriber, None);
    }

    fn leave(&self, subscriber: Subscriber, uri: Option<&str>) {
        for (service, variant) in self.shared.subscriptions.remove(subscriber, uri) {
            self.refresh(&service, variant);
        }
    }
}
