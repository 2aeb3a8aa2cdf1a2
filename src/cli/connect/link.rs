//! Requests to the hub: sent again only while it is certain that they did not arrive.

use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use reqwest::Response;
use tokio::{
    sync::{Mutex, mpsc},
    time::{Instant, sleep},
};

use super::{
    args::Target,
    session::{Memory, Session},
};
use crate::{
    jsonrpc::{Message, parse},
    mcp::{ErrorAnswer, HubFault, Outcome, code, method},
    upstream::remote::EventReader,
};

/// How long a hub that does not answer its port is waited for: it may be starting again.
const RESTART: Duration = Duration::from_secs(10);
const LAST_EVENT: HeaderName = HeaderName::from_static("last-event-id");
const BOTH: HeaderValue = HeaderValue::from_static("application/json, text/event-stream");
const EVENTS: HeaderValue = HeaderValue::from_static("text/event-stream");
const JSON: HeaderValue = HeaderValue::from_static("application/json");

/// Why a message got no answer from the hub.
#[derive(Debug, thiserror::Error)]
pub(super) enum Failure {
    /// It never arrived.
    #[error("the hub at {url} can't be reached: {reason}")]
    Unreachable { url: String, reason: String },
    /// It was sent; what became of it is not known.
    #[error("the connection to the hub broke: {0}")]
    Broken(String),
    /// The hub refused it, with an error object or without.
    #[error("the hub answered with HTTP status {0}")]
    Status(StatusCode, Option<Box<str>>),
}

impl Failure {
    /// The answer the client gets.
    pub(super) fn answer(&self, id: Option<&str>) -> Bytes {
        let fault = |code, reason, retryable, outcome| {
            ErrorAnswer::from(HubFault {
                code,
                reason,
                service: String::new(),
                retryable,
                outcome,
                message: self.to_string(),
                stderr: Vec::new(),
                exit: None,
            })
        };
        let error = match self {
            Self::Unreachable { .. } => fault(code::UNAVAILABLE, "hub_unreachable", true, Outcome::NotSent),
            Self::Broken(_) => fault(code::OUTCOME_UNKNOWN, "connection_broken", false, Outcome::Unknown),
            Self::Status(_, Some(error)) => {
                let text = format!(
                    "{{\"jsonrpc\":\"2.0\",\"id\":{},\"error\":{error}}}",
                    id.unwrap_or("null")
                );
                return Bytes::from(text);
            }
            Self::Status(status, None) => fault(
                code::UNAVAILABLE,
                "http_status",
                status.is_server_error(),
                Outcome::NotSent,
            ),
        };
        error.to_message(id)
    }
}

/// The way to the hub.
#[derive(Debug)]
pub(super) struct Link {
    client: reqwest::Client,
    target: Target,
    pub(super) memory: Memory,
    pub(super) out: mpsc::Sender<Bytes>,
    opening: Mutex<()>,
}

impl Link {
    pub(super) fn new(client: reqwest::Client, target: Target, out: mpsc::Sender<Bytes>) -> Self {
        Self {
            client,
            target,
            memory: Memory::default(),
            out,
            opening: Mutex::new(()),
        }
    }

    /// Posts one message.
    pub(super) async fn post(&self, body: &Bytes, more: HeaderMap) -> Result<Response, Failure> {
        let mut headers = more;
        headers.insert(header::CONTENT_TYPE, JSON);
        headers.insert(header::ACCEPT, BOTH);
        self.send(Method::POST, headers, Some(body)).await
    }

    /// Opens or takes up a stream of the session.
    pub(super) async fn get(&self, session: &Session, last_event: Option<&str>) -> Result<Response, Failure> {
        let mut headers = HeaderMap::new();
        session.put(&mut headers);
        headers.insert(header::ACCEPT, EVENTS);
        if let Some(id) = last_event.and_then(|id| HeaderValue::try_from(id).ok()) {
            headers.insert(LAST_EVENT, id);
        }
        self.send(Method::GET, headers, None).await
    }

