//! Legacy sessions of Streamable HTTP: who they belong to, how they end, which streams they have.

use std::time::Duration;

use futures_util::future::join_all;
use http::{Method, StatusCode};
use serde_json::{Value, json};

use crate::{
    client::{Door, LEGACY, text_of},
    doors_raw::{Session, demo, listed},
    http::{Http, PATIENCE},
    hub::Hub,
    sse::EventStream,
};

fn countdown(id: u64, from: u64, seconds: f64) -> String {
    let params = json!({"name": "demo__countdown", "arguments": {"from": from, "seconds": seconds}, "_meta": {"progressToken": "p"}});
    json!({"jsonrpc": "2.0", "id": id, "method": "tools/call", "params": params}).to_string()
}

fn echo(id: &Value, text: &str) -> String {
    let params = json!({"name": "demo__echo", "arguments": {"text": text}});
    json!({"jsonrpc": "2.0", "id": id, "method": "tools/call", "params": params}).to_string()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_is_named_by_its_header_and_ends_with_delete() {
    let hub = demo().await;
    let session = Session::open(&hub, LEGACY).await;
    assert_eq!(session.id.len(), 32);
    let ping = r#"{"jsonrpc":"2.0","id":1,"method":"ping"}"#;
    let status = async |headers: &[(&str, &str)]| hub.mcp.post("/mcp", headers, ping).await.status.as_u16();
    assert_eq!(status(&[]).await, 400);
    assert_eq!(status(&[("mcp-session-id", "nope")]).await, 404);
    assert_eq!(
        status(&[("mcp-session-id", "0123456789abcdef0123456789abcdef")]).await,
        404
    );
    assert_eq!(status(&[("mcp-session-id", &session.id.to_uppercase())]).await, 404);
    assert_eq!(status(&[("mcp-session-id", &session.id)]).await, 200);
    assert_eq!(
        status(&[("mcp-session-id", &session.id), ("mcp-protocol-version", "2025-06-18")]).await,
        200
    );
    assert_eq!(
        status(&[("mcp-session-id", &session.id), ("mcp-protocol-version", "1999-01-01")]).await,
        400
    );
    assert_eq!(
        status(&[("mcp-session-id", &session.id), ("mcp-session-id", "other")]).await,
        400
    );
    assert_eq!(
        hub.mcp
            .post("/services/demo/mcp", &session.headers(), ping)
            .await
            .status,
        StatusCode::NOT_FOUND
    );
    let open = hub.mcp.stream("/mcp", &session.headers(), None).await;
    assert_eq!(open.status, StatusCode::OK);
    assert_eq!(
        hub.mcp
            .send(Method::DELETE, "/mcp", &session.headers(), "")
            .await
            .status,
        StatusCode::NO_CONTENT
    );
    assert_eq!(status(&[("mcp-session-id", &session.id)]).await, 404);
    let mut open = open;
    while open.next(PATIENCE).await.is_some() {}
    assert_eq!(
        hub.mcp
            .send(Method::DELETE, "/mcp", &session.headers(), "")
            .await
            .status,
        StatusCode::NOT_FOUND
    );
    assert_eq!(
        hub.mcp.send(Method::DELETE, "/mcp", &[], "").await.status,
        StatusCode::BAD_REQUEST
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn another_principal_does_not_find_the_session() {
    let yaml = "auth:\n  tokens:\n    - {name: ann, token: aaaaaaaaaaaaaaaaaaaa}\n    - {name: bob, token: bbbbbbbbbbbbbbbbbbbb}\n";
    let hub = Hub::builder().config(&with_demo(yaml)).start().await;
    let ann = ("authorization", "Bearer aaaaaaaaaaaaaaaaaaaa");
    let bob = ("authorization", "Bearer bbbbbbbbbbbbbbbbbbbb");
    let session = Session::open_at(&hub.mcp, "/mcp", LEGACY, &[ann]).await;
    let ping = r#"{"jsonrpc":"2.0","id":1,"method":"ping"}"#;
    let with = |token| [&session.headers()[..], &[token]].concat();
    assert_eq!(hub.mcp.post("/mcp", &with(ann), ping).await.status, StatusCode::OK);
    assert_eq!(
        hub.mcp.post("/mcp", &with(bob), ping).await.status,
        StatusCode::NOT_FOUND
    );
    assert_eq!(
        hub.mcp.send(Method::DELETE, "/mcp", &with(bob), "").await.status,
        StatusCode::NOT_FOUND
    );
    let get = [&with(bob)[..], &[("accept", "text/event-stream")]].concat();
    assert_eq!(
        hub.mcp.send(Method::GET, "/mcp", &get, "").await.status,
        StatusCode::NOT_FOUND
    );
    let mut stream = hub.mcp.stream("/sse", &[ann], None).await;
    let post_to = stream.next(PATIENCE).await.unwrap().data;
    assert_eq!(hub.mcp.post(&post_to, &[bob], ping).await.status, StatusCode::NOT_FOUND);
    assert_eq!(hub.mcp.post(&post_to, &[ann], ping).await.status, StatusCode::ACCEPTED);
    // Without a token, or with a wrong one, every route but the three of health is closed on both doors.
    for (http, path) in [
        (&hub.mcp, "/mcp"),
        (&hub.mcp, "/sse"),
        (&hub.mcp, "/ws"),
        (&hub.mcp, "/messages"),
        (&hub.mcp, "/nowhere"),
        (&hub.admin, "/"),
        (&hub.admin, "/metrics"),
        (&hub.admin, "/api/v1/services"),
        (&hub.admin, "/nowhere"),
    ] {
        for headers in [
            &[][..],
            &[("authorization", "Bearer wrongwrongwrongwrong")],
            &[("authorization", "Basic YTpi")],
        ] {
            let reply = http.send(Method::GET, path, headers, "").await;
            assert_eq!(reply.status, StatusCode::UNAUTHORIZED, "{path} {headers:?}");
            assert!(reply.header("www-authenticate").starts_with("Bearer "), "{path}");
        }
    }
    for http in [&hub.mcp, &hub.admin] {
        for path in ["/health", "/health/live", "/health/ready"] {
            assert!(http.get(path).await.status != StatusCode::UNAUTHORIZED, "{path}");
        }
    }
    let reply = hub.admin.send(Method::GET, "/api/v1/services", &[ann], "").await;
    assert_eq!(reply.status, StatusCode::OK);
}

fn with_demo(yaml: &str) -> String {
    format!(
        "{yaml}services:\n  demo:\n    command: {}\n    args: [demo-server]\n",
        env!("CARGO_BIN_EXE_mcpvisor")
    )
}

async fn resume(http: &Http, session: &Session, last: &str) -> EventStream {
    let headers = [&session.headers()[..], &[("last-event-id", last)]].concat();
    http.stream("/mcp", &headers, None).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broken_stream_is_taken_up_without_gap_or_double() {
    let hub = demo().await;
    let session = Session::open(&hub, LEGACY).await;
    let mut stream = hub
        .mcp
        .stream("/mcp", &session.headers(), Some(&countdown(7, 10, 1.0)))
        .await;
    let primed = stream.next(PATIENCE).await.unwrap();
    assert!(primed.data.is_empty() && primed.id.is_some(), "{primed:?}");
    let mut last = primed.id.unwrap();
    let mut seen = Vec::new();
    let mut answer = None;
    while answer.is_none() {
        let Some(event) = stream.next(PATIENCE).await else {
            panic!("ended before the answer")
        };
        last = event.id.clone().unwrap_or(last);
        let Some(message) = event.message() else { continue };
        if message["method"] == "notifications/progress" {
            seen.push(message["params"]["progress"].as_u64().unwrap());
        } else {
            answer = Some(message);
        }
        // Cut after every event.
        drop(stream);
        stream = resume(&hub.mcp, &session, &last).await;
        assert_eq!(stream.status, StatusCode::OK);
    }
    assert_eq!(seen, (1..=10).collect::<Vec<_>>());
    assert_eq!(answer.unwrap()["id"], 7);
    for bad in ["x", "99-1", "1", "-1-1"] {
        assert_eq!(
            resume(&hub.mcp, &session, bad).await.status,
            StatusCode::BAD_REQUEST,
            "{bad}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_came_while_nobody_read_waits() {
    let hub = demo().await;
    let session = Session::open(&hub, LEGACY).await;
    let mut stream = hub
        .mcp
        .stream("/mcp", &session.headers(), Some(&countdown(8, 1, 0.3)))
        .await;
    let last = stream.next(PATIENCE).await.unwrap().id.unwrap();
    drop(stream);
    let other = Session::open(&hub, LEGACY).await;
    assert!(other.is_alive().await);
    let mut stream = resume(&hub.mcp, &session, &last).await;
    let mut messages = Vec::new();
    while let Some(message) = stream.next_message(PATIENCE).await {
        messages.push(message);
    }
    assert_eq!(messages.last().unwrap()["id"], 8, "{messages:?}");
    // The same id means nothing in another session.
    assert_eq!(resume(&hub.mcp, &other, &last).await.status, StatusCode::BAD_REQUEST);
}

#[tokio::test(flavor = "multi_thread")]
async fn older_clients_get_no_event_without_data() {
    let hub = demo().await;
    for revision in ["2025-03-26", "2025-06-18"] {
        let session = Session::open(&hub, revision).await;
        let reply = session.post(&countdown(1, 2, 0.1)).await;
        assert!(reply.header("content-type").starts_with("text/event-stream"));
        assert_eq!(
            (reply.header("cache-control"), reply.header("x-accel-buffering")),
            ("no-store", "no")
        );
        let events = crate::sse::events_in(&reply.text());
        assert!(events.iter().all(|event| !event.data.is_empty()), "{events:?}");
        assert!(
            events.iter().all(|event| event.kind == "message" && event.id.is_some()),
            "{events:?}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_id_many_times_at_once() {
    let hub = demo().await;
    let session = Session::open(&hub, LEGACY).await;
    let id = json!(1);
    let calls = (0..200).map(|n| {
        let (session, body) = (session.clone(), echo(&id, &format!("text {n}")));
        async move {
            let reply = session.post(&body).await;
            (n, reply.messages().pop().unwrap())
        }
    });
    for (n, message) in join_all(calls).await {
        assert_eq!(message["id"], 1);
        assert_eq!(text_of(&message["result"]), format!("text {n}"));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn batches_belong_to_one_revision() {
    let hub = demo().await;
    let session = Session::open(&hub, "2025-03-26").await;
    let batch = format!(
        r#"[{{"jsonrpc":"2.0","id":1,"method":"ping"}},{},{{"jsonrpc":"2.0","method":"notifications/x"}},7]"#,
        echo(&json!("a"), "b")
    );
    let reply = session.post(&batch).await;
    assert_eq!(reply.status, StatusCode::OK, "{}", reply.text());
    let answers = reply.json();
    let ids: Vec<_> = answers
        .as_array()
        .unwrap()
        .iter()
        .map(|answer| answer["id"].clone())
        .collect();
    assert_eq!(ids, [json!(1), json!("a"), json!(null)]);
    assert_eq!(
        session
            .post(r#"[{"jsonrpc":"2.0","method":"notifications/x"}]"#)
            .await
            .status,
        StatusCode::ACCEPTED
    );
    assert_eq!(session.post("[]").await.status, StatusCode::BAD_REQUEST);
    let initialize = format!("[{}]", crate::doors_raw::initialize("2025-03-26"));
    assert_eq!(session.post(&initialize).await.status, StatusCode::BAD_REQUEST);
    for revision in ["2025-06-18", LEGACY] {
        let session = Session::open(&hub, revision).await;
        let reply = session.post(&batch).await;
        assert_eq!(
            (reply.status, &reply.json()["error"]["code"]),
            (StatusCode::BAD_REQUEST, &json!(-32600))
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn idle_sessions_end_and_the_oldest_makes_room() {
    let yaml = "limits:\n  max_sessions: 3\n  session_ttl: 2s\n";
    let hub = Hub::builder().config(&with_demo(yaml)).start().await;
    let mut sessions = Vec::new();
    for _ in 0..4 {
        sessions.push(Session::open(&hub, LEGACY).await);
    }
    assert!(!sessions[0].is_alive().await, "the oldest made room");
    assert!(sessions[3].is_alive().await);
    let held = hub.mcp.stream("/mcp", &sessions[3].headers(), None).await;
    hub.wait_until(Duration::from_secs(10), "an idle session to end", async || {
        // Asking would keep it alive, so another is asked for only once in a while.
        tokio::time::sleep(Duration::from_millis(2600)).await;
        if sessions[1].is_alive().await {
            Err("alive".to_owned())
        } else {
            Ok(())
        }
    })
    .await;
    assert!(
        sessions[3].is_alive().await,
        "a session with an open stream is not idle"
    );
    drop(held);
}

#[tokio::test(flavor = "multi_thread")]
async fn every_door_serves_every_legacy_revision_at_every_scope() {
    let mut hub = Hub::builder().transport("both").start().await;
    listed(&hub).await;
    for door in [Door::Http, Door::Sse, Door::Socket] {
        for revision in ["2024-11-05", "2025-03-26", "2025-06-18", LEGACY] {
            for (prefix, tool) in [("", "demo__echo"), ("/services/demo", "echo")] {
                let mut client = hub.client_at(door, prefix, revision).await;
                assert!(
                    client.tools().await.contains(&tool.to_owned()),
                    "{door:?} {revision} {prefix}"
                );
                let answer = client.call(tool, json!({"text": "x"})).await.unwrap();
                assert_eq!(text_of(&answer), "x");
            }
        }
    }
    let mut client = hub.client(Door::Stdio, LEGACY).await;
    assert!(client.tools().await.contains(&"demo__echo".to_owned()));
    // With `both`, the end of stdin closes that door only.
    client.close_stdin();
    let mut other = hub.client(Door::Http, LEGACY).await;
    assert!(other.call("demo__echo", json!({"text": "x"})).await.is_ok());
}
