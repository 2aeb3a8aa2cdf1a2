//! Many clients that only listen: what they cost, and how soon each hears of a change.

use std::{
    fs,
    time::{Duration, Instant},
};

use futures_util::{StreamExt as _, stream};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use serde_json::json;

use crate::{
    client::{Door, LEGACY, MODERN, McpClient},
    hub::Hub,
    tools::{fixture, turn},
};

/// The resident memory of a process in MiB.
fn resident_mib(pid: u32) -> f64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
    let kib: f64 = line.split_whitespace().nth(1).unwrap().parse().unwrap();
    kib / 1024.0
}

/// A listening client: a third each on the GET stream of Streamable HTTP, on HTTP+SSE, and on `subscriptions/listen`.
async fn listener(hub: &Hub, number: usize) -> McpClient {
    let (door, revision) = match number % 3 {
        0 => (Door::Http, LEGACY),
        1 => (Door::Sse, LEGACY),
        _ => (Door::Http, MODERN),
    };
    let mut client = Box::pin(McpClient::open(&hub.mcp, door, "", revision)).await;
    client.listen().await;
    client
}

async fn listeners_hear_of_a_change(count: usize, most_mib: f64) {
    // Each stream is a socket here and one in the hub, which raises its own limit.
    let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
    setrlimit(Resource::RLIMIT_NOFILE, hard, hard).unwrap();
    let yaml = format!(
        "services:\n  fixture:\n    command: {}\n    prefix: none\nlimits:\n  max_sessions: {}\n",
        fixture("conformance-fixture"),
        count + 100
    );
    let mut hub = Hub::builder().config(&yaml).start().await;
    hub.wait_until_ready(Duration::from_secs(20)).await;
    let mut trigger = hub.client(Door::Http, LEGACY).await;
    let before = resident_mib(hub.pid());
    let listening: Vec<_> = stream::iter(0..count)
        .map(|number| Box::pin(listener(&hub, number)))
        .buffer_unordered(32)
        .collect()
        .await;
    let held = resident_mib(hub.pid());
    let waiting: Vec<_> = listening
        .into_iter()
        .map(|mut client| {
            tokio::spawn(async move {
                let message = client.next_message(Duration::from_secs(30)).await;
                (Instant::now(), message, client)
            })
        })
        .collect();
    let changed = Instant::now();
    trigger.call("test_trigger_tool_change", json!({})).await.unwrap();
    let mut delays = Vec::new();
    let mut clients = Vec::new();
    for heard in waiting {
        let (at, message, client) = heard.await.unwrap();
        assert_eq!(message["method"], "notifications/tools/list_changed", "{message}");
        delays.push(at.duration_since(changed));
        clients.push(client);
    }
    delays.sort_unstable();
    let p99 = delays[(count * 99 / 100).min(count - 1)];
    println!(
        "{count} streams: {held:.1} MiB resident ({before:.1} before), list_changed p50 {:?} p99 {p99:?} max {:?}",
        delays[count / 2],
        delays[count - 1]
    );
    assert!(held < most_mib, "{held:.1} MiB for {count} streams");
    // Here the clients are half of the work: a debug build of this test tells little of the hub.
    let bound = Duration::from_millis(if cfg!(debug_assertions) { 2000 } else { 500 });
    assert!(p99 < bound, "p99 {p99:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn six_hundred_listeners_hear_of_a_change_at_once() {
    let _turn = turn().await;
    Box::pin(listeners_hear_of_a_change(600, 200.0)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "ten thousand sockets: scripts/test --full"]
async fn ten_thousand_listeners_hear_of_a_change_at_once() {
    let _turn = turn().await;
    Box::pin(listeners_hear_of_a_change(10_000, 400.0)).await;
}
