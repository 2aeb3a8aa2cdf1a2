//! Calls that are interrupted by the end of their process: repeated where the operator allows it, told exactly elsewhere.

use std::time::{Duration, Instant};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use serde_json::{Value, json};

use crate::{
    figures::Figures,
    fixture::{CountFile, SOON, Session, answer_in, call, services, text_in},
    hub::Hub,
    tools::turn,
};

/// A service that counts what it is asked, with settings of its own.
async fn counting(settings: &str, switches: &[&str]) -> (Hub, CountFile) {
    let builder = Hub::builder();
    let counted = CountFile::of(builder.folder());
    let switches = [&["--count-file", counted.path()], switches].concat();
    let yaml = services(&[crate::fixture::service("fix", settings, &switches)]);
    let hub = builder.config(&yaml).start().await;
    hub.wait_until_ready(SOON).await;
    (hub, counted)
}

const SAFE: &str = "tools: { sleep: { safe_to_repeat: true }, crash: { safe_to_repeat: true } }";

/// Kills the process of a service; when.
pub(crate) async fn kill_child(hub: &Hub, name: &str) -> Instant {
    let pid = hub.service(name).await["instances"][0]["pid"]
        .as_u64()
        .expect("a process");
    let now = Instant::now();
    kill(Pid::from_raw(i32::try_from(pid).unwrap()), Signal::SIGKILL).unwrap();
    now
}

fn about(answer: &Value) -> &Value {
    &answer["error"]["data"]["mcpvisor"]
}

/// Sends a call in the background.
fn begin(session: &Session, message: Value) -> tokio::task::JoinHandle<Vec<Value>> {
    let session = session.clone();
    tokio::spawn(async move { session.post(&message).await })
}

#[tokio::test(flavor = "multi_thread")]
async fn f01_a_call_that_is_safe_to_repeat_is_sent_once_more() {
    let _turn = turn().await;
    let figures = Figures::of("F1", "kill -9 during a call of a tool marked safe_to_repeat");
    let (hub, counted) = counting(SAFE, &[]).await;
    let session = Session::open(&hub).await;
    let mut ask = call("the client's own", "fix__sleep", json!({"ms": 1500}));
    ask["params"]["_meta"]["progressToken"] = json!("mine");
    let calling = begin(&session, ask);
    counted.wait_for(&hub, "call sleep", 1).await;
    kill_child(&hub, "fix").await;
    let messages = calling.await.unwrap();
    let answer = answer_in(&messages);
    assert_eq!((&answer["id"], text_in(&answer)), (&json!("the client's own"), "awake"));
    for progress in messages.iter().filter(|message| message.get("method").is_some()) {
        assert_eq!(progress["params"]["progressToken"], "mine", "{progress}");
    }
    assert!(messages.len() > 1, "progress of the second sending: {messages:?}");
    figures.exactly("times it was sent", counted.count("call sleep"), 2_usize);
}

#[tokio::test(flavor = "multi_thread")]
async fn f01_a_second_interruption_is_an_exact_error() {
    let _turn = turn().await;
    let figures = Figures::of("F1", "a tool marked safe_to_repeat that ends its process each time");
    let (hub, counted) = counting(SAFE, &[]).await;
    let session = Session::open(&hub).await;
    let answer = session.call("fix__crash", json!({})).await;
    assert_eq!(answer["error"]["code"], -31001, "{answer}");
    let about = about(&answer);
    assert_eq!(
        (
            &about["outcome"],
            &about["attempt"],
            &about["retryable"],
            &about["reason"]
        ),
        (&json!("unknown"), &json!(2), &json!(false), &json!("child_exited")),
        "{answer}"
    );
    figures.exactly("times it was sent", counted.count("call crash"), 2_usize);
    // The service is none the worse for it.
    assert_eq!(text_in(&session.call("fix__echo", json!({"text": "up"})).await), "up");
}

#[tokio::test(flavor = "multi_thread")]
async fn f01_what_is_not_marked_is_never_repeated() {
    let _turn = turn().await;
    let figures = Figures::of("F1", "kill -9 during a call of a tool that is not marked");
    let (hub, counted) = counting("tools: { echo: { safe_to_repeat: true } }", &[]).await;
    let session = Session::open(&hub).await;
    let calling = begin(&session, call(1, "fix__sleep", json!({"ms": 600_000})));
    counted.wait_for(&hub, "call sleep", 1).await;
    kill_child(&hub, "fix").await;
    let answer = answer_in(&calling.await.unwrap());
    let told = about(&answer);
    assert_eq!(
        (&answer["error"]["code"], &told["outcome"], &told["service"]),
        (&json!(-31001), &json!("unknown"), &json!("fix")),
        "{answer}"
    );
    assert!(told.get("attempt").is_none(), "{answer}");
    assert_eq!(text_in(&session.call("fix__echo", json!({"text": "up"})).await), "up");
    figures.exactly("times it was sent", counted.count("call sleep"), 1_usize);
}

/// The process does not come back in time: the error says what became of the one sending there was.
#[tokio::test(flavor = "multi_thread")]
async fn f01_a_repetition_waits_no_longer_than_the_call_may_take() {
    let _turn = turn().await;
    let figures = Figures::of("F1", "a tool marked safe_to_repeat whose process starts too slowly");
    let settings = format!("timeouts: {{ call: 1500ms }}, {SAFE}");
    let (hub, counted) = counting(&settings, &["--slow-start", "3000"]).await;
    let session = Session::open(&hub).await;
    let asked = Instant::now();
    let calling = begin(&session, call(1, "fix__sleep", json!({"ms": 600_000})));
    counted.wait_for(&hub, "call sleep", 1).await;
    kill_child(&hub, "fix").await;
    let answer = answer_in(&calling.await.unwrap());
    let took = asked.elapsed();
    assert_eq!(answer["error"]["code"], -31001, "{answer}");
    assert_eq!(
        (&about(&answer)["outcome"], &about(&answer)["attempt"]),
        (&json!("unknown"), &json!(1)),
        "{answer}"
    );
    let late = took.abs_diff(Duration::from_millis(1500));
    figures.at_most("between the call's limit and its end", late, Duration::from_millis(250));
    assert_eq!(counted.count("call sleep"), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn f01_a_call_taken_back_is_not_repeated() {
    let _turn = turn().await;
    let figures = Figures::of("F1", "a tool marked safe_to_repeat whose call was taken back");
    let (hub, counted) = counting(SAFE, &["--slow-start", "500"]).await;
    let session = Session::open(&hub).await;
    let calling = begin(&session, call("back", "fix__sleep", json!({"ms": 600_000})));
    counted.wait_for(&hub, "call sleep", 1).await;
    kill_child(&hub, "fix").await;
    // It waits for the next process now, or is about to.
    let cancel = json!({"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": "back"}});
    session.post(&cancel).await;
    let came = tokio::time::timeout(SOON, calling).await.expect("an end").unwrap();
    assert!(came.is_empty(), "a call taken back has no answer: {came:?}");
    counted.wait_for(&hub, "start", 2).await;
    hub.wait_until_ready(SOON).await;
    assert_eq!(text_in(&session.call("fix__echo", json!({"text": "up"})).await), "up");
    figures.exactly("times it was sent", counted.count("call sleep"), 1_usize);
}
