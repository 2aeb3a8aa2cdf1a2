//! Guards are killed, alone and together with the hub: what they guarded goes all the same.

use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use serde_json::{Value, json};

use crate::{
    figures::Figures,
    fixture::{CountFile, SOON, Session, service, services, text_in},
    hub::{Builder, Hub},
    invariant::Invariant,
    killing::{kill_with_guards, number_in, send, wait_until_recorded, with_bare_daemon},
    processes::{alive, below, children_of},
    tools::turn,
};

/// One service with a daemon in a session of its own, and one whose daemon has shed its environment as well.
fn configured() -> (Builder, CountFile, std::path::PathBuf) {
    let builder = Hub::builder();
    let (counted, bare) = (CountFile::of(builder.folder()), builder.folder().join("bare"));
    let switches = ["--setsid-daemon", "--leave-grandchild", "--count-file", counted.path()];
    let yaml = services(&[service("fix", "", &switches), with_bare_daemon("bare", &bare, "")]);
    (builder.config(&yaml), counted, bare)
}

async fn pid_of(hub: &Hub, name: &str) -> Option<u32> {
    let pid: Value = hub.service(name).await["instances"][0]["pid"].clone();
    pid.as_u64().map(|pid| u32::try_from(pid).unwrap())
}

/// Waits until none of them lives, and tells how long that took.
async fn until_dead(hub: Option<&Hub>, pids: &[u32], since: Instant) -> Duration {
    loop {
        let left: Vec<_> = pids.iter().copied().filter(|pid| alive(*pid)).collect();
        if left.is_empty() {
            return since.elapsed();
        }
        let log = hub.map(Hub::log_tail).unwrap_or_default();
        assert!(since.elapsed() < SOON, "{left:?} live on\n{log}");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn f03_a_killed_guard_costs_one_restart_and_leaves_no_stray() {
    let _turn = turn().await;
    let figures = Figures::of("F3", "kill -9 of a guard");
    let (builder, _, bare) = configured();
    let mut hub = builder.start().await;
    hub.wait_until_ready(SOON).await;
    number_in(&hub, &bare).await;
    let session = Session::open(&hub).await;
    let echo = async |tool: &str| {
        let answer = session.call(tool, json!({"text": "x"})).await;
        assert_eq!(text_in(&answer), "x");
    };
    // The warm-up is the fault itself: a restart leaves memory in caches.
    for measured in [false, true] {
        let before = Invariant::of(&mut hub).await;
        for name in ["fix", "bare"] {
            let child = pid_of(&hub, name).await.unwrap();
            let guards = children_of(hub.pid());
            let guard = guards
                .into_iter()
                .find(|guard| below(*guard).contains(&child))
                .expect("its guard");
            let tree = below(guard);
            let killed = Instant::now();
            send(guard, Signal::SIGKILL);
            let direct = until_dead(Some(&hub), &[child], killed).await;
            let dead = until_dead(Some(&hub), &tree, killed).await;
            hub.wait_until(SOON, "another process", async || match pid_of(&hub, name).await {
                Some(pid) if pid != child && hub.service(name).await["state"] == "ready" => Ok(()),
                other => Err(format!("{other:?}")),
            })
            .await;
            if measured {
                figures.at_most("until the server is dead", direct, Duration::from_secs(1));
                figures.at_most("until its last stray is dead", dead, Duration::from_secs(2));
                figures.at_most(
                    "until another process is ready",
                    killed.elapsed(),
                    Duration::from_secs(2),
                );
            }
            echo(&format!("{name}__echo")).await;
        }
        if measured {
            before.holds(&mut hub, &figures).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn f03_what_hub_and_guards_leave_is_swept_by_the_next_hub() {
    let _turn = turn().await;
    let figures = Figures::of("F3", "kill -9 of the hub and all its guards at once");
    let (builder, counted, bare) = configured();
    let hub = builder.start().await;
    hub.wait_until_ready(SOON).await;
    let bare = number_in(&hub, &bare).await;
    wait_until_recorded(&hub, bare).await;
    let direct = [pid_of(&hub, "fix").await.unwrap(), pid_of(&hub, "bare").await.unwrap()];
    let daemon = counted
        .lines()
        .iter()
        .find_map(|line| line.strip_prefix("daemon ")?.parse().ok());
    let daemon: u32 = daemon.expect("a daemon");
    let tree = below(hub.pid());
    let killed = Instant::now();
    let builder = kill_with_guards(hub).await;
    let dead = until_dead(None, &direct, killed).await;
    figures.at_most("until the servers are dead", dead, Duration::from_secs(1));
    assert!(alive(daemon) && alive(bare), "nothing is left to sweep");
    let launched = Instant::now();
    let hub = builder.start().await;
    let swept = until_dead(Some(&hub), &tree, launched).await;
    figures.at_most(
        "from the next start until the last stray is dead",
        swept,
        Duration::from_secs(5),
    );
    hub.wait_until_ready(SOON).await;
}
