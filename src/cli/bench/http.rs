//! MCP over keep-alive HTTP/1.1, one request at a time per connection.

use std::{cell::Cell, net::SocketAddr, pin::pin, time::Instant};

use anyhow::{Context as _, bail, ensure};
use bytes::{Bytes, BytesMut};
use http::{
    HeaderMap, HeaderName, HeaderValue, Method, Request, Response, Uri,
    header::{ACCEPT, CONTENT_TYPE, HOST},
};
use http_body_util::{BodyExt as _, Full};
use hyper::{body::Incoming, client::conn::http1};
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::net::{TcpStream, lookup_host};

use super::{
    args::Args,
    call::{self, Call},
};
use crate::{
    jsonrpc::Message,
    mcp::{Era, Revision, method},
};

const SESSION: HeaderName = HeaderName::from_static("mcp-session-id");
const VERSION: HeaderName = HeaderName::from_static("mcp-protocol-version");
const METHOD: HeaderName = HeaderName::from_static("mcp-method");
const NAME: HeaderName = HeaderName::from_static("mcp-name");

/// Where to, and what every request carries.
#[derive(Clone, Debug)]
pub(super) struct Target {
    address: SocketAddr,
    uri: Uri,
    pub(super) era: Era,
    headers: HeaderMap,
}

impl Target {
    pub(super) async fn of(args: &Args, url: &str) -> anyhow::Result<Self> {
        let whole: Uri = url.parse().with_context(|| format!("`{url}` is no URL"))?;
        ensure!(
            whole.scheme_str() == Some("http"),
            "`{url}`: only http:// can be measured"
        );
        let authority = whole.authority().with_context(|| format!("`{url}` names no host"))?;
        let address = lookup_host((
            authority.host().trim_matches(['[', ']']),
            authority.port_u16().unwrap_or(80),
        ))
        .await
        .with_context(|| format!("could not resolve {authority}"))?
        .next()
        .with_context(|| format!("{authority} has no address"))?;
        let mut headers = HeaderMap::new();
        headers.insert(HOST, HeaderValue::try_from(authority.as_str())?);
        headers.insert(ACCEPT, HeaderValue::from_static("application/json, text/event-stream"));
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        let era = args.era();
        if era == Era::Modern {
            headers.insert(VERSION, HeaderValue::from_static(Revision::NEWEST.as_str()));
        }
        headers.extend(args.headers()?);
        let path = whole.path_and_query().map_or("/", |path| path.as_str());
        Ok(Self {
            address,
            uri: path.parse()?,
            era,
            headers,
        })
    }

    /// Runs `work` over one connection, which is polled by the same task: no task is woken between two.
    pub(super) async fn connected<T>(
        &self,
        work: impl AsyncFnOnce(&mut Link) -> anyhow::Result<T>,
    ) -> anyhow::Result<T> {
        let stream = TcpStream::connect(self.address)
            .await
            .with_context(|| format!("could not connect to {}", self.address))?;
        stream.set_nodelay(true)?;
        let (sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
        let mut link = Link { sender };
        let mut connection = pin!(connection);
        let mut work = pin!(work(&mut link));
        let mut open = true;
        loop {
            tokio::select! {
                biased;
                // Its errors reach whoever waits for an answer.
                _ = &mut connection, if open => open = false,
                done = &mut work => return done,
            }
        }
    }

    /// Ends sessions that the server knows of.
    pub(super) async fn close_sessions(&self, sessions: &[Session]) -> anyhow::Result<()> {
        if !sessions.iter().any(|session| session.headers.contains_key(SESSION)) {
            return Ok(());
        }
        self.connected(async |link| {
            for session in sessions {
                let headers = session.headers.clone();
                let answer = link.send(Method::DELETE, &self.uri, headers, Bytes::new()).await?;
                // 405 where a server ends sessions by itself.
                answer.into_body().collect().await?;
            }
            Ok(())
        })
        .await
    }

    /// Greets as the era wants.
    pub(super) async fn open_session(&self) -> anyhow::Result<Session> {
        let mut headers = self.headers.clone();
        if self.era == Era::Legacy {
            let greeted = self.connected(async |link| {
                let reply = link.post(&self.uri, headers.clone(), call::initialize().into()).await?;
                call::result_of(&reply.answer()?)?;
                let mut own = headers.clone();
                if let Some(id) = reply.headers.get(SESSION) {
                    own.insert(SESSION, id.clone());
                    own.insert(VERSION, HeaderValue::from_static(Revision::NEWEST_LEGACY.as_str()));
                }
                link.post(&self.uri, own.clone(), call::initialized().into()).await?;
                Ok(own)
            });
            headers = greeted.await.context("could not open a session")?;
        }
        Ok(Session {
            uri: self.uri.clone(),
            era: self.era,
            headers,
            last_id: Cell::new(0),
        })
    }
}

/// A legacy session, or the stateless caller of the modern era.
#[derive(Debug)]
pub(super) struct Session {
    uri: Uri,
    era: Era,
    headers: HeaderMap,
    last_id: Cell<u64>,
}

impl Session {
    /// The next id: ascending, or cycling below `ids`.
    fn next_id(&self, ids: Option<u64>) -> u64 {
        let next = self.last_id.get() + 1;
        self.last_id.set(next);
        ids.map_or(next, |ids| next % ids.max(1))
    }

    fn headers_for(&self, method: &str, name: &str) -> anyhow::Result<HeaderMap> {
        let mut headers = self.headers.clone();
        if self.era == Era::Modern {
            headers.insert(METHOD, HeaderValue::try_from(method)?);
            if !name.is_empty() {
                headers.insert(NAME, HeaderValue::try_from(name)?);
            }
        }
        Ok(headers)
    }

