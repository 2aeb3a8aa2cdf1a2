//! The hub as PID 1, as in a container without an init, and as a subreaper elsewhere.

use std::{
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use nix::sys::signal::Signal;
use serde_json::json;

use crate::{
    fixture::{CountFile, SOON, Session, service, services, text_in},
    hub::{Builder, Hub},
    killing::{number_in, send, wait_until_recorded, with_bare_daemon},
    processes,
    tools::turn,
};

/// How long an inherited process may lie dead.
const BURIED: Duration = Duration::from_secs(1);

/// How to be PID 1 here: with the rights of root, or those of a namespace of one's own; `None` where neither is allowed.
fn namespaces() -> Option<Vec<&'static str>> {
    let plain = vec!["unshare", "--pid", "--fork", "--kill-child", "--mount-proc"];
    let mapped = [&plain[..], &["--user", "--map-root-user"]].concat();
    [plain, mapped].into_iter().find(|words| {
        let mut tried = Command::new(words[0]);
        tried.args(&words[1..]).arg("true").stderr(Stdio::null());
        tried.status().is_ok_and(|status| status.success())
    })
}

/// A hub with the child as `fix` that is PID 1, or `None` where that is not allowed.
async fn hub_as_pid_one(settings: &str, switches: &[&str]) -> Option<Hub> {
    let Some(words) = namespaces() else {
        println!("skipped: no PID namespace may be made here");
        return None;
    };
    let yaml = services(&[service("fix", settings, switches)]);
    let builder: Builder = Hub::builder().config(&yaml).under(words);
    let hub = builder.start().await;
    assert_eq!(processes::innermost_number(hub.pid()), Some(1));
    hub.wait_until_ready(SOON).await;
    Some(hub)
}

/// Runs a script inside, beside the hub, as `docker exec` does.
fn exec(hub: &Hub, script: &str) -> Command {
    let mut command = Command::new("nsenter");
    let target = hub.pid().to_string();
    command.args(["--target", &target, "--pid", "--mount"]);
    if nix::unistd::geteuid().as_raw() != 0 {
        command.args(["--user", "--preserve-credentials"]);
    }
    command.args(["sh", "-c", script]).stdin(Stdio::null());
    command
}

async fn all_buried(hub: &Hub) -> Duration {
    let begun = Instant::now();
    hub.wait_until(BURIED, "no zombie", async || match processes::zombies_of(hub.pid()) {
        0 => Ok(()),
        count => Err(count.to_string()),
    })
    .await;
    begun.elapsed()
}

