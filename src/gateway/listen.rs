//! `subscriptions/listen`: one request that stays open and carries change notifications.

use std::{
    collections::{BTreeSet, HashMap},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use bytes::Bytes;
use serde_json::{Map, Value, json};
use tokio::sync::Notify;

use super::{Gateway, Reply, caller::Caller, client::Cancel, greet::result, subscriptions::Subscriber};
use crate::{
    catalog::Scope,
    jsonrpc::{Message, json_string},
    mcp::{Answered, ErrorAnswer, Outbox, field, meta_key, method},
    upstream::ListKind,
};

/// A stream that is open.
#[derive(Clone)]
pub(super) struct Listen {
    pub(super) scope: Scope,
    kinds: BTreeSet<ListKind>,
    id: Arc<str>,
    related: Arc<dyn Outbox>,
}

impl Listen {
    /// Sends a notification tagged with the stream's id.
    pub(super) fn send(&self, method: &str, params: &Map<String, Value>) {
        self.related.send(tagged(&self.id, method, params));
    }

    pub(super) fn wants(&self, kind: ListKind) -> bool {
        self.kinds.contains(&kind)
    }
}

/// All open streams.
#[derive(Default)]
pub(super) struct Listens {
    last: AtomicU64,
    open: Mutex<HashMap<u64, Listen>>,
}

impl std::fmt::Debug for Listens {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Listens").finish_non_exhaustive()
    }
}

impl Listens {
    pub(super) fn all(&self) -> Vec<Listen> {
        let open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        open.values().cloned().collect()
    }

    pub(super) fn get(&self, number: u64) -> Option<Listen> {
        let open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        open.get(&number).cloned()
    }

    fn add(&self, listen: Listen) -> u64 {
        let number = self.last.fetch_add(1, Ordering::Relaxed) + 1;
        self.open
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(number, listen);
        number
    }

    fn remove(&self, number: u64) {
        self.open.lock().unwrap_or_else(PoisonError::into_inner).remove(&number);
    }
}

/// Takes the stream off the list however it ends; a client that leaves just drops the request.
struct Open<'a> {
    gateway: &'a Gateway,
    number: u64,
}

impl Drop for Open<'_> {
    fn drop(&mut self) {
        self.gateway.shared.listens.remove(self.number);
        self.gateway.forget_subscriber(Subscriber::Listen(self.number));
    }
}

/// Acknowledges, then stays open until the client leaves or the hub stops.
pub(super) async fn listen(gateway: &Gateway, caller: &Caller, request: &Message) -> Reply {
    let wanted: Option<Value> = request
        .body_text()
        .and_then(|params| field(params, "notifications"))
        .and_then(|raw| serde_json::from_str(raw.get()).ok())
        .filter(Value::is_object);
    let Some(wanted) = wanted else {
        let error = ErrorAnswer::invalid_params("`params.notifications` must be an object");
        return Reply::error(request.id(), &error, Answered::BeforeDispatch);
    };
    let id: Arc<str> = request.id().unwrap_or("null").into();
    let (kinds, mut honoured) = list_changes(&wanted);
    let number = gateway.shared.listens.add(Listen {
        scope: caller.client.scope().clone(),
        kinds,
        id: Arc::clone(&id),
        related: Arc::clone(&caller.related),
    });
    let _open = Open { gateway, number };
    let mut uris = Vec::new();
    for uri in wanted
        .get("resourceSubscriptions")
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
        .filter_map(Value::as_str)
    {
        if gateway.watch_resource(caller, uri, Subscriber::Listen(number)).await {
            uris.push(uri.to_owned());
        }
    }
    if !uris.is_empty() {
        honoured.insert("resourceSubscriptions".to_owned(), json!(uris));
    }
    let mut params = Map::new();
    params.insert("notifications".to_owned(), Value::Object(honoured));
    caller.related.send(tagged(&id, method::LISTEN_ACKNOWLEDGED, &params));

    let cancelled = Arc::new(Notify::new());
    let _cancellable = caller.client.cancellable(&id, Cancel::Waiting(Arc::clone(&cancelled)));
    tokio::select! {
        () = gateway.shared.draining.cancelled() => Reply::ok(result(
            request,
            &format!("{{\"resultType\":\"complete\",\"_meta\":{{\"{}\":{id}}}}}", meta_key::SUBSCRIPTION_ID),
        )),
        () = cancelled.notified() => Reply::none(),
    }
}

fn list_changes(wanted: &Value) -> (BTreeSet<ListKind>, Map<String, Value>) {
    let mut kinds = BTreeSet::new();
    let mut honoured = Map::new();
    for (name, list) in [
        ("toolsListChanged", &[ListKind::Tools][..]),
        ("promptsListChanged", &[ListKind::Prompts][..]),
        ("resourcesListChanged", &[ListKind::Resources, ListKind::Templates][..]),
    ] {
        if wanted.get(name).and_then(Value::as_bool) == Some(true) {
            kinds.extend(list);
            honoured.insert(name.to_owned(), true.into());
        }
    }
    (kinds, honoured)
}

/// A notification that says to which stream it belongs. The id is raw JSON and must stay the bytes it came as.
fn tagged(id: &str, method: &str, params: &Map<String, Value>) -> Bytes {
    let mut fields = String::new();
    for (name, value) in params {
        fields.extend([json_string(name), ":".to_owned(), value.to_string(), ",".to_owned()]);
    }
    Bytes::from(format!(
        "{{\"jsonrpc\":\"2.0\",\"method\":\"{method}\",\"params\":{{{fields}\"_meta\":{{\"{}\":{id}}}}}}}",
        meta_key::SUBSCRIPTION_ID
    ))
}
