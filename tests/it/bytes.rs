//! Bytes survive: unknown fields, numbers of any size and spelling, key order, escapes and unusual ids go through the hub
//! unchanged in both directions, on every door and in both eras.

use std::cell::RefCell;

use futures_util::{SinkExt as _, StreamExt as _};
use proptest::{
    prelude::*,
    test_runner::{Config, TestCaseError, TestRunner},
};
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, tungstenite::Message};

use crate::{
    client::{LEGACY, Lines, MODERN},
    fixture::{SOON, Session, service, services},
    http::{Http, PATIENCE, Reply},
    hub::Hub,
    sse::events_in,
};

/// Numbers that no double and no 64-bit integer holds, or that are spelled as no library would.
const NUMBERS: &[&str] = &[
    "18446744073709551616",
    "-9223372036854775809",
    "123456789012345678901234567890123456789012345678901234567890",
    "1e400",
    "-1E-400",
    "1.0",
    "1e2",
    "-0",
    "0.1000",
    "3.141592653589793238462643383279",
];

const TEXTS: &[&str] = &[
    r#""plain""#,
    r#""""#,
    r#""\u0041\/\b\f\n\r\t\\\"""#,
    r#""\u00e9é\ud83d\ude00😀""#,
    r#""\u2028\u0000""#,
    r#""{\"id\":1}""#,
    "\"\u{7f}\u{2028}\"",
];

fn number() -> impl Strategy<Value = String> {
    prop_oneof![
        proptest::sample::select(NUMBERS).prop_map(str::to_owned),
        "-?[1-9][0-9]{0,60}",
        "-?(0|[1-9][0-9]{0,5})\\.[0-9]{1,20}([eE][+-]?[0-9]{1,4})?",
    ]
}

fn text() -> impl Strategy<Value = String> {
    prop_oneof![
        proptest::sample::select(TEXTS).prop_map(str::to_owned),
        any::<String>().prop_map(|text| json!(text).to_string()),
    ]
}

fn blank() -> impl Strategy<Value = &'static str> {
    proptest::sample::select(&["", "", " ", "\t", "  "][..])
}

fn value() -> impl Strategy<Value = String> {
    let leaf = prop_oneof![
        number(),
        text(),
        proptest::sample::select(&["null", "true", "false", "[]", "{}"][..]).prop_map(str::to_owned),
    ];
    leaf.prop_recursive(3, 16, 4, |inner| {
        prop_oneof![
            (proptest::collection::vec(inner.clone(), 0..4), blank())
                .prop_map(|(items, blank)| format!("[{blank}{}]", items.join(&format!("{blank},")))),
            (proptest::collection::vec((text(), inner), 0..4), blank()).prop_map(|(members, blank)| {
                let members: Vec<_> = members
                    .iter()
                    .map(|(key, value)| format!("{key}{blank}:{blank}{value}"))
                    .collect();
                format!("{{{}{blank}}}", members.join(","))
            }),
        ]
    })
}

/// Ids as clients send them, and as they might.
fn id() -> impl Strategy<Value = String> {
    prop_oneof![
        text(),
        number(),
        proptest::sample::select(&["0", "-1", "1.5", "9007199254740993", "1e400"][..]).prop_map(str::to_owned),
    ]
}

/// One call of `echo`: its id, its text, the other arguments and the order of the request's own keys.
#[derive(Debug, Clone)]
struct Case {
    id: String,
    text: String,
    others: Vec<String>,
    order: Vec<usize>,
    blank: &'static str,
}

fn case() -> impl Strategy<Value = Case> {
    let order = Just(vec![0, 1, 2, 3]).prop_shuffle();
    (id(), text(), proptest::collection::vec(value(), 0..4), order, blank()).prop_map(
        |(id, text, others, order, blank)| Case {
            id,
            text,
            others,
            order,
            blank,
        },
    )
}

const CLAIM: &str = r#""_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientCapabilities":{},"x.example/big":1e400}"#;

