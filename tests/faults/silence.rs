//! A child that takes calls and never answers them.

use std::time::{Duration, Instant};

use futures_util::future::join_all;
use serde_json::json;

use crate::{
    figures::Figures,
    fixture::{Session, hub_with, text_in},
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
    drop(session);
    before.holds(&mut hub, &figures).await;
}
