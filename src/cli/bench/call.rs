//! The messages of a call that is made again and again, and whether an answer is the right one.

use bytes::{BufMut as _, Bytes, BytesMut};
use serde_json::{Map, Value, json};

use super::tool::Choice;
use crate::{
    jsonrpc::{Kind, Message, parse},
    mcp::{Era, Revision, meta_key, method},
};

/// Where a call's own number goes in the text; its length in hexadecimal digits is the same.
const MARK: &str = "@@@serial@@@";

/// A `tools/call` cut at the two places that differ from call to call.
#[derive(Debug)]
pub(super) struct Call {
    tool: String,
    before_serial: String,
    /// Empty where the answer can't tell calls apart.
    after_serial: Option<String>,
}

impl Call {
    pub(super) fn new(era: Era, choice: &Choice, text_bytes: usize) -> Self {
        let mut arguments = choice.arguments.clone();
        if let Some(name) = &choice.text {
            let filler = "x".repeat(text_bytes.saturating_sub(MARK.len()));
            arguments.insert(name.clone(), format!("{MARK}{filler}").into());
        }
        let params = with_meta(era, json!({"name": choice.tool, "arguments": arguments}));
        let rest = format!(",\"method\":\"{}\",\"params\":{params}}}", method::TOOLS_CALL);
        let cut = choice.text.as_ref().and_then(|_| rest.split_once(MARK));
        let (before_serial, after_serial) = match cut {
            Some((before, after)) => (before.to_owned(), Some(after.to_owned())),
            None => (rest, None),
        };
        Self {
            tool: choice.tool.clone(),
            before_serial,
            after_serial,
        }
    }

    pub(super) fn tool(&self) -> &str {
        &self.tool
    }

    /// The message, and `end` after it.
    pub(super) fn message(&self, id: u64, serial: u64, end: &str) -> Bytes {
        let after = self.after_serial.as_deref();
        let mut message = BytesMut::with_capacity(64 + self.before_serial.len() + after.map_or(0, str::len));
        message.put_slice(format!("{{\"jsonrpc\":\"2.0\",\"id\":{id}").as_bytes());
        message.put_slice(self.before_serial.as_bytes());
        if let Some(after) = after {
            message.put_slice(text_of(serial).as_bytes());
            message.put_slice(after.as_bytes());
        }
        message.put_slice(end.as_bytes());
        message.freeze()
    }

    /// Whether `answer` is the one to `id` and `serial`.
    pub(super) fn check(&self, answer: &Message, id: u64, serial: u64) -> Result<(), String> {
        if answer.id().and_then(|id| id.parse().ok()) != Some(id) {
            return Err("an answer to another id".to_owned());
        }
        let body = answer.body_text().unwrap_or_default();
        match answer.kind() {
            Kind::Result => {}
            Kind::Error => return Err(format!("JSON-RPC error {}", code_in(body))),
            Kind::Request | Kind::Notification => return Err("no answer".to_owned()),
        }
        let holds = |text: &str| memchr::memmem::find(body.as_bytes(), text.as_bytes()).is_some();
        if self.after_serial.is_some() && !holds(&text_of(serial)) {
            return Err("the answer to another call".to_owned());
        }
        if holds("\"isError\":true") {
            return Err("the tool reported an error".to_owned());
        }
        Ok(())
    }
}

fn text_of(serial: u64) -> String {
    format!("{serial:012x}")
}

fn code_in(error: &str) -> String {
    serde_json::from_str::<Value>(error).map_or_else(|_| "?".to_owned(), |error| format!("{}", error["code"]))
}

/// `params` as a request of the era carries them.
pub(super) fn with_meta(era: Era, mut params: Value) -> Value {
    if era == Era::Modern
        && let Some(params) = params.as_object_mut()
    {
        let mut meta = Map::new();
        meta.insert(meta_key::PROTOCOL_VERSION.to_owned(), Revision::NEWEST.as_str().into());
        meta.insert(meta_key::CLIENT_INFO.to_owned(), client_info());
        meta.insert(meta_key::CLIENT_CAPABILITIES.to_owned(), json!({}));
        params.insert("_meta".to_owned(), meta.into());
    }
    params
}

/// A whole request.
pub(super) fn request(era: Era, id: u64, method: &str, params: Value) -> String {
    json!({"jsonrpc": "2.0", "id": id, "method": method, "params": with_meta(era, params)}).to_string()
}