impl Case {
    /// The arguments beside `text`, in their order.
    fn members(&self) -> String {
        let others = self.others.iter().enumerate();
        let members: Vec<_> = others.map(|(n, value)| format!(",\"z{n}a\":{value}")).collect();
        members.concat()
    }

    fn request(&self, method: &str, params: &str) -> String {
        let parts = [
            "\"jsonrpc\":\"2.0\"".to_owned(),
            format!("\"id\":{}{}", self.blank, self.id),
            format!("\"method\":\"{method}\""),
            format!("\"params\":{params}"),
        ];
        let parts: Vec<_> = self.order.iter().map(|n| parts[*n].clone()).collect();
        format!("{{{}{}}}", self.blank, parts.join(&format!("{},", self.blank)))
    }

    fn echo(&self, modern: bool) -> String {
        let claim = if modern { format!(",{CLAIM}") } else { String::new() };
        let arguments = format!("{{\"text\":{}{}}}", self.text, self.members());
        self.request(
            "tools/call",
            &format!("{{\"name\":\"fix__echo\",\"arguments\":{arguments}{claim}}}"),
        )
    }

    fn echoed(&self, modern: bool) -> String {
        let kind = if modern { "\"resultType\":\"complete\"," } else { "" };
        format!(
            "{{\"jsonrpc\":\"2.0\",\"id\":{},\"result\":{{{kind}\"content\":[{{\"type\":\"text\",\"text\":{}}}]{}}}}}",
            self.id,
            self.text,
            self.members()
        )
    }

    /// Params of a method that the hub does not know.
    fn custom_params(&self, modern: bool) -> String {
        let claim = if modern { format!(",{CLAIM}") } else { String::new() };
        format!("{{\"text\":{}{}{claim}}}", self.text, self.members())
    }

    fn custom_answer(&self, modern: bool) -> String {
        format!(
            "{{\"jsonrpc\":\"2.0\",\"id\":{},\"result\":{{\"params\":{}}}}}",
            self.id,
            self.custom_params(modern)
        )
    }
}

type Socket = WebSocketStream<MaybeTlsStream<TcpStream>>;

/// A client of each kind.
struct Clients {
    http: Http,
    legacy: Session,
    legacy_alone: Session,
    socket: Socket,
    stdio: Lines,
}

const HELLO: &str = r#"{"jsonrpc":"2.0","id":"hello","method":"initialize","params":{"protocolVersion":"2025-11-25","capabilities":{},"clientInfo":{"name":"it","version":"1"}}}"#;

impl Clients {
    async fn of(hub: &mut Hub) -> Self {
        let url = hub.mcp.url("/ws").replacen("http", "ws", 1);
        let (mut socket, _) = Box::pin(tokio_tungstenite::connect_async(url)).await.unwrap();
        let mut stdio = hub.take_stdio();
        assert!(ask_socket(&mut socket, HELLO).await.contains(LEGACY));
        assert!(ask_lines(&mut stdio, HELLO).await.contains(LEGACY));
        Self {
            http: hub.mcp.clone(),
            legacy: Session::open(hub).await,
            legacy_alone: Session::open_at(hub, "/services/fix", &json!({})).await,
            socket,
            stdio,
        }
    }

    async fn check(&mut self, case: &Case) -> Result<(), TestCaseError> {
        let (echo, echoed) = (case.echo(false), case.echoed(false));
        prop_assert_eq!(body(&self.legacy.post_text(&echo).await), &*echoed, "legacy HTTP");
        prop_assert_eq!(ask_socket(&mut self.socket, &echo).await, &*echoed, "WebSocket");
        prop_assert_eq!(ask_lines(&mut self.stdio, &echo).await, &*echoed, "stdio");

        let custom = case.request("fixture/custom", &case.custom_params(false));
        prop_assert_eq!(
            body(&self.legacy_alone.post_text(&custom).await),
            case.custom_answer(false),
            "unknown method"
        );

        let headers = [
            ("mcp-protocol-version", MODERN),
            ("mcp-method", "tools/call"),
            ("mcp-name", "fix__echo"),
        ];
        let reply = self.http.post("/mcp", &headers, &case.echo(true)).await;
        prop_assert_eq!(body(&reply), case.echoed(true), "modern HTTP");

        let headers = [("mcp-protocol-version", MODERN), ("mcp-method", "fixture/custom")];
        let custom = case.request("fixture/custom", &case.custom_params(true));
        let reply = self.http.post("/services/fix/mcp", &headers, &custom).await;
        prop_assert_eq!(body(&reply), case.custom_answer(true), "unknown modern method");
        Ok(())
    }
}