#[tokio::test(flavor = "multi_thread")]
async fn orphans_are_buried_within_a_second_and_statuses_of_our_own_are_not_stolen() {
    let _turn = turn().await;
    let Some(hub) = hub_as_pid_one("", &[]).await else {
        return;
    };
    let session = Session::open(&hub).await;
    // One orphan.
    assert!(exec(&hub, "(sleep 0.05 &)").status().unwrap().success());
    println!("one orphan was buried {:?} after it was left", all_buried(&hub).await);
    // Thousands, faster than one looks, while a process of our own ends again and again.
    let mut storm = exec(
        &hub,
        "i=0; while [ $i -lt 1500 ]; do (sleep 0.01 &) ; (: &) ; i=$((i+1)); done",
    );
    let mut storm = storm.spawn().unwrap();
    let mut crashes = 0_u64;
    let mut most = 0;
    while storm.try_wait().unwrap().is_none() {
        most = most.max(processes::zombies_of(hub.pid()));
        if crashes < 2 {
            let answer = session.call("fix__exit", json!({"code": 7})).await;
            assert_eq!(answer["error"]["code"], -31001, "{answer}");
            crashes += 1;
            let again = session.call("fix__echo", json!({"text": "there"})).await;
            assert_eq!(text_in(&again), "there");
            // Its status came through: it was not taken away by whoever buries the dead.
            let item = hub.service("fix").await;
            assert_eq!(item["last_exit"]["code"], 7, "{item}");
            assert_eq!(item["restarts"], crashes, "{item}");
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let after = all_buried(&hub).await;
    println!("3,000 orphans: {most} dead at once at most, the last buried {after:?} after the end");
    assert_eq!(text_in(&session.call("fix__echo", json!({"text": "x"})).await), "x");
}

/// PID 1 inherits strangers as well as what a lost guard left: it kills those it knows, and nobody else.
#[tokio::test(flavor = "multi_thread")]
async fn pid_1_tells_strays_from_strangers() {
    let _turn = turn().await;
    let Some(words) = namespaces() else { return };
    let builder = Hub::builder();
    let (bare, counted) = (builder.folder().join("bare"), CountFile::of(builder.folder()));
    let switches = ["--setsid-daemon", "--count-file", counted.path()];
    let yaml = services(&[service("fix", "", &switches), with_bare_daemon("bare", &bare, "")]);
    let hub = builder.config(&yaml).under(words).start().await;
    hub.wait_until_ready(SOON).await;
    let left = "(setsid sh -c 'while :; do sleep 1; done' &)";
    assert!(exec(&hub, left).status().unwrap().success());
    // As the namespace numbers it.
    let inner = number_in(&hub, &bare).await;
    wait_until_recorded(&hub, inner).await;
    let guards: Vec<u32> = processes::children_of(hub.pid());
    let is_guard = |pid: &u32| processes::command_line(*pid).contains("__guard");
    let (guards, strangers): (Vec<_>, Vec<_>) = guards.into_iter().partition(is_guard);
    assert_eq!((guards.len(), strangers.len()), (2, 1));
    let trees: Vec<u32> = guards.iter().flat_map(|guard| processes::below(*guard)).collect();
    let daemon = trees
        .iter()
        .find(|pid| processes::innermost_number(**pid) == Some(inner));
    assert!(daemon.is_some_and(|daemon| processes::alive(*daemon)), "{trees:?}");
    for guard in guards {
        send(guard, Signal::SIGKILL);
    }
    hub.wait_until(Duration::from_secs(2), "the end of both trees", async || {
        let left: Vec<_> = trees.iter().filter(|pid| processes::alive(**pid)).collect();
        if left.is_empty() {
            Ok(())
        } else {
            Err(format!("{left:?}"))
        }
    })
    .await;
    hub.wait_until_ready(SOON).await;
    all_buried(&hub).await;
    assert!(processes::alive(strangers[0]), "a stranger was killed");
}

#[tokio::test(flavor = "multi_thread")]
async fn pid_1_hears_sigterm_and_leaves_nothing() {
    let _turn = turn().await;
    let switches = &["--ignore-sigterm", "--ignore-eof", "--setsid-daemon"];
    // What `docker stop` gives by default, and a little less.
    let Some(hub) = hub_as_pid_one("timeouts: { stop: 3s }", switches).await else {
        return;
    };
    // A stranger that was left inside, deaf too.
    let left = "(setsid sh -c 'trap \"\" TERM; while :; do sleep 1; done' &)";
    assert!(exec(&hub, left).status().unwrap().success());
    let all = processes::below(hub.pid());
    assert!(all.len() >= 4, "{all:?}");
    let begun = Instant::now();
    hub.signal(Signal::SIGTERM);
    let ended = hub.ended(Duration::from_secs(10)).await;
    let took = begun.elapsed();
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    assert!(took < Duration::from_secs(5), "{took:?}");
    let left: Vec<_> = all.into_iter().filter(|pid| processes::alive(*pid)).collect();
    assert_eq!(left, [0; 0]);
    println!("a deaf service as PID 1 was stopped in {took:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_idle_hub_as_pid_1_stops_at_once() {
    let _turn = turn().await;
    let Some(hub) = hub_as_pid_one("", &[]).await else {
        return;
    };
    let begun = Instant::now();
    hub.signal(Signal::SIGTERM);
    let ended = hub.ended(Duration::from_secs(10)).await;
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    println!("as PID 1 it stopped in {:?}", begun.elapsed());
}
