//! Raw HTTP to one origin: full control over method, headers and body, every wait bounded.

use std::{fmt, time::Duration};

use bytes::Bytes;
use http::{HeaderMap, Method, Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::TokioExecutor,
};
use serde_json::Value;

use crate::sse::{Event, EventStream, events_in};

/// How long any answer may take before a test fails.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// What a POST to `/mcp` accepts.
pub const ACCEPT_BOTH: (&str, &str) = ("accept", "application/json, text/event-stream");
pub const JSON_BODY: (&str, &str) = ("content-type", "application/json");

/// A client of one origin, such as `http://127.0.0.1:40123`.
#[derive(Clone)]
pub struct Http {
    origin: String,
    client: Client<HttpConnector, Full<Bytes>>,
}

impl fmt::Debug for Http {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.origin)
    }
}

/// A whole answer.
#[derive(Debug)]
pub struct Reply {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub body: Bytes,
}

impl Reply {
    /// A header's text, empty if absent.
    pub fn header(&self, name: &str) -> &str {
        self.headers
            .get(name)
            .map_or("", |value| value.to_str().expect("a header in ASCII"))
    }

    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body)
            .unwrap_or_else(|e| panic!("{} with a body that is no JSON ({e}): {}", self.status, self.text()))
    }

    /// The JSON-RPC messages of the answer, whether it came as JSON or as a stream.
    pub fn messages(&self) -> Vec<Value> {
        if self.header("content-type").starts_with("text/event-stream") {
            events_in(&self.text()).iter().filter_map(Event::message).collect()
        } else if self.body.is_empty() {
            Vec::new()
        } else {
            let body = self.json();
            body.as_array().cloned().unwrap_or_else(|| vec![body])
        }
    }
}

impl Http {
    /// The same origin without the connections that this one keeps open.
    pub fn fresh(&self) -> Self {
        Self::to(&self.origin)
    }

    /// `url` may have a path, which is ignored.
    pub fn to(url: &str) -> Self {
        let (scheme, rest) = url.split_once("://").expect("an absolute URL");
        let authority = rest.split('/').next().unwrap();
        Self {
            origin: format!("{scheme}://{authority}"),
            client: Client::builder(TokioExecutor::new()).build_http(),
        }
    }

    pub fn url(&self, path: &str) -> String {
        format!("{}{path}", self.origin)
    }

    /// Sends and waits for the head of the answer.
    pub async fn head(&self, method: Method, path: &str, headers: &[(&str, &str)], body: &str) -> Response<Incoming> {
        let mut request = Request::builder().method(method).uri(self.url(path));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request = request.body(Full::from(body.to_owned())).unwrap();
        tokio::time::timeout(PATIENCE, self.client.request(request))
            .await
            .unwrap_or_else(|_| panic!("no answer from {} within {PATIENCE:?}", self.url(path)))
            .unwrap_or_else(|e| panic!("{}: {e:?}", self.url(path)))
    }

    /// Sends and waits for the whole answer.
    pub async fn send(&self, method: Method, path: &str, headers: &[(&str, &str)], body: &str) -> Reply {
        let (head, body) = self.head(method, path, headers, body).await.into_parts();
        let body = tokio::time::timeout(PATIENCE, body.collect())
            .await
            .unwrap_or_else(|_| panic!("the answer from {} did not end within {PATIENCE:?}", self.url(path)))
            .unwrap_or_else(|e| panic!("{}: {e:?}", self.url(path)));
        Reply {
            status: head.status,
            headers: head.headers,
            body: body.to_bytes(),
        }
    }

    /// POSTs as [`Self::post`] does to somebody who may go away; `None` if there was no whole answer.
    pub async fn try_post(&self, path: &str, headers: &[(&str, &str)], body: &str) -> Option<Reply> {
        let headers = [&[ACCEPT_BOTH, JSON_BODY], headers].concat();
        let mut request = Request::builder().method(Method::POST).uri(self.url(path));
        for (name, value) in headers {
            request = request.header(name, value);
        }
        let request = request.body(Full::from(body.to_owned())).unwrap();
        let answer = tokio::time::timeout(PATIENCE, self.client.request(request));
        let (head, body) = answer.await.ok()?.ok()?.into_parts();
        let body = tokio::time::timeout(PATIENCE, body.collect()).await.ok()?.ok()?;
        Some(Reply {
            status: head.status,
            headers: head.headers,
            body: body.to_bytes(),
        })
    }

    pub async fn get(&self, path: &str) -> Reply {
        self.send(Method::GET, path, &[], "").await
    }

    /// POSTs JSON, accepting JSON and streams; `headers` are added.
    pub async fn post(&self, path: &str, headers: &[(&str, &str)], body: &str) -> Reply {
        let headers = [&[ACCEPT_BOTH, JSON_BODY], headers].concat();
        self.send(Method::POST, path, &headers, body).await
    }

    /// Opens an event stream by GET, or by POST where there is a body.
    pub async fn stream(&self, path: &str, headers: &[(&str, &str)], body: Option<&str>) -> EventStream {
        let (method, own) = match body {
            Some(_) => (Method::POST, vec![ACCEPT_BOTH, JSON_BODY]),
            None => (Method::GET, vec![("accept", "text/event-stream")]),
        };
        let headers = [&own, headers].concat();
        EventStream::new(self.head(method, path, &headers, body.unwrap_or("")).await)
    }
}