    /// Ends the session.
    pub(super) async fn delete(&self) {
        let session = self.memory.session();
        if session.is_named() {
            let mut headers = HeaderMap::new();
            session.put(&mut headers);
            if let Err(failure) = self.send(Method::DELETE, headers, None).await {
                tracing::debug!(%failure, "could not end the session");
            }
        }
    }

    async fn send(&self, method: Method, headers: HeaderMap, body: Option<&Bytes>) -> Result<Response, Failure> {
        let until = Instant::now() + RESTART;
        let mut wait = Duration::from_millis(50);
        loop {
            let mut request = self.client.request(method.clone(), self.target.uri.to_string());
            request = request.headers(self.target.headers.clone()).headers(headers.clone());
            if let Some(body) = body {
                request = request.body(body.clone());
            }
            match request.send().await {
                Ok(response) => return Ok(response),
                Err(error) if error.is_connect() && Instant::now() + wait < until => {
                    sleep(wait).await;
                    wait = (wait * 2).min(Duration::from_secs(1));
                }
                Err(error) if error.is_connect() => {
                    let url = self.target.uri.to_string();
                    return Err(Failure::Unreachable {
                        url,
                        reason: chain(&error),
                    });
                }
                Err(error) => return Err(Failure::Broken(chain(&error))),
            }
        }
    }

    /// Opens a new session in place of `old`, which the hub has forgotten, unless somebody else just did.
    pub(super) async fn reopen(&self, old: &Session) -> Result<(), Failure> {
        let _one_at_a_time = self.opening.lock().await;
        if self.memory.session().generation != old.generation {
            return Ok(());
        }
        let Some(initialize) = self.memory.initialize() else {
            return Err(Failure::Status(StatusCode::NOT_FOUND, None));
        };
        tracing::info!("the hub has forgotten this session; opening another");
        let response = self.post(&initialize, HeaderMap::new()).await?;
        let (status, headers) = (response.status(), response.headers().clone());
        let body = response.bytes().await.map_err(|error| Failure::Broken(chain(&error)))?;
        if !status.is_success() {
            return Err(refused(status, &body));
        }
        let answer = first_answer(&headers, &body);
        self.memory.opened(&headers, &answer);
        let initialized = Bytes::from(format!(
            "{{\"jsonrpc\":\"2.0\",\"method\":\"{}\"}}",
            method::INITIALIZED
        ));
        let mut headers = HeaderMap::new();
        self.memory.session().put(&mut headers);
        self.post(&initialized, headers).await.map(drop)
    }
}

/// The answer in a whole body, JSON or events.
fn first_answer(headers: &HeaderMap, body: &Bytes) -> Bytes {
    if !is_events(headers) {
        return body.clone();
    }
    let events = EventReader::default().feed(body);
    let answers = |data: &Bytes| parse(data.clone()).is_ok_and(|message| is_answer(&message));
    events
        .into_iter()
        .filter_map(|event| event.data)
        .find(answers)
        .unwrap_or_default()
}

/// Whether a response is a stream of events.
pub(super) fn is_events(headers: &HeaderMap) -> bool {
    let kind = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
    kind.is_some_and(|kind| kind.trim_start().starts_with("text/event-stream"))
}

/// Whether a message answers a request.
pub(super) fn is_answer(message: &Message) -> bool {
    matches!(
        message.kind(),
        crate::jsonrpc::Kind::Result | crate::jsonrpc::Kind::Error
    )
}

/// What a status other than success says.
pub(super) fn refused(status: StatusCode, body: &Bytes) -> Failure {
    let error = std::str::from_utf8(body)
        .ok()
        .and_then(|text| crate::mcp::field(text, "error"));
    Failure::Status(status, error.map(|error| error.get().into()))
}

/// An error with its causes, in one line.
pub(super) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(inner) = cause {
        text = format!("{text}: {inner}");
        cause = inner.source();
    }
    text
}
