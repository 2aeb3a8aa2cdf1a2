//! HTTP requests to one remote server, and what is remembered between them: its session, and which arguments its tools want
//! repeated in headers.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Uri, header};
use reqwest::Response;

use super::{
    Annotations, Target,
    failure::{Failure, chain},
    lines::Inbox,
};
use crate::{
    config::RemoteTransport,
    jsonrpc::{Message, text_of},
    mcp::field,
};

const SESSION: HeaderName = HeaderName::from_static("mcp-session-id");
const VERSION: HeaderName = HeaderName::from_static("mcp-protocol-version");
const LAST_EVENT: HeaderName = HeaderName::from_static("last-event-id");
const BOTH: HeaderValue = HeaderValue::from_static("application/json, text/event-stream");
const EVENTS: HeaderValue = HeaderValue::from_static("text/event-stream");
const JSON: HeaderValue = HeaderValue::from_static("application/json");

/// A legacy session as its requests name it; modern requests have none.
#[derive(Clone, Debug, Default)]
pub(super) struct Session {
    id: Option<HeaderValue>,
    version: Option<HeaderValue>,
}

impl Session {
    /// Whether the server gave it a name, so that it can be forgotten and ended.
    pub(super) fn is_named(&self) -> bool {
        self.id.is_some()
    }

    /// Whether one was opened: only a legacy server has any.
    pub(super) fn is_open(&self) -> bool {
        self.version.is_some()
    }

    /// The headers that name it.
    pub(super) fn headers(&self) -> HeaderMap {
        let id = self.id.clone().map(|id| (SESSION, id));
        let version = self.version.clone().map(|version| (VERSION, version));
        id.into_iter().chain(version).collect()
    }
}

/// The way to one server.
#[derive(Debug)]
pub(super) struct Link {
    client: reqwest::Client,
    pub(super) target: Arc<Target>,
    pub(super) inbox: Inbox,
    session: Mutex<Session>,
    annotations: Mutex<Annotations>,
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Link {
    pub(super) fn new(client: reqwest::Client, target: Arc<Target>, inbox: Inbox) -> Self {
        Self {
            client,
            target,
            inbox,
            session: Mutex::default(),
            annotations: Mutex::default(),
        }
    }

    /// The session in force.
    pub(super) fn session(&self) -> Session {
        locked(&self.session).clone()
    }

    /// Whether the server may turn out to be of the transport before Streamable HTTP.
    pub(super) fn may_be_older(&self) -> bool {
        self.target.transport == RemoteTransport::Auto
    }

    /// A session was opened: the headers of the response, and the answer to `initialize`.
    pub(super) fn opened(&self, headers: &HeaderMap, answer: &Message) {
        let version = answer
            .body_text()
            .and_then(|result| field(result, "protocolVersion"))
            .and_then(text_of)
            .and_then(|version| HeaderValue::try_from(&*version).ok());
        *locked(&self.session) = Session {
            id: headers.get(SESSION).cloned(),
            version,
        };
    }

    /// Learns from an answer that passes through.
    pub(super) fn learn(&self, answer: &Bytes) {
        locked(&self.annotations).learn(answer);
    }

    /// Uses what was learned of annotated arguments.
    pub(super) fn with_annotations<T>(&self, use_them: impl FnOnce(&Annotations) -> T) -> T {
        use_them(&locked(&self.annotations))
    }

    /// Posts one message to the server's address.
    pub(super) async fn post(&self, body: &Bytes, headers: HeaderMap) -> Result<Response, Failure> {
        self.post_to(&self.target.url, body, headers).await
    }

    /// Posts one message to an address of the same origin.
    pub(super) async fn post_to(&self, url: &Uri, body: &Bytes, mut headers: HeaderMap) -> Result<Response, Failure> {
        headers.insert(header::CONTENT_TYPE, JSON);
        headers.insert(header::ACCEPT, BOTH);
        self.send(Method::POST, url, headers, Some(body)).await
    }

    /// Opens a stream of events, or takes one up after event `last`.
    pub(super) async fn get(&self, session: &Session, last: Option<&str>) -> Result<Response, Failure> {
        let mut headers = session.headers();
        headers.insert(header::ACCEPT, EVENTS);
        if let Some(id) = last.and_then(|id| HeaderValue::try_from(id).ok()) {
            headers.insert(LAST_EVENT, id);
        }
        self.send(Method::GET, &self.target.url, headers, None).await
    }

    /// Ends the session, if there is one.
    pub(super) async fn delete(&self) {
        let session = self.session();
        if session.is_named()
            && let Err(failure) = self
                .send(Method::DELETE, &self.target.url, session.headers(), None)
                .await
        {
            tracing::debug!(%failure, service = %self.target.service, "could not end the session");
        }
    }

    async fn send(
        &self,
        method: Method,
        url: &Uri,
        headers: HeaderMap,
        body: Option<&Bytes>,
    ) -> Result<Response, Failure> {
        let mut all = self.target.headers.clone();
        // What the protocol says about a request counts more than what was configured.
        all.extend(headers);
        let mut request = self.client.request(method, url.to_string()).headers(all);
        if let Some(body) = body {
            request = request.body(body.clone());
        }
        let response = request.send().await.map_err(|error| {
            if error.is_connect() || error.is_builder() {
                Failure::Unreachable(chain(error))
            } else {
                Failure::Broken(chain(error))
            }
        })?;
        match response.status() {
            status @ (StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN) => Err(Failure::Unauthorized(status)),
            _ => Ok(response),
        }
    }

    /// The whole body of a response, within the limit of a message.
    pub(super) async fn body(&self, mut response: Response) -> Result<Bytes, Failure> {
        let mut body = BytesMut::new();
        while let Some(chunk) = response.chunk().await.map_err(|error| Failure::Broken(chain(error)))? {
            if body.len() + chunk.len() > self.target.limit {
                return Err(Failure::TooLong(self.target.limit));
            }
            body.extend_from_slice(&chunk);
        }
        Ok(body.freeze())
    }
}

/// Whether a response is a stream of events.
pub(super) fn is_events(response: &Response) -> bool {
    let kind = response.headers().get(header::CONTENT_TYPE);
    kind.and_then(|kind| kind.to_str().ok())
        .is_some_and(|kind| kind.trim_start().starts_with("text/event-stream"))
}
