//! A small MCP client for every door and both eras. It takes what comes: no model, only JSON, one request at a time.
//! Tests that need many requests in flight or broken messages use [`crate::http`] itself.

use std::{collections::VecDeque, time::Duration};

use futures_util::{SinkExt as _, StreamExt as _};
use http::{Method, StatusCode};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader},
    net::TcpStream,
    process::{ChildStdin, ChildStdout},
};
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, tungstenite::Message};

use crate::{
    http::{Http, PATIENCE, Reply},
    hub::Hub,
    sse::EventStream,
};

pub const LEGACY: &str = "2025-11-25";
pub const MODERN: &str = "2026-07-28";

/// A way into a hub.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Door {
    /// Streamable HTTP at `/mcp`.
    Http,
    /// HTTP+SSE at `/sse`, legacy only.
    Sse,
    /// WebSocket at `/ws`.
    Socket,
    /// The hub's own stdin and stdout; works once per hub.
    Stdio,
}

/// Newline-delimited messages over a child's pipes.
#[derive(Debug)]
pub struct Lines {
    input: Option<ChildStdin>,
    output: BufReader<ChildStdout>,
}

impl Lines {
    pub fn new(input: std::process::ChildStdin, output: std::process::ChildStdout) -> Self {
        Self {
            input: Some(ChildStdin::from_std(input).unwrap()),
            output: BufReader::new(ChildStdout::from_std(output).unwrap()),
        }
    }

    pub async fn send(&mut self, line: &str) {
        let input = self.input.as_mut().expect("stdin is open");
        input.write_all(format!("{line}\n").as_bytes()).await.unwrap();
        input.flush().await.unwrap();
    }

    /// Closes stdin, which ends a hub started with `--transport stdio`.
    pub fn close(&mut self) {
        self.input = None;
    }

    /// The next line; `None` at the end.
    pub async fn next(&mut self) -> Option<String> {
        let mut line = String::new();
        let read = self.output.read_line(&mut line).await.unwrap();
        (read > 0).then(|| line.trim_end().to_owned())
    }
}

#[derive(Debug)]
enum Link {
    Http {
        http: Http,
        path: String,
        session: Option<String>,
        listening: Option<EventStream>,
    },
    Sse {
        http: Http,
        post_to: String,
        stream: EventStream,
    },
    Socket(Box<WebSocketStream<MaybeTlsStream<TcpStream>>>),
    Stdio(Lines),
}

/// A connected client.
#[derive(Debug)]
pub struct McpClient {
    link: Link,
    revision: String,
    next_id: u64,
    /// Result of `initialize` or `server/discover`.
    pub greeting: Value,
    /// Notifications and requests of the server that came while something else was awaited, oldest first.
    pub inbox: VecDeque<Value>,
}

impl McpClient {
    /// Connects and greets: `initialize` for legacy revisions, `server/discover` for modern ones.
    pub async fn connect(hub: &mut Hub, door: Door, prefix: &str, revision: &str) -> Self {
        if door == Door::Stdio {
            return Self::greeted(Link::Stdio(hub.take_stdio()), revision).await;
        }
        Self::open(&hub.mcp, door, prefix, revision).await
    }

    /// Connects over the network; many can do so at once.
    pub async fn open(http: &Http, door: Door, prefix: &str, revision: &str) -> Self {
        let link = match door {
            Door::Http => Link::Http {
                http: http.clone(),
                path: format!("{prefix}/mcp"),
                session: None,
                listening: None,
            },
            Door::Sse => {
                let mut stream = http.stream(&format!("{prefix}/sse"), &[], None).await;
                assert_eq!(stream.status, StatusCode::OK);
                let first = stream.next(PATIENCE).await.expect("an endpoint event");
                assert_eq!(first.kind, "endpoint");
                Link::Sse {
                    http: http.clone(),
                    post_to: first.data,
                    stream,
                }
            }
            Door::Socket => {
                let url = http.url(&format!("{prefix}/ws")).replacen("http", "ws", 1);
                let mut request =
                    tokio_tungstenite::tungstenite::client::IntoClientRequest::into_client_request(url).unwrap();
                request
                    .headers_mut()
                    .insert("sec-websocket-protocol", "mcp".parse().unwrap());
                let (socket, _) = Box::pin(tokio_tungstenite::connect_async(request)).await.unwrap();
                Link::Socket(Box::new(socket))
            }
            Door::Stdio => panic!("stdin and stdout belong to the hub's parent"),
        };
        Self::greeted(link, revision).await
    }

    async fn greeted(link: Link, revision: &str) -> Self {
        let mut client = Self {
            link,
            revision: revision.to_owned(),
            next_id: 0,
            greeting: Value::Null,
            inbox: VecDeque::new(),
        };
        client.greet().await;
        client
    }

