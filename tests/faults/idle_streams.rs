//! Ten thousand clients that only listen: what they cost, and how soon each hears of a change.
//!
//! The promises are about a release build, and opening the streams takes a debug build most of a minute; so a debug build opens a
//! thousand, checks that each hears and what it costs, and says that the promises were not measured.

use std::time::{Duration, Instant};

use futures_util::{StreamExt as _, stream};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use serde_json::json;

use crate::{
    amount::Amount,
    client::{Door, LEGACY, MODERN, McpClient},
    figures::Figures,
    fixture::SOON,
    hub::Hub,
    invariant::{Invariant, resident},
    load::processor_time,
    tools::{fixture, turn},
};

const STREAMS: usize = if cfg!(debug_assertions) { 1_000 } else { 10_000 };
/// For 10,000; MB, not MiB.
const MEMORY: f64 = 400e6;

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

async fn listeners(hub: &Hub) -> Vec<McpClient> {
    stream::iter(0..STREAMS)
        .map(|number| Box::pin(listener(hub, number)))
        .buffer_unordered(32)
        .collect()
        .await
}

async fn leave(clients: Vec<McpClient>) {
    stream::iter(clients)
        .for_each_concurrent(32, async |mut client| {
            if client.has_session() {
                client.delete_session().await;
            }
        })
        .await;
}

/// Changes the tools; how long each took to hear of it.
async fn change(hub: &mut Hub, listening: Vec<McpClient>) -> (Vec<Duration>, Vec<McpClient>) {
    let mut trigger = hub.client(Door::Http, LEGACY).await;
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
    let (mut delays, mut clients) = (Vec::new(), vec![trigger]);
    for heard in waiting {
        let (at, message, client) = heard.await.unwrap();
        assert_eq!(message["method"], "notifications/tools/list_changed", "{message}");
        delays.push(at.duration_since(changed));
        clients.push(client);
    }
    (delays, clients)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn f21_ten_thousand_listeners_cost_little_and_hear_at_once() {
    let _turn = turn().await;
    // Each stream is a socket here and one in the hub, which raises its own limit.
    let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
    setrlimit(Resource::RLIMIT_NOFILE, hard, hard).unwrap();
    let yaml = format!(
        "services:\n  fixture:\n    command: {}\n    prefix: none\nlimits:\n  max_sessions: {}\n",
        fixture("conformance-fixture"),
        STREAMS + 100
    );
    let mut hub = Hub::builder().config(&yaml).start().await;
    hub.wait_until_ready(SOON).await;
    leave(listeners(&hub).await).await;
    let before = Invariant::of(&mut hub).await;
    let listening = listeners(&hub).await;
    let (used, begun) = (processor_time(hub.pid()), Instant::now());
    tokio::time::sleep(Duration::from_secs(2)).await;
    let idle = processor_time(hub.pid()).abs_diff(used).as_secs_f64() / begun.elapsed().as_secs_f64() * 100.0;
    let held = resident(hub.pid());
    let (mut delays, clients) = change(&mut hub, listening).await;
    delays.sort_unstable();
    let (p99, last) = (delays[STREAMS * 99 / 100], delays[STREAMS - 1]);
    println!(
        "{STREAMS} streams: {} resident, {idle:.1} % of a core while idle, list_changed p50 {:?} p99 {p99:?} max {last:?}",
        Amount::Bytes(held),
        delays[STREAMS / 2]
    );
    leave(clients).await;
    if cfg!(debug_assertions) {
        // The bound of ten thousand for each stream, and what a hub holds without any.
        assert!(held < MEMORY * 0.1 + 60e6, "{}", Amount::Bytes(held));
        println!("F21 WAS NOT MEASURED: this is a debug build, with {STREAMS} streams. scripts/faults measures it");
        before
            .holds(&mut hub, &Figures::of("F21", "1,000 clients only listen, debug build"))
            .await;
        return;
    }
    let figures = Figures::of("F21", "10,000 clients only listen, release build");
    figures.at_most("memory of the hub", Amount::Bytes(held), Amount::Bytes(MEMORY));
    figures.at_most(
        "processor time while nothing happens",
        Amount::Percent(idle),
        Amount::Percent(5.0),
    );
    figures.at_most("p99 from a change to its notice", p99, Duration::from_millis(500));
    before.holds(&mut hub, &figures).await;
}
