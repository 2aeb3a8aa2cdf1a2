//! The hub is asked to stop while calls are in flight.

use std::time::{Duration, Instant};

use futures_util::future::join_all;
use nix::sys::signal::Signal;
use serde_json::{Value, json};

use crate::{
    figures::Figures,
    fixture::{CountFile, SOON, Session, answer_in, call, service, services},
    hub::Hub,
    tools::turn,
};

const CALLS: u64 = 50;
/// The default on a host: how long calls in flight may go on, and all of it.
const DRAIN: Duration = Duration::from_secs(18);
const BUDGET: Duration = Duration::from_secs(30);
const LIMITS: &str = "limits: { drain: 18s, stop_budget: 30s }\n";
/// A call that ends so close to the limit may meet either fate.
const CLOSE: Duration = Duration::from_millis(700);

struct Ended {
    asked_for: Duration,
    answer: Value,
}

/// A hub with fifty calls of 0 to 60 s in flight.
async fn hub_with_calls() -> (Hub, Vec<tokio::task::JoinHandle<Ended>>) {
    let builder = Hub::builder();
    let counted = CountFile::of(builder.folder());
    let fix = service("fix", "", &["--count-file", counted.path()]);
    let yaml = format!("{LIMITS}{}", services(&[fix]));
    let hub = builder.config(&yaml).start().await;
    hub.wait_until_ready(SOON).await;
    let session = Session::open(&hub).await;
    let calls = (0..CALLS).map(|n| {
        let (session, ms) = (session.clone(), n * 60_000 / (CALLS - 1));
        tokio::spawn(async move {
            let replies = session.try_post(&call(n, "fix__sleep", json!({"ms": ms}))).await;
            Ended {
                asked_for: Duration::from_millis(ms),
                // One that was cut off without an answer has none.
                answer: replies.map_or(Value::Null, |replies| answer_in(&replies)),
            }
        })
    });
    let calls: Vec<_> = calls.collect();
    counted
        .wait_for(&hub, "call sleep", usize::try_from(CALLS).unwrap())
        .await;
    (hub, calls)
}

fn count(ended: &[Ended], holds: impl Fn(&Ended) -> bool) -> usize {
    ended.iter().filter(|ended| holds(ended)).count()
}

fn is_drained(ended: &Ended) -> bool {
    let fault = &ended.answer["error"];
    fault["code"] == -31005 && fault["data"]["mcpvisor"]["reason"] == "draining"
}

#[tokio::test(flavor = "multi_thread")]
async fn f27_calls_within_the_drain_finish_and_the_others_are_told() {
    let _turn = turn().await;
    let figures = Figures::of("F27", "SIGTERM with 50 calls of 0–60 s in flight");
    let (hub, calls) = hub_with_calls().await;
    let asked = Instant::now();
    hub.signal(Signal::SIGTERM);
    let (ended, stopped) = tokio::join!(join_all(calls), async {
        (hub.ended(BUDGET + SOON).await, asked.elapsed())
    });
    let ended: Vec<Ended> = ended.into_iter().map(Result::unwrap).collect();
    let (hub, took) = stopped;
    let short = |ended: &Ended| ended.asked_for + CLOSE < DRAIN;
    let long = |ended: &Ended| ended.asked_for > DRAIN + CLOSE * 2;
    let finished = count(&ended, |ended| short(ended) && ended.answer.get("result").is_some());
    figures.exactly(
        "calls within the drain that did not finish",
        count(&ended, short) - finished,
        0_usize,
    );
    let told = count(&ended, |ended| long(ended) && is_drained(ended));
    figures.exactly(
        "longer calls that were not told `draining`",
        count(&ended, long) - told,
        0_usize,
    );
    figures.exactly(
        "calls without an answer",
        count(&ended, |ended| ended.answer.is_null()),
        0_usize,
    );
    println!("{finished} calls finished, {told} were told");
    assert_eq!(hub.code, Some(0), "{}", hub.stderr);
    figures.at_most("until the exit, with code 0", took, BUDGET);
}

#[tokio::test(flavor = "multi_thread")]
async fn f27_a_second_sigterm_waits_for_nobody() {
    let _turn = turn().await;
    let figures = Figures::of("F27", "a second SIGTERM, with 50 calls of 0–60 s in flight");
    let (hub, calls) = hub_with_calls().await;
    hub.signal(Signal::SIGTERM);
    hub.wait_until(SOON, "the drain", async || {
        let log = hub.log();
        if log.contains("stopping: calls in flight may finish") {
            Ok(())
        } else {
            Err(log)
        }
    })
    .await;
    let asked = Instant::now();
    hub.signal(Signal::SIGTERM);
    let (ended, stopped) = tokio::join!(join_all(calls), async { (hub.ended(SOON).await, asked.elapsed()) });
    let ended: Vec<Ended> = ended.into_iter().map(Result::unwrap).collect();
    let (hub, took) = stopped;
    let answered = count(&ended, |ended| {
        ended.answer.get("result").is_some() || is_drained(ended)
    });
    figures.exactly(
        "calls that were neither answered nor told",
        ended.len() - answered,
        0_usize,
    );
    assert_eq!(hub.code, Some(0), "{}", hub.stderr);
    figures.at_most("until the exit, with code 0", took, Duration::from_secs(3));
}
