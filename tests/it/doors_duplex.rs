//! What breaks, ends and asks back on the doors: disconnects, the end of stdin, close codes, requests of servers, the drain.

use std::time::{Duration, Instant};

use futures_util::{SinkExt as _, StreamExt as _};
use http::StatusCode;
use nix::sys::signal::Signal;
use serde_json::{Value, json};
use tokio_tungstenite::tungstenite::{Message, client::IntoClientRequest as _, protocol::frame::coding::CloseCode};

use crate::{
    client::{LEGACY, text_of},
    doors_raw::{self, Session, hear, initialize, modern, modern_body, say},
    http::PATIENCE,
    hub::{Builder, Hub},
    tools::fixture,
};

fn child() -> Builder {
    let yaml = format!(
        "services:\n  child:\n    command: {}\n    prefix: none\n",
        fixture("fixture-child")
    );
    Hub::builder().config(&yaml)
}

async fn hub() -> Hub {
    let hub = child().start().await;
    listed(&hub).await;
    hub
}

/// Waits until clients of both eras see the fixture.
async fn listed(hub: &Hub) {
    let session = Session::open(hub, LEGACY).await;
    hub.wait_until(Duration::from_secs(20), "the fixture to be listed", async || {
        let legacy = session
            .post(r#"{"jsonrpc":"2.0","id":1,"method":"tools/list"}"#)
            .await
            .text();
        let modern = modern(&hub.mcp, "tools/list", "", &[]).await.text();
        let both = legacy.contains("\"sleep\"") && modern.contains("\"sleep\"");
        if both {
            Ok(())
        } else {
            Err(format!("{legacy}\n{modern}"))
        }
    })
    .await;
}

fn call(id: u64, tool: &str, arguments: &Value) -> String {
    json!({"jsonrpc": "2.0", "id": id, "method": "tools/call", "params": {"name": tool, "arguments": arguments}})
        .to_string()
}

/// The notifications that the legacy child has seen.
async fn legacy_events(session: &Session) -> String {
    session.post(&call(99, "events", &json!({}))).await.text()
}

async fn modern_events(hub: &Hub) -> String {
    modern(&hub.mcp, "tools/call", r#""name":"events","#, &[("mcp-name", "events")])
        .await
        .text()
}

/// Waits until the child is told, and fails if that takes longer than a tenth of a second and the time the asking takes.
async fn told(hub: &Hub, mut events: impl AsyncFnMut() -> String) {
    let begun = Instant::now();
    hub.wait_until(Duration::from_secs(5), "the child to be told", async || {
        let seen = events().await;
        if seen.contains("notifications/cancelled") {
            Ok(())
        } else {
            Err(seen)
        }
    })
    .await;
    assert!(begun.elapsed() < Duration::from_secs(2), "{:?}", begun.elapsed());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_modern_client_that_goes_cancels() {
    let hub = hub().await;
    let headers = [
        ("mcp-protocol-version", "2026-07-28"),
        ("mcp-method", "tools/call"),
        ("mcp-name", "sleep"),
    ];
    let body = modern_body("tools/call", r#""name":"sleep","arguments":{"ms":60000},"#);
    let post = hub.mcp.post("/mcp", &headers, &body);
    assert!(
        tokio::time::timeout(Duration::from_millis(300), post).await.is_err(),
        "it sleeps"
    );
    told(&hub, async || modern_events(&hub).await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_legacy_connection_that_breaks_cancels_nothing() {
    let hub = hub().await;
    let session = Session::open(&hub, LEGACY).await;
    let body = call(1, "sleep", &json!({"ms": 1500}));
    let early = session.post(&body);
    assert!(
        tokio::time::timeout(Duration::from_millis(200), early).await.is_err(),
        "no answer yet"
    );
    let mut stream = hub
        .mcp
        .stream(
            "/mcp",
            &session.headers(),
            Some(&call(2, "sleep", &json!({"ms": 2500}))),
        )
        .await;
    let last = stream.next(PATIENCE).await.unwrap().id.unwrap();
    drop(stream);
    let headers = [&session.headers()[..], &[("last-event-id", last.as_str())]].concat();
    let mut stream = hub.mcp.stream("/mcp", &headers, None).await;
    let answer = stream.next_message(PATIENCE).await.unwrap();
    assert_eq!(answer["id"], 2, "{answer}");
    assert!(answer.get("result").is_some(), "{answer}");
    let seen = legacy_events(&session).await;
    assert!(!seen.contains("notifications/cancelled"), "{seen}");
    // What cancels is the notification; nothing is answered then.
    let body = call(3, "sleep", &json!({"ms": 60000}));
    let cancelled = session.post(&body);
    let cancel = async {
        tokio::time::sleep(Duration::from_millis(300)).await;
        session
            .post(r#"{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":3}}"#)
            .await
    };
    let (reply, cancel) = tokio::join!(cancelled, cancel);
    assert_eq!(cancel.status, StatusCode::ACCEPTED);
    assert_eq!((reply.status, reply.body.len()), (StatusCode::ACCEPTED, 0));
    told(&hub, async || legacy_events(&session).await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_that_carries_everything_cancels_when_it_ends() {
    let hub = hub().await;
    let session = Session::open(&hub, LEGACY).await;
    let mut socket = doors_raw::socket(&hub, "/ws").await;
    say(&mut socket, &initialize(LEGACY)).await;
    hear(&mut socket).await;
    say(&mut socket, &call(1, "sleep", &json!({"ms": 60000}))).await;
    say(&mut socket, r#"{"jsonrpc":"2.0","id":2,"method":"ping"}"#).await;
    assert_eq!(hear(&mut socket).await["id"], 2, "a slow call holds up no other");
    drop(socket);
    told(&hub, async || legacy_events(&session).await).await;

    let hub = self::hub().await;
    let session = Session::open(&hub, LEGACY).await;
    let mut stream = hub.mcp.stream("/sse", &[], None).await;
    let post_to = stream.next(PATIENCE).await.unwrap().data;
    hub.mcp.post(&post_to, &[], &initialize(LEGACY)).await;
    assert!(stream.next_message(PATIENCE).await.is_some());
    hub.mcp
        .post(&post_to, &[], &call(1, "sleep", &json!({"ms": 60000})))
        .await;
    hub.mcp
        .post(&post_to, &[], r#"{"jsonrpc":"2.0","id":2,"method":"ping"}"#)
        .await;
    assert_eq!(stream.next_message(PATIENCE).await.unwrap()["id"], 2);
    drop(stream);
    told(&hub, async || legacy_events(&session).await).await;
    let gone = hub
        .mcp
        .post(&post_to, &[], r#"{"jsonrpc":"2.0","id":3,"method":"ping"}"#)
        .await;
    assert_eq!(gone.status, StatusCode::NOT_FOUND);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_end_of_stdin_answers_what_was_asked_and_ends_the_hub() {
    let mut hub = child().transport("stdio").start().await;
    let mut lines = hub.take_stdio();
    lines.send(&initialize(LEGACY)).await;
    assert!(lines.next().await.unwrap().contains("protocolVersion"));
    lines
        .send(r#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#)
        .await;
    loop {
        lines.send(r#"{"jsonrpc":"2.0","id":1,"method":"tools/list"}"#).await;
        if lines.next().await.unwrap().contains("\"sleep\"") {
            break;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    lines.send(&call(7, "sleep", &json!({"ms": 700}))).await;
    lines.close();
    let mut last = Value::Null;
    while let Some(line) = lines.next().await {
        last = serde_json::from_str(&line).unwrap();
    }
    assert_eq!(last["id"], 7, "{last}");
    assert!(last.get("result").is_some(), "{last}");
    assert_eq!(hub.ended(Duration::from_secs(20)).await.code, Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn web_sockets_offer_a_protocol_and_say_why_they_close() {
    let yaml = "limits:\n  max_body_bytes: 1MiB\n";
    let program = env!("CARGO_BIN_EXE_mcpvisor");
    let demo = format!("{yaml}services:\n  demo:\n    command: {program}\n    args: [demo-server]\n");
    let hub = Hub::builder().config(&demo).start().await;
    let url = hub.mcp.url("/ws").replacen("http", "ws", 1);
    let mut request = url.clone().into_client_request().unwrap();
    request
        .headers_mut()
        .insert("sec-websocket-protocol", "other, mcp".parse().unwrap());
    let (mut socket, answer) = Box::pin(tokio_tungstenite::connect_async(request)).await.unwrap();
    assert_eq!(doors_raw::header(answer.headers(), "sec-websocket-protocol"), "mcp");
    socket.send(Message::Ping("x".into())).await.unwrap();
    assert_eq!(socket.next().await.unwrap().unwrap(), Message::Pong("x".into()));
    socket.send(Message::Binary(vec![1, 2].into())).await.unwrap();
    assert_eq!(closed(&mut socket).await, CloseCode::Unsupported);
    let mut socket = doors_raw::socket(&hub, "/services/demo/ws").await;
    let long = format!("{{\"v\":\"{}\"}}", "x".repeat((1 << 20) + 100));
    let sent = socket.send(Message::text(long)).await;
    if sent.is_ok() {
        // A client that is still sending may see the connection reset before it reads why.
        match socket.next().await {
            Some(Ok(Message::Close(Some(frame)))) => assert_eq!(frame.code, CloseCode::Size),
            other => assert!(matches!(other, Some(Err(_)) | None), "{other:?}"),
        }
    }
    let mut evil = url.into_client_request().unwrap();
    evil.headers_mut()
        .insert("origin", "http://evil.example".parse().unwrap());
    assert!(Box::pin(tokio_tungstenite::connect_async(evil)).await.is_err());
    let mut socket = doors_raw::socket(&hub, "/ws").await;
    say(&mut socket, r#"{"jsonrpc":"2.0","id":1,"method":"ping"}"#).await;
    hear(&mut socket).await;
    hub.signal(Signal::SIGTERM);
    assert_eq!(closed(&mut socket).await, CloseCode::Away);
    assert_eq!(hub.ended(Duration::from_secs(20)).await.code, Some(0));
}

async fn closed<S>(socket: &mut S) -> CloseCode
where
    S: futures_util::Stream<Item = Result<Message, tokio_tungstenite::tungstenite::Error>> + Unpin,
{
    loop {
        match tokio::time::timeout(PATIENCE, socket.next()).await.unwrap() {
            Some(Ok(Message::Close(Some(frame)))) => return frame.code,
            Some(Ok(_)) => {}
            other => panic!("{other:?}"),
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_asks_back_is_answered_on_every_door() {
    let hub = hub().await;
    let able = initialize(LEGACY).replace(r#""capabilities":{}"#, r#""capabilities":{"sampling":{}}"#);
    let ask = call(5, "ask", &json!({"what": "sampling", "message": "hello"}));
    let said = |question: &Value| {
        let result = json!({"role": "assistant", "content": {"type": "text", "text": "forty-two"}, "model": "m"});
        json!({"jsonrpc": "2.0", "id": question["id"], "result": result}).to_string()
    };
    let mut socket = doors_raw::socket(&hub, "/ws").await;
    say(&mut socket, &able).await;
    hear(&mut socket).await;
    say(&mut socket, r#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#).await;
    say(&mut socket, &ask).await;
    let question = hear(&mut socket).await;
    assert_eq!(question["method"], "sampling/createMessage", "{question}");
    say(&mut socket, &said(&question)).await;
    let answer = hear(&mut socket).await;
    assert!(text_of(&answer["result"]).contains("forty-two"), "{answer}");

    let opened = hub.mcp.post("/mcp", &[], &able).await;
    let id = opened.header("mcp-session-id").to_owned();
    let headers = [("mcp-session-id", id.as_str())];
    hub.mcp
        .post(
            "/mcp",
            &headers,
            r#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#,
        )
        .await;
    let mut stream = hub.mcp.stream("/mcp", &headers, Some(&ask)).await;
    let question = stream.next_message(PATIENCE).await.unwrap();
    assert_eq!(question["method"], "sampling/createMessage", "{question}");
    let taken = hub.mcp.post("/mcp", &headers, &said(&question)).await;
    assert_eq!((taken.status, taken.body.len()), (StatusCode::ACCEPTED, 0));
    let answer = stream.next_message(PATIENCE).await.unwrap();
    assert!(text_of(&answer["result"]).contains("forty-two"), "{answer}");
}

#[tokio::test(flavor = "multi_thread")]
async fn calls_in_flight_are_answered_before_the_hub_ends() {
    let hub = hub().await;
    let session = Session::open(&hub, LEGACY).await;
    let idle = hub.mcp.stream("/mcp", &session.headers(), None).await;
    let mut socket = doors_raw::socket(&hub, "/ws").await;
    say(&mut socket, &initialize(LEGACY)).await;
    hear(&mut socket).await;
    say(&mut socket, &call(1, "sleep", &json!({"ms": 1500}))).await;
    let slow = session.clone();
    let posted = tokio::spawn(async move { slow.post(&call(2, "sleep", &json!({"ms": 1500}))).await });
    let headers = [
        ("mcp-protocol-version", "2026-07-28"),
        ("mcp-method", "tools/call"),
        ("mcp-name", "sleep"),
    ];
    let body = modern_body("tools/call", r#""name":"sleep","arguments":{"ms":1500},"#);
    let http = hub.mcp.clone();
    let stateless = tokio::spawn(async move { http.post("/mcp", &headers, &body).await });
    tokio::time::sleep(Duration::from_millis(500)).await;
    hub.signal(Signal::SIGTERM);
    assert!(hear(&mut socket).await.get("result").is_some());
    let answer = posted.await.unwrap().messages().pop().unwrap();
    assert!(answer.get("result").is_some(), "{answer}");
    let answer = stateless.await.unwrap().messages().pop().unwrap();
    assert!(answer.get("result").is_some(), "{answer}");
    drop(idle);
    assert_eq!(hub.ended(Duration::from_secs(20)).await.code, Some(0));
}