async fn ask_socket(socket: &mut Socket, text: &str) -> String {
    socket.send(Message::text(text)).await.unwrap();
    loop {
        let next = tokio::time::timeout(PATIENCE, socket.next())
            .await
            .expect("an answer in time");
        if let Message::Text(text) = next.unwrap().unwrap()
            && is_answer(&text)
        {
            return text.to_string();
        }
    }
}

async fn ask_lines(lines: &mut Lines, text: &str) -> String {
    lines.send(text).await;
    loop {
        let next = tokio::time::timeout(PATIENCE, lines.next())
            .await
            .expect("an answer in time");
        let line = next.expect("an answer before the end");
        if is_answer(&line) {
            return line;
        }
    }
}

/// `list_changed` may come in between.
fn is_answer(text: &str) -> bool {
    !text.contains("list_changed")
}

/// The message as it came, whether alone or as the last event of a stream.
fn body(reply: &Reply) -> String {
    if reply.header("content-type").starts_with("text/event-stream") {
        return events_in(&reply.text())
            .pop()
            .map_or_else(String::new, |event| event.data);
    }
    reply.text()
}

#[test]
fn whatever_a_message_holds_survives_the_round_trip() {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let mut hub = runtime.block_on(async {
        let hub = Hub::builder()
            .transport("both")
            .config(&services(&[service("fix", "", &[])]))
            .start()
            .await;
        hub.wait_until_ready(SOON).await;
        hub
    });
    let clients = RefCell::new(runtime.block_on(Clients::of(&mut hub)));
    let mut runner = TestRunner::new(Config {
        cases: 200,
        failure_persistence: None,
        max_shrink_iters: 200,
        ..Config::default()
    });
    let outcome = runner.run(&case(), |case| runtime.block_on(clients.borrow_mut().check(&case)));
    if let Err(failure) = outcome {
        panic!("{failure}");
    }
    drop(runtime);
}

#[tokio::test]
async fn unknown_notifications_arrive_as_they_were_sent() {
    let hub = crate::fixture::hub_with("", &[]).await;
    let session = Session::open_at(&hub, "/services/fix", &json!({})).await;
    let sent = r#"{ "params":{"b":1e400,"a":[18446744073709551616,1.0],"t":"\u00e9\/"},"method":"notifications/fixture/odd","jsonrpc":"2.0","x":{"unknown":-0}}"#;
    assert_eq!(session.post_text(sent).await.status, 202);
    hub.wait_until(SOON, "the notification at the child", async || {
        let events = session.events("events").await;
        if events.contains(sent) { Ok(()) } else { Err(events) }
    })
    .await;
    // And the other way: what the child sends to those who talk to it alone.
    let mut own = session.listen(None).await;
    let mut merged = Session::open(&hub).await.listen(None).await;
    let answer = session.post(&crate::fixture::call(2, "emit_custom", json!({}))).await;
    let during: Vec<&Value> = answer
        .iter()
        .filter(|message| message.get("method").is_some())
        .collect();
    assert_eq!(during.len(), 1, "{answer:?}");
    assert_eq!(during[0]["params"]["big"], json!(12_345_678_901_234_567_890_u64));
    // Nobody else got it: the next thing they hear of is something else.
    session.call("change_tools", json!({})).await;
    crate::fixture::expect(&mut own, "notifications/tools/list_changed").await;
    crate::fixture::expect(&mut merged, "notifications/tools/list_changed").await;
}
