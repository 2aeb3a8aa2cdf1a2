//! Bad JSON on every door: the error the specification names, nobody else harmed.

use std::time::Duration;

use http::StatusCode;
use serde_json::{Value, json};

use crate::{
    client::{Door, LEGACY, text_of},
    doors_corpus::{Case, Verdict, cases},
    doors_raw::{self, Session},
    http::PATIENCE,
    hub::Hub,
};

fn fits(case: &Case, status: u16, body: &Value, id: usize) -> bool {
    let taken = status == 200 && body["id"] == id && body["result"] == json!({});
    let refused = status == 400 && body["error"]["code"] == -32700;
    match case.verdict {
        Verdict::Take => taken,
        Verdict::Refuse => refused,
        Verdict::Either => taken || refused,
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn streamable_http_takes_and_refuses_the_corpus() {
    let mut hub = doors_raw::demo().await;
    let mut bystander = hub.client(Door::Http, LEGACY).await;
    let session = Session::open(&hub, LEGACY).await;
    for (id, case) in cases().iter().enumerate() {
        let reply = session.post_bytes(case.in_a_ping(id)).await;
        let body = if reply.body.is_empty() {
            Value::Null
        } else {
            reply.json()
        };
        let text = String::from_utf8_lossy(&case.text);
        assert!(
            fits(case, reply.status.as_u16(), &body, id),
            "{text:?}: {} {body}",
            reply.status
        );
    }
    // The same texts as whole bodies: none is a message, so none is taken.
    for case in cases() {
        let reply = session.post_bytes(case.text.clone()).await;
        let text = String::from_utf8_lossy(&case.text);
        assert_eq!(reply.status, StatusCode::BAD_REQUEST, "{text:?}");
        let code = &reply.json()["error"]["code"];
        match case.verdict {
            // A bare number that no float can hold counts as unreadable.
            Verdict::Take => assert!(
                *code == -32600 || text.parse::<f64>().is_ok_and(f64::is_infinite),
                "{text:?}: {code}"
            ),
            Verdict::Refuse => assert_eq!(*code, -32700, "{text:?}"),
            Verdict::Either => assert!(*code == -32600 || *code == -32700, "{text:?}"),
        }
    }
    let answer = bystander
        .call("demo__echo", json!({"text": "still here"}))
        .await
        .unwrap();
    assert_eq!(text_of(&answer), "still here");
    assert!(!hub.log().contains("panicked"), "{}", hub.log_tail());
}

#[tokio::test(flavor = "multi_thread")]
async fn http_sse_takes_and_refuses_the_corpus() {
    let hub = Hub::builder().start().await;
    let mut stream = hub.mcp.stream("/sse", &[], None).await;
    let post_to = stream.next(PATIENCE).await.unwrap().data;
    for (id, case) in cases().iter().enumerate() {
        let reply = doors_raw::post_bytes(&hub.mcp, &post_to, &[], case.in_a_ping(id)).await;
        let text = String::from_utf8_lossy(&case.text);
        let taken = reply.status == StatusCode::ACCEPTED;
        match case.verdict {
            Verdict::Take => assert!(taken, "{text:?}: {}", reply.text()),
            Verdict::Refuse => {
                assert_eq!(reply.status, StatusCode::BAD_REQUEST, "{text:?}");
                assert_eq!(reply.json()["error"]["code"], -32700, "{text:?}");
            }
            Verdict::Either => {}
        }
        if taken {
            let answer = stream.next_message(PATIENCE).await.unwrap();
            assert_eq!(answer, json!({"jsonrpc": "2.0", "id": id, "result": {}}), "{text:?}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn web_socket_takes_and_refuses_the_corpus() {
    let hub = Hub::builder().start().await;
    let mut socket = doors_raw::socket(&hub, "/ws").await;
    for (id, case) in cases().iter().enumerate() {
        // A text frame can't be anything but UTF-8.
        let Ok(text) = String::from_utf8(case.in_a_ping(id)) else {
            continue;
        };
        doors_raw::say(&mut socket, &text).await;
        let answer = doors_raw::hear(&mut socket).await;
        let taken = answer["id"] == id && answer["result"] == json!({});
        let refused = answer["id"].is_null() && answer["error"]["code"] == -32700;
        match case.verdict {
            Verdict::Take => assert!(taken, "{text:?}: {answer}"),
            Verdict::Refuse => assert!(refused, "{text:?}: {answer}"),
            Verdict::Either => assert!(taken || refused, "{text:?}: {answer}"),
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn stdio_takes_and_refuses_the_corpus() {
    let mut hub = Hub::builder().transport("both").start().await;
    let mut lines = hub.take_stdio();
    for (id, case) in cases().iter().enumerate() {
        // On stdio a line break ends the message.
        let Ok(text) = String::from_utf8(case.in_a_ping(id)) else {
            continue;
        };
        if text.contains('\n') {
            continue;
        }
        lines.send(&text).await;
        let line = tokio::time::timeout(PATIENCE, lines.next()).await.unwrap().unwrap();
        let answer: Value = serde_json::from_str(&line).unwrap();
        let taken = answer["id"] == id && answer["result"] == json!({});
        let refused = answer["id"].is_null() && answer["error"]["code"] == -32700;
        match case.verdict {
            Verdict::Take => assert!(taken, "{text:?}: {answer}"),
            Verdict::Refuse => assert!(refused, "{text:?}: {answer}"),
            Verdict::Either => assert!(taken || refused, "{text:?}: {answer}"),
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_json_but_no_message_is_an_invalid_request() {
    let hub = Hub::builder().start().await;
    let session = Session::open(&hub, LEGACY).await;
    for (body, id) in [
        (r#"{"jsonrpc":"2.0","id":1,"id":2,"method":"ping"}"#, json!(null)),
        (
            r#"{"jsonrpc":"2.0","id":1,"method":"ping","Method":"tools/call"}"#,
            json!(1),
        ),
        (
            r#"{"jsonrpc":"2.0","id":1,"method":"ping","params":{},"params":{}}"#,
            json!(1),
        ),
        (r#"{"jsonrpc":"2.0","id":null,"method":"ping"}"#, json!(null)),
        (r#"{"jsonrpc":"2.0","id":{},"method":"ping"}"#, json!(null)),
        (r#"{"jsonrpc":"2.0","id":[1],"method":"ping"}"#, json!(null)),
        (r#"{"jsonrpc":"2.0","id":true,"method":"ping"}"#, json!(null)),
        (r#"{"jsonrpc":"1.0","id":"a","method":"ping"}"#, json!("a")),
        (r#"{"jsonrpc":2.0,"id":1,"method":"ping"}"#, json!(1)),
        (r#"{"id":1,"method":"ping"}"#, json!(1)),
        (r#"{"jsonrpc":"2.0","id":1,"method":1}"#, json!(1)),
        (r#"{"jsonrpc":"2.0","id":1,"method":null}"#, json!(1)),
        (r#"{"jsonrpc":"2.0","id":1,"method":"ping","params":"x"}"#, json!(1)),
        (r#"{"jsonrpc":"2.0","id":1,"method":"ping","result":{}}"#, json!(1)),
        (r#"{"jsonrpc":"2.0","id":1,"result":{},"error":{}}"#, json!(1)),
        (r#"{"jsonrpc":"2.0","id":1}"#, json!(1)),
        (r#"{"jsonrpc":"2.0"}"#, json!(null)),
    ] {
        let reply = session.post(body).await;
        assert_eq!(reply.status, StatusCode::BAD_REQUEST, "{body}");
        let error = reply.json();
        assert_eq!((&error["error"]["code"], &error["id"]), (&json!(-32600), &id), "{body}");
    }
    for body in [
        r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"demo__echo","name":"demo__time"}}"#,
        r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"demo__echo","NAME":"demo__time"}}"#,
        r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"demo__echo","_meta":{},"_meta":{}}}"#,
    ] {
        let reply = session.post(body).await;
        assert_eq!(reply.json()["error"]["code"], -32602, "{body}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn depth_and_length_are_no_weapon() {
    let hub = doors_raw::demo().await;
    let session = Session::open(&hub, LEGACY).await;
    for (open, close) in [("[", "]"), ("{\"a\":", "1}")] {
        let depth = 200_000;
        let nested = format!(
            "{}{}",
            open.repeat(depth),
            close.chars().last().unwrap().to_string().repeat(depth)
        );
        let body = format!(r#"{{"jsonrpc":"2.0","id":1,"method":"ping","params":{{"v":{nested}}}}}"#);
        let reply = session.post(&body).await;
        assert!([200, 400].contains(&reply.status.as_u16()), "{}", reply.status);
    }
    let long = "x".repeat(5 << 20);
    let body = json!({"jsonrpc": "2.0", "id": 1, "method": "tools/call",
        "params": {"name": "demo__echo", "arguments": {"text": long}}});
    let reply = session.post(&body.to_string()).await;
    assert_eq!(reply.status, StatusCode::OK);
    let tools = session.post(r#"{"jsonrpc":"2.0","id":2,"method":"tools/list"}"#).await;
    assert_eq!(tools.status, StatusCode::OK);
    tokio::time::timeout(Duration::from_secs(10), hub.service("demo"))
        .await
        .unwrap();
}
