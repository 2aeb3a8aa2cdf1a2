//! A child that takes calls and never answers them.

use std::time::{Duration, Instant};

use futures_util::future::join_all;
use serde_json::json;

use crate::{
    figures::Figures,
    fixture::{CountFile, SOON, Session, hub_with, service, services, text_in},
    hub::Hub,
    invariant::Invariant,
    tools::turn,
};

/// What a call may take in these tests.
const LIMIT: Duration = Duration::from_secs(1);

#[tokio::test(flavor = "multi_thread")]
async fn f04_a_call_that_is_never_answered_ends_at_its_limit() {
    let _turn = turn().await;
    let figures = Figures::of("F4", "a child never answers");
    let mut hub = hub_with("timeouts: { call: 1s }", &[]).await;
    let session = Session::open(&hub).await;
    assert_eq!(
        text_in(&session.call("fix__echo", json!({"text": "warm"})).await),
        "warm"
    );
    drop(session);
    let before = Invariant::of(&mut hub).await;

    let session = Session::open(&hub).await;
    let asked = Instant::now();
    let silent = (0..2).map(async |_| {
        (
            session.call("fix__sleep", json!({"ms": 600_000})).await,
            asked.elapsed(),
        )
    });
    let (silent, echoed) = tokio::join!(join_all(silent), session.call("fix__echo", json!({"text": "there"})));
    assert_eq!(text_in(&echoed), "there");
    for (answer, took) in silent {
        assert_eq!(answer["error"]["code"], -31003, "{answer}");
        let late = took.abs_diff(LIMIT);
        figures.at_most("between the call's limit and its end", late, Duration::from_millis(250));
    }
    // It was told: the child writes down what it gets.
    let events = session.events("fix__events").await;
    let told = events.matches("notifications/cancelled").count();
    figures.exactly("cancellations sent", told, 2_usize);
    drop(session);
    before.holds(&mut hub, &figures).await;
}

/// Calls of a service, all at once; each answer with the time it took.
async fn at_once(session: &Session, tool: &str, count: usize) -> Vec<(serde_json::Value, Duration)> {
    let asked = Instant::now();
    let calls = (0..count).map(async |_| (session.call(tool, json!({"ms": 600_000})).await, asked.elapsed()));
    join_all(calls).await
}

/// A line without its end holds back everything behind it: nobody can be answered, and everybody is told in time.
#[tokio::test(flavor = "multi_thread")]
async fn f04_a_line_that_stops_in_the_middle_holds_calls_to_their_limit() {
    let _turn = turn().await;
    let figures = Figures::of("F4", "a child stops writing in the middle of a line");
    let builder = Hub::builder();
    let counted = CountFile::of(builder.folder());
    let switches = ["--half-answer", "--count-file", counted.path()];
    let yaml = services(&[
        service("fix", "timeouts: { call: 1s }", &switches),
        service("good", "", &[]),
    ]);
    let mut hub = builder.config(&yaml).start().await;
    hub.wait_until_ready(SOON).await;
    let before = Invariant::of(&mut hub).await;
    let session = Session::open(&hub).await;
    let echoes = async {
        let asked = Instant::now();
        assert_eq!(
            text_in(&session.call("good__echo", json!({"text": "there"})).await),
            "there"
        );
        asked.elapsed()
    };
    let (held, echoed) = tokio::join!(at_once(&session, "fix__sleep", 2), echoes);
    figures.at_most(
        "a call to another service meanwhile",
        echoed,
        Duration::from_millis(250),
    );
    for (answer, took) in held {
        assert_eq!(answer["error"]["code"], -31003, "{answer}");
        let about = &answer["error"]["data"]["mcpvisor"];
        assert_eq!(
            (&about["outcome"], &about["service"]),
            (&json!("unknown"), &json!("fix"))
        );
        figures.at_most(
            "between the call's limit and its end",
            took.abs_diff(LIMIT),
            Duration::from_millis(250),
        );
    }
    counted.wait_for(&hub, "got notifications/cancelled", 2).await;
    figures.exactly(
        "cancellations sent",
        counted.count("got notifications/cancelled"),
        2_usize,
    );
    drop(session);
    before.holds(&mut hub, &figures).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn f04_three_unanswered_calls_degrade_and_five_more_restart() {
    let _turn = turn().await;
    let figures = Figures::of("F4", "a child answers no calls at all");
    let builder = Hub::builder();
    let counted = CountFile::of(builder.folder());
    let switches = ["--never-answer", "--count-file", counted.path()];
    let yaml = services(&[service("fix", "timeouts: { call: 500ms }", &switches)]);
    let mut hub = builder.config(&yaml).start().await;
    hub.wait_until_ready(SOON).await;
    let session = Session::open(&hub).await;
    at_once(&session, "fix__sleep", 2).await;
    assert_eq!(hub.service("fix").await["state"], "ready", "two are no trouble");
    let before = Invariant::of(&mut hub).await;
    at_once(&session, "fix__sleep", 1).await;
    hub.wait_for("fix", "degraded", Duration::from_secs(1)).await;
    figures.exactly("unanswered calls until degraded", counted.count("call sleep"), 3_usize);
    counted.wait_for(&hub, "got notifications/cancelled", 3).await;
    figures.exactly(
        "cancellations sent",
        counted.count("got notifications/cancelled"),
        3_usize,
    );
    // It serves on: four more change nothing, the fifth does.
    at_once(&session, "fix__sleep", 4).await;
    assert_eq!(
        (hub.service("fix").await["restarts"].clone(), counted.count("start")),
        (json!(0), 1)
    );
    at_once(&session, "fix__sleep", 1).await;
    counted.wait_for(&hub, "start", 2).await;
    figures.exactly(
        "unanswered calls until it is restarted",
        counted.count("call sleep"),
        8_usize,
    );
    let item = hub.wait_for("fix", "ready", SOON).await;
    assert_eq!(item["last_exit"]["reason"], "unresponsive", "{item}");
    drop(session);
    before.holds(&mut hub, &figures).await;
}
