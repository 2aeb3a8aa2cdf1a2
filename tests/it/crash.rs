//! A child that dies: every call in flight gets one answer that says what is known, and the next call works.

use std::time::{Duration, Instant};

use futures_util::future::join_all;
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use serde_json::{Value, json};

use crate::{
    fixture::{CountFile, SOON, Session, call, hub_with, service, services, text_in},
    hub::Hub,
};

async fn pid_of(hub: &Hub, name: &str) -> Option<u64> {
    hub.service(name).await["instances"][0]["pid"].as_u64()
}

fn about(answer: &Value) -> &Value {
    &answer["error"]["data"]["mcpvisor"]
}

#[tokio::test(flavor = "multi_thread")]
async fn every_call_in_flight_gets_one_answer_and_the_next_call_works() {
    let builder = Hub::builder();
    let counted = CountFile::of(builder.folder());
    let yaml = services(&[service("fix", "", &["--count-file", counted.path()])]);
    let hub = builder.config(&yaml).start().await;
    hub.wait_until_ready(SOON).await;
    let session = Session::open(&hub).await;
    // The same id again and again: answers belong to requests.
    let calls = (0..50).map(|n| {
        let session = session.clone();
        tokio::spawn(async move { session.post(&call(n % 5, "fix__sleep", json!({"ms": 600_000}))).await })
    });
    let calls: Vec<_> = calls.collect();
    counted.wait_for(&hub, "call sleep", 50).await;
    let before = pid_of(&hub, "fix").await.expect("a process");
    session
        .post(&json!({"jsonrpc": "2.0", "method": "notifications/fixture/nothing"}))
        .await;
    kill(Pid::from_raw(i32::try_from(before).unwrap()), Signal::SIGKILL).unwrap();
    let killed = Instant::now();
    let replies = tokio::time::timeout(SOON, join_all(calls))
        .await
        .expect("all are answered");
    println!("50 calls answered {:?} after the kill", killed.elapsed());
    for (n, reply) in replies.into_iter().enumerate() {
        let reply = reply.unwrap();
        assert_eq!(reply.len(), 1, "{reply:?}");
        assert_eq!(reply[0]["id"], n % 5);
        assert_eq!(reply[0]["error"]["code"], -31001, "{}", reply[0]);
        let about = about(&reply[0]);
        assert_eq!(
            (
                &about["reason"],
                &about["outcome"],
                &about["retryable"],
                &about["service"]
            ),
            (&json!("child_exited"), &json!("unknown"), &json!(false), &json!("fix"))
        );
        assert_eq!(about["exit"], json!({"reason": "killed", "code": null, "signal": 9}));
        let message = reply[0]["error"]["message"].as_str().unwrap();
        assert!(message.contains("SIGKILL") || message.contains("signal 9"), "{message}");
    }
    // At once: the call waits for the next process.
    let answer = session.call("fix__echo", json!({"text": "again"})).await;
    assert_eq!(text_in(&answer), "again");
    assert_ne!(pid_of(&hub, "fix").await, Some(before));
    let item = hub.service("fix").await;
    assert_eq!(
        (
            &item["restarts"],
            &item["last_exit"]["signal"],
            &item["last_exit"]["reason"]
        ),
        (&json!(1), &json!(9), &json!("killed")),
        "{item}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn the_last_words_of_a_child_are_in_the_answer() {
    let hub = hub_with("", &[]).await;
    let session = Session::open(&hub).await;
    let answer = session.call("fix__crash", json!({})).await;
    assert_eq!(answer["error"]["code"], -31001, "{answer}");
    let stderr = about(&answer)["stderr"].to_string();
    assert!(stderr.contains("crashing, as told"), "{answer}");
    let message = answer["error"]["message"].as_str().unwrap();
    assert!(message.contains("SIGABRT") || message.contains("signal 6"), "{message}");
    let answer = session.call("fix__exit", json!({"code": 7})).await;
    assert_eq!(
        about(&answer)["exit"],
        json!({"reason": "exit 7", "code": 7, "signal": null})
    );
}

/// Calls fall into every moment of a death: before, in between and after.
#[tokio::test(flavor = "multi_thread")]
async fn calls_around_a_crash_are_answered_and_only_those_in_flight_fail() {
    let hub = hub_with("", &[]).await;
    let session = Session::open(&hub).await;
    let crash = session.call("fix__crash", json!({}));
    let others = (0..40).map(async |n| {
        tokio::time::sleep(Duration::from_millis(n * 5)).await;
        session.call("fix__echo", json!({"text": "there"})).await
    });
    let (_, others) = tokio::time::timeout(SOON, async { tokio::join!(crash, join_all(others)) })
        .await
        .expect("all are answered");
    for answer in others {
        if answer.get("error").is_some() {
            assert_eq!(answer["error"]["code"], -31001, "{answer}");
            assert_eq!(about(&answer)["outcome"], "unknown", "{answer}");
        } else {
            assert_eq!(text_in(&answer), "there");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_whose_next_start_is_far_away_says_so_at_once() {
    let yaml = services(&[service("fix", "", &["--exit-at-once", "3"]), service("good", "", &[])]);
    let hub = Hub::builder().config(&yaml).start().await;
    hub.wait_for("fix", "crash_loop", Duration::from_secs(40)).await;
    hub.wait_for("good", "ready", SOON).await;
    let session = Session::open_at(&hub, "/services/fix", &json!({})).await;
    let asked = Instant::now();
    let message = json!({"jsonrpc": "2.0", "id": 1, "method": "fixture/custom", "params": {}});
    let answer = crate::fixture::answer_in(&session.post(&message).await);
    assert!(asked.elapsed() < Duration::from_secs(2), "after {:?}", asked.elapsed());
    assert_eq!(answer["error"]["code"], -31006, "{answer}");
    assert_eq!(about(&answer)["outcome"], "not_sent");
    let text = answer["error"].to_string();
    assert!(
        text.contains("code 3") && text.contains("exiting at once, as told"),
        "{text}"
    );
    assert_eq!(
        text_in(&Session::open(&hub).await.call("good__echo", json!({"text": "x"})).await),
        "x"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lazy_service_starts_for_its_first_call_and_stops_when_nobody_calls() {
    let builder = Hub::builder();
    let counted = CountFile::of(builder.folder());
    let yaml = services(&[service(
        "fix",
        "start: lazy, idle_timeout: 1s, when_down: hide",
        &["--count-file", counted.path()],
    )]);
    let hub = builder.config(&yaml).start().await;
    // Nobody knows its tools yet, so it runs once.
    hub.wait_for("fix", "stopped", SOON).await;
    counted.wait_for(&hub, "start", 1).await;
    hub.wait_for("fix", "stopped", SOON).await;
    let session = Session::open(&hub).await;
    assert_eq!(text_in(&session.call("fix__echo", json!({"text": "up"})).await), "up");
    assert_eq!(counted.count("start"), 2);
    assert_eq!(hub.service("fix").await["state"], "ready");
    hub.wait_for("fix", "stopped", SOON).await;
    // From now on its tools are known.
    let hub = hub.restarted().await;
    let session = Session::open(&hub).await;
    let listed = session
        .post(&json!({"jsonrpc": "2.0", "id": 1, "method": "tools/list"}))
        .await;
    assert!(listed[0].to_string().contains("fix__echo"), "{listed:?}");
    assert_eq!(hub.service("fix").await["state"], "stopped");
    assert_eq!(counted.count("start"), 2);
    assert_eq!(text_in(&session.call("fix__echo", json!({"text": "up"})).await), "up");
    assert_eq!(counted.count("start"), 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_that_takes_too_long_is_answered_and_taken_back() {
    let hub = hub_with("timeouts: { call: 1s }", &[]).await;
    let session = Session::open(&hub).await;
    let asked = Instant::now();
    let answer = session.call("fix__sleep", json!({"ms": 600_000})).await;
    let took = asked.elapsed();
    assert!(
        took >= Duration::from_secs(1) && took < Duration::from_secs(5),
        "{took:?}"
    );
    assert_eq!(answer["error"]["code"], -31003, "{answer}");
    assert_eq!(about(&answer)["outcome"], "unknown");
    assert_eq!(about(&answer)["retryable"], false);
    hub.wait_until(SOON, "the cancellation at the child", async || {
        let events = session.events("fix__events").await;
        if events.contains("notifications/cancelled") {
            Ok(())
        } else {
            Err(events)
        }
    })
    .await;
}
