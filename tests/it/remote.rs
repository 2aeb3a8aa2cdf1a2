//! Servers behind a URL: a hub in front of a hub, over every transport and in both eras, and how such a service breaks.

use std::time::Duration;

use serde_json::{Value, json};

use crate::{
    client::{Door, LEGACY, MODERN, text_of},
    fixture::{SOON, Session, call, service, services, text_in},
    hub::Hub,
    tools::fixture,
};

/// A hub with the child as `fix`, to stand behind another.
async fn inner() -> Hub {
    let hub = Hub::builder()
        .config(&services(&[service("fix", "prefix: none", &[])]))
        .start()
        .await;
    hub.wait_until_ready(SOON).await;
    hub
}

/// A hub whose only service `far` is at `url`.
async fn outer(url: &str, settings: &str) -> Hub {
    let yaml = format!("services:\n  far: {{ url: '{url}'{settings} }}\n");
    Hub::builder().config(&yaml).start().await
}

/// Calls `far` as a client of each era.
async fn serves(hub: &mut Hub) {
    for revision in [LEGACY, MODERN] {
        let mut client = hub.client(Door::Http, revision).await;
        let tools = client.tools().await;
        assert!(tools.contains(&"far__echo".to_owned()), "{revision}: {tools:?}");
        let result = client.call("far__echo", json!({"text": "there"})).await.unwrap();
        assert!(text_of(&result).contains("there"), "{revision}: {result}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn streamable_http_serves_both_eras() {
    let far = inner().await;
    for settings in ["", ", transport: streamable-http", ", era: legacy", ", era: modern"] {
        let mut hub = outer(&far.mcp.url("/mcp"), settings).await;
        hub.wait_until_ready(SOON).await;
        serves(&mut hub).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_transport_before_it_is_found_out() {
    let far = inner().await;
    for settings in ["", ", transport: sse"] {
        let mut hub = outer(&far.mcp.url("/sse"), settings).await;
        hub.wait_until_ready(SOON).await;
        serves(&mut hub).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_web_socket_serves_both_eras() {
    let far = inner().await;
    let url = far.mcp.url("/ws").replacen("http", "ws", 1);
    let mut hub = outer(&url, "").await;
    hub.wait_until_ready(SOON).await;
    serves(&mut hub).await;
}

/// What the far server sends by itself arrives: progress on the call's own stream, changed tools on the general one.
#[tokio::test(flavor = "multi_thread")]
async fn notifications_come_through() {
    let far = inner().await;
    for path in ["/mcp", "/sse"] {
        let hub = outer(&far.mcp.url(path), ", era: legacy").await;
        hub.wait_until_ready(SOON).await;
        let session = Session::open(&hub).await;
        let mut listening = session.listen(None).await;
        session.call("far__change_tools", json!({})).await;
        loop {
            let message = listening.next_message(SOON).await.expect("a change is told");
            if message["method"] == "notifications/tools/list_changed" {
                break;
            }
        }
        let mut progressing = call(7, "far__emit_progress", json!({"steps": 3}));
        progressing["params"]["_meta"] = json!({"progressToken": "mine"});
        let messages = session.post(&progressing).await;
        let seen = messages
            .iter()
            .filter(|message| message["method"] == "notifications/progress")
            .inspect(|message| assert_eq!(message["params"]["progressToken"], "mine"));
        assert!(seen.count() >= 1, "{messages:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_that_is_taken_back_is_taken_back_there() {
    let far = inner().await;
    for era in ["legacy", "modern"] {
        let hub = outer(&far.mcp.url("/mcp"), &format!(", era: {era}, timeouts: {{ call: 1s }}")).await;
        hub.wait_until_ready(SOON).await;
        let session = Session::open(&hub).await;
        let answer = session.call("far__sleep", json!({"ms": 600_000})).await;
        assert_eq!(answer["error"]["code"], -31003, "{answer}");
        far.wait_until(SOON, "no call in flight at the far hub", async || {
            let metrics = far.admin.get("/metrics").await.text();
            let in_flight = metrics
                .lines()
                .find(|line| line.starts_with("mcpvisor_calls_in_flight"))
                .and_then(|line| line.rsplit(' ').next()?.parse::<f64>().ok());
            match in_flight {
                Some(calls) if calls > 0.0 => Err(format!("{calls}")),
                _ => Ok(()),
            }
        })
        .await;
    }
}

/// A far server that goes and comes back: calls say so meanwhile, and work again without anybody's help.
#[tokio::test(flavor = "multi_thread")]
async fn a_far_server_may_go_and_come_back() {
    let far = inner().await;
    let url = far.mcp.url("/mcp");
    let port = url.rsplit(':').next().unwrap().split('/').next().unwrap().to_owned();
    let hub = outer(&url, "").await;
    hub.wait_until_ready(SOON).await;
    let session = Session::open(&hub).await;
    assert_eq!(text_in(&session.call("far__echo", json!({"text": "1"})).await), "1");
    drop(far);
    let answer = session.call("far__echo", json!({"text": "2"})).await;
    let about = &answer["error"]["data"]["mcpvisor"];
    assert_eq!(
        (&about["service"], &about["outcome"]),
        (&json!("far"), &json!("not_sent")),
        "{answer}"
    );
    hub.wait_until(SOON, "`far` to be known as gone", async || {
        let item = hub.service("far").await;
        if item["state"] == "ready" {
            Err(item.to_string())
        } else {
            Ok(())
        }
    })
    .await;
    let item = hub.service("far").await;
    assert_eq!(item["instances"][0]["pid"], Value::Null, "{item}");
    let again = Hub::builder()
        .config(&services(&[service("fix", "prefix: none", &[])]))
        .port(&port)
        .start()
        .await;
    again.wait_until_ready(SOON).await;
    hub.wait_for("far", "ready", Duration::from_secs(30)).await;
    assert_eq!(text_in(&session.call("far__echo", json!({"text": "3"})).await), "3");
}

/// A far server that forgets its sessions (here: restarts in a moment) is greeted anew.
#[tokio::test(flavor = "multi_thread")]
async fn what_a_far_server_wants_to_see_it_gets_and_nobody_else() {
    let far = Hub::builder()
        .config("auth:\n  mcp: required\n  tokens: [{ name: it, token: canary-far-token }]\nservices:\n  demo: { builtin: demo }\n")
        .start()
        .await;
    let refused = outer(&far.mcp.url("/mcp"), "").await;
    refused
        .wait_until(SOON, "`far` to be refused", async || {
            let item = refused.service("far").await;
            let exit = item["last_exit"].to_string();
            if exit.contains("credentials") {
                Ok(())
            } else {
                Err(item.to_string())
            }
        })
        .await;
    let yaml = format!(
        "services:\n  far: {{ url: '{}', headers: {{ Authorization: 'Bearer ${{FAR_TOKEN}}' }} }}\n",
        far.mcp.url("/mcp")
    );
    let hub = Hub::builder()
        .config(&yaml)
        .env("FAR_TOKEN", "canary-far-token")
        .start()
        .await;
    hub.wait_for("far", "ready", SOON).await;
    let shown = hub.service("far").await.to_string() + &hub.log();
    assert!(!shown.contains("canary-far-token"), "{shown}");
}

/// The fixture on rmcp's own Streamable HTTP server.
#[tokio::test(flavor = "multi_thread")]
async fn a_server_of_another_make() {
    let port = std::net::TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
        .port();
    let mut server = tokio::process::Command::new(fixture("conformance-fixture"))
        .args(["--http", &port.to_string()])
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let mut hub = outer(&format!("http://127.0.0.1:{port}/mcp"), "").await;
    hub.wait_for("far", "ready", SOON).await;
    for revision in [LEGACY, MODERN] {
        let mut client = hub.client(Door::Http, revision).await;
        let result = client.call("far__test_simple_text", json!({})).await.unwrap();
        assert!(!text_of(&result).is_empty(), "{result}");
    }
    server.kill().await.unwrap();
}
