//! Server-sent events: a parser, and a stream read event by event.

use std::time::Duration;

use http::{HeaderMap, Response, StatusCode};
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use serde_json::Value;

/// One event.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Event {
    pub kind: String,
    pub id: Option<String>,
    pub data: String,
}

impl Event {
    /// The JSON-RPC message it carries; `None` for an event without data (keep-alive, priming event) or of another kind.
    pub fn message(&self) -> Option<Value> {
        let carries = !self.data.is_empty() && (self.kind.is_empty() || self.kind == "message");
        carries.then(|| serde_json::from_str(&self.data).unwrap_or_else(|e| panic!("{e} in event {self:?}")))
    }
}

/// The complete events of a text; comments and events without any field are left out.
pub fn events_in(text: &str) -> Vec<Event> {
    text.replace("\r\n", "\n")
        .split("\n\n")
        .map(|block| {
            let mut event = Event::default();
            for line in block.lines() {
                let (field, value) = line.split_once(':').unwrap_or((line, ""));
                let value = value.strip_prefix(' ').unwrap_or(value);
                match field {
                    "event" => value.clone_into(&mut event.kind),
                    "id" => event.id = Some(value.to_owned()),
                    "data" if event.data.is_empty() => value.clone_into(&mut event.data),
                    "data" => event.data = format!("{}\n{value}", event.data),
                    _ => {}
                }
            }
            event
        })
        .filter(|event| *event != Event::default())
        .collect()
}

/// An open stream.
#[derive(Debug)]
pub struct EventStream {
    pub status: StatusCode,
    pub headers: HeaderMap,
    body: Incoming,
    unread: String,
}

impl EventStream {
    pub fn new(response: Response<Incoming>) -> Self {
        let (head, body) = response.into_parts();
        Self {
            status: head.status,
            headers: head.headers,
            body,
            unread: String::new(),
        }
    }

    /// A header's text, empty if absent.
    pub fn header(&self, name: &str) -> &str {
        self.headers
            .get(name)
            .map_or("", |value| value.to_str().expect("a header in ASCII"))
    }

    /// The next event; `None` when the stream has ended. Fails the test when neither happens within the bound.
    pub async fn next(&mut self, bound: Duration) -> Option<Event> {
        tokio::time::timeout(bound, self.read_event())
            .await
            .unwrap_or_else(|_| panic!("no event within {bound:?}"))
    }

    /// The next event that carries a JSON-RPC message.
    pub async fn next_message(&mut self, bound: Duration) -> Option<Value> {
        loop {
            let event = self.next(bound).await?;
            if let Some(message) = event.message() {
                return Some(message);
            }
        }
    }

    async fn read_event(&mut self) -> Option<Event> {
        loop {
            if let Some(end) = self.unread.find("\n\n") {
                let block: String = self.unread.drain(..end + 2).collect();
                if let Some(event) = events_in(&block).into_iter().next() {
                    return Some(event);
                }
                continue;
            }
            let frame = self.body.frame().await?.ok()?;
            if let Ok(data) = frame.into_data() {
                // Events are cut at line ends, which are ASCII; text within is valid UTF-8 once whole.
                let text = std::str::from_utf8(&data).expect("an event stream in UTF-8");
                self.unread.push_str(&text.replace("\r\n", "\n"));
            }
        }
    }
}

#[test]
fn events_are_read_as_the_specification_of_server_sent_events_says() {
    let text = ": keep-alive\n\nid: 1\ndata:\n\nevent: message\nid: 2\ndata: {\"a\":\ndata: 1}\n\n";
    let events = events_in(text);
    assert_eq!(events.len(), 2);
    assert_eq!(events[0].id.as_deref(), Some("1"));
    assert_eq!(events[0].message(), None);
    assert_eq!(events[1].message(), Some(serde_json::json!({"a": 1})));
}
