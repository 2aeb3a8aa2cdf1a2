//! Services that take more than they may: held by control groups, and looked after by their guards where there are none.

use std::{
    fs,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use nix::sys::signal::Signal;
use serde_json::{Value, json};

use crate::{
    amount::Amount,
    figures::Figures,
    fixture::{SOON, Session, service, services, text_in},
    hub::Hub,
    invariant::Invariant,
    processes::{alive, below, children_of, command_line},
    tools::turn,
};

/// What holds services to their limits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mode {
    Groups,
    Polling,
}

impl Mode {
    fn setting(self) -> &'static str {
        match self {
            Self::Groups => "auto",
            Self::Polling => "off",
        }
    }
}

/// A service `good` that behaves and one called `greedy`, with these limits.
fn configuration(mode: Mode, limits: &str, switches: &[&str]) -> String {
    let limits = format!("limits: {{ {limits} }}, timeouts: {{ stop: 1s }}");
    let entries = [service("good", "", &[]), service("greedy", &limits, switches)];
    format!("limits: {{ cgroups: {} }}\n{}", mode.setting(), services(&entries))
}

async fn hub_with_limits(mode: Mode, limits: &str, switches: &[&str]) -> Hub {
    let hub = Hub::builder()
        .config(&configuration(mode, limits, switches))
        .start()
        .await;
    hub.wait_until_ready(SOON).await;
    if mode == Mode::Groups {
        let held = hub.log().contains("held in control groups");
        assert!(held, "this test needs writable control groups:\n{}", hub.log_tail());
    }
    hub
}

/// Waits until the last end of `greedy` has this word; its `last_exit`.
pub(crate) async fn ended(hub: &Hub, name: &str, reason: &str, bound: Duration) -> Value {
    hub.wait_until(bound, &format!("`{reason}` of {name}"), async || {
        let exit = hub.service(name).await["last_exit"].clone();
        if exit["reason"] == reason {
            Ok(exit)
        } else {
            Err(exit.to_string())
        }
    })
    .await
}

/// The slowest of the fastest 99 % of the calls to `good` that are made one after the other for so long.
async fn p99(session: &Session, time: Duration) -> Duration {
    let (begun, mut took) = (Instant::now(), Vec::new());
    while begun.elapsed() < time {
        let asked = Instant::now();
        let answer = session.call("good__echo", json!({"text": "there"})).await;
        took.push(asked.elapsed());
        assert_eq!(text_in(&answer), "there");
    }
    took.sort_unstable();
    took[(took.len() * 99).div_ceil(100) - 1]
}

/// A process of a service, and the guard above it.
pub(crate) async fn process_of(hub: &Hub, name: &str) -> (u32, u32) {
    let pid = hub.service(name).await["instances"][0]["pid"].as_u64().unwrap();
    let pid = u32::try_from(pid).unwrap();
    let guards = children_of(hub.pid()).into_iter();
    let mut above = guards.filter(|guard| children_of(*guard).contains(&pid));
    (pid, above.next().expect("a guard"))
}

/// Where a guard was told to make the group that counts processes.
fn counting_group(guard: u32) -> PathBuf {
    let line = command_line(guard);
    let path = line
        .split(' ')
        .find_map(|arg| arg.strip_prefix("pids=").or(arg.strip_prefix("unified=")));
    let of_pids = line.split(' ').find_map(|arg| arg.strip_prefix("pids="));
    PathBuf::from(of_pids.or(path).expect("a group"))
}

/// Processes in the group; 0 if there is none.
fn count_in(group: &Path) -> usize {
    let count = fs::read_to_string(group.join("pids.current")).unwrap_or_default();
    count.trim().parse().unwrap_or_default()
}

