//! What clients want of a connection beyond its calls: log messages from a level on, and word of changed resources. It is told to every
//! new process before its first call, so that clients notice nothing of a restart.

use std::{
    collections::BTreeSet,
    future::Future,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use futures_util::{StreamExt as _, stream::FuturesUnordered};
use tokio::sync::Notify;

use super::{
    Connection, InFlight,
    listen::{Acknowledged, Part, Streams},
    pending::Ended,
};
use crate::{
    jsonrpc::{Kind, Message, json_string},
    mcp::{Era, LogLevel, method},
};

/// What clients want of every process of one variant.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Wishes {
    /// The least severe log message that somebody asked for; `None`: nobody asked (legacy; modern requests say it themselves).
    pub log_from: Option<LogLevel>,
    /// The resources that are watched.
    pub uris: BTreeSet<String>,
}

/// What the server was told, and the requests whose answers are to be looked at.
#[derive(Debug, Default)]
pub(super) struct Told {
    state: Mutex<State>,
    news: Notify,
}

#[derive(Debug, Default)]
struct State {
    /// The resources it was asked to watch.
    uris: BTreeSet<String>,
    /// A listen stream that replaces those there are (modern).
    stream: Option<(Part, InFlight)>,
    /// What the server said of its streams (modern).
    acknowledged: Vec<Acknowledged>,
    /// Subscriptions without an answer yet (legacy).
    subscribed: Vec<(String, InFlight)>,
}

impl Told {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Connection {
    /// Tells a fresh process what clients want. What comes back looks after it for the life of the connection: hears the answers,
    /// opens listen streams again that the server ends.
    pub(super) fn tell(self: &Arc<Self>, wishes: Wishes) -> impl Future<Output = ()> + Send + use<> {
        if let Some(level) = wishes.log_from {
            self.log_from(level);
        }
        if self.variant().era == Era::Modern {
            let part = Part::all(wishes.uris.clone());
            let opened = self.open(&part);
            let mut state = self.told().lock();
            state.uris = wishes.uris;
            state.stream = opened.map(|call| (part, call));
        } else {
            self.watch(|| wishes.uris);
        }
        let connection = Arc::clone(self);
        async move {
            let mut ended = connection.ended();
            tokio::select! {
                () = look_after(&connection) => {}
                _ = ended.wait_for(Option::is_some) => {}
            }
            // Breaks the circle between the connection and its own requests.
            drop(std::mem::take(&mut *connection.told().lock()));
        }
    }

    /// Makes the server watch the resources that `uris` names, no more and no fewer. It is asked under the lock, so that the latest
    /// word wins. What the server was asked when this returns comes before every later call.
    pub fn watch(self: &Arc<Self>, uris: impl FnOnce() -> BTreeSet<String>) {
        let mut state = self.told().lock();
        let uris = uris();
        if uris == state.uris {
            return;
        }
        match self.variant().era {
            Era::Modern => {
                let part = Part::all(uris.clone());
                // There is no way to change a stream: the new one replaces it, and the old one ends only then.
                let opened = self.open(&part);
                state.stream = opened.map(|call| (part, call));
            }
            Era::Legacy => {
                for gone in state.uris.difference(&uris) {
                    if let Some(mut call) = self.send_own(method::RESOURCES_UNSUBSCRIBE, &uri_params(gone)) {
                        call.cancel_on_drop(false);
                    }
                }
                let new: Vec<String> = uris.difference(&state.uris).cloned().collect();
                for uri in new {
                    if let Some(mut call) = self.send_own(method::RESOURCES_SUBSCRIBE, &uri_params(&uri)) {
                        call.cancel_on_drop(false);
                        state.subscribed.push((uri, call));
                    }
                }
            }
        }
        state.uris = uris;
        drop(state);
        self.told().news.notify_one();
    }

    /// A client's own request made the server watch `uri`.
    pub fn is_watching(&self, uri: &str) {
        self.told().lock().uris.insert(uri.to_owned());
    }

    /// Tells a legacy server to log from `level` on, unless it already logs more.
    pub fn log_from(self: &Arc<Self>, level: LogLevel) {
        let can_log = self
            .introduction()
            .is_some_and(|introduction| introduction.can("logging"));
        if self.variant().era == Era::Legacy && can_log && self.lower_log_level(level) {
            let params = format!("{{\"level\":\"{}\"}}", level.as_str());
            if let Some(mut call) = self.send_own(method::SET_LEVEL, &params) {
                call.cancel_on_drop(false);
            }
        }
    }

    /// The server says what a listen stream carries.
    pub(super) fn note_acknowledged(&self, message: &Message) {
        if let Some(acknowledged) = Acknowledged::read(message) {
            self.told().lock().acknowledged.push(acknowledged);
            self.told().news.notify_one();
        }
    }

    /// Sends a request of the hub's own; `None` if the connection is over.
    pub(super) fn send_own(self: &Arc<Self>, method: &str, params: &str) -> Option<InFlight> {
        let sent = self.call(None, |number| {
            format!("{{\"jsonrpc\":\"2.0\",\"id\":{number},\"method\":\"{method}\",\"params\":{params}}}").into()
        });
        sent.inspect_err(|error| {
            tracing::debug!(service = %self.service(), method, error = error.0.message, "could not be sent");
        })
        .ok()
    }
}

fn uri_params(uri: &str) -> String {
    format!("{{\"uri\":{}}}", json_string(uri))
}

/// Hears the answers. Never resolves.
async fn look_after(connection: &Arc<Connection>) {
    let told = connection.told();
    let mut streams = Streams::default();
    let mut subscribed = FuturesUnordered::new();
    loop {
        let (stream, acknowledged, new) = {
            let mut state = told.lock();
            let State {
                uris: _,
                stream,
                acknowledged,
                subscribed,
            } = &mut *state;
            (stream.take(), std::mem::take(acknowledged), std::mem::take(subscribed))
        };
        if let Some((part, call)) = stream {
            streams.replace(part, call);
        }
        for acknowledged in &acknowledged {
            streams.acknowledged(connection, acknowledged);
        }
        subscribed.extend(new.into_iter().map(async |(uri, call)| (uri, call.await)));
        tokio::select! {
            () = told.news.notified() => {}
            () = streams.look_after(connection) => {}
            Some((uri, ended)) = subscribed.next() => note_refusal(connection, &uri, &ended),
        }
    }
}

/// One refused subscription is no trouble of the others.
fn note_refusal(connection: &Connection, uri: &str, ended: &Ended) {
    let Ended::Answer(answer) = ended else { return };
    if answer.kind() == Kind::Error {
        let (service, error) = (connection.service(), answer.body_text());
        tracing::warn!(%service, uri, error, "the service refuses to say when this resource changes");
    }
}