/// The request that opens a legacy session.
pub(super) fn initialize() -> String {
    let params = json!({"protocolVersion": Revision::NEWEST_LEGACY.as_str(), "capabilities": {},
        "clientInfo": client_info()});
    request(Era::Legacy, 0, method::INITIALIZE, params)
}

/// What ends its handshake.
pub(super) fn initialized() -> String {
    json!({"jsonrpc": "2.0", "method": method::INITIALIZED}).to_string()
}

fn client_info() -> Value {
    json!({"name": "mcpvisor-bench", "version": env!("CARGO_PKG_VERSION")})
}

/// The answers among the messages of an HTTP body, which is JSON or an event stream.
pub(super) fn answers_in(body: &Bytes, events: bool) -> Vec<Message> {
    let answer = |bytes: Bytes| {
        parse(bytes)
            .ok()
            .filter(|message| matches!(message.kind(), Kind::Result | Kind::Error))
    };
    if !events {
        return answer(body.clone()).into_iter().collect();
    }
    let mut found = Vec::new();
    for line in body.split(|byte| *byte == b'\n') {
        // Servers write a message on one line.
        if let Some(data) = line.strip_prefix(b"data:") {
            found.extend(answer(body.slice_ref(data)));
        }
    }
    found
}

/// The result of a request made once.
pub(super) fn result_of(answer: &Message) -> anyhow::Result<Value> {
    let body: Value = serde_json::from_str(answer.body_text().unwrap_or("null"))?;
    match answer.kind() {
        Kind::Result => Ok(body),
        Kind::Error | Kind::Request | Kind::Notification => anyhow::bail!("the server answered {body}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn call(text: Option<&str>) -> Call {
        let choice = Choice {
            tool: "echo".to_owned(),
            arguments: Map::new(),
            text: text.map(str::to_owned),
        };
        Call::new(Era::Legacy, &choice, 300)
    }

    fn answer(text: &str) -> Message {
        parse(Bytes::copy_from_slice(text.as_bytes())).unwrap()
    }

    #[test]
    fn every_call_is_whole_and_its_own() {
        let message = parse(call(Some("text")).message(7, 255, "")).unwrap();
        let params: Value = serde_json::from_str(message.body_text().unwrap()).unwrap();
        let text = params["arguments"]["text"].as_str().unwrap();
        assert_eq!(message.id(), Some("7"));
        assert_eq!(text.len(), 300);
        assert!(text.starts_with("0000000000ffxxx"), "{text}");
    }

    #[test]
    fn only_the_own_answer_counts() {
        let call = call(Some("text"));
        let good = r#"{"jsonrpc":"2.0","id":7,"result":{"content":[{"text":"0000000000ffxx"}]}}"#;
        assert_eq!(call.check(&answer(good), 7, 255), Ok(()));
        assert!(call.check(&answer(good), 8, 255).unwrap_err().contains("another id"));
        assert!(call.check(&answer(good), 7, 254).unwrap_err().contains("another call"));
        let refused = r#"{"jsonrpc":"2.0","id":7,"error":{"code":-31001,"message":"gone"}}"#;
        assert_eq!(
            call.check(&answer(refused), 7, 255).unwrap_err(),
            "JSON-RPC error -31001"
        );
        let failed = r#"{"jsonrpc":"2.0","id":7,"result":{"isError":true,"content":[{"text":"0000000000ff"}]}}"#;
        assert!(call.check(&answer(failed), 7, 255).unwrap_err().contains("reported"));
    }

    #[test]
    fn answers_are_found_in_streams() {
        let body = Bytes::from_static(
            b"event: message\ndata: {\"jsonrpc\":\"2.0\",\"method\":\"notifications/progress\"}\n\n\
              data: {\"jsonrpc\":\"2.0\",\"id\":3,\"result\":{}}\r\n\r\n",
        );
        let found = answers_in(&body, true);
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].id(), Some("3"));
        assert!(answers_in(&body, false).is_empty());
    }

    #[test]
    fn modern_requests_say_who_they_are() {
        let text = request(Era::Modern, 1, "tools/list", json!({}));
        assert!(
            text.contains("io.modelcontextprotocol/protocolVersion\":\"2026-07-28"),
            "{text}"
        );
    }
}
