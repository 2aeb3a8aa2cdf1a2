//! Real processes under real guards.

use std::{
    collections::BTreeMap,
    path::PathBuf,
    process::Stdio,
    time::{Duration, Instant},
};

use nix::sys::signal::Signal;
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader},
    net::unix::pipe,
    time::timeout,
};

use super::{Confinement, Exit, Process, ProcessEvent, spawn, tree};
use crate::{
    lifecycle::Tasks,
    supervisor::{Command, state::ExitKind},
};

/// Nothing here takes longer, unless it is broken.
const SOON: Duration = Duration::from_secs(10);

/// The program that plays the hub's; built by `cargo test` beside the tests.
pub(in crate::supervisor) fn guard_host() -> PathBuf {
    let tests = std::env::current_exe().unwrap();
    let host = tests.ancestors().nth(2).unwrap().join("examples/guard-host");
    assert!(
        host.exists(),
        "run `cargo build --example guard-host` first: cargo builds it only with the whole test suite"
    );
    host
}

pub(in crate::supervisor) fn shell(script: &str) -> Command {
    Command {
        program: "sh".to_owned(),
        args: vec!["-c".to_owned(), script.to_owned()],
        env: BTreeMap::new(),
        cwd: None,
    }
}

/// Whether a process exists and is no zombie.
pub(in crate::supervisor) fn alive(pid: u32) -> bool {
    tree::processes()
        .iter()
        .any(|process| u32::try_from(process.pid) == Ok(pid))
}

