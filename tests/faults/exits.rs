//! Every way a process can end has its word in `/api/v1/services`, with what the process said last.

use std::{future::Future, time::Duration};

use nix::sys::signal::Signal;
use serde_json::{Value, json};

use crate::{
    fixture::{SOON, Session, answer_in, call, service, services},
    hub::Hub,
    killing::send,
    limits::{ended, process_of},
    tools::turn,
};

/// The services, each of which ends in its own way, and those that never get so far.
const WELL: [&str; 7] = ["exits", "crashes", "killed", "unguarded", "silent", "deaf", "closes"];

async fn hub() -> Hub {
    let well = WELL.map(|name| match name {
        "silent" => service(name, "timeouts: { call: 200ms }", &[]),
        "deaf" => service(name, "", &["--stop-reading"]),
        _ => service(name, "", &[]),
    });
    let hung = service("hung", "timeouts: { start: 500ms }", &["--hang-initialize"]);
    let missing = "  missing: { command: no-such-program }\n".to_owned();
    let yaml = services(&[&well[..], &[hung, missing]].concat());
    let hub = Hub::builder().config(&yaml).start().await;
    hub.wait_until(SOON, "those that can be ready", async || {
        let items = hub.services().await;
        let waiting = |item: &&Value| WELL.iter().any(|name| item["name"] == *name) && item["state"] != "ready";
        let waiting: Vec<_> = items.iter().filter(waiting).collect();
        if waiting.is_empty() {
            Ok(())
        } else {
            Err(format!("{waiting:?}"))
        }
    })
    .await;
    hub
}

/// Does what ends it, and waits for the word.
async fn ends(hub: &Hub, name: &str, reason: &str, how: impl Future<Output = ()>) -> Value {
    let (exit, ()) = tokio::join!(ended(hub, name, reason, SOON), how);
    exit
}

#[tokio::test(flavor = "multi_thread")]
async fn f01_every_end_has_its_word() {
    let _turn = turn().await;
    let hub = hub().await;
    let session = Session::open(&hub).await;
    let ask = async |tool: &str, arguments: Value| drop(session.post(&call(1, tool, arguments)).await);

    let exit = ends(&hub, "exits", "exit 3", ask("exits__exit", json!({"code": 3}))).await;
    assert_eq!((&exit["code"], &exit["signal"]), (&json!(3), &json!(null)), "{exit}");
    assert_eq!(exit["detail"], "exited with code 3", "{exit}");
    assert_eq!(exit["stderr"], json!(["exiting with 3, as told"]), "{exit}");

    let (pid, _) = process_of(&hub, "crashes").await;
    // The first of them meets a handler that looks for an overflow of the stack and finds none.
    let fault = async {
        send(pid, Signal::SIGSEGV);
        tokio::time::sleep(Duration::from_millis(50)).await;
        send(pid, Signal::SIGSEGV);
    };
    let exit = ends(&hub, "crashes", "signal 11", fault).await;
    assert_eq!((&exit["code"], &exit["signal"]), (&json!(null), &json!(11)), "{exit}");
    let (pid, _) = process_of(&hub, "killed").await;
    let exit = ends(&hub, "killed", "killed", async { send(pid, Signal::SIGKILL) }).await;
    assert_eq!(exit["signal"], 9, "{exit}");
    let (_, guard) = process_of(&hub, "unguarded").await;
    let exit = ends(&hub, "unguarded", "guard_lost", async { send(guard, Signal::SIGKILL) }).await;
    assert_eq!((&exit["code"], &exit["signal"]), (&json!(null), &json!(null)), "{exit}");

    ends(&hub, "closes", "closed", ask("closes__close_stdout", json!({}))).await;
    let exit = ended(&hub, "hung", "handshake", SOON).await;
    assert!(exit["detail"].to_string().contains("within 500ms"), "{exit}");
    let exit = ended(&hub, "missing", "spawn", SOON).await;
    assert!(
        exit["detail"].to_string().contains("`no-such-program` was not found"),
        "{exit}"
    );

    let unanswered = async {
        for _ in 0..8 {
            let answer = answer_in(&session.post(&call(1, "silent__sleep", json!({"ms": 60_000}))).await);
            assert_eq!(answer["error"]["code"], -31003, "{answer}");
        }
    };
    ends(&hub, "silent", "unresponsive", unanswered).await;
    // More than pipe and queue take while nobody reads.
    let unread = async {
        let text = "x".repeat(1 << 20);
        let calls = (0..3).map(|_| ask("deaf__echo", json!({"text": text})));
        futures_util::future::join_all(calls).await;
    };
    ends(&hub, "deaf", "stalled", unread).await;
    // `oom` and `pids` have their own tests, `garbage` too; `stopped` is no reason to tell anybody.
    hub.wait_until(Duration::from_secs(10), "the others to be back", async || {
        let state = hub.service("exits").await["state"].clone();
        if state == "ready" {
            Ok(())
        } else {
            Err(state.to_string())
        }
    })
    .await;
}
