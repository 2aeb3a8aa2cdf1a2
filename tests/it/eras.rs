//! Clients and servers of both eras: who is spoken to in which, how that is found out, and that it is remembered.

use serde_json::{Value, json};

use crate::{
    client::{Door, LEGACY, MODERN},
    fixture::{
        CountFile, SOON, Session, call_modern, expect, hub_with, modern, post_modern, service, services, stream_modern,
        text_in,
    },
    hub::Hub,
};

/// `whoami` as a legacy and as a modern client: whether the child was spoken to in the modern era, and its pid.
async fn seen_by_child(hub: &Hub) -> [(bool, u64); 2] {
    let legacy = Session::open(hub).await.call("fix__whoami", json!({})).await;
    let modern = call_modern(hub, "fix__whoami", json!({})).await;
    [legacy, modern].map(|answer| {
        let seen: Value = serde_json::from_str(text_in(&answer)).unwrap();
        (seen["modern"].as_bool().unwrap(), seen["pid"].as_u64().unwrap())
    })
}

/// Everything a modern client does with plain requests.
async fn use_as_modern(hub: &mut Hub) {
    let mut client = hub.client(Door::Http, MODERN).await;
    assert!(client.tools().await.contains(&"fix__echo".to_owned()));
    let answer = call_modern(hub, "fix__echo", json!({"text": "hello", "big": 1})).await;
    assert_eq!(text_in(&answer), "hello", "{answer}");
    assert_eq!(answer["result"]["resultType"], "complete");
    let read = json!({"jsonrpc": "2.0", "id": 2, "method": "resources/read", "params": {"uri": "fixture://static"}});
    let read = hub
        .mcp
        .post(
            "/mcp",
            &[
                ("mcp-protocol-version", MODERN),
                ("mcp-method", "resources/read"),
                ("mcp-name", "fixture://static"),
            ],
            &modern(read).to_string(),
        )
        .await
        .json();
    assert_eq!(read["result"]["contents"][0]["text"], "static text", "{read}");
    assert_eq!(read["result"]["resultType"], "complete");
    assert!(
        read["result"]["ttlMs"].is_number() && read["result"]["cacheScope"].is_string(),
        "{read}"
    );
    let gone = json!({"jsonrpc": "2.0", "id": 3, "method": "prompts/get", "params": {"name": "fix__hello", "arguments": {"name": "you"}}});
    let prompt = post_modern(hub, "", &modern(gone)).await.json();
    assert!(prompt.to_string().contains("Hello, you!"), "{prompt}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_modern_client_uses_a_legacy_server() {
    let mut hub = hub_with("", &["--legacy-only"]).await;
    use_as_modern(&mut hub).await;
    let [legacy, modern] = seen_by_child(&hub).await;
    assert_eq!(legacy, modern, "one process, spoken to in the legacy era");
    assert!(!legacy.0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_modern_client_uses_a_server_that_dies_of_discover() {
    let builder = Hub::builder();
    let counted = CountFile::of(builder.folder());
    let yaml = services(&[service(
        "fix",
        "",
        &["--die-on-discover", "--count-file", counted.path()],
    )]);
    let mut hub = builder.config(&yaml).start().await;
    hub.wait_until_ready(SOON).await;
    let before = hub.service("fix").await;
    use_as_modern(&mut hub).await;
    // It was a sibling that died: the serving process did not.
    let after = hub.service("fix").await;
    assert_eq!(before["instances"][0]["pid"], after["instances"][0]["pid"], "{after}");
    assert_eq!(counted.count("start"), 2, "{:?}", counted.lines());

    // The verdict outlives the hub: no probe the second time.
    let mut hub = hub.restarted().await;
    hub.wait_until_ready(SOON).await;
    use_as_modern(&mut hub).await;
    assert_eq!(counted.count("start"), 3, "{:?}", counted.lines());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_legacy_client_uses_a_modern_server() {
    let mut hub = hub_with("", &["--modern-only"]).await;
    let mut client = hub.client(Door::Http, LEGACY).await;
    assert!(client.tools().await.contains(&"fix__echo".to_owned()));
    let answer = Session::open(&hub)
        .await
        .call("fix__echo", json!({"text": "hello"}))
        .await;
    assert_eq!(text_in(&answer), "hello", "{answer}");
    assert!(answer["result"].get("resultType").is_none(), "{answer}");
    let read = client
        .request("resources/read", json!({"uri": "fixture://static"}))
        .await
        .unwrap();
    assert_eq!(read["contents"][0]["text"], "static text");
    assert!(
        read.get("ttlMs").is_none() && read.get("resultType").is_none(),
        "{read}"
    );
    let missing = client
        .request("resources/read", json!({"uri": "fixture://missing"}))
        .await
        .unwrap_err();
    assert_eq!(missing["data"]["uri"], "fixture://missing", "{missing}");
    let levelled = client.request("logging/setLevel", json!({"level": "debug"})).await;
    assert_eq!(levelled, Ok(json!({})));
    assert_eq!(seen_by_child(&hub).await.map(|(modern, _)| modern), [true, true]);
    let restarted = hub.restarted().await;
    restarted.wait_until_ready(SOON).await;
    assert_eq!(seen_by_child(&restarted).await.map(|(modern, _)| modern), [true, true]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_of_both_eras_is_spoken_to_in_the_clients() {
    let hub = hub_with("", &[]).await;
    let [(legacy, one), (modern, other)] = seen_by_child(&hub).await;
    assert_eq!((legacy, modern), (false, true));
    assert_ne!(one, other, "one era per process");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_set_era_is_the_only_one_spoken() {
    for (era, expected) in [("legacy", false), ("modern", true)] {
        let builder = Hub::builder();
        let counted = CountFile::of(builder.folder());
        let yaml = services(&[service(
            "fix",
            &format!("era: {era}"),
            &["--count-file", counted.path()],
        )]);
        let hub = builder.config(&yaml).start().await;
        hub.wait_until_ready(SOON).await;
        let seen = seen_by_child(&hub).await;
        assert_eq!(seen.map(|(modern, _)| modern), [expected, expected], "{era}");
        assert_eq!(counted.count("start"), 1, "{era}");
    }
}

/// Breaks in the middle of `server/discover` once: nothing about its era may be concluded from that for good.
#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_refuses_both_eras_is_tried_again_and_not_in_a_frenzy() {
    let builder = Hub::builder();
    let counted = CountFile::of(builder.folder());
    let yaml = services(&[service(
        "fix",
        "",
        &["--modern-only", "--die-on-discover", "--count-file", counted.path()],
    )]);
    let hub = builder.config(&yaml).start().await;
    hub.wait_until(SOON, "a wait before the next try", async || {
        let item = hub.service("fix").await;
        if item["state"] == "backoff" && counted.count("start") >= 3 {
            Ok(())
        } else {
            Err(item.to_string())
        }
    })
    .await;
    assert!(counted.count("start") < 8, "{:?}", counted.lines());
}

#[tokio::test(flavor = "multi_thread")]
async fn modern_clients_watch_resources_and_lists_of_a_legacy_server() {
    let hub = hub_with("", &["--legacy-only"]).await;
    let session = Session::open(&hub).await;
    let ask = json!({"jsonrpc": "2.0", "id": "w", "method": "subscriptions/listen", "params": {"notifications":
        {"toolsListChanged": true, "resourceSubscriptions": ["fixture://counter"]}}});
    let mut stream = stream_modern(&hub, &modern(ask)).await;
    let first = expect(&mut stream, "notifications/subscriptions/acknowledged").await;
    let honoured = &first["params"]["notifications"];
    assert_eq!(
        honoured["resourceSubscriptions"],
        json!(["fixture://counter"]),
        "{first}"
    );
    session.call("fix__touch", json!({})).await;
    let update = expect(&mut stream, "notifications/resources/updated").await;
    assert_eq!(update["params"]["uri"], "fixture://counter");
    assert_eq!(update["params"]["_meta"]["io.modelcontextprotocol/subscriptionId"], "w");
    session.call("fix__change_tools", json!({})).await;
    let change = expect(&mut stream, "notifications/tools/list_changed").await;
    assert_eq!(change["params"]["_meta"]["io.modelcontextprotocol/subscriptionId"], "w");
}

#[tokio::test(flavor = "multi_thread")]
async fn legacy_clients_watch_resources_and_lists_of_a_modern_server() {
    let hub = hub_with("", &["--modern-only"]).await;
    let session = Session::open(&hub).await;
    let mut stream = session.listen(None).await;
    let subscribe =
        json!({"jsonrpc": "2.0", "id": 1, "method": "resources/subscribe", "params": {"uri": "fixture://counter"}});
    assert_eq!(session.post(&subscribe).await[0]["result"], json!({}));
    // The listen request behind it is answered by its own notification only; the child reads in order.
    session.call("fix__touch", json!({})).await;
    let update = expect(&mut stream, "notifications/resources/updated").await;
    assert_eq!(
        update["params"],
        json!({"uri": "fixture://counter"}),
        "nothing of the hub's own stream"
    );
    session.call("fix__change_tools", json!({})).await;
    let change = loop {
        let next = stream.next_message(SOON).await.unwrap();
        if next["method"] != "notifications/resources/updated" {
            break next;
        }
    };
    assert_eq!(change["method"], "notifications/tools/list_changed");
}
