//! A child that stops reading: its pipe fills, then the queue in front of it.

use std::time::{Duration, Instant};

use futures_util::future::join_all;
use serde_json::{Value, json};

use crate::{
    amount::Amount,
    figures::Figures,
    fixture::{CountFile, SOON, Session, call, service, services, text_in},
    hub::Hub,
    invariant::Invariant,
    load::Peak,
    tools::turn,
};

/// How long a caller may wait for a child that reads nothing.
const LIMIT: Duration = Duration::from_secs(10);
/// Between two calls.
const PACE: Duration = Duration::from_millis(5);

/// Fills the pipe of a child that reads nothing any more, then its queue, and goes on calling: `count` calls of `size` bytes.
async fn fill(session: &Session, count: usize, size: usize) -> Vec<(Value, Duration)> {
    let (text, begun) = ("x".repeat(size), Instant::now());
    let calls = (0_u32..).take(count).map(async |n| {
        // One after the other: what many large requests hold while they come in is not the question.
        tokio::time::sleep_until((begun + PACE * n).into()).await;
        let asked = Instant::now();
        let messages = session.post(&call(n, "fix__echo", json!({"text": text}))).await;
        assert_eq!(messages.len(), 1, "one answer");
        assert_eq!(messages[0]["id"], n);
        (messages[0]["error"].clone(), asked.elapsed())
    });
    join_all(calls).await
}

async fn deaf(count: usize, size: usize, what: &'static str) {
    let _turn = turn().await;
    let figures = Figures::of("F5", what);
    let builder = Hub::builder();
    let counted = CountFile::of(builder.folder());
    let switches = ["--stop-reading", "--count-file", counted.path()];
    let yaml = services(&[service("fix", "", &switches), service("good", "", &[])]);
    let mut hub = builder.config(&yaml).start().await;
    hub.wait_until_ready(SOON).await;
    // The same load, on the service that reads.
    let session = Session::open(&hub).await;
    let text = "x".repeat(size);
    let warm = (0..count).map(async |_| session.call("good__echo", json!({"text": text})).await);
    drop((join_all(warm).await, session));
    let before = Invariant::of(&mut hub).await;

    let session = Session::open(&hub).await;
    let peak = Peak::begin(hub.pid());
    let (answers, ()) = tokio::join!(fill(&session, count, size), async {
        counted.wait_for(&hub, "call echo", 1).await;
        let other = Session::open(&hub).await;
        assert_eq!(
            text_in(&other.call("good__echo", json!({"text": "there"})).await),
            "there"
        );
    });
    let growth = peak.growth();
    figures.exactly("answers, one for each call", answers.len(), count);
    let mut unsent = 0;
    for (error, _) in &answers {
        assert_eq!(error["code"], -31008, "{error}");
        let about = &error["data"]["mcpvisor"];
        assert_eq!(
            (&about["reason"], &about["service"]),
            (&json!("child_stalled"), &json!("fix")),
            "{error}"
        );
        assert_eq!(about["retryable"], about["outcome"] == "not_sent", "{error}");
        unsent += usize::from(about["outcome"] == "not_sent");
    }
    println!("{unsent} of {count} calls were not sent");
    // The pipe holds 64 KiB, and the child has read a little before.
    let may_have_arrived = 128 * 1024 / size + 2;
    figures.at_least("calls said not to be sent", unsent, count - may_have_arrived);
    let slowest = answers.iter().map(|(_, took)| *took).max().unwrap();
    figures.at_most("slowest answer", slowest, LIMIT);
    figures.at_most(
        "memory of the hub more than before",
        Amount::Bytes(growth),
        Amount::mib(10.0),
    );
    let item = hub.wait_for("fix", "ready", SOON).await;
    assert_eq!(item["last_exit"]["reason"], "stalled", "{item}");
    drop(session);
    before.holds(&mut hub, &figures).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn f05_a_child_that_stops_reading_is_found_out_by_many_small_calls() {
    deaf(600, 2 << 10, "a child stops reading, under small calls").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn f05_a_child_that_stops_reading_is_found_out_by_large_calls() {
    deaf(120, 128 << 10, "a child stops reading, under large calls").await;
}
