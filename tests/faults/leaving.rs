//! A client leaves in the middle of a call: what that means depends on the revision it speaks.

use std::time::{Duration, Instant};

use serde_json::json;

use crate::{
    figures::Figures,
    fixture::{CountFile, SOON, Session, call, expect, modern, service, services, stream_modern, text_in},
    http::PATIENCE,
    hub::Hub,
    invariant::Invariant,
    load::metric,
    tools::turn,
};

async fn counting() -> (Hub, CountFile) {
    let builder = Hub::builder();
    let counted = CountFile::of(builder.folder());
    let yaml = services(&[service("fix", "", &["--count-file", counted.path()])]);
    let hub = builder.config(&yaml).start().await;
    hub.wait_until_ready(SOON).await;
    (hub, counted)
}

/// A long call that reports its progress.
fn long() -> serde_json::Value {
    let mut ask = call("long", "fix__emit_progress", json!({"steps": 1000, "ms": 20}));
    ask["params"]["_meta"]["progressToken"] = json!(1);
    ask
}

#[tokio::test(flavor = "multi_thread")]
async fn f24_a_modern_client_that_leaves_takes_its_call_back() {
    let _turn = turn().await;
    let figures = Figures::of("F24", "a client of 2026-07-28 disconnects during a call");
    let (mut hub, counted) = counting().await;
    // Once without counting: the process of the modern era starts.
    drop(stream_modern(&hub, &modern(long())).await);
    counted.wait_for(&hub, "got notifications/cancelled", 1).await;
    let before = Invariant::of(&mut hub).await;
    for round in 2..7 {
        let mut stream = stream_modern(&hub, &modern(long())).await;
        expect(&mut stream, "notifications/progress").await;
        assert!(metric(&hub, "mcpvisor_calls_in_flight").await >= 1.0);
        let left = Instant::now();
        drop(stream);
        while counted.count("got notifications/cancelled") < round {
            assert!(left.elapsed() < SOON, "{:?}", counted.lines());
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        figures.at_most("until the child is told", left.elapsed(), Duration::from_millis(100));
        hub.wait_until(Duration::from_secs(1), "the call's slot to be free", async || {
            let left = metric(&hub, "mcpvisor_calls_in_flight").await;
            if left < 0.5 { Ok(()) } else { Err(left.to_string()) }
        })
        .await;
    }
    before.holds(&mut hub, &figures).await;
}

/// How long the answer is kept is a rule of the session's (`downstream::streamable::session`), tested there on a paused clock.
#[tokio::test(flavor = "multi_thread")]
async fn f24_a_legacy_client_that_loses_its_stream_finds_the_answer_later() {
    let _turn = turn().await;
    let figures = Figures::of("F24", "a client of 2025-11-25 loses its connection during a call");
    let (mut hub, counted) = counting().await;
    let session = Session::open(&hub).await;
    session.call("fix__echo", json!({"text": "warm"})).await;
    let before = Invariant::of(&mut hub).await;
    let mut ask = call("long", "fix__emit_progress", json!({"steps": 10, "ms": 50}));
    ask["params"]["_meta"]["progressToken"] = json!(1);
    let mut stream = session.stream(&ask).await;
    let last = loop {
        let event = stream.next(PATIENCE).await.expect("an event");
        if event
            .message()
            .is_some_and(|message| message["method"] == "notifications/progress")
        {
            break event.id.expect("an id to resume from");
        }
    };
    drop(stream);
    // It runs to its end with nobody there.
    hub.wait_until(SOON, "the end of the call", async || {
        let left = metric(&hub, "mcpvisor_calls_in_flight").await;
        if left < 0.5 { Ok(()) } else { Err(left.to_string()) }
    })
    .await;
    // Twice: the first time the connection may break again before the answer has arrived.
    for _ in 0..2 {
        let mut again = session.listen(Some(&last)).await;
        let mut came = 0_usize;
        let answer = loop {
            let message = again.next_message(PATIENCE).await.expect("the rest of the stream");
            if message.get("method").is_none() {
                break message;
            }
            came += 1;
        };
        assert_eq!((&answer["id"], text_in(&answer)), (&json!("long"), "awake"));
        figures.exactly("messages that were kept, before the answer", came, 9_usize);
    }
    figures.exactly(
        "cancellations sent",
        counted.count("got notifications/cancelled"),
        0_usize,
    );
    drop(session);
    before.holds(&mut hub, &figures).await;
}
