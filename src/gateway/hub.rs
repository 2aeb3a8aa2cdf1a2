//! The handle doors use.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use bytes::Bytes;
use tokio_util::sync::CancellationToken;

use super::{
    Client, ClientId, Opening, Reply, caller::Caller, client::Cancel, complete, fanout, forward, greet, listen,
    listen::Listens, lists, logging, server_requests, services::Services, subscriptions::Subscriptions, watch,
};
use crate::{
    catalog::{Audience, Catalog, Scope},
    config::ServiceName,
    jsonrpc::{Message, text_of},
    mcp::{Answered, Era, ErrorAnswer, Features, HubFault, Outbox, Outcome, call_params, code, field, method},
    telemetry::names,
    upstream::{ListKind, Service},
};

/// Routes messages between clients and services. Cloning is cheap.
#[derive(Clone, Debug)]
pub struct Gateway {
    pub(super) shared: Arc<Shared>,
}

#[derive(Debug)]
pub(super) struct Shared {
    pub(super) catalog: Catalog,
    pub(super) services: Services,
    pub(super) subscriptions: Subscriptions,
    pub(super) listens: Listens,
    pub(super) draining: CancellationToken,
    clients: Mutex<HashMap<ClientId, Arc<Client>>>,
    next_client: AtomicU64,
}

impl Gateway {
    /// A gateway over `catalog`, without services yet.
    #[must_use]
    pub fn new(catalog: Catalog) -> Self {
        Self {
            shared: Arc::new(Shared {
                catalog,
                services: Services::default(),
                subscriptions: Subscriptions::default(),
                listens: Listens::default(),
                draining: CancellationToken::new(),
                clients: Mutex::default(),
                next_client: AtomicU64::new(1),
            }),
        }
    }

    /// Routes to `service` from now on; the one of the same name that it replaces comes back.
    pub fn add_service(&self, service: &Arc<Service>) -> Option<Arc<Service>> {
        let old = self.shared.services.insert(Arc::clone(service));
        self.took_over(service);
        old
    }

    /// Routes no longer to the service of that name.
    pub fn remove_service(&self, name: &ServiceName) -> Option<Arc<Service>> {
        self.shared.services.remove(name)
    }

    /// All services that run.
    #[must_use]
    pub fn services(&self) -> Vec<Arc<Service>> {
        self.shared.services.all()
    }

    /// The service of that name, if it runs.
    #[must_use]
    pub fn service(&self, name: &ServiceName) -> Option<Arc<Service>> {
        self.shared.services.get(name)
    }

    /// Tells everybody who sees `service` that what it offers may have changed.
    pub fn lists_changed(&self, service: &ServiceName) {
        fanout::lists_changed(self, service, &ListKind::ALL);
    }

    /// What is offered.
    #[must_use]
    pub fn catalog(&self) -> &Catalog {
        &self.shared.catalog
    }

    /// Whether `scope` exists (a service that is not configured has no endpoint).
    #[must_use]
    pub fn knows(&self, scope: &Scope) -> bool {
        match scope {
            Scope::All => true,
            Scope::Service(name) => self.shared.catalog.has(name),
        }
    }

    fn clients_lock(&self) -> MutexGuard<'_, HashMap<ClientId, Arc<Client>>> {
        self.shared.clients.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Everybody who is connected.
    pub(super) fn clients(&self) -> Vec<Arc<Client>> {
        self.clients_lock().values().cloned().collect()
    }

    /// How many clients are connected.
    #[must_use]
    pub fn client_count(&self) -> usize {
        self.clients_lock().len()
    }

    pub(super) fn client(&self, id: u64) -> Option<Arc<Client>> {
        self.clients_lock().get(&ClientId(id)).cloned()
    }

    /// A new client: a legacy session, a stdio, WebSocket or HTTP+SSE connection, or the modern callers of one endpoint and
    /// principal (modern requests carry all their state, so a door may open one such client and use it for all of them).
    #[must_use]
    pub fn open(&self, opening: Opening) -> Arc<Client> {
        let id = ClientId(self.shared.next_client.fetch_add(1, Ordering::Relaxed));
        let client = Arc::new(Client::new(id, opening));
        self.clients_lock().insert(id, Arc::clone(&client));
        metrics::gauge!(names::CLIENTS).increment(1.0);
        client
    }

    /// Ends a client: its calls in flight are cancelled, its subscriptions dropped, its server requests refused.
    pub fn close(&self, client: &Arc<Client>) {
        if self.clients_lock().remove(&client.id()).is_none() {
            return;
        }
        metrics::gauge!(names::CLIENTS).decrement(1.0);
        let (calls, requests) = client.end();
        for call in calls {
            match call {
                Cancel::Sent(connection, number) => connection.cancel(number),
                Cancel::Waiting(waiter) => waiter.notify_one(),
            }
        }
        for request in requests {
            server_requests::refuse(&request.from, Some(&request.id), "the client has gone");
        }
        self.forget_subscriptions(client.id());
        for service in self.shared.services.all() {
            service.release(client.id().0);
        }
    }