    fn is_modern(&self) -> bool {
        self.revision.as_str() >= MODERN
    }

    async fn greet(&mut self) {
        let info = json!({"name": "mcpvisor-it", "version": "1"});
        if self.is_modern() {
            self.greeting = self.request("server/discover", json!({})).await.unwrap();
            return;
        }
        let params = json!({"protocolVersion": self.revision, "capabilities": {}, "clientInfo": info});
        self.greeting = self.request("initialize", params).await.unwrap();
        assert_eq!(self.greeting["protocolVersion"], self.revision.as_str());
        self.notify("notifications/initialized", json!({})).await;
    }

    fn with_meta(&self, mut params: Value) -> Value {
        if self.is_modern() {
            let meta = params
                .as_object_mut()
                .unwrap()
                .entry("_meta")
                .or_insert_with(|| json!({}));
            meta["io.modelcontextprotocol/protocolVersion"] = json!(self.revision);
            meta["io.modelcontextprotocol/clientCapabilities"] = json!({});
            meta["io.modelcontextprotocol/clientInfo"] = json!({"name": "mcpvisor-it", "version": "1"});
        }
        params
    }

    /// Asks; `Err` is the JSON-RPC error object.
    pub async fn request(&mut self, method: &str, params: Value) -> Result<Value, Value> {
        self.next_id += 1;
        let id = self.next_id;
        let params = self.with_meta(params);
        let message = json!({"jsonrpc": "2.0", "id": id, "method": method, "params": params});
        let mut answer = self.send(&message).await;
        while answer.is_none() {
            let came = self.receive(PATIENCE).await.expect("an answer before the end");
            answer = self.sort(came, id);
        }
        let mut answer = answer.unwrap();
        match answer.get_mut("error") {
            Some(error) => Err(error.take()),
            None => Ok(answer["result"].take()),
        }
    }

    /// Keeps what is no answer to `id`.
    fn sort(&mut self, message: Value, id: u64) -> Option<Value> {
        if message["id"] == id && message.get("method").is_none() {
            return Some(message);
        }
        self.inbox.push_back(message);
        None
    }

    pub async fn notify(&mut self, method: &str, params: Value) {
        let params = self.with_meta(params);
        self.send(&json!({"jsonrpc": "2.0", "method": method, "params": params}))
            .await;
    }

    /// Answers a request of the server.
    pub async fn answer(&mut self, request: &Value, result: Value) {
        self.send(&json!({"jsonrpc": "2.0", "id": request["id"], "result": result}))
            .await;
    }

    /// Sends a message; over HTTP its answer may come with it.
    async fn send(&mut self, message: &Value) -> Option<Value> {
        let text = message.to_string();
        match &mut self.link {
            Link::Http { .. } => return self.post(message, &text).await,
            Link::Sse { http, post_to, .. } => {
                let reply = http.post(post_to, &[], &text).await;
                assert!(reply.status.is_success(), "{}: {}", reply.status, reply.text());
            }
            Link::Socket(socket) => socket.send(Message::text(text)).await.unwrap(),
            Link::Stdio(lines) => lines.send(&text).await,
        }
        None
    }

    async fn post(&mut self, message: &Value, text: &str) -> Option<Value> {
        let Link::Http {
            http, path, session, ..
        } = &mut self.link
        else {
            return None;
        };
        let method = message["method"].as_str().unwrap_or("");
        let name = ["name", "uri"]
            .iter()
            .find_map(|key| message["params"][key].as_str())
            .unwrap_or("");
        let held = session.clone();
        let mut headers: Vec<(&str, &str)> = Vec::new();
        if self.revision.as_str() >= MODERN {
            headers.extend([("mcp-protocol-version", self.revision.as_str()), ("mcp-method", method)]);
            if ["tools/call", "prompts/get", "resources/read"].contains(&method) {
                headers.push(("mcp-name", name));
            }
        } else if let Some(session) = &held {
            headers.extend([
                ("mcp-session-id", session.as_str()),
                ("mcp-protocol-version", self.revision.as_str()),
            ]);
        }
        let reply: Reply = http.post(path, &headers, text).await;
        if method == "initialize" {
            *session = Some(reply.header("mcp-session-id").to_owned()).filter(|id| !id.is_empty());
        }
        let id = message["id"].as_u64().unwrap_or(0);
        let mut answer = None;
        for message in reply.messages() {
            answer = self.sort(message, id).or(answer);
        }
        let expected = message.get("method").is_some() && message.get("id").is_some();
        assert!(
            !expected || answer.is_some(),
            "{} without an answer: {}",
            reply.status,
            reply.text()
        );
        answer
    }

