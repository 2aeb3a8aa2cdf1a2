//! The hub without any configuration: one demo service behind every door.

use std::time::Duration;

use nix::sys::signal::Signal;

use crate::{
    client::{Door, LEGACY, MODERN},
    hub::Hub,
};

const SOON: Duration = Duration::from_secs(10);

#[tokio::test]
async fn starts_and_stops_with_no_configuration() {
    let hub = Hub::builder().start().await;
    let demo = hub.wait_for("demo", "ready", SOON).await;
    assert!(demo["counts"]["tools"].as_u64().unwrap() > 0, "{demo}");
    assert_eq!(demo["restarts"], 0, "{demo}");
    assert!(
        hub.processes().len() >= 2,
        "the hub and its child: {:?}",
        hub.processes()
    );
    for door in [&hub.mcp, &hub.admin] {
        assert_eq!(door.get("/health").await.status, 200);
    }
}

#[tokio::test]
async fn every_door_lists_the_demo_tools() {
    let mut hub = Hub::builder().transport("both").start().await;
    hub.wait_until_ready(SOON).await;
    let mut seen = Vec::new();
    for (door, revision) in [
        (Door::Http, LEGACY),
        (Door::Http, MODERN),
        (Door::Sse, "2024-11-05"),
        (Door::Socket, LEGACY),
        (Door::Stdio, LEGACY),
    ] {
        let mut client = hub.client(door, revision).await;
        let tools = client.tools().await;
        assert!(
            tools.iter().all(|name| name.starts_with("demo__")),
            "{door:?}: {tools:?}"
        );
        seen.push(tools);
    }
    assert!(!seen[0].is_empty());
    assert!(seen.iter().all(|tools| *tools == seen[0]), "{seen:?}");
    let mut single = hub.client_at(Door::Http, "/services/demo", LEGACY).await;
    let plain: Vec<_> = single
        .tools()
        .await
        .iter()
        .map(|name| format!("demo__{name}"))
        .collect();
    assert_eq!(plain, seen[0]);
    assert!(single.delete_session().await.is_success());
}

#[tokio::test]
async fn the_end_of_stdin_ends_a_hub_on_stdio() {
    let mut hub = Hub::builder().transport("stdio").start().await;
    let mut client = hub.client(Door::Stdio, LEGACY).await;
    client.close_stdin();
    assert_eq!(hub.ended(SOON).await.code, Some(0));
}

#[tokio::test]
async fn sigint_ends_it_cleanly() {
    let hub = Hub::builder().start().await;
    hub.wait_until_ready(SOON).await;
    hub.signal(Signal::SIGINT);
    let end = hub.ended(SOON).await;
    assert_eq!(end.code, Some(0), "{}", end.stderr);
    assert_eq!(end.stdout, "");
}

#[tokio::test]
async fn a_stop_during_the_handshake_is_clean_and_soon() {
    // It never answers, but ends with its stdin, as a child should.
    let silent = "services:\n  silent: { command: sh, args: [-c, 'cat > /dev/null'] }\n";
    let hub = Hub::builder().config(silent).start().await;
    hub.wait_for("silent", "handshaking", SOON).await;
    hub.signal(Signal::SIGTERM);
    let end = hub.ended(Duration::from_secs(3)).await;
    assert_eq!(end.code, Some(0), "{}", end.stderr);
}

#[tokio::test]
async fn services_are_known_as_soon_as_the_doors_are_open() {
    for _ in 0..20 {
        let hub = Hub::builder().start().await;
        assert_eq!(hub.services().await.len(), 1, "{}", hub.log_tail());
    }
}

#[tokio::test]
async fn a_hub_that_is_killed_leaves_no_process_behind() {
    let hub = Hub::builder().start().await;
    hub.wait_until_ready(SOON).await;
    hub.signal(Signal::SIGKILL);
    assert_eq!(hub.ended(SOON).await.code, Some(128 + 9));
}

#[tokio::test]
async fn help_is_the_manual_of_the_launch_line() {
    let end = Hub::builder().run(&["--help"], SOON).await;
    assert_eq!(end.code, Some(0), "{}", end.stderr);
    for flag in ["--transport", "--admin", "--config", "--port", "--log-level"] {
        assert!(end.stdout.contains(flag), "{flag}");
    }
}
