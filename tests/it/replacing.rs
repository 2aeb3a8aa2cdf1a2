//! Configuration changes under load, and new configurations whose processes never get ready.

use std::{
    fs,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
};

use nix::sys::signal::Signal;
use serde_json::{Value, json};

use crate::{
    fixture::{CountFile, SOON, Session, call_modern, service, services, text_in},
    hub::Hub,
    processes::alive,
    tools::turn,
};

fn rewrite(hub: &Hub, yaml: &str) {
    let next = hub.folder().join("mcpvisor.yaml.next");
    fs::write(&next, yaml).unwrap();
    fs::rename(&next, hub.folder().join("mcpvisor.yaml")).unwrap();
    hub.signal(Signal::SIGHUP);
}

/// State and process of every instance, by id.
async fn instances(hub: &Hub) -> Vec<(String, String, Option<u32>)> {
    let item = hub.service("fix").await;
    let instances = item["instances"].as_array().unwrap();
    let one = |instance: &Value| {
        let text = |key: &str| instance[key].as_str().unwrap().to_owned();
        let pid = instance["pid"].as_u64().map(|pid| u32::try_from(pid).unwrap());
        (text("id"), text("state"), pid)
    };
    instances.iter().map(one).collect()
}

async fn wait_for_instances(hub: &Hub, what: &str, holds: impl Fn(&[(String, String, Option<u32>)]) -> bool) {
    hub.wait_until(SOON, what, async || {
        let seen = instances(hub).await;
        if holds(&seen) { Ok(()) } else { Err(format!("{seen:?}")) }
    })
    .await;
}

