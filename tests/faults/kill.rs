//! A child is killed while a crowd waits for it.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::{
    bystanders::{CROWD, Crowd},
    figures::Figures,
    fixture::{CountFile, SOON, Session, service, services, text_in},
    hub::Hub,
    invariant::Invariant,
    load::p99,
    repeat::kill_child,
    tools::turn,
};

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
async fn kill_under(hub: &Hub, counted: &CountFile, crowd: &mut Crowd) -> Vec<(Value, Duration)> {
    let before = counted.count("call sleep");
    crowd.call("fix__sleep", 600_000).await;
    counted.wait_for(hub, "call sleep", before + CROWD).await;
    let killed = kill_child(hub, "fix").await;
    let answers = crowd.answers().await;
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
    // The same load without the fault.
    let mut crowd = Crowd::connect(&hub).await;
    crowd.call("fix__sleep", 300).await;
    for (answer, _) in crowd.answers().await {
        assert_eq!(text_in(&answer), "awake");
    }
    drop(crowd);
    let before = Invariant::of(&mut hub).await;

    let mut crowd = Crowd::connect(&hub).await;
    let answers = kill_under(&hub, &counted, &mut crowd).await;
    drop(crowd);
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
    let session = Session::open(&hub).await;
    assert_eq!(
        text_in(&session.call("fix__echo", json!({"text": "again"})).await),
        "again"
    );
    drop(session);
    before.holds(&mut hub, &figures).await;
}
