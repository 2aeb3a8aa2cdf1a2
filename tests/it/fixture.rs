//! The child of `tests/fixtures/child` as a service of a hub, and clients that have many requests in flight at once.

use std::{
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use http::{Method, StatusCode};
use serde_json::{Value, json};

use crate::{
    client::{LEGACY, MODERN},
    http::{Http, PATIENCE, Reply},
    hub::Hub,
    sse::EventStream,
    tools::fixture,
};

/// How long the child may take to start, and the hub to notice something. Generous: two busy cores.
pub const SOON: Duration = Duration::from_secs(20);

/// One entry of `services:` that runs the child with `switches`; `settings` are further keys, in YAML's flow form.
pub fn service(name: &str, settings: &str, switches: &[&str]) -> String {
    let switches = json!(switches).to_string();
    let command = json!(fixture("fixture-child"));
    let comma = if settings.is_empty() { "" } else { ", " };
    format!("  {name}: {{ command: {command}, args: {switches}{comma}{settings} }}\n")
}

/// A configuration of nothing but services.
pub fn services(entries: &[String]) -> String {
    format!("services:\n{}", entries.concat())
}

/// A hub with the child as `fix`, ready.
pub async fn hub_with(settings: &str, switches: &[&str]) -> Hub {
    let hub = Hub::builder()
        .config(&services(&[service("fix", settings, switches)]))
        .start()
        .await;
    hub.wait_until_ready(SOON).await;
    hub
}

/// Where the child counts what happens to it (`--count-file`).
pub struct CountFile(PathBuf);

impl CountFile {
    pub fn of(folder: &Path) -> Self {
        Self(folder.join("count"))
    }

    /// Another handle to one.
    pub fn at(path: &str) -> Self {
        Self(path.into())
    }

    pub fn path(&self) -> &str {
        self.0.to_str().unwrap()
    }

    pub fn lines(&self) -> Vec<String> {
        let text = fs::read_to_string(&self.0).unwrap_or_default();
        text.lines().map(str::to_owned).collect()
    }

    /// How many lines begin so.
    pub fn count(&self, start: &str) -> usize {
        self.lines().iter().filter(|line| line.starts_with(start)).count()
    }

    pub async fn wait_for(&self, hub: &Hub, start: &str, times: usize) {
        hub.wait_until(SOON, &format!("{times} × `{start}` in the count file"), async || {
            let count = self.count(start);
            if count >= times {
                Ok(())
            } else {
                Err(format!("{:?}", self.lines()))
            }
        })
        .await;
    }
}

/// `tools/call` as a message.
#[expect(clippy::needless_pass_by_value, reason = "arguments are written in place")]
pub fn call(id: impl Into<Value>, tool: &str, arguments: Value) -> Value {
    json!({"jsonrpc": "2.0", "id": id.into(), "method": "tools/call", "params": {"name": tool, "arguments": arguments}})
}

/// The answer among the messages of one reply.
pub fn answer_in(messages: &[Value]) -> Value {
    let answers: Vec<_> = messages
        .iter()
        .filter(|message| message.get("method").is_none())
        .collect();
    assert_eq!(answers.len(), 1, "one answer in {messages:?}");
    answers[0].clone()
}

/// The one text block of a result.
pub fn text_in(answer: &Value) -> &str {
    answer["result"]["content"][0]["text"]
        .as_str()
        .unwrap_or_else(|| panic!("no text in {answer}"))
}

/// A legacy session over Streamable HTTP, used by many requests at once.
#[derive(Clone, Debug)]
pub struct Session {
    http: Http,
    path: String,
    id: String,
}

impl Session {
    pub async fn open(hub: &Hub) -> Self {
        Self::open_at(hub, "", &json!({})).await
    }

    /// Over connections of that client.
    pub async fn open_on(http: &Http) -> Self {
        Self::open_with(http, "", &json!({})).await
    }

    /// With capabilities, under a prefix such as `/services/fix`.
    pub async fn open_at(hub: &Hub, prefix: &str, capabilities: &Value) -> Self {
        Self::open_with(&hub.mcp, prefix, capabilities).await
    }

    async fn open_with(http: &Http, prefix: &str, capabilities: &Value) -> Self {
        let params = json!({"protocolVersion": LEGACY, "capabilities": capabilities,
            "clientInfo": {"name": "it", "version": "1"}});
        let hello = json!({"jsonrpc": "2.0", "id": 0, "method": "initialize", "params": params});
        let path = format!("{prefix}/mcp");
        let reply = http.post(&path, &[], &hello.to_string()).await;
        let session = Self {
            http: http.clone(),
            path,
            id: reply.header("mcp-session-id").to_owned(),
        };
        let ready = json!({"jsonrpc": "2.0", "method": "notifications/initialized"});
        assert_eq!(session.post(&ready).await.len(), 0);
        session
    }

    /// Its `Mcp-Session-Id`.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// Ends it.
    pub async fn end(&self) {
        let reply = self.http.send(Method::DELETE, &self.path, &self.headers(), "").await;
        assert_eq!(reply.status, StatusCode::NO_CONTENT, "{}", reply.text());
    }

    fn headers(&self) -> [(&str, &str); 2] {
        [("mcp-session-id", self.id.as_str()), ("mcp-protocol-version", LEGACY)]
    }

    pub async fn post_text(&self, text: &str) -> Reply {
        self.http.post(&self.path, &self.headers(), text).await
    }

    /// Sends a message to a hub that may go away.
    pub async fn try_post(&self, message: &Value) -> Option<Vec<Value>> {
        let (headers, text) = (self.headers(), message.to_string());
        Some(self.http.try_post(&self.path, &headers, &text).await?.messages())
    }

    /// Sends a message and waits for the end of what comes back.
    pub async fn post(&self, message: &Value) -> Vec<Value> {
        self.post_text(&message.to_string()).await.messages()
    }

    /// Calls a tool and waits for the answer, which is an error or a result.
    pub async fn call(&self, tool: &str, arguments: Value) -> Value {
        answer_in(&self.post(&call(1, tool, arguments)).await)
    }

    /// Sends a request whose answer is read as it comes.
    pub async fn stream(&self, message: &Value) -> EventStream {
        let stream = self
            .http
            .stream(&self.path, &self.headers(), Some(&message.to_string()))
            .await;
        assert_eq!(stream.header("content-type"), "text/event-stream");
        stream
    }

    /// The stream of what belongs to no request, from `last` on if there was one before.
    pub async fn listen(&self, last: Option<&str>) -> EventStream {
        let mut headers = self.headers().to_vec();
        headers.extend(last.map(|last| ("last-event-id", last)));
        self.http.stream(&self.path, &headers, None).await
    }

    /// Every notification that the legacy process has got.
    pub async fn events(&self, tool: &str) -> String {
        text_in(&self.call(tool, json!({})).await).to_owned()
    }
}

/// A modern request with its claim.
pub fn modern(mut message: Value) -> Value {
    let meta = &mut message["params"]["_meta"];
    meta["io.modelcontextprotocol/protocolVersion"] = json!(MODERN);
    meta["io.modelcontextprotocol/clientCapabilities"] = json!({});
    meta["io.modelcontextprotocol/clientInfo"] = json!({"name": "it", "version": "1"});
    message
}

fn modern_headers(message: &Value) -> Vec<(&str, &str)> {
    let mut headers = vec![
        ("mcp-protocol-version", MODERN),
        ("mcp-method", message["method"].as_str().unwrap_or_default()),
    ];
    let name = &message["params"]["name"];
    headers.extend(name.as_str().map(|name| ("mcp-name", name)));
    headers
}

/// Posts a modern message as its own text.
pub async fn post_modern(hub: &Hub, prefix: &str, message: &Value) -> Reply {
    let headers = modern_headers(message);
    hub.mcp
        .post(&format!("{prefix}/mcp"), &headers, &message.to_string())
        .await
}

/// A modern request whose answer is read as it comes.
pub async fn stream_modern(hub: &Hub, message: &Value) -> EventStream {
    let headers = modern_headers(message);
    let stream = hub.mcp.stream("/mcp", &headers, Some(&message.to_string())).await;
    assert_eq!(stream.header("content-type"), "text/event-stream");
    stream
}

/// Calls a tool as a modern client; the whole answer.
pub async fn call_modern(hub: &Hub, tool: &str, arguments: Value) -> Value {
    answer_in(&post_modern(hub, "", &modern(call(1, tool, arguments))).await.messages())
}

/// The next message of a stream, which must be of this method.
pub async fn expect(stream: &mut EventStream, method: &str) -> Value {
    let message = stream.next_message(PATIENCE).await.expect("a message before the end");
    assert_eq!(message["method"], method, "{message}");
    message
}
