//! A child that writes lines nobody can keep.

use std::time::{Duration, Instant};

use futures_util::future::join_all;
use serde_json::{Value, json};

use crate::{
    amount::Amount,
    figures::Figures,
    fixture::{SOON, Session, call, hub_with, text_in},
    hub::Hub,
    invariant::Invariant,
    load::Peak,
    tools::turn,
};

/// The limit of a line, and what one may cost beyond it.
const CAP: f64 = 16.0 + 8.0;
const OFFENDING: Duration = Duration::from_secs(2);

/// What a long line did: to the call that asked for it, and to twenty others of the same child.
struct Seen {
    answer: Value,
    took: Duration,
    others: Vec<Value>,
    growth: f64,
}

async fn long_line(hub: &Hub, peak: &Peak, arguments: Value) -> Seen {
    let session = Session::open(hub).await;
    let others = join_all((0..20).map(async |_| session.post(&call(7, "fix__sleep", json!({"ms": 400}))).await));
    let offending = async {
        // The others are with the child by then.
        tokio::time::sleep(Duration::from_millis(200)).await;
        peak.again();
        let asked = Instant::now();
        let answer = session.post(&call(1, "fix__long_line", arguments)).await;
        assert_eq!(answer.len(), 1, "{answer:?}");
        (answer[0].clone(), asked.elapsed())
    };
    let (others, (answer, took)) = tokio::join!(others, offending);
    let others: Vec<Value> = others.concat();
    assert_eq!(others.len(), 20, "one answer each");
    Seen {
        answer,
        took,
        others,
        growth: peak.growth(),
    }
}

fn about(answer: &Value) -> &Value {
    &answer["error"]["data"]["mcpvisor"]
}

#[tokio::test(flavor = "multi_thread")]
async fn f06_a_line_that_is_too_long_costs_the_call_that_asked_for_it() {
    let _turn = turn().await;
    let mut hub = hub_with("", &[]).await;
    drop(long_line(&hub, &Peak::begin(hub.pid()), json!({"mib": 1})).await);
    let before = Invariant::of(&mut hub).await;
    let peak = Peak::begin(hub.pid());
    for (what, arguments) in [
        ("a line of 100 MiB", json!({"mib": 100})),
        (
            "a line of 100 MiB that ends with its id",
            json!({"mib": 100, "id_last": true}),
        ),
        ("a line of 1 GiB", json!({"mib": 1024})),
    ] {
        let figures = Figures::of("F6", what);
        let seen = long_line(&hub, &peak, arguments).await;
        assert_eq!(about(&seen.answer)["reason"], "answer_too_long", "{}", seen.answer);
        assert_eq!(about(&seen.answer)["outcome"], "done", "{}", seen.answer);
        figures.at_most("the call that asked for it", seen.took, OFFENDING);
        figures.at_most("growth of memory", Amount::Bytes(seen.growth), Amount::mib(CAP));
        let completed = seen.others.iter().filter(|other| other["result"].is_object()).count();
        figures.exactly("other calls of the child completed, of 20", completed, 20_usize);
    }
    let item = hub.service("fix").await;
    assert_eq!(item["restarts"], 0, "{item}");
    before.holds(&mut hub, &Figures::of("F6", "a line of 1 GiB")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn f06_a_line_without_id_and_end_is_not_waited_for() {
    let _turn = turn().await;
    let figures = Figures::of("F6", "a line that never ends and does not say whose it is");
    let mut hub = hub_with("", &[]).await;
    drop(long_line(&hub, &Peak::begin(hub.pid()), json!({"mib": 1})).await);
    let before = Invariant::of(&mut hub).await;
    let peak = Peak::begin(hub.pid());
    let seen = long_line(&hub, &peak, json!({"id_last": true, "endless": true})).await;
    figures.at_most("the call that asked for it", seen.took, OFFENDING);
    figures.at_most("growth of memory", Amount::Bytes(seen.growth), Amount::mib(CAP));
    // Nothing can be read behind it: the process is ended, and everybody is told.
    for answer in seen.others.iter().chain([&seen.answer]) {
        assert_eq!(about(answer)["reason"], "child_exited", "{answer}");
        assert_eq!(about(answer)["exit"]["reason"], "garbage", "{answer}");
    }
    let session = Session::open(&hub).await;
    assert_eq!(
        text_in(&session.call("fix__echo", json!({"text": "again"})).await),
        "again"
    );
    hub.wait_for("fix", "ready", SOON).await;
    drop(session);
    before.holds(&mut hub, &figures).await;
}
