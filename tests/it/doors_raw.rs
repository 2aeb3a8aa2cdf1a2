//! Raw access to the doors for tests that send what no client would.

use futures_util::{SinkExt as _, StreamExt as _};
use http::{HeaderMap, Method, Request, StatusCode};
use http_body_util::{BodyExt as _, Full};
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::TokioExecutor,
};
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, tungstenite::Message};

use crate::{
    http::{ACCEPT_BOTH, Http, JSON_BODY, PATIENCE, Reply},
    hub::Hub,
};

pub const CLAIM: &str = r#""_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientCapabilities":{}}"#;

/// Posts any bytes.
pub async fn post_bytes(http: &Http, path: &str, headers: &[(&str, &str)], body: Vec<u8>) -> Reply {
    let client: Client<HttpConnector, Full<bytes::Bytes>> = Client::builder(TokioExecutor::new()).build_http();
    let mut request = Request::builder().method(Method::POST).uri(http.url(path));
    for (name, value) in [&[ACCEPT_BOTH, JSON_BODY], headers].concat() {
        request = request.header(name, value);
    }
    let request = request.body(Full::from(body)).unwrap();
    let answer = tokio::time::timeout(PATIENCE, client.request(request))
        .await
        .unwrap()
        .unwrap();
    let (head, body) = answer.into_parts();
    let body = tokio::time::timeout(PATIENCE, body.collect()).await.unwrap().unwrap();
    Reply {
        status: head.status,
        headers: head.headers,
        body: body.to_bytes(),
    }
}

/// The message that opens a session.
pub fn initialize(revision: &str) -> String {
    let params =
        json!({"protocolVersion": revision, "capabilities": {}, "clientInfo": {"name": "raw", "version": "1"}});
    json!({"jsonrpc": "2.0", "id": 0, "method": "initialize", "params": params}).to_string()
}

/// A legacy session of Streamable HTTP.
#[derive(Clone, Debug)]
pub struct Session {
    pub http: Http,
    pub path: String,
    pub id: String,
    pub revision: String,
}

impl Session {
    pub async fn open(hub: &Hub, revision: &str) -> Self {
        Self::open_at(&hub.mcp, "/mcp", revision, &[]).await
    }

    pub async fn open_at(http: &Http, path: &str, revision: &str, headers: &[(&str, &str)]) -> Self {
        let reply = http.post(path, headers, &initialize(revision)).await;
        assert_eq!(reply.status, StatusCode::OK, "{}", reply.text());
        let session = Self {
            http: http.clone(),
            path: path.to_owned(),
            id: reply.header("mcp-session-id").to_owned(),
            revision: revision.to_owned(),
        };
        let initialized = r#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#;
        let headers = [&session.headers()[..], headers].concat();
        assert_eq!(
            http.post(path, &headers, initialized).await.status,
            StatusCode::ACCEPTED
        );
        session
    }

    pub fn headers(&self) -> [(&str, &str); 2] {
        [("mcp-session-id", &self.id), ("mcp-protocol-version", &self.revision)]
    }

    pub async fn post(&self, body: &str) -> Reply {
        self.http.post(&self.path, &self.headers(), body).await
    }

    pub async fn post_bytes(&self, body: Vec<u8>) -> Reply {
        post_bytes(&self.http, &self.path, &self.headers(), body).await
    }

    /// Whether the session still answers.
    pub async fn is_alive(&self) -> bool {
        self.post(r#"{"jsonrpc":"2.0","id":1,"method":"ping"}"#).await.status == StatusCode::OK
    }
}

/// A modern request with its headers.
pub async fn modern(http: &Http, method: &str, params: &str, more: &[(&str, &str)]) -> Reply {
    let headers = [&[("mcp-protocol-version", "2026-07-28"), ("mcp-method", method)], more].concat();
    http.post("/mcp", &headers, &modern_body(method, params)).await
}

/// A modern request. `params` are the fields before `_meta`, each followed by a comma.
pub fn modern_body(method: &str, params: &str) -> String {
    format!(r#"{{"jsonrpc":"2.0","id":1,"method":"{method}","params":{{{params}{CLAIM}}}}}"#)
}

pub type Socket = Box<WebSocketStream<MaybeTlsStream<TcpStream>>>;

/// A WebSocket, without subprotocol.
pub async fn socket(hub: &Hub, path: &str) -> Socket {
    let url = hub.mcp.url(path).replacen("http", "ws", 1);
    let (socket, _) = Box::pin(tokio_tungstenite::connect_async(url)).await.unwrap();
    Box::new(socket)
}

pub async fn say(socket: &mut Socket, text: &str) {
    socket.send(Message::text(text)).await.unwrap();
}

/// The next text frame.
pub async fn hear(socket: &mut Socket) -> Value {
    loop {
        match tokio::time::timeout(PATIENCE, socket.next())
            .await
            .unwrap()
            .unwrap()
            .unwrap()
        {
            Message::Text(text) => return serde_json::from_str(&text).unwrap(),
            Message::Ping(_) | Message::Pong(_) => {}
            other @ (Message::Binary(_) | Message::Close(_) | Message::Frame(_)) => panic!("{other:?}"),
        }
    }
}

/// Speaks plain bytes on a fresh connection and returns everything that comes back until the other side closes.
pub async fn bytes(http: &Http, bytes: &[u8]) -> String {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    let url = http.url("");
    let address = url.strip_prefix("http://").unwrap();
    let mut stream = TcpStream::connect(address).await.unwrap();
    // The other side may answer and close before everything is sent.
    let _early = stream.write_all(bytes).await;
    let mut answer = Vec::new();
    let _reset = tokio::time::timeout(PATIENCE, stream.read_to_end(&mut answer))
        .await
        .unwrap();
    String::from_utf8_lossy(&answer).into_owned()
}

/// One header of a map.
pub fn header<'a>(headers: &'a HeaderMap, name: &str) -> &'a str {
    headers.get(name).map_or("", |value| value.to_str().unwrap())
}

/// A hub with the demo service, once it is listed in both eras.
pub async fn demo() -> Hub {
    let hub = Hub::builder().start().await;
    listed(&hub).await;
    hub
}

/// Waits until clients of both eras see the demo service.
pub async fn listed(hub: &Hub) {
    let session = Session::open(hub, "2025-11-25").await;
    hub.wait_until(
        std::time::Duration::from_secs(20),
        "the demo service to be listed",
        async || {
            let legacy = session
                .post(r#"{"jsonrpc":"2.0","id":1,"method":"tools/list"}"#)
                .await
                .text();
            let modern = modern(&hub.mcp, "tools/list", "", &[]).await.text();
            if legacy.contains("demo__echo") && modern.contains("demo__echo") {
                Ok(())
            } else {
                Err(format!("{legacy}\n{modern}"))
            }
        },
    )
    .await;
}
