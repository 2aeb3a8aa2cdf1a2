//! The hub is killed under load, again and again: nothing it started outlives it, and what it stored is whole.

use std::time::{Duration, Instant};

use serde_json::json;

use crate::{
    figures::Figures,
    fixture::{CountFile, SOON, Session, call, service, services},
    hub::Hub,
    killing::database,
    processes::{alive, below, marked},
    tools::turn,
};

const ROUNDS: u32 = 100;
/// Between two calls: two hundred a second.
const EVERY: Duration = Duration::from_millis(5);
const DEAD: Duration = Duration::from_secs(1);

/// Calls at a steady rate and a few long ones, until the hub is gone; how many were sent.
struct Load(tokio::task::JoinSet<()>);

impl Load {
    async fn run(hub: &Hub, length: Duration) -> (Self, usize) {
        let session = Session::open(hub).await;
        let mut calls = tokio::task::JoinSet::new();
        let mut ask = |message| {
            let session = session.clone();
            calls.spawn(async move { drop(session.try_post(&message).await) });
        };
        for n in 0..4 {
            ask(call(n, "fix__sleep", json!({"ms": 600_000})));
        }
        let (begun, mut sent, mut clock) = (Instant::now(), 4, tokio::time::interval(EVERY));
        while begun.elapsed() < length {
            clock.tick().await;
            ask(call(sent, "fix__echo", json!({"text": "x"})));
            sent += 1;
        }
        (Self(calls), sent)
    }

    /// Every call has come to some end: an answer, or the end of its connection.
    async fn ended(mut self) {
        while tokio::time::timeout(SOON, self.0.join_next())
            .await
            .expect("no call hangs")
            .is_some()
        {}
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn f02_a_killed_hub_leaves_nothing_behind_a_hundred_times() {
    let _turn = turn().await;
    let figures = Figures::of("F2", "kill -9 of the hub under 200 calls/s, 100 times");
    let mut builder = Hub::builder();
    let counted = CountFile::of(builder.folder());
    // Whatever keeps a process from ending by itself.
    let switches = [
        "--ignore-sigterm",
        "--ignore-eof",
        "--setsid-daemon",
        "--leave-grandchild",
        "--count-file",
        counted.path(),
    ];
    builder = builder.config(&services(&[service("fix", "", &switches), service("other", "", &[])]));
    let mark = builder.folder().join("tmp").display().to_string();
    let (mut slowest, mut slowest_start, mut calls, mut whole) = (Duration::ZERO, Duration::ZERO, 0, 0_usize);
    for round in 0..ROUNDS {
        let hub = builder.start().await;
        slowest_start = slowest_start.max(hub.started_in);
        let mut load = None;
        // Every fifth is killed while its services start.
        if !round.is_multiple_of(5) {
            hub.wait_for("fix", "ready", SOON).await;
            let length = Duration::from_millis(u64::from(round * 37 % 150));
            let (running, sent) = Load::run(&hub, length).await;
            calls += sent;
            load = Some(running);
        }
        let tree = below(hub.pid());
        let killed = Instant::now();
        builder = hub.killed().await;
        loop {
            // Also those that were born after the list was made.
            let left = tree.iter().filter(|pid| alive(**pid)).count() + marked(&mark).len();
            if left == 0 {
                break;
            }
            assert!(
                killed.elapsed() < DEAD * 5,
                "round {round}: {left} processes outlive the hub"
            );
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        slowest = slowest.max(killed.elapsed());
        if let Some(load) = load {
            load.ended().await;
        }
        let mut database = database(builder.folder()).await;
        let check: String = sqlx::query_scalar("pragma integrity_check")
            .fetch_one(&mut database)
            .await
            .unwrap();
        whole += usize::from(check == "ok");
        // What was learned in an earlier round is there.
        let known: i64 = sqlx::query_scalar("select count(*) from catalog")
            .fetch_one(&mut database)
            .await
            .unwrap();
        assert!(round < 5 || known >= 1, "round {round}: the catalogue is lost");
    }
    println!("{calls} calls were sent; the slowest start took {slowest_start:?}");
    figures.at_most("until nothing that it started is left, slowest", slowest, DEAD);
    figures.exactly("databases that are whole", whole, usize::try_from(ROUNDS).unwrap());
    // And it serves.
    let hub = builder.start().await;
    hub.wait_until_ready(SOON).await;
    let answer = Session::open(&hub).await.call("fix__echo", json!({"text": "x"})).await;
    assert!(answer.get("result").is_some(), "{answer}");
    figures.exactly(
        "processes of earlier hubs after the next start",
        strangers(&hub),
        0_usize,
    );
}

/// Processes of the hub's folder that are not below it.
fn strangers(hub: &Hub) -> usize {
    let tree = below(hub.pid());
    let all = hub.processes();
    all.iter()
        .filter(|pid| **pid != hub.pid() && !tree.contains(pid))
        .count()
}
