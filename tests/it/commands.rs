//! The command line from outside: exit codes, what is printed where, and a configuration that changes while the hub runs.

use std::{fs, time::Duration};

use crate::hub::{Builder, Hub};

/// Far longer than any of these commands takes.
const BOUND: Duration = Duration::from_secs(20);

async fn ends(builder: Builder, args: &[&str], code: i32) -> (String, String) {
    let ended = builder.run(args, BOUND).await;
    assert_eq!(ended.code, Some(code), "{args:?}\n{}\n{}", ended.stdout, ended.stderr);
    (ended.stdout, ended.stderr)
}

async fn demo_is_ready(hub: &Hub) {
    hub.wait_until(BOUND, "the demo to be ready", async || {
        let items = hub.services().await;
        let ready = items.iter().any(|item| item["state"] == "ready");
        if ready { Ok(()) } else { Err(format!("{items:?}")) }
    })
    .await;
}

#[tokio::test]
async fn check_prints_what_holds_or_all_that_is_wrong() {
    let good = "services: {a: {builtin: demo}, b: {command: /bin/true, args: [--token, canary-1], env: {API_KEY: canary-2}}}\n";
    let (shown, notes) = ends(Hub::builder().config(good), &["check", "--port", "1234"], 0).await;
    assert!(
        shown.contains("port: 1234") && shown.contains("API_KEY: \"***\""),
        "{shown}"
    );
    assert!(!shown.contains("canary") && notes.is_empty(), "{shown}{notes}");
    let bad = "services: {a: {comand: x}}\nlimits: {drain: 1h, stop_budget: 1m}\n";
    for args in [&["check"][..], &["--transport", "sse"]] {
        let (shown, refused) = ends(Hub::builder().config(bad), args, 78).await;
        assert_eq!(shown, "", "nothing but an answer belongs on stdout");
        for part in [
            "2 mistakes",
            "services.a.comand: unknown key; did you mean `command`?",
            "limits.drain: ",
        ] {
            assert!(refused.contains(part), "no `{part}` in {refused}");
        }
    }
}

#[tokio::test]
async fn exit_codes_tell_how_it_ended() {
    ends(Hub::builder(), &["--version"], 0).await;
    ends(Hub::builder(), &["--transport", "telepathy"], 64).await;
    ends(Hub::builder(), &["health"], 1).await;
    ends(Hub::builder(), &["--config", "nowhere.yaml"], 78).await;
    let (_, refused) = ends(Hub::builder(), &["--host", "0.0.0.0"], 78).await;
    assert!(refused.contains("auth.tokens"), "{refused}");
    let (schema, _) = ends(Hub::builder(), &["schema"], 0).await;
    assert_eq!(schema, fs::read_to_string("docs/config.schema.json").unwrap());
    let (script, _) = ends(Hub::builder(), &["completions", "bash"], 0).await;
    assert!(script.contains("demo-server"));
}

#[tokio::test]
async fn a_taken_port_is_one_line_that_names_port_and_flag() {
    let hub = Hub::builder().start().await;
    demo_is_ready(&hub).await;
    let port = hub
        .mcp
        .url("")
        .rsplit(':')
        .next()
        .unwrap()
        .trim_end_matches('/')
        .to_owned();
    let (_, refused) = ends(Hub::builder(), &["--transport", "sse", "--port", &port], 78).await;
    assert!(refused.contains(&port) && refused.contains("--port"), "{refused}");
    assert_eq!(refused.lines().count(), 1, "{refused}");
}

#[tokio::test]
async fn health_asks_the_hub_that_runs_on_the_folder() {
    let hub = Hub::builder().start().await;
    demo_is_ready(&hub).await;
    let data = hub.folder().join("data").display().to_string();
    let (answer, _) = ends(Hub::builder(), &["health", "--data-dir", &data], 0).await;
    assert!(answer.contains("/health") && answer.contains("200"), "{answer}");
}

#[tokio::test]
async fn import_prints_what_check_accepts() {
    let builder = Hub::builder();
    let theirs = r#"{"mcpServers": {"My Server": {"command": "/bin/true", "env": {"SOME_TOKEN": "canary-1"}}}} // end"#;
    fs::write(builder.folder().join("theirs.json"), theirs).unwrap();
    let (ours, notes) = ends(builder, &["import", "theirs.json"], 0).await;
    assert!(
        !format!("{ours}{notes}").contains("canary") && notes.contains("SOME_TOKEN"),
        "{ours}{notes}"
    );
    let builder = Hub::builder().config(&ours).env("SOME_TOKEN", "x-y-z");
    let (shown, _) = ends(builder, &["check"], 0).await;
    assert!(shown.contains("My-Server:"), "{shown}");
}

#[tokio::test]
async fn only_what_changed_is_restarted_and_a_broken_file_is_refused() {
    let hub = Hub::builder()
        .config("services: {stays: {builtin: demo}, goes: {builtin: demo}}\n")
        .start()
        .await;
    let pid = |item: &serde_json::Value| item["instances"][0]["pid"].clone();
    let names_are = async |expected: &[&str]| {
        hub.wait_until(BOUND, "the new list of services", async || {
            let items = hub.services().await;
            let names: Vec<_> = items.iter().map(|item| item["name"].as_str().unwrap()).collect();
            if names == expected {
                Ok(())
            } else {
                Err(format!("{names:?}"))
            }
        })
        .await;
    };
    names_are(&["goes", "stays"]).await;
    let before = pid(&hub.wait_for("stays", "ready", BOUND).await);
    let file = hub.folder().join("mcpvisor.yaml");
    fs::write(&file, "services: {stays: {buitlin: demo}}\n").unwrap();
    hub.wait_until(BOUND, "the refusal", async || {
        let log = hub.log();
        if log.contains("did you mean `builtin`") {
            Ok(())
        } else {
            Err(log)
        }
    })
    .await;
    assert_eq!(hub.services().await.len(), 2, "a refused file changes nothing");
    fs::write(
        &file,
        "services: {stays: {builtin: demo}, comes: {builtin: demo, prefix: new}}\n",
    )
    .unwrap();
    names_are(&["comes", "stays"]).await;
    hub.wait_for("comes", "ready", BOUND).await;
    assert_eq!(
        pid(&hub.service("stays").await),
        before,
        "what did not change is not restarted"
    );
}