/// Waits until nothing of the tree below `guard`, itself included, is left.
async fn gone(hub: &Hub, guard: u32) {
    hub.wait_until(SOON, "an end of the tree", async || {
        if alive(guard) {
            Err(format!("{} processes", below(guard).len()))
        } else {
            Ok(())
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn f10_a_fork_bomb_in_a_control_group_slows_nobody_down() {
    let _turn = turn().await;
    let figures = Figures::of("F10", "a fork bomb, at most 256 processes by control group");
    let mut hub = hub_with_limits(Mode::Groups, "pids: 256", &[]).await;
    let session = Session::open(&hub).await;
    p99(&session, Duration::from_millis(500)).await;
    let calm = p99(&session, Duration::from_secs(2)).await;
    let before = Invariant::of(&mut hub).await;

    let session = Session::open(&hub).await;
    let (_, guard) = process_of(&hub, "greedy").await;
    let group = counting_group(guard);
    session.call("greedy__fork_bomb", json!({"depth": 16})).await;
    hub.wait_until(SOON, "a full bomb", async || {
        let count = count_in(&group);
        if count >= 250 {
            Ok(())
        } else {
            Err(format!("{count} processes"))
        }
    })
    .await;
    // Until the guard has seen it; then the tree is left little processor time.
    let first = p99(&session, Duration::from_millis(1100)).await;
    let under_fire = p99(&session, Duration::from_secs(2)).await;
    figures.at_most("processes of the bomb", count_in(&group), 256_usize);
    let off = configuration(Mode::Groups, "pids: 256", &[]).replace("greedy: {", "greedy: { enabled: false,");
    fs::write(hub.folder().join("mcpvisor.yaml"), off).unwrap();
    let stopped = Instant::now();
    hub.signal(Signal::SIGHUP);
    gone(&hub, guard).await;
    assert!(!group.exists(), "{} is left", group.display());
    figures.at_most(
        "from the stop to the end of the tree",
        stopped.elapsed(),
        Duration::from_secs(2),
    );
    // The machine may have been busier during the bomb than before: what it is after counts, too.
    let after = p99(&session, Duration::from_secs(2)).await;
    println!("p99 {calm:?} before, {first:?} in the first second, {under_fire:?} during the bomb, {after:?} after");
    let ratio = under_fire.as_secs_f64() / calm.max(after).as_secs_f64();
    figures.at_most(
        "p99 of another service from the second second on, to before and after",
        Amount::Ratio(ratio),
        Amount::Ratio(2.0),
    );
    drop(session);
    before.holds(&mut hub, &figures).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn f10_a_fork_bomb_that_does_not_give_up_is_killed() {
    let _turn = turn().await;
    let figures = Figures::of("F10", "a fork bomb, left alone in its control group");
    let hub = hub_with_limits(Mode::Groups, "pids: 64", &[]).await;
    let session = Session::open(&hub).await;
    let (_, guard) = process_of(&hub, "greedy").await;
    let begun = Instant::now();
    session.call("greedy__fork_bomb", json!({"depth": 16})).await;
    let exit = ended(&hub, "greedy", "pids", SOON).await;
    figures.at_most("from the bomb to its end", begun.elapsed(), Duration::from_secs(8));
    assert!(exit["detail"].as_str().unwrap().contains("limits.pids"), "{exit}");
    assert!(exit["stderr"].to_string().contains("dropping a fork bomb"), "{exit}");
    gone(&hub, guard).await;
    let again = session.call("greedy__echo", json!({"text": "back"})).await;
    assert_eq!(text_in(&again), "back");
}

#[tokio::test(flavor = "multi_thread")]
async fn f10_a_fork_bomb_without_control_groups_is_killed() {
    let _turn = turn().await;
    let figures = Figures::of("F10", "a fork bomb of 1,024 processes, no control groups");
    let mut hub = hub_with_limits(Mode::Polling, "pids: 256", &[]).await;
    let session = Session::open(&hub).await;
    p99(&session, Duration::from_millis(500)).await;
    let calm = p99(&session, Duration::from_secs(2)).await;
    let before = Invariant::of(&mut hub).await;

    let session = Session::open(&hub).await;
    let (_, guard) = process_of(&hub, "greedy").await;
    let begun = Instant::now();
    session.call("greedy__fork_bomb", json!({"depth": 10})).await;
    let worst = p99(&session, Duration::from_secs(1)).await;
    println!("p99 {calm:?} before, {worst:?} during the bomb");
    let exit = ended(&hub, "greedy", "pids", SOON).await;
    assert!(exit["detail"].as_str().unwrap().contains("limits.pids"), "{exit}");
    gone(&hub, guard).await;
    figures.at_most(
        "from the bomb to the end of its tree",
        begun.elapsed(),
        Duration::from_secs(5),
    );
    let again = session.call("greedy__echo", json!({"text": "back"})).await;
    assert_eq!(text_in(&again), "back");
    drop(session);
    before.holds(&mut hub, &figures).await;
}

async fn memory_hog(mode: Mode, what: &'static str, elsewhere: bool) {
    let figures = Figures::of("F11", what);
    let mut hub = hub_with_limits(mode, "memory: 256MiB", &[]).await;
    let session = Session::open(&hub).await;
    session.call("good__echo", json!({"text": "warm"})).await;
    drop(session);
    let before = Invariant::of(&mut hub).await;

    let session = Session::open(&hub).await;
    let begun = Instant::now();
    let arguments = json!({"mebibytes": 1024, "elsewhere": elsewhere});
    let answer = session.call("greedy__eat_memory", arguments).await;
    if !elsewhere {
        assert_eq!(answer["error"]["code"], -31001, "{answer}");
        let about = &answer["error"]["data"]["mcpvisor"];
        assert_eq!(
            (&about["exit"]["reason"], &about["exit"]["signal"]),
            (&json!("oom"), &json!(9))
        );
    }
    let exit = ended(&hub, "greedy", "oom", SOON).await;
    figures.at_most("from the first MiB to the end", begun.elapsed(), Duration::from_secs(5));
    assert!(
        exit["detail"].as_str().unwrap().contains("256 MiB of `limits.memory`"),
        "{exit}"
    );
    assert!(
        exit["stderr"].to_string().contains("eating 1024 MiB, as told"),
        "{exit}"
    );
    let there = session.call("good__echo", json!({"text": "there"})).await;
    assert_eq!(text_in(&there), "there");
    let again = session.call("greedy__echo", json!({"text": "back"})).await;
    assert_eq!(text_in(&again), "back");
    drop(session);
    before.holds(&mut hub, &figures).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn f11_a_memory_hog_in_a_control_group_is_killed() {
    let _turn = turn().await;
    memory_hog(Mode::Groups, "a memory hog, 256 MiB by control group", false).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn f11_a_hog_among_the_children_takes_the_server_with_it() {
    let _turn = turn().await;
    memory_hog(
        Mode::Groups,
        "a memory hog that a server started, by control group",
        true,
    )
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn f11_a_memory_hog_without_control_groups_is_killed() {
    let _turn = turn().await;
    memory_hog(Mode::Polling, "a memory hog, 256 MiB, no control groups", false).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn f10_refused_processes_explain_a_failure() {
    let _turn = turn().await;
    let hub = hub_with_limits(Mode::Groups, "pids: 8", &[]).await;
    let session = Session::open(&hub).await;
    let said = session.call("greedy__fork", json!({"count": 20, "setsid": true})).await;
    assert!(
        text_in(&said).contains("of 20: Resource temporarily unavailable"),
        "{said}"
    );
    session.call("greedy__exit", json!({"code": 4})).await;
    let exit = ended(&hub, "greedy", "pids", SOON).await;
    assert_eq!(exit["code"], 4, "{exit}");
    assert!(
        exit["detail"].as_str().unwrap().contains("exited with code 4"),
        "{exit}"
    );
}

/// A limit of open files and of processors.
#[tokio::test(flavor = "multi_thread")]
async fn f10_files_and_processors_are_limited_too() {
    let _turn = turn().await;
    let figures = Figures::of("F10", "a service that keeps two processors busy, `cpus: 0.5`");
    let hub = hub_with_limits(Mode::Groups, "open_files: 64, cpus: 0.5", &["--spin", "2"]).await;
    let session = Session::open(&hub).await;
    let said = session.call("greedy__open_files", json!({"count": 1000})).await;
    let said = text_in(&said);
    assert!(said.contains("of 1000: Too many open files"), "{said}");
    let opened: usize = said.split(' ').nth(1).unwrap().parse().unwrap();
    assert!((40..64).contains(&opened), "{said}");
    let pid = hub.service("greedy").await["instances"][0]["pid"].as_u64().unwrap();
    let (begun, before) = (Instant::now(), processor_time(pid));
    // What is measured is a rate, so a time has to pass.
    tokio::time::sleep(Duration::from_secs(3)).await;
    let rate = processor_time(pid).abs_diff(before).as_secs_f64() / begun.elapsed().as_secs_f64();
    figures.at_most("processors used", Amount::Ratio(rate), Amount::Ratio(0.6));
}

/// User and system time of a process.
fn processor_time(pid: u64) -> Duration {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let (_, fields) = stat.rsplit_once(") ").unwrap();
    let fields: Vec<_> = fields.split(' ').collect();
    let ticks: u64 = fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap();
    Duration::from_millis(ticks * 10)
}