    /// Answers one request. Notifications and server requests that belong to it go to `related` before it resolves.
    ///
    /// The era is told by the request itself (a modern `_meta` claim) and the client's handshake; a modern claim is checked
    /// here, HTTP headers by the door. Dropping the future ends the request as the client's [`super::OnDrop`] says, except
    /// that a modern request is always cancelled.
    pub async fn request(&self, client: &Arc<Client>, request: Message, related: Arc<dyn Outbox>) -> Reply {
        let early = |error: &ErrorAnswer| Reply::error(request.id(), error, Answered::BeforeDispatch);
        let params = match call_params(&request) {
            Ok(params) => params,
            Err(error) => return early(&error),
        };
        let caller = match Caller::identify(client, &params, &related) {
            Ok(caller) => caller,
            Err(error) => return early(&error),
        };
        let name = request.method();
        if self.shared.draining.is_cancelled() {
            return early(&draining());
        }
        let Some(caller) = caller else {
            return match name {
                method::INITIALIZE => greet::initialize(self, client, &request),
                method::PING => Reply::ok(greet::empty_result(&request)),
                method::DISCOVER => early(&ErrorAnswer::method_not_found(name)),
                _ => early(&ErrorAnswer::new(
                    code::INVALID_REQUEST,
                    "not initialized: send `initialize` first, or a revision in `params._meta`",
                )),
            };
        };
        match (caller.era(), name) {
            (Era::Legacy, method::INITIALIZE) => greet::initialize(self, client, &request),
            (Era::Legacy, method::PING) => Reply::ok(greet::empty_result(&request)),
            (Era::Legacy, method::SET_LEVEL) => logging::set_level(self, &caller, &request),
            (Era::Legacy, method::RESOURCES_SUBSCRIBE) => watch::subscribe(self, &caller, &request, &params).await,
            (Era::Legacy, method::RESOURCES_UNSUBSCRIBE) => watch::unsubscribe(self, &caller, &request, &params),
            (Era::Modern, method::DISCOVER) => greet::discover(self, &caller, &request),
            (Era::Modern, method::LISTEN) => listen::listen(self, &caller, &request).await,
            (
                Era::Modern,
                method::INITIALIZE
                | method::PING
                | method::SET_LEVEL
                | method::RESOURCES_SUBSCRIBE
                | method::RESOURCES_UNSUBSCRIBE,
            )
            | (Era::Legacy, method::DISCOVER | method::LISTEN) => early(&ErrorAnswer::method_not_found(name)),
            (_, method::TOOLS_LIST | method::RESOURCES_LIST | method::TEMPLATES_LIST | method::PROMPTS_LIST) => {
                lists::list(self, &caller, &request)
            }
            (_, method::TOOLS_CALL) => forward::named(self, &caller, &request, &params, ListKind::Tools).await,
            (_, method::PROMPTS_GET) => forward::named(self, &caller, &request, &params, ListKind::Prompts).await,
            (_, method::RESOURCES_READ) => forward::resource(self, &caller, &request, &params).await,
            (_, method::COMPLETE) => complete::complete(self, &caller, &request, &params).await,
            _ => forward::unknown(self, &caller, &request, &params).await,
        }
    }

    /// Takes a notification of the client (`notifications/initialized`, `cancelled`, `roots/list_changed`, progress, unknown).
    pub fn notify(&self, client: &Arc<Client>, notification: &Message) {
        match notification.method() {
            method::INITIALIZED => {}
            method::CANCELLED => {
                let id = notification.body_text().and_then(|params| field(params, "requestId"));
                match id.and_then(|id| client.take_back(id.get())) {
                    Some(Cancel::Sent(connection, number)) => connection.cancel(number),
                    Some(Cancel::Waiting(waiter)) => waiter.notify_one(),
                    None => {}
                }
            }
            method::PROGRESS => server_requests::progress(client, notification),
            method::ROOTS_CHANGED => {
                for service in self.shared.services.all() {
                    for connection in service.live() {
                        if connection.variant().owner == Some(client.id().0) {
                            connection.notify(notification.bytes());
                        }
                    }
                }
            }
            _ => forward::unknown_notification(self, client, notification),
        }
    }

    /// Takes the client's answer to a server request.
    pub fn answer(&self, client: &Arc<Client>, response: &Message) {
        server_requests::answer(client, response);
    }

    /// The raw `inputSchema` of a tool as the client knows it, for a door that checks mirrored headers; `None` also for a tool
    /// that mirrors nothing.
    #[must_use]
    pub fn tool_schema(&self, client: &Client, name: &str) -> Option<Bytes> {
        let view = self.shared.catalog.view(&Audience {
            scope: client.scope().clone(),
            era: Era::Modern,
            features: Features::NONE,
        });
        let definition = &view
            .table(ListKind::Tools)
            .find(name)
            .filter(|tool| tool.mirrored)?
            .definition;
        let text = std::str::from_utf8(definition).ok()?;
        let schema = field(text, "inputSchema")?;
        Some(definition.slice_ref(schema.get().as_bytes()))
    }

    /// No new requests from now on (they get -31005), listen streams end with their result.
    pub fn drain(&self) {
        self.shared.draining.cancel();
    }
}

/// The answer to whatever comes while the hub stops.
fn draining() -> ErrorAnswer {
    HubFault {
        code: code::DRAINING,
        reason: "draining",
        service: String::new(),
        retryable: true,
        outcome: Outcome::NotSent,
        message: "the hub is stopping; the request was not sent, try again in a moment".to_owned(),
        stderr: Vec::new(),
        exit: None,
    }
    .into()
}

/// `params.name` or `params.uri` as text.
pub(super) fn required_text<'a>(
    value: Option<&'a serde_json::value::RawValue>,
    field: &str,
) -> Result<std::borrow::Cow<'a, str>, ErrorAnswer> {
    value
        .and_then(text_of)
        .ok_or_else(|| ErrorAnswer::invalid_params(format!("`params.{field}` must be a string")))
}