pub(in crate::supervisor) async fn until(limit: Duration, what: &str, holds: impl Fn() -> bool) {
    let begun = Instant::now();
    while !holds() {
        assert!(begun.elapsed() < limit, "{what}: not within {limit:?}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

fn start(command: &Command) -> Process {
    let tasks = Tasks::default();
    spawn(
        command,
        &guard_host(),
        "hub/service/unit",
        Confinement::default(),
        &tasks,
    )
    .unwrap()
}

async fn next(process: &mut Process) -> ProcessEvent {
    timeout(SOON, process.events.recv()).await.unwrap().unwrap()
}

async fn spawned(process: &mut Process) -> u32 {
    match next(process).await {
        ProcessEvent::Spawned(pid) => pid,
        other @ (ProcessEvent::Attached
        | ProcessEvent::Failed(_)
        | ProcessEvent::Breached(_)
        | ProcessEvent::Exited(_)
        | ProcessEvent::Gone) => {
            panic!("{other:?}")
        }
    }
}

/// A started shell script, with the numbers on the first line it prints.
async fn scripted(script: &str) -> (Process, u32, Vec<u32>) {
    let mut process = start(&shell(script));
    let pid = spawned(&mut process).await;
    let numbers = first_line(&mut process.io.as_mut().unwrap().stdout).await;
    (process, pid, numbers)
}

async fn first_line(stdout: &mut pipe::Receiver) -> Vec<u32> {
    let mut line = String::new();
    let mut stdout = BufReader::new(stdout);
    let read = timeout(SOON, stdout.read_line(&mut line));
    read.await.unwrap().unwrap();
    line.split_whitespace().map(|n| n.parse().unwrap()).collect()
}

#[tokio::test]
async fn exit_codes_and_signals_come_through() {
    for (script, exit) in [
        ("exit 0", Exit::Code(0)),
        ("exit 7", Exit::Code(7)),
        ("kill -KILL $$", Exit::Signal(9)),
        // The guard does not hear these; the server does, as if there were no guard.
        ("kill -TERM $$", Exit::Signal(15)),
        ("kill -INT $$", Exit::Signal(2)),
        ("kill -HUP $$", Exit::Signal(1)),
    ] {
        let mut process = start(&shell(script));
        spawned(&mut process).await;
        assert_eq!(next(&mut process).await, ProcessEvent::Exited(exit), "{script}");
        assert_eq!(next(&mut process).await, ProcessEvent::Gone, "{script}");
        assert_eq!(process.events.recv().await, None);
    }
}

#[tokio::test]
async fn data_flows_and_closing_stdin_reaches_the_server() {
    let mut process = start(&Command {
        program: "cat".to_owned(),
        args: vec![],
        ..shell("")
    });
    spawned(&mut process).await;
    let mut io = process.io.take().unwrap();
    // More than the pipes hold, so that both directions have to block now and then.
    let sent: Vec<u8> = (0..1_000_000_u32).flat_map(u32::to_le_bytes).collect();
    let mut received = Vec::new();
    let write = async {
        io.stdin.write_all(&sent).await.unwrap();
        drop(io.stdin);
    };
    let (read, ()) = tokio::join!(io.stdout.read_to_end(&mut received), write);
    read.unwrap();
    assert!(received == sent);
    assert_eq!(next(&mut process).await, ProcessEvent::Exited(Exit::Code(0)));
    assert_eq!(next(&mut process).await, ProcessEvent::Gone);
}

#[tokio::test]
async fn a_server_inherits_what_it_should_and_nothing_else() {
    let mut command = shell("env; ulimit -Sn; ulimit -c; ls /proc/self/fd | tr '\\n' ' '");
    command.env.insert("MODE".to_owned(), "test it".to_owned());
    let mut process = start(&command);
    spawned(&mut process).await;
    let (mut said, mut io) = (String::new(), process.io.take().unwrap());
    io.stdout.read_to_string(&mut said).await.unwrap();
    assert!(said.contains("MODE=test it\n"), "{said}");
    assert!(said.contains("PATH="), "{said}");
    // Cargo sets many of these for the test itself.
    assert!(!said.contains("CARGO_MANIFEST_DIR"), "{said}");
    // 3 is the folder that `ls` reads.
    assert!(said.ends_with("1024\n0\n0 1 2 3 "), "{said}");
}

#[tokio::test]
async fn terminate_reaches_the_group_and_kill_what_ignores_it() {
    let (mut process, pid, numbers) =
        scripted("trap '' TERM; sh -c 'trap \"\" TERM; echo $$; while :; do sleep 1; done'").await;
    process.control.terminate();
    // Alive after the signal was certainly delivered: the guard handles orders one after the other.
    process.control.terminate();
    tokio::time::sleep(Duration::from_millis(50)).await;
    assert!(alive(pid) && alive(numbers[0]));
    process.control.kill();
    assert_eq!(next(&mut process).await, ProcessEvent::Exited(Exit::Signal(9)));
    assert_eq!(next(&mut process).await, ProcessEvent::Gone);
    assert!(!alive(pid) && !alive(numbers[0]));

    let (mut process, _, _) = scripted("echo 1; kill -STOP $$; sleep 300").await;
    process.control.terminate();
    assert_eq!(next(&mut process).await, ProcessEvent::Exited(Exit::Signal(15)));
    assert_eq!(next(&mut process).await, ProcessEvent::Gone);
}

#[tokio::test]
async fn daemons_that_hold_the_pipes_neither_hide_the_exit_nor_survive_it() {
    let script = "setsid sleep 300 & a=$!
        (setsid sh -c 'trap \"\" TERM; while :; do sleep 1; done' &)
        echo $a; read line; exit 0";
    let (mut process, _, daemons) = scripted(script).await;
    assert!(alive(daemons[0]));
    let begun = Instant::now();
    process.io = None;
    assert_eq!(next(&mut process).await, ProcessEvent::Exited(Exit::Code(0)));
    let detected = begun.elapsed();
    assert_eq!(next(&mut process).await, ProcessEvent::Gone);
    assert!(!alive(daemons[0]));
    assert!(detected < Duration::from_millis(500), "{detected:?}");
}

#[tokio::test]
async fn a_bounded_fork_bomb_is_cleared() {
    let script = "i=0; while [ $i -lt 150 ]; do setsid sh -c 'while :; do sleep 1 & wait; done' & i=$((i+1)); done; echo 1; wait";
    let (mut process, _, _) = scripted(script).await;
    let (guard, begun) = (i32::try_from(process.guard.unwrap()).unwrap(), Instant::now());
    assert!(tree::below(guard, &tree::processes()).len() > 150);
    process.control.kill();
    assert_eq!(next(&mut process).await, ProcessEvent::Exited(Exit::Signal(9)));
    assert_eq!(next(&mut process).await, ProcessEvent::Gone);
    assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
}

#[tokio::test]
async fn what_cannot_be_started_is_told_clearly() {
    let mut missing = start(&Command {
        program: "no-such-program".to_owned(),
        args: vec![],
        ..shell("")
    });
    let ProcessEvent::Failed(error) = next(&mut missing).await else {
        panic!("it cannot run");
    };
    let path = std::env::vars().find(|(name, _)| name == "PATH").unwrap().1;
    assert_eq!(
        error.reason,
        format!("`no-such-program` was not found; searched PATH {path}")
    );
    assert_eq!(error.kind, ExitKind::Misconfigured);
    assert_eq!(missing.events.recv().await, None);

    let file = tempfile::NamedTempFile::new().unwrap();
    let program = file.path().to_str().unwrap().to_owned();
    let mut data = start(&Command {
        program: program.clone(),
        args: vec![],
        ..shell("")
    });
    let ProcessEvent::Failed(error) = next(&mut data).await else {
        panic!("it cannot run");
    };
    assert_eq!(
        error.reason,
        format!("`{program}` may not be executed: permission denied")
    );

    let nowhere = Command {
        cwd: Some("/no/such/folder".into()),
        ..shell("")
    };
    let error = spawn(
        &nowhere,
        &guard_host(),
        "hub/service/unit",
        Confinement::default(),
        &Tasks::default(),
    )
    .unwrap_err();
    assert_eq!(error.kind, ExitKind::Misconfigured);
}

#[tokio::test]
async fn a_killed_guard_takes_everything_with_it() {
    let script = "setsid sh -c 'trap \"\" TERM; while :; do sleep 1; done' & echo $!; wait";
    let (mut process, pid, daemons) = scripted(script).await;
    // Deaf to everything that asks politely.
    let guard = i32::try_from(process.guard.unwrap()).unwrap();
    for signal in [Signal::SIGTERM, Signal::SIGINT, Signal::SIGHUP] {
        tree::send(guard, signal);
    }
    tokio::time::sleep(Duration::from_millis(50)).await;
    assert!(alive(process.guard.unwrap()) && alive(pid) && alive(daemons[0]));
    process.control.force();
    assert_eq!(next(&mut process).await, ProcessEvent::Exited(Exit::GuardLost));
    assert_eq!(next(&mut process).await, ProcessEvent::Gone);
    until(SOON, "all dead", || !alive(pid) && !alive(daemons[0])).await;
}

#[tokio::test]
async fn dropping_the_handle_kills_the_tree() {
    let (process, pid, daemons) = scripted("setsid sleep 300 & echo $!; wait").await;
    drop(process);
    until(SOON, "all dead", || !alive(pid) && !alive(daemons[0])).await;
}

/// A hub in a process of its own with one server, and the numbers on the first line that the server prints.
#[expect(
    clippy::disallowed_methods,
    reason = "the stand-in hub has to be killed without killing the test"
)]
async fn hub(script: &str) -> (tokio::process::Child, i32, Vec<u32>) {
    let mut hub = tokio::process::Command::new(guard_host())
        .args(["hub", "sh", "-c", script])
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let mut line = String::new();
    let mut stdout = BufReader::new(hub.stdout.take().unwrap());
    let read = timeout(SOON, stdout.read_line(&mut line)).await;
    read.unwrap().unwrap();
    let numbers = line.split_whitespace().map(|n| n.parse().unwrap());
    let pid = i32::try_from(hub.id().unwrap()).unwrap();
    (hub, pid, numbers.collect())
}

#[tokio::test]
async fn a_killed_hub_leaves_nothing() {
    let script = "setsid sh -c 'trap \"\" TERM; while :; do sleep 1; done' & a=$!
        (setsid sleep 300 &)
        trap '' TERM; echo $$ $a; while :; do sleep 1; done";
    let (mut hub, me, pids) = hub(script).await;
    let all = tree::below(me, &tree::processes());
    // The guard, the server, the two daemons and their sleeps.
    assert!(all.len() >= 4 && pids.iter().all(|pid| alive(*pid)), "{all:?}");
    hub.start_kill().unwrap();
    hub.wait().await.unwrap();
    let none_left = || {
        let left = tree::processes();
        left.iter().all(|process| !all.contains(&process.pid))
    };
    until(Duration::from_secs(1), "all dead", none_left).await;
}

#[tokio::test]
async fn a_hub_inherits_and_buries_what_a_killed_guard_left() {
    // One carries no mark, has its own session and hears nothing.
    let script = "env -i setsid sh -c 'trap \"\" TERM; while :; do /bin/sleep 1; done' & a=$!
        setsid sleep 300 & echo $$ $a $!; wait";
    let (_hub, me, pids) = hub(script).await;
    let guards: Vec<i32> = tree::processes()
        .iter()
        .filter(|process| process.parent == me)
        .map(|process| process.pid)
        .collect();
    let [guard] = guards[..] else {
        panic!("{guards:?}");
    };
    tree::send(guard, Signal::SIGKILL);
    let none_left = || {
        pids.iter().all(|pid| !alive(*pid))
            && tree::below(me, &tree::processes()).is_empty()
            && tree::zombies_of(me).is_empty()
    };
    until(Duration::from_secs(2), "all dead and buried", none_left).await;
}
