//! A child is killed while a crowd waits for it.

use std::time::{Duration, Instant};

use futures_util::future::join_all;
use serde_json::{Value, json};

use crate::{
    figures::Figures,
    fixture::{CountFile, SOON, Session, answer_in, call, service, services, text_in},
    hub::Hub,
    invariant::Invariant,
    load::p99,
    repeat::kill_child,
    tools::turn,
};

/// In flight when the child is killed.
const CROWD: usize = 1000;

/// A crowd of calls that will not be answered for `ms`; each with the moment its answer came.
async fn crowd(session: &Session, ms: u64) -> Vec<(Value, Instant)> {
    let calls = (0..CROWD).map(async |n| {
        let messages = session.post(&call(n, "fix__sleep", json!({"ms": ms}))).await;
        let came = Instant::now();
        let answer = answer_in(&messages);
        assert_eq!(answer["id"], n, "{answer}");
        (answer, came)
    });
    join_all(calls).await
}

async fn start() -> (Hub, CountFile) {
    let builder = Hub::builder();
    let counted = CountFile::of(builder.folder());
    let yaml = services(&[
        service("fix", "", &["--count-file", counted.path()]),
        service("good", "", &[]),
    ]);
    let hub = builder.config(&yaml).start().await;
    hub.wait_until_ready(SOON).await;
    (hub, counted)
}

/// Kills the child when all of the crowd are with it; what they got, and how long after the kill.
async fn kill_under(hub: &Hub, counted: &CountFile, session: &Session) -> Vec<(Value, Duration)> {
    let before = counted.count("call sleep");
    let killing = async {
        counted.wait_for(hub, "call sleep", before + CROWD).await;
        kill_child(hub, "fix").await
    };
    let (answers, killed) = tokio::join!(crowd(session, 600_000), killing);
    answers
        .into_iter()
        .map(|(answer, came)| (answer, came.duration_since(killed)))
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn f01_a_killed_child_answers_a_thousand_calls() {
    let _turn = turn().await;
    let figures = Figures::of("F1", "kill -9 of a child with 1,000 calls in flight");
    let (mut hub, counted) = start().await;
    let session = Session::open(&hub).await;
    // The same load without the fault.
    for (answer, _) in crowd(&session, 300).await {
        assert_eq!(text_in(&answer), "awake");
    }
    drop(session);
    let before = Invariant::of(&mut hub).await;

    let session = Session::open(&hub).await;
    let answers = kill_under(&hub, &counted, &session).await;
    let killed = Instant::now();
    figures.exactly("answers, one for each call", answers.len(), CROWD);
    for (answer, _) in &answers {
        assert_eq!(answer["error"]["code"], -31001, "{answer}");
        let about = &answer["error"]["data"]["mcpvisor"];
        let expected = json!({"reason": "killed", "code": null, "signal": 9});
        assert_eq!(
            (&about["reason"], &about["outcome"], &about["exit"], &about["service"]),
            (&json!("child_exited"), &json!("unknown"), &expected, &json!("fix")),
            "{answer}"
        );
    }
    let times: Vec<Duration> = answers.iter().map(|(_, took)| *took).collect();
    let slowest = times.iter().max().copied().unwrap();
    figures.at_most("99 % of the errors within", p99(times), Duration::from_millis(250));
    figures.at_most("slowest error", slowest, Duration::from_secs(1));
    hub.wait_for("fix", "ready", SOON).await;
    // Counted from the kill; the child itself starts within milliseconds.
    figures.at_most(
        "until it is ready again",
        killed.elapsed() + slowest,
        Duration::from_secs(2),
    );
    assert_eq!(
        text_in(&session.call("fix__echo", json!({"text": "again"})).await),
        "again"
    );
    drop(session);
    before.holds(&mut hub, &figures).await;
}
