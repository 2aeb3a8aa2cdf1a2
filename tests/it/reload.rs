//! A new configuration for a running hub: what changed is replaced, what did not is not touched, what is broken is refused.

use std::{
    fs,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use nix::sys::signal::Signal;
use serde_json::{Value, json};

use crate::{
    fixture::{CountFile, SOON, Session, call, expect, service, services, text_in},
    hub::Hub,
};

/// Writes the file as an editor does: whole, in place of the other.
fn rewrite(hub: &Hub, yaml: &str) {
    let next = hub.folder().join("mcpvisor.yaml.next");
    fs::write(&next, yaml).unwrap();
    fs::rename(&next, hub.folder().join("mcpvisor.yaml")).unwrap();
}

async fn pid(hub: &Hub, name: &str) -> Value {
    hub.service(name).await["instances"][0]["pid"].clone()
}

async fn tools(session: &Session) -> String {
    let ask = json!({"jsonrpc": "2.0", "id": 1, "method": "tools/list"});
    session.post(&ask).await[0].to_string()
}

/// Waits until the list of tools holds one name and not another.
async fn wait_for_tool(hub: &Hub, session: &Session, there: &str, gone: &str) {
    hub.wait_until(SOON, &format!("{there} and not {gone}"), async || {
        let list = tools(session).await;
        if list.contains(&format!("\"{there}\"")) && !list.contains(&format!("\"{gone}\"")) {
            Ok(())
        } else {
            Err(list.chars().take(300).collect())
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn only_what_changed_is_touched() {
    let hub = Hub::builder()
        .config(&services(&[service("one", "", &[]), service("two", "", &[])]))
        .start()
        .await;
    hub.wait_until_ready(SOON).await;
    let session = Session::open(&hub).await;
    let mut stream = session.listen(None).await;
    let (one, two) = (pid(&hub, "one").await, pid(&hub, "two").await);

    // Only the prefix: the process stays.
    rewrite(
        &hub,
        &services(&[service("one", "prefix: uno", &[]), service("two", "", &[])]),
    );
    wait_for_tool(&hub, &session, "uno__echo", "one__echo").await;
    expect(&mut stream, "notifications/tools/list_changed").await;
    assert_eq!(
        (pid(&hub, "one").await, pid(&hub, "two").await),
        (one.clone(), two.clone())
    );
    assert_eq!(text_in(&session.call("uno__echo", json!({"text": "x"})).await), "x");

    // Added, and another changed, by a signal and without waiting for the watcher.
    let three = service("three", "", &[]);
    rewrite(
        &hub,
        &services(&[
            service("one", "prefix: uno", &[]),
            service("two", "", &["--tools", "1"]),
            three,
        ]),
    );
    hub.signal(Signal::SIGHUP);
    wait_for_tool(&hub, &session, "three__echo", "one__echo").await;
    wait_for_tool(&hub, &session, "two__tool_00000", "one__echo").await;
    hub.wait_until(SOON, "another process of two", async || {
        let now = pid(&hub, "two").await;
        if now != two && now.is_u64() {
            Ok(())
        } else {
            Err(now.to_string())
        }
    })
    .await;
    assert_eq!(pid(&hub, "one").await, one);

    // Removed: gone from the list, and its process too.
    rewrite(&hub, &services(&[service("three", "", &[])]));
    wait_for_tool(&hub, &session, "three__echo", "uno__echo").await;
    let answer = session.call("two__echo", json!({"text": "x"})).await;
    assert_eq!(answer["error"]["code"], -32602, "{answer}");
    hub.wait_until(SOON, "the end of the processes of one and two", async || {
        // The hub, the guard and the child of three.
        let alive = hub.processes();
        let left = alive
            .iter()
            .filter(|pid| json!(pid) == one || json!(pid) == two)
            .count();
        if left == 0 { Ok(()) } else { Err(format!("{alive:?}")) }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broken_file_changes_nothing() {
    let hub = Hub::builder()
        .config(&services(&[service("one", "", &[])]))
        .start()
        .await;
    hub.wait_until_ready(SOON).await;
    let before = pid(&hub, "one").await;
    let session = Session::open(&hub).await;
    for broken in [
        "services: {one: {comand: x}}",
        "services: [",
        "services: {bad name: {command: x}}",
    ] {
        let refusals = hub.log().matches("config").count();
        rewrite(&hub, broken);
        hub.signal(Signal::SIGHUP);
        hub.wait_until(SOON, "a word about the refused file", async || {
            let log = hub.log();
            if log.matches("config").count() > refusals {
                Ok(())
            } else {
                Err(String::new())
            }
        })
        .await;
        assert_eq!(text_in(&session.call("one__echo", json!({"text": "x"})).await), "x");
        assert_eq!(pid(&hub, "one").await, before);
    }
    rewrite(&hub, &services(&[service("one", "prefix: mended", &[])]));
    wait_for_tool(&hub, &session, "mended__echo", "one__echo").await;
    assert_eq!(pid(&hub, "one").await, before);
}

/// Calls `fix__echo` again and again until told to stop; how many were answered, and what failed.
fn stream_of_calls(session: &Session, stop: &Arc<AtomicBool>) -> tokio::task::JoinHandle<(usize, Vec<Value>)> {
    let (session, stop) = (session.clone(), Arc::clone(stop));
    tokio::spawn(async move {
        let (mut answered, mut failed) = (0, Vec::new());
        while !stop.load(Ordering::Relaxed) {
            let answer = session.call("fix__echo", json!({"text": "x"})).await;
            if answer.get("result").is_some() {
                answered += 1;
            } else {
                failed.push(answer);
            }
        }
        (answered, failed)
    })
}

/// Changes the service several times under a stream of calls; answers how many calls were answered.
async fn replace_under_load(settings: &str) -> usize {
    let builder = Hub::builder();
    let counted = CountFile::of(builder.folder());
    let generation = |n: usize| {
        let name = format!("generation-{n}");
        services(&[service(
            "fix",
            settings,
            &["--count-file", counted.path(), "--name", &name],
        )])
    };
    let hub = builder.config(&generation(0)).start().await;
    hub.wait_until_ready(SOON).await;
    let stop = Arc::new(AtomicBool::new(false));
    let session = Session::open(&hub).await;
    let calls: Vec<_> = (0..4).map(|_| stream_of_calls(&session, &stop)).collect();
    // One that is in flight over a replacement is waited for.
    let slow = {
        let session = session.clone();
        tokio::spawn(async move { session.call("fix__sleep", json!({"ms": 1500})).await })
    };
    counted.wait_for(&hub, "call sleep", 1).await;
    for n in 1..=3 {
        rewrite(&hub, &generation(n));
        hub.signal(Signal::SIGHUP);
        hub.wait_until(SOON, "the next generation", async || {
            let alone = Session::open_at(&hub, "/services/fix", &json!({})).await;
            drop(alone);
            let starts = counted.count("start");
            if starts > n {
                Ok(())
            } else {
                Err(format!("{starts} starts"))
            }
        })
        .await;
    }
    hub.wait_for("fix", "ready", SOON).await;
    assert_eq!(text_in(&slow.await.unwrap()), "awake");
    // Some more with the last one.
    let after = AtomicUsize::new(0);
    while after.fetch_add(1, Ordering::Relaxed) < 20 {
        session.post(&call(9, "fix__echo", json!({"text": "x"}))).await;
    }
    stop.store(true, Ordering::Relaxed);
    let mut answered = 0;
    for calls in calls {
        let (ok, failed) = calls.await.unwrap();
        assert!(
            failed.is_empty(),
            "{} failed: {}\n{}",
            failed.len(),
            failed[0],
            hub.log_tail()
        );
        answered += ok;
    }
    hub.wait_until(SOON, "one process to be left", async || {
        let starts: Vec<_> = counted.lines();
        let alive = hub.processes();
        let left: Vec<_> = starts
            .iter()
            .filter_map(|line| line.strip_prefix("start ")?.parse::<u32>().ok())
            .filter(|pid| alive.contains(pid))
            .collect();
        if left.len() == 1 {
            Ok(())
        } else {
            Err(format!("{left:?}"))
        }
    })
    .await;
    hub.wait_until(SOON, "one instance to be shown", async || {
        let item = hub.service("fix").await;
        match item["instances"].as_array().unwrap().len() {
            1 => Ok(()),
            _ => Err(item.to_string()),
        }
    })
    .await;
    answered
}

#[tokio::test(flavor = "multi_thread")]
async fn an_overlapping_replacement_fails_no_call() {
    let answered = replace_under_load("replace: overlap").await;
    println!("{answered} calls over three replacements, none failed");
    assert!(answered > 20);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replacement_that_stops_first_makes_calls_wait_and_fails_none() {
    let answered = replace_under_load("replace: stop-first").await;
    println!("{answered} calls over three replacements, none failed");
    assert!(answered > 20);
}

#[tokio::test(flavor = "multi_thread")]
async fn two_generations_never_run_side_by_side_where_the_old_one_is_stopped_first() {
    let builder = Hub::builder();
    let counted = CountFile::of(builder.folder());
    let generation = |n: usize| {
        let name = format!("generation-{n}");
        let settings = "replace: stop-first, timeouts: { stop: 2s }";
        // Slow to leave: it stays after the end of its input.
        services(&[service(
            "fix",
            settings,
            &["--count-file", counted.path(), "--ignore-eof", "--name", &name],
        )])
    };
    let hub = builder.config(&generation(0)).start().await;
    hub.wait_until_ready(SOON).await;
    for n in 1..=2 {
        let before = pid(&hub, "fix").await;
        rewrite(&hub, &generation(n));
        hub.signal(Signal::SIGHUP);
        hub.wait_until(SOON, "the next generation", async || {
            let (alive, starts) = (hub.processes(), counted.count("start"));
            let old = alive.iter().any(|pid| json!(pid) == before);
            assert!(!(starts > n && old), "{before} still runs beside its successor");
            if starts > n {
                Ok(())
            } else {
                Err(format!("{starts} starts"))
            }
        })
        .await;
        hub.wait_for("fix", "ready", SOON).await;
    }
}

/// Configurations that come faster than services start: the last one counts, and nothing is left of the others.
#[tokio::test(flavor = "multi_thread")]
async fn the_last_of_several_quick_changes_counts() {
    let builder = Hub::builder();
    let counted = CountFile::of(builder.folder());
    let generation = |n: usize| {
        let tools = n.to_string();
        services(&[service(
            "fix",
            "",
            &["--slow-start", "400", "--count-file", counted.path(), "--tools", &tools],
        )])
    };
    let hub = builder.config(&generation(0)).start().await;
    hub.wait_until_ready(SOON).await;
    let session = Session::open(&hub).await;
    for n in 1..=4 {
        let starts = counted.count("start");
        rewrite(&hub, &generation(n));
        hub.signal(Signal::SIGHUP);
        // The next change comes while this one's process is starting.
        counted.wait_for(&hub, "start", starts + 1).await;
    }
    wait_for_tool(&hub, &session, "fix__tool_00003", "fix__tool_00004").await;
    hub.wait_until(SOON, "one process to be left", async || {
        let alive = hub.processes();
        let lines = counted.lines();
        let left: Vec<_> = lines
            .iter()
            .filter_map(|line| line.strip_prefix("start ")?.parse::<u32>().ok())
            .filter(|pid| alive.contains(pid))
            .collect();
        if left.len() == 1 {
            Ok(())
        } else {
            Err(format!("{left:?}"))
        }
    })
    .await;
    hub.wait_until(SOON, "one instance to be shown", async || {
        let item = hub.wait_for("fix", "ready", Duration::from_secs(5)).await;
        match item["instances"].as_array().unwrap().len() {
            1 => Ok(()),
            _ => Err(item.to_string()),
        }
    })
    .await;
    wait_for_tool(&hub, &session, "fix__tool_00003", "fix__tool_00004").await;
    // Removed while it is being replaced: it does not come back.
    rewrite(&hub, &generation(7));
    hub.signal(Signal::SIGHUP);
    counted.wait_for(&hub, "start", 6).await;
    rewrite(&hub, &services(&[service("other", "", &[])]));
    hub.signal(Signal::SIGHUP);
    wait_for_tool(&hub, &session, "other__echo", "fix__echo").await;
    hub.wait_until(SOON, "no process of fix to be left", async || {
        let alive = hub.processes();
        let left = counted
            .lines()
            .iter()
            .filter_map(|line| line.strip_prefix("start ")?.parse::<u32>().ok())
            .any(|pid| alive.contains(&pid));
        if left { Err(format!("{alive:?}")) } else { Ok(()) }
    })
    .await;
    assert_eq!(hub.services().await.len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn subscriptions_outlive_a_replacement() {
    let of = |name: &str| services(&[service("fix", "", &["--name", name])]);
    let hub = Hub::builder().config(&of("before")).start().await;
    hub.wait_until_ready(SOON).await;
    let session = Session::open(&hub).await;
    let mut stream = session.listen(None).await;
    let ask =
        json!({"jsonrpc": "2.0", "id": 1, "method": "resources/subscribe", "params": {"uri": "fixture://counter"}});
    assert_eq!(session.post(&ask).await[0]["result"], json!({}));
    let before = pid(&hub, "fix").await;
    rewrite(&hub, &of("after"));
    hub.signal(Signal::SIGHUP);
    hub.wait_until(SOON, "another process", async || {
        let now = pid(&hub, "fix").await;
        if now != before && now.is_u64() {
            Ok(())
        } else {
            Err(now.to_string())
        }
    })
    .await;
    session.call("fix__touch", json!({})).await;
    loop {
        let next = stream.next_message(SOON).await.expect("an update");
        if next["method"] == "notifications/resources/updated" {
            break;
        }
    }
}