    /// Opens the stream on which [`McpClient::next_message`] sees what belongs to no request: GET for a legacy session,
    /// `subscriptions/listen` for changes of tools in the modern era. The other doors have one already.
    pub async fn listen(&mut self) {
        let changes = json!({"notifications": {"toolsListChanged": true}});
        let params = self.with_meta(changes);
        let modern = self.is_modern();
        let Link::Http {
            http,
            path,
            session,
            listening,
        } = &mut self.link
        else {
            return;
        };
        let version = ("mcp-protocol-version", self.revision.as_str());
        let mut stream = if modern {
            let ask = json!({"jsonrpc": "2.0", "id": "listen", "method": "subscriptions/listen", "params": params});
            let headers = [version, ("mcp-method", "subscriptions/listen")];
            http.stream(path, &headers, Some(&ask.to_string())).await
        } else {
            let id = session.clone().expect("a session");
            http.stream(path, &[version, ("mcp-session-id", &id)], None).await
        };
        assert_eq!(stream.status, StatusCode::OK);
        if modern {
            let first = stream.next_message(PATIENCE).await.expect("an acknowledgement");
            assert_eq!(first["method"], "notifications/subscriptions/acknowledged");
        }
        *listening = Some(stream);
    }

    /// Whether it has a session over HTTP, which outlives its connections.
    pub fn has_session(&self) -> bool {
        matches!(&self.link, Link::Http { session: Some(_), .. })
    }

    /// Ends the session over HTTP.
    pub async fn delete_session(&mut self) -> StatusCode {
        let Link::Http {
            http, path, session, ..
        } = &self.link
        else {
            panic!("only Streamable HTTP has sessions to delete");
        };
        let id = session.clone().expect("a session");
        let reply = http.send(Method::DELETE, path, &[("mcp-session-id", &id)], "").await;
        reply.status
    }

    /// The next message from the server that answers nothing; fails the test when none comes within the bound.
    pub async fn next_message(&mut self, bound: Duration) -> Value {
        match self.inbox.pop_front() {
            Some(message) => message,
            None => self.receive(bound).await.expect("a message before the end"),
        }
    }

    async fn receive(&mut self, bound: Duration) -> Option<Value> {
        let received = async {
            match &mut self.link {
                Link::Http { listening, .. } => {
                    let stream = listening.as_mut().expect("listen() comes first");
                    stream.next_message(bound).await
                }
                Link::Sse { stream, .. } => stream.next_message(bound).await,
                Link::Socket(socket) => loop {
                    match socket.next().await?.ok()? {
                        Message::Text(text) => return serde_json::from_str(&text).ok(),
                        Message::Close(_) => return None,
                        Message::Binary(_) | Message::Ping(_) | Message::Pong(_) | Message::Frame(_) => {}
                    }
                },
                Link::Stdio(lines) => lines.next().await.map(|line| {
                    serde_json::from_str(&line)
                        .unwrap_or_else(|e| panic!("stdout has a line that is no message ({e}): {line}"))
                }),
            }
        };
        tokio::time::timeout(bound, received)
            .await
            .unwrap_or_else(|_| panic!("no message within {bound:?}"))
    }

    /// All pages of a list: `tools/list` and `tools`, and so on.
    pub async fn list(&mut self, method: &str, key: &str) -> Vec<Value> {
        let mut items = Vec::new();
        let mut params = json!({});
        loop {
            let mut page = self.request(method, params).await.unwrap();
            items.extend(page[key].as_array().expect("a list").iter().cloned());
            let cursor = page["nextCursor"].take();
            if cursor.is_null() {
                return items;
            }
            params = json!({ "cursor": cursor });
        }
    }

    /// Names of all tools.
    pub async fn tools(&mut self) -> Vec<String> {
        let tools = self.list("tools/list", "tools").await;
        tools
            .iter()
            .map(|tool| tool["name"].as_str().unwrap().to_owned())
            .collect()
    }

    /// Calls a tool.
    pub async fn call(&mut self, tool: &str, arguments: Value) -> Result<Value, Value> {
        self.request("tools/call", json!({"name": tool, "arguments": arguments}))
            .await
    }

    /// Closes stdin of a hub reached over stdio.
    pub fn close_stdin(&mut self) {
        if let Link::Stdio(lines) = &mut self.link {
            lines.close();
        }
    }
}

/// The text blocks of a tool's result, joined.
pub fn text_of(result: &Value) -> String {
    let blocks = result["content"].as_array().map_or(&[][..], Vec::as_slice);
    blocks
        .iter()
        .filter_map(|block| block["text"].as_str())
        .collect::<Vec<_>>()
        .join("\n")
}
