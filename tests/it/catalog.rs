//! Names, collisions, pages, and what is listed when services are down or not there yet.

use std::{
    fs,
    os::unix::fs::PermissionsExt as _,
    time::{Duration, Instant},
};

use serde_json::{Value, json};

use crate::{
    client::{Door, LEGACY, MODERN},
    fixture::{SOON, Session, hub_with, service, services, text_in},
    hub::Hub,
    tools::fixture,
};

/// Figures hold for a release build; a debug build on a busy machine is given room.
const AT_ONCE: Duration = if cfg!(debug_assertions) {
    Duration::from_millis(100)
} else {
    Duration::from_millis(10)
};

async fn list(session: &Session, method: &str, params: Value) -> Value {
    let ask = json!({"jsonrpc": "2.0", "id": 1, "method": method, "params": params});
    session.post(&ask).await.remove(0)
}

async fn tool_names(session: &Session) -> Vec<String> {
    let answer = list(session, "tools/list", json!({})).await;
    let tools = answer["result"]["tools"].as_array().unwrap();
    tools
        .iter()
        .map(|tool| tool["name"].as_str().unwrap().to_owned())
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn names_carry_the_prefix_that_is_set() {
    let yaml = services(&[
        service("bare", "prefix: none", &[]),
        service("named", "prefix: other", &["--tools", "1"]),
        service("plain", "", &[]),
    ]);
    let hub = Hub::builder().config(&yaml).start().await;
    hub.wait_until_ready(SOON).await;
    let session = Session::open(&hub).await;
    let names = tool_names(&session).await;
    for (name, there) in [
        ("echo", true),
        ("other__tool_00000", true),
        ("plain__echo", true),
        ("named__echo", false),
        ("bare__echo", false),
    ] {
        assert_eq!(names.iter().any(|known| known == name), there, "{name} in {names:?}");
        let answer = session.call(name, json!({"text": "x"})).await;
        assert_eq!(answer.get("result").is_some(), there, "{answer}");
    }
    // Prompts are named alike, resources never.
    let prompts = list(&session, "prompts/list", json!({})).await;
    let prompts: Vec<_> = prompts["result"]["prompts"]
        .as_array()
        .unwrap()
        .iter()
        .map(|p| &p["name"])
        .collect();
    assert_eq!(prompts, ["hello", "other__hello", "plain__hello"]);
    // A tool's definition stays whole but for its name.
    let tools = list(&session, "tools/list", json!({})).await;
    let tools = tools["result"]["tools"].as_array().unwrap();
    assert!(tools.iter().all(|tool| tool["x-fixture"] == json!({"kept": true})));
    // Under its own path a service's names are its own.
    let alone = Session::open_at(&hub, "/services/named", &json!({})).await;
    assert!(tool_names(&alone).await.contains(&"tool_00000".to_owned()));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_name_that_is_taken_is_reported_and_never_shadowed() {
    let yaml = services(&[
        service("first", "prefix: none", &["--name", "one"]),
        service("second", "prefix: none", &["--name", "two", "--tools", "1"]),
    ]);
    let hub = Hub::builder().config(&yaml).start().await;
    hub.wait_until_ready(SOON).await;
    let session = Session::open(&hub).await;
    let names = tool_names(&session).await;
    assert_eq!(names.iter().filter(|name| *name == "echo").count(), 1);
    assert!(
        names.contains(&"tool_00000".to_owned()),
        "what does not collide is there"
    );
    let pid = |answer: &Value| serde_json::from_str::<Value>(text_in(answer)).unwrap()["pid"].clone();
    let shown = pid(&session.call("whoami", json!({})).await);
    assert_eq!(shown, hub.service("first").await["instances"][0]["pid"]);
    // The other is visible in the API and reachable under its own path.
    let (first, second) = (hub.service("first").await, hub.service("second").await);
    assert_eq!(first["collisions"], json!([]));
    let collisions = second["collisions"].as_array().unwrap();
    for expected in [
        json!({"kind": "tool", "name": "echo", "holder": "first"}),
        json!({"kind": "prompt", "name": "hello", "holder": "first"}),
        json!({"kind": "resource", "name": "fixture://static", "holder": "first"}),
        json!({"kind": "resource_template", "name": "fixture://item/{id}", "holder": "first"}),
    ] {
        assert!(collisions.contains(&expected), "{expected} in {collisions:?}");
    }
    assert_eq!(second["counts"]["tools"], json!(names.len()), "counted as offered");
    let alone = Session::open_at(&hub, "/services/second", &json!({})).await;
    let pid_alone = pid(&alone.call("whoami", json!({})).await);
    assert_eq!(pid_alone, second["instances"][0]["pid"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn names_too_long_for_model_apis_are_shortened_the_same_way_each_time() {
    let prefix = "p".repeat(30);
    let yaml = format!(
        "names: {{ max_length: 36 }}\n{}",
        services(&[service("fix", &format!("prefix: {prefix}"), &["--tools", "3"])])
    );
    let hub = Hub::builder().config(&yaml).start().await;
    hub.wait_until_ready(SOON).await;
    let session = Session::open(&hub).await;
    let names = tool_names(&session).await;
    assert!(names.iter().all(|name| name.chars().count() <= 36), "{names:?}");
    let apart: std::collections::BTreeSet<_> = names.iter().collect();
    assert_eq!(apart.len(), names.len());
    assert!(names.contains(&format!("{prefix}__echo")), "what fits stays");
    let short: Vec<_> = names.iter().filter(|name| !name.contains("__")).collect();
    assert!(short.len() >= 3, "{names:?}");
    let counted = names
        .iter()
        .find(|name| name.starts_with(&"p".repeat(20)) && !name.contains("__"))
        .unwrap();
    let answer = session.call(counted, json!({"text": "by its short name"})).await;
    assert!(answer.get("result").is_some(), "{answer}");
    let hub = hub.restarted().await;
    hub.wait_until_ready(SOON).await;
    assert_eq!(tool_names(&Session::open(&hub).await).await, names);
}

#[tokio::test(flavor = "multi_thread")]
async fn lists_come_in_pages_and_whole() {
    let yaml = format!(
        "limits: {{ page_size: 10 }}\n{}",
        services(&[service("fix", "", &["--tools", "33", "--page-size", "7"])])
    );
    let mut hub = Hub::builder().config(&yaml).start().await;
    hub.wait_until_ready(SOON).await;
    let offered = hub.service("fix").await["counts"]["tools"].as_u64().unwrap();
    for revision in [LEGACY, MODERN] {
        let mut client = hub.client(Door::Http, revision).await;
        let tools = client.tools().await;
        assert_eq!(tools.len() as u64, offered);
        assert!(tools.contains(&"fix__tool_00032".to_owned()));
        let page = client.request("tools/list", json!({})).await.unwrap();
        assert_eq!(page["tools"].as_array().unwrap().len(), 10);
        for wrong in ["", "page:1", "bm90aGluZw", "!!"] {
            let error = client
                .request("tools/list", json!({"cursor": wrong}))
                .await
                .unwrap_err();
            assert_eq!(error["code"], -32602, "{wrong:?}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_that_is_down_stays_listed_or_not() {
    let yaml = services(&[
        service("hidden", "when_down: hide, restart: { policy: never }", &[]),
        service("kept", "when_down: keep, restart: { policy: never }", &[]),
    ]);
    let hub = Hub::builder().config(&yaml).start().await;
    hub.wait_until_ready(SOON).await;
    let session = Session::open(&hub).await;
    let mut stream = session.listen(None).await;
    let before = tool_names(&session).await;
    assert!(before.contains(&"hidden__echo".to_owned()) && before.contains(&"kept__echo".to_owned()));
    for name in ["kept", "hidden"] {
        session.call(&format!("{name}__exit"), json!({"code": 1})).await;
        hub.wait_for(name, "stopped", SOON).await;
    }
    crate::fixture::expect(&mut stream, "notifications/tools/list_changed").await;
    let after = tool_names(&session).await;
    assert!(!after.iter().any(|name| name.starts_with("hidden__")), "{after:?}");
    assert!(after.contains(&"kept__echo".to_owned()), "{after:?}");
    let answer = session.call("kept__echo", json!({"text": "x"})).await;
    assert_eq!(answer["error"]["code"], -31006, "{answer}");
    assert!(
        answer["error"]["message"].as_str().unwrap().contains("code 1"),
        "{answer}"
    );
    let answer = session.call("hidden__echo", json!({"text": "x"})).await;
    assert_eq!(answer["error"]["code"], -32602, "{answer}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_last_good_catalogue_is_served_at_once_while_the_service_hangs() {
    let builder = Hub::builder();
    let switches = builder.folder().join("switches");
    let script = builder.folder().join("server");
    fs::write(&switches, "").unwrap();
    let text = format!(
        "#!/bin/sh\nexec {} $(cat {})\n",
        fixture("fixture-child"),
        switches.display()
    );
    fs::write(&script, text).unwrap();
    fs::set_permissions(&script, fs::Permissions::from_mode(0o755)).unwrap();
    let yaml = format!("services:\n  fix: {{ command: {} }}\n", json!(script));
    let hub = builder.config(&yaml).start().await;
    hub.wait_until_ready(SOON).await;
    let before = tool_names(&Session::open(&hub).await).await;
    assert!(before.contains(&"fix__echo".to_owned()));
    fs::write(&switches, "--hang-initialize").unwrap();
    let hub = hub.restarted().await;
    // The first connection of all pays for what is loaded once.
    assert_eq!(hub.mcp.get("/health").await.status, 200);
    let asked = Instant::now();
    let session = Session::open(&hub).await;
    let after = tool_names(&session).await;
    let took = asked.elapsed();
    println!("initialize and tools/list in {took:?}");
    assert_eq!(after, before);
    assert!(took < AT_ONCE * 3, "three requests in {took:?}");
    assert_ne!(hub.service("fix").await["state"], "ready");
}

#[tokio::test(flavor = "multi_thread")]
async fn lists_are_in_the_same_order_for_everybody_and_each_time() {
    let yaml = services(&[
        service("c", "", &["--tools", "3"]),
        // The slow one is learned last and listed first.
        service("a", "", &["--slow-start", "500"]),
        service("b", "prefix: zz", &[]),
    ]);
    let mut hub = Hub::builder().config(&yaml).start().await;
    hub.wait_until_ready(SOON).await;
    let mut seen = Vec::new();
    for (door, revision) in [(Door::Http, LEGACY), (Door::Http, MODERN), (Door::Socket, LEGACY)] {
        let mut client = hub.client(door, revision).await;
        let all = [
            client.list("tools/list", "tools").await,
            client.list("prompts/list", "prompts").await,
            client.list("resources/list", "resources").await,
        ];
        seen.push(all);
    }
    let hub = hub.restarted().await;
    hub.wait_until_ready(SOON).await;
    let session = Session::open(&hub).await;
    let again = list(&session, "tools/list", json!({})).await;
    assert!(seen.windows(2).all(|pair| pair[0] == pair[1]));
    assert_eq!(&json!(seen[0][0]), &again["result"]["tools"]);
    let names = tool_names(&session).await;
    assert!(names[0].starts_with("a__"), "{names:?}");
    let firsts = ["a__", "zz__", "c__"].map(|prefix| names.iter().position(|name| name.starts_with(prefix)));
    assert!(firsts.is_sorted(), "{names:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_endpoint_of_one_service_introduces_itself_as_that_service() {
    let mut hub = hub_with("", &["--name", "the-one"]).await;
    let client = hub.client_at(Door::Http, "/services/fix", LEGACY).await;
    assert_eq!(client.greeting["serverInfo"]["name"], "the-one");
    assert_eq!(client.greeting["instructions"], "Do what the test says.");
    let merged = hub.client(Door::Http, LEGACY).await;
    assert_eq!(merged.greeting["serverInfo"]["name"], "mcpvisor");
    assert_eq!(hub.mcp.get("/services/nobody/mcp").await.status, 404);
}