    /// Asks once.
    pub(super) async fn ask(&self, link: &mut Link, method: &str, params: Value) -> anyhow::Result<Value> {
        let name = params.get("name").and_then(Value::as_str).unwrap_or("");
        let headers = self.headers_for(method, name)?;
        let message = call::request(self.era, self.next_id(None), method, params);
        let reply = link.post(&self.uri, headers, message.into()).await?;
        call::result_of(&reply.answer()?)
    }

    /// All pages of the tools.
    pub(super) async fn tools(&self, link: &mut Link) -> anyhow::Result<Vec<Value>> {
        let (mut tools, mut params) = (Vec::new(), json!({}));
        loop {
            let mut page = self.ask(link, method::TOOLS_LIST, params).await?;
            match page.get_mut("tools").map(Value::take) {
                Some(Value::Array(items)) => tools.extend(items),
                _ => bail!("tools/list answered without tools: {page}"),
            }
            match page.get("nextCursor") {
                None | Some(Value::Null) => return Ok(tools),
                Some(cursor) => params = json!({ "cursor": cursor }),
            }
        }
    }

    /// What is needed to make the same call many times.
    pub(super) fn caller<'a>(&'a self, call: &'a Call, ids: Option<u64>) -> anyhow::Result<Caller<'a>> {
        Ok(Caller {
            session: self,
            call,
            ids,
            headers: self.headers_for(method::TOOLS_CALL, call.tool())?,
        })
    }

    /// Opens the stream for what belongs to no request: GET, or `subscriptions/listen`.
    pub(super) async fn listen(&self, link: &mut Link) -> anyhow::Result<Incoming> {
        let (method, headers, body) = match self.era {
            Era::Legacy => {
                let mut headers = self.headers.clone();
                headers.insert(ACCEPT, HeaderValue::from_static("text/event-stream"));
                headers.remove(CONTENT_TYPE);
                (Method::GET, headers, Bytes::new())
            }
            Era::Modern => {
                let params = json!({"notifications": {"toolsListChanged": true}});
                let message = call::request(self.era, self.next_id(None), method::LISTEN, params);
                (Method::POST, self.headers_for(method::LISTEN, "")?, message.into())
            }
        };
        let response = link.send(method, &self.uri, headers, body).await?;
        ensure!(
            response.status().is_success(),
            "HTTP {} to a listening request",
            response.status()
        );
        Ok(response.into_body())
    }
}

/// One connection.
#[derive(Debug)]
pub(super) struct Link {
    sender: http1::SendRequest<Full<Bytes>>,
}

struct Reply {
    headers: HeaderMap,
    status: http::StatusCode,
    body: Bytes,
}

impl Reply {
    fn answers(&self) -> Vec<Message> {
        let kind = self.headers.get(CONTENT_TYPE).map(HeaderValue::as_bytes);
        call::answers_in(
            &self.body,
            kind.is_some_and(|kind| kind.starts_with(b"text/event-stream")),
        )
    }

    fn answer(&self) -> anyhow::Result<Message> {
        self.answers().into_iter().next().with_context(|| {
            let text = String::from_utf8_lossy(&self.body);
            format!("HTTP {} without an answer: {text}", self.status)
        })
    }
}

impl Link {
    async fn send(
        &mut self,
        method: Method,
        uri: &Uri,
        headers: HeaderMap,
        body: Bytes,
    ) -> hyper::Result<Response<Incoming>> {
        let mut request = Request::new(Full::new(body));
        *request.method_mut() = method;
        *request.uri_mut() = uri.clone();
        *request.headers_mut() = headers;
        self.sender.ready().await?;
        self.sender.send_request(request).await
    }

    async fn post(&mut self, uri: &Uri, headers: HeaderMap, body: Bytes) -> hyper::Result<Reply> {
        let (head, mut body) = self.send(Method::POST, uri, headers, body).await?.into_parts();
        let mut whole = Bytes::new();
        while let Some(frame) = body.frame().await {
            if let Ok(data) = frame?.into_data() {
                whole = if whole.is_empty() {
                    data
                } else {
                    let mut longer = BytesMut::from(whole);
                    longer.extend_from_slice(&data);
                    longer.freeze()
                };
            }
        }
        Ok(Reply {
            headers: head.headers,
            status: head.status,
            body: whole,
        })
    }

    /// Whether the server will take another request on this connection.
    pub(super) fn is_open(&self) -> bool {
        !self.sender.is_closed()
    }
}

/// Makes one call of a session many times.
#[derive(Debug)]
pub(super) struct Caller<'a> {
    session: &'a Session,
    call: &'a Call,
    ids: Option<u64>,
    headers: HeaderMap,
}

impl Caller<'_> {
    /// One call: how long until the last byte of the right answer, or what was wrong. Checking the answer is not timed.
    pub(super) async fn call(&self, link: &mut Link, serial: u64) -> Result<std::time::Duration, String> {
        let id = self.session.next_id(self.ids);
        let message = self.call.message(id, serial, "");
        let headers = self.headers.clone();
        let begun = Instant::now();
        let reply = link.post(&self.session.uri, headers, message).await;
        let latency = begun.elapsed();
        let reply = reply.map_err(|error| format!("connection: {error}"))?;
        if !reply.status.is_success() {
            return Err(format!("HTTP {}", reply.status.as_u16()));
        }
        let answers = reply.answers();
        match answers.as_slice() {
            [answer] => self.call.check(answer, id, serial).map(|()| latency),
            _ => Err(format!("{} answers in one response", answers.len())),
        }
    }
}