async fn echo(session: &Session) {
    assert_eq!(text_in(&session.call("fix__echo", json!({"text": "x"})).await), "x");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_process_that_never_gets_ready_does_not_take_over() {
    let of = |switches: &[&str]| services(&[service("fix", "timeouts: { start: 1s }", switches)]);
    let hub = Hub::builder().config(&of(&[])).start().await;
    hub.wait_until_ready(SOON).await;
    let session = Session::open(&hub).await;
    let (_, _, old) = instances(&hub).await.remove(0);
    let bad = [
        &["--hang-initialize"][..],
        &["--exit-at-once", "3"],
        &["--no-such-switch"],
    ];
    for (told, bad) in bad.into_iter().enumerate() {
        rewrite(&hub, &of(bad));
        hub.wait_until(SOON, "a word to the operator", async || {
            let log = hub.log();
            let now = log.matches("does not get ready; the old one serves on").count();
            if now > told { Ok(()) } else { Err(log) }
        })
        .await;
        // Both are shown, and the old one serves.
        wait_for_instances(&hub, "both generations", |seen| {
            seen.len() == 2 && seen[0] == ("legacy".to_owned(), "ready".to_owned(), old) && seen[1].0 == "legacy-next"
        })
        .await;
        assert_eq!(hub.service("fix").await["state"], "ready");
        echo(&session).await;
    }
    let why = hub.service("fix").await["last_exit"].to_string();
    assert!(why.contains("exit"), "{why}");
    // Told once each.
    assert_eq!(
        hub.log().matches("does not get ready; the old one serves on").count(),
        3
    );
    // What was is back: nothing was stopped for it.
    rewrite(&hub, &of(&[]));
    wait_for_instances(&hub, "the old one alone", |seen| seen.len() == 1 && seen[0].2 == old).await;
    // A bad one, and a good one after it.
    rewrite(&hub, &of(&["--hang-initialize"]));
    wait_for_instances(&hub, "a bad one", |seen| {
        seen.iter().any(|(id, ..)| id == "legacy-next")
    })
    .await;
    rewrite(&hub, &of(&["--name", "good"]));
    wait_for_instances(&hub, "the good one alone", |seen| {
        seen.len() == 1 && seen[0].1 == "ready" && seen[0].2 != old
    })
    .await;
    echo(&session).await;
    assert!(!alive(old.unwrap()));
    // Removed while a bad one is being tried: both go.
    let (_, _, good) = instances(&hub).await.remove(0);
    rewrite(&hub, &of(&["--hang-initialize"]));
    wait_for_instances(&hub, "a bad one", |seen| {
        seen.iter().any(|(id, _, pid)| id == "legacy-next" && pid.is_some())
    })
    .await;
    let pids: Vec<_> = instances(&hub)
        .await
        .into_iter()
        .filter_map(|(_, _, pid)| pid)
        .collect();
    assert!(pids.len() == 2 && pids.contains(&good.unwrap()), "{pids:?}");
    rewrite(&hub, &services(&[service("other", "", &[])]));
    hub.wait_until(SOON, "both to be gone", async || {
        let left: Vec<_> = pids.iter().filter(|pid| alive(**pid)).collect();
        if left.is_empty() {
            Ok(())
        } else {
            Err(format!("{left:?}"))
        }
    })
    .await;
    assert_eq!(hub.services().await.len(), 1);
}

/// The generation that serves dies for good while the new one does not get ready: there is nothing left to wait for.
#[tokio::test(flavor = "multi_thread")]
async fn a_lost_generation_makes_room_at_once() {
    let settings = "restart: { policy: never }";
    let of = |switches: &[&str]| services(&[service("fix", settings, switches)]);
    let hub = Hub::builder().config(&of(&[])).start().await;
    hub.wait_until_ready(SOON).await;
    let session = Session::open(&hub).await;
    rewrite(&hub, &of(&["--hang-initialize"]));
    wait_for_instances(&hub, "both generations", |seen| seen.len() == 2).await;
    session.call("fix__exit", json!({"code": 0})).await;
    wait_for_instances(&hub, "the new one alone", |seen| {
        seen.len() == 1 && (seen[0].0.as_str(), seen[0].1.as_str()) == ("legacy", "handshaking")
    })
    .await;
    rewrite(&hub, &of(&["--name", "good"]));
    wait_for_instances(&hub, "a good one alone", |seen| seen.len() == 1 && seen[0].1 == "ready").await;
    echo(&session).await;
    // What the metrics say is about the one that serves, not about the last that went.
    let metrics = hub.admin.get("/metrics").await.text();
    let ready = metrics
        .lines()
        .find(|line| line.starts_with("mcpvisor_service_ready{"))
        .unwrap();
    assert!(ready.ends_with(" 1"), "{ready}");
}

/// A service that is down has nothing to lose: a new configuration takes over at once, and mends it.
#[tokio::test(flavor = "multi_thread")]
async fn a_broken_service_is_mended_at_once() {
    let broken = "services:\n  fix: { command: /no/such/program }\n";
    let hub = Hub::builder().config(broken).start().await;
    hub.wait_for("fix", "misconfigured", SOON).await;
    rewrite(&hub, &services(&[service("fix", "", &["--slow-start", "300"])]));
    // The call waits for the start.
    let session = Session::open_at(&hub, "/services/fix", &json!({})).await;
    hub.wait_until(SOON, "the new one", async || {
        let seen = instances(&hub).await;
        if seen[0].1 == "misconfigured" {
            Err(format!("{seen:?}"))
        } else {
            Ok(())
        }
    })
    .await;
    let answer = session.call("echo", json!({"text": "x"})).await;
    assert_eq!(text_in(&answer), "x");
}

/// Sixteen clients, half of each era, call as fast as they are answered; how many calls, and what failed.
struct Load {
    stop: Arc<AtomicBool>,
    answered: Arc<AtomicUsize>,
    clients: Vec<tokio::task::JoinHandle<Vec<Value>>>,
}

impl Load {
    async fn begin(hub: &Arc<Hub>) -> Self {
        let (stop, answered) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
        let mut clients = Vec::new();
        for n in 0..16 {
            let session = if n % 2 == 0 {
                Some(Session::open(hub).await)
            } else {
                None
            };
            let (hub, stop, answered) = (Arc::clone(hub), Arc::clone(&stop), Arc::clone(&answered));
            clients.push(tokio::spawn(async move {
                let mut failed = Vec::new();
                while !stop.load(Ordering::Relaxed) {
                    let text = json!({"text": format!("client {n}")});
                    let answer = match &session {
                        Some(session) => session.call("fix__echo", text).await,
                        None => call_modern(&hub, "fix__echo", text).await,
                    };
                    if answer["result"]["content"][0]["text"] == format!("client {n}") {
                        answered.fetch_add(1, Ordering::Relaxed);
                    } else {
                        failed.push(answer);
                    }
                }
                failed
            }));
        }
        Self {
            stop,
            answered,
            clients,
        }
    }

    /// Waits until each client has got some more answers, so that whatever was done meets calls.
    async fn wait_for_more(&self, hub: &Hub) {
        let wanted = self.answered.load(Ordering::Relaxed) + 32;
        hub.wait_until(SOON, "more answers", async || {
            let now = self.answered.load(Ordering::Relaxed);
            if now >= wanted { Ok(()) } else { Err(now.to_string()) }
        })
        .await;
    }

    async fn end(self) -> (usize, Vec<Value>) {
        self.stop.store(true, Ordering::Relaxed);
        let mut failed = Vec::new();
        for client in self.clients {
            failed.extend(client.await.unwrap());
        }
        (self.answered.load(Ordering::Relaxed), failed)
    }
}

/// Changes the service so many times under load.
async fn change_under_load(settings: &str, changes: usize) {
    let _turn = turn().await;
    let builder = Hub::builder();
    let counted = CountFile::of(builder.folder());
    let of = |n: usize| {
        let name = format!("generation-{n}");
        services(&[service(
            "fix",
            settings,
            &["--count-file", counted.path(), "--name", &name],
        )])
    };
    let hub = Arc::new(builder.config(&of(0)).start().await);
    // A lazy one is started once, as nothing is known of it yet.
    counted.wait_for(&hub, "start", 1).await;
    hub.wait_until(SOON, "its tools", async || {
        let listed = hub.service("fix").await["counts"]["tools"].clone();
        if listed == 0 { Err("none".to_owned()) } else { Ok(()) }
    })
    .await;
    let load = Load::begin(&hub).await;
    load.wait_for_more(&hub).await;
    for n in 1..=changes {
        let starts = counted.count("start");
        rewrite(&hub, &of(n));
        // Some changes come before the one before them is done.
        if n % 4 != 3 {
            counted.wait_for(&hub, "start", starts + 1).await;
            load.wait_for_more(&hub).await;
        }
    }
    let last = format!("generation-{changes}");
    hub.wait_until(SOON, "the last generation alone", async || {
        let pids: Vec<_> = instances(&hub).await.into_iter().filter_map(|(.., pid)| pid).collect();
        let of_last = pids.iter().filter(|pid| {
            let line = crate::processes::command_line(**pid);
            line.ends_with(&last)
        });
        if !pids.is_empty() && of_last.count() == pids.len() {
            Ok(())
        } else {
            Err(format!("{pids:?}"))
        }
    })
    .await;
    load.wait_for_more(&hub).await;
    let (answered, failed) = load.end().await;
    println!(
        "{settings}: {answered} calls over {changes} changes and {} starts, {} failed",
        counted.count("start"),
        failed.len()
    );
    assert!(
        failed.is_empty(),
        "{} failed: {}\n{}",
        failed.len(),
        failed[0],
        hub.log_tail()
    );
    Arc::into_inner(hub).expect("the clients have ended");
}

#[tokio::test(flavor = "multi_thread")]
async fn no_call_fails_over_twenty_changes() {
    change_under_load("replace: overlap", 20).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn no_call_fails_over_twenty_changes_that_stop_first() {
    change_under_load("replace: stop-first", 20).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn no_call_fails_over_twenty_changes_of_a_lazy_service() {
    change_under_load("start: lazy, idle_timeout: 1s", 20).await;
}
