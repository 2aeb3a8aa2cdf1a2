//! Units with real processes, through the handle that everybody else uses.

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use futures_util::future::BoxFuture;
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, BufReader},
    net::unix::pipe,
    sync::watch,
    time::timeout,
};

use super::{
    ChildIo, Event, Handshake, HandshakeError, LastExit, Permits, Reason, RestartPolicy, Runs, Session, SessionEnd,
    Start, State, Status, Timeouts, Unit, UnitContext, UnitSpec,
    process::tests::{alive, guard_host, shell, until},
};
use crate::{
    config::{ServiceLimits, ServiceName},
    lifecycle::{Ending, Tasks},
};

/// Nothing here takes longer, unless it is broken.
const SOON: Duration = Duration::from_secs(10);
/// Says that it is ready and lives as long as its stdin.
const SERVER: &str = "echo ready; cat >/dev/null";

/// A server is ready when it says so; then it says nothing more.
struct SaysReady;

struct Quiet {
    stdin: Mutex<Option<pipe::Sender>>,
    stdout: tokio::sync::Mutex<BufReader<pipe::Receiver>>,
    in_flight: AtomicUsize,
    calls: AtomicU64,
    /// What it said after it was ready.
    said: Mutex<Vec<u8>>,
    /// How its end was told, with the bytes it had said by then.
    failed: Mutex<Vec<(LastExit, usize)>>,
}

impl Handshake for SaysReady {
    type Session = Quiet;

    fn begin(&self, io: ChildIo) -> BoxFuture<'static, Result<Arc<Quiet>, HandshakeError>> {
        Box::pin(async move {
            let (mut stdout, mut line) = (BufReader::new(io.stdout), String::new());
            let read = stdout.read_line(&mut line).await;
            match read.map(|_| line.trim_end()) {
                Ok("ready") => Ok(Arc::new(Quiet {
                    stdin: Mutex::new(Some(io.stdin)),
                    stdout: stdout.into(),
                    in_flight: AtomicUsize::new(0),
                    calls: AtomicU64::new(0),
                    said: Mutex::default(),
                    failed: Mutex::default(),
                })),
                Ok("") => Err(HandshakeError::ended("nothing was said")),
                Ok(other) => Err(HandshakeError::new(format!("it said `{other}`"))),
                Err(error) => Err(HandshakeError::new(error.to_string())),
            }
        })
    }
}

impl Session for Quiet {
    fn in_flight(&self) -> usize {
        self.in_flight.load(Ordering::Relaxed)
    }

    fn calls(&self) -> u64 {
        self.calls.load(Ordering::Relaxed)
    }

    fn closed(&self) -> BoxFuture<'_, SessionEnd> {
        Box::pin(async {
            let (mut stdout, mut chunk) = (self.stdout.lock().await, [0; 4096]);
            while let Ok(n @ 1..) = stdout.read(&mut chunk).await {
                self.said.lock().unwrap().extend_from_slice(&chunk[..n]);
            }
            SessionEnd::Eof
        })
    }

    fn close_stdin(&self) {
        self.stdin.lock().unwrap().take();
    }

    fn fail(&self, exit: &LastExit) {
        let said = self.said.lock().unwrap().len();
        self.failed.lock().unwrap().push((exit.clone(), said));
    }
}

fn spec(script: &str) -> UnitSpec {
    UnitSpec {
        service: ServiceName::new("test").unwrap(),
        unit: "only".to_owned(),
        runs: Runs::Process(shell(script)),
        limits: ServiceLimits::default(),
        timeouts: Timeouts {
            start: SOON,
            drain: SOON,
            stop: Duration::from_secs(4),
        },
        restart: RestartPolicy::Always,
        max_delay: Duration::from_mins(1),
        start: Start::Eager,
        idle_timeout: None,
        log: None,
    }
}

fn context() -> UnitContext {
    UnitContext::new(Tasks::default(), guard_host())
}

fn launch(spec: UnitSpec) -> Unit<Quiet> {
    Unit::launch(spec, SaysReady, &context())
}

type Seen = Status<Quiet>;

async fn wait(unit: &Unit<Quiet>, what: &str, holds: impl FnMut(&Seen) -> bool) -> Seen {
    let mut status: watch::Receiver<Seen> = unit.status();
    let seen = timeout(SOON, status.wait_for(holds)).await;
    let Ok(seen) = seen else {
        panic!("{what}: {:?}", unit.status().borrow());
    };
    seen.unwrap().clone()
}

async fn in_state(unit: &Unit<Quiet>, state: State) -> Seen {
    wait(unit, state.as_str(), |status| status.state == state).await
}

fn send(pid: u32, signal: Signal) {
    kill(Pid::from_raw(i32::try_from(pid).unwrap()), signal).unwrap();
}

#[tokio::test]
async fn it_becomes_ready_and_stops() {
    let unit = launch(spec(SERVER));
    let ready = in_state(&unit, State::Ready).await;
    let (pid, session) = (ready.pid.unwrap(), ready.session.unwrap());
    assert!(alive(pid));
    assert_eq!(unit.stop().await, State::Stopped);
    assert!(!alive(pid));
    let stopped = unit.status().borrow().clone();
    assert!(stopped.session.is_none() && stopped.pid.is_none() && !stopped.wakeable);
    let exit = stopped.last_exit.unwrap();
    assert_eq!(exit.reason, Reason::Stopped);
    assert_eq!(exit.detail, "stopped by request (exited with code 0)");
    assert!(exit.asked);
    assert_eq!(*session.failed.lock().unwrap(), [((*exit).clone(), 0)]);
    assert_eq!(unit.start().await, State::Ready);
    assert_eq!(unit.status().borrow().restarts, 1);
}

#[tokio::test]
async fn a_crash_is_told_at_once_and_made_good() {
    let unit = launch(spec(
        "echo one >&2; echo 'two  ' >&2; echo ready; cat >/dev/null; exit 3",
    ));
    let ready = in_state(&unit, State::Ready).await;
    let (pid, session) = (ready.pid.unwrap(), ready.session.unwrap());
    let killed = Instant::now();
    send(pid, Signal::SIGKILL);
    until(SOON, "told", || !session.failed.lock().unwrap().is_empty()).await;
    let told = killed.elapsed();
    let (exit, _) = session.failed.lock().unwrap()[0].clone();
    assert_eq!(exit.reason, Reason::Killed);
    assert_eq!(exit.detail, "killed by signal 9 (SIGKILL)");
    assert_eq!((exit.code, exit.signal, exit.asked), (None, Some(9), false));
    assert_eq!(exit.stderr, ["one", "two  "]);
    assert!(told < Duration::from_millis(100), "{told:?}");
    let again = wait(&unit, "again", |s| s.state == State::Ready && s.restarts == 1).await;
    assert!(killed.elapsed() < Duration::from_secs(2));
    assert_ne!(again.pid, Some(pid));
    // The second failure in a row waits at least a quarter of a second.
    again.session.unwrap().close_stdin();
    let down = in_state(&unit, State::Backoff).await;
    assert_eq!(down.last_exit.unwrap().reason, Reason::Exit(3));
    assert!(down.retry_at.unwrap() >= down.since + Duration::from_millis(250));
    assert_eq!(unit.stderr_tail(9), ["one", "two  ", "one", "two  "]);
}

#[tokio::test]
async fn last_answers_are_heard_before_the_end_is_told() {
    // More than one read takes, less than the pipe holds, and gone the moment it is written.
    let script = "echo ready; read line; head -c 60000 /dev/zero; exit 1";
    let unit = launch(spec(script));
    let session = in_state(&unit, State::Ready).await.session.unwrap();
    session.close_stdin();
    until(SOON, "told", || !session.failed.lock().unwrap().is_empty()).await;
    let (exit, said) = session.failed.lock().unwrap()[0].clone();
    assert_eq!((exit.reason, said), (Reason::Exit(1), 60_000));
}

#[tokio::test]
async fn a_hung_handshake_is_given_up() {
    let mut spec = spec("trap '' TERM; while :; do sleep 1; done");
    spec.timeouts.start = Duration::from_millis(200);
    let unit = launch(spec);
    let pid = in_state(&unit, State::Handshaking).await.pid.unwrap();
    let failed = in_state(&unit, State::Backoff).await;
    assert!(!alive(pid));
    let exit = failed.last_exit.unwrap();
    assert_eq!(exit.reason, Reason::Handshake);
    assert_eq!(
        exit.detail,
        "did not finish the handshake within 200ms (killed by signal 9 (SIGKILL))"
    );
}

#[tokio::test]
async fn a_refused_handshake_and_an_early_exit_say_why() {
    let unit = launch(spec("echo hello; exec cat"));
    let failed = in_state(&unit, State::Backoff).await;
    let exit = failed.last_exit.unwrap();
    assert_eq!(exit.reason, Reason::Handshake);
    assert!(
        exit.detail.starts_with("the handshake failed: it said `hello` ("),
        "{exit}"
    );

    let unit = launch(spec("echo no config >&2; exit 5"));
    let failed = in_state(&unit, State::Backoff).await.last_exit.unwrap();
    assert_eq!(failed.reason, Reason::Exit(5));
    assert_eq!(failed.detail, "exited with code 5 before the handshake was done");
    assert_eq!(
        (failed.code, failed.stderr.as_slice()),
        (Some(5), &["no config".to_owned()][..])
    );
}

#[tokio::test]
async fn what_cannot_run_is_misconfigured() {
    let mut missing = spec("");
    let mut command = shell("");
    command.program = "no-such-program".to_owned();
    missing.runs = Runs::Process(command);
    let unit = launch(missing);
    let status = in_state(&unit, State::Misconfigured).await;
    let exit = status.last_exit.clone().unwrap();
    assert_eq!(exit.reason, Reason::Spawn);
    assert!(
        exit.detail
            .starts_with("`no-such-program` was not found; searched PATH /"),
        "{exit}"
    );
    assert!(!status.may_become_ready() && status.retry_at.is_some());
    assert_eq!(unit.stop().await, State::Stopped);

    let unit = launch(spec("no-such-program"));
    let status = in_state(&unit, State::Misconfigured).await;
    let exit = status.last_exit.unwrap();
    assert!(exit.detail.contains("exited with code 127"), "{exit}");
    assert!(exit.stderr[0].contains("no-such-program"), "{:?}", exit.stderr);
}

#[tokio::test]
async fn a_lazy_unit_wakes_sleeps_and_wakes() {
    let mut spec = spec(SERVER);
    spec.start = Start::Lazy;
    spec.idle_timeout = Some(Duration::from_millis(200));
    let unit = launch(spec);
    assert_eq!(unit.status().borrow().state, State::Stopped);
    assert!(unit.status().borrow().may_become_ready());
    unit.want();
    let session = in_state(&unit, State::Ready).await.session.unwrap();
    // As long as it is used, it stays.
    let used = Instant::now();
    while used.elapsed() < Duration::from_millis(600) {
        session.calls.fetch_add(1, Ordering::Relaxed);
        assert_eq!(unit.status().borrow().state, State::Ready);
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let asleep = in_state(&unit, State::Stopped).await;
    assert!(asleep.wakeable && asleep.last_exit.unwrap().asked);
    unit.want();
    in_state(&unit, State::Ready).await;
}

#[tokio::test]
async fn a_stop_waits_for_calls_in_flight() {
    let unit = launch(spec(SERVER));
    let ready = in_state(&unit, State::Ready).await;
    let session = ready.session.unwrap();
    session.in_flight.store(1, Ordering::Relaxed);
    let ticket = unit.stop();
    let draining = in_state(&unit, State::Draining).await;
    assert!(draining.session.is_none() && alive(ready.pid.unwrap()));
    session.in_flight.store(0, Ordering::Relaxed);
    assert_eq!(timeout(SOON, ticket).await.unwrap(), State::Stopped);
}

#[tokio::test]
async fn a_deaf_server_is_gone_within_its_budgets() {
    let mut spec = spec("trap '' TERM; setsid sleep 300 & echo ready; while :; do sleep 1; done");
    spec.timeouts.drain = Duration::from_millis(100);
    spec.timeouts.stop = Duration::from_millis(200);
    let unit = launch(spec);
    let ready = in_state(&unit, State::Ready).await;
    let session = ready.session.unwrap();
    session.in_flight.store(1, Ordering::Relaxed);
    let begun = Instant::now();
    assert_eq!(timeout(SOON, unit.stop()).await.unwrap(), State::Stopped);
    let took = begun.elapsed();
    assert!(
        took > Duration::from_millis(300) && took < Duration::from_secs(2),
        "{took:?}"
    );
    assert!(!alive(ready.pid.unwrap()));
    assert_eq!(session.failed.lock().unwrap().len(), 1);
}

#[tokio::test]
async fn orders_may_come_in_any_order() {
    let unit = launch(spec(SERVER));
    let first = in_state(&unit, State::Ready).await.pid;
    assert_eq!(unit.restart().await, State::Ready);
    let second = unit.status().borrow().pid;
    assert_ne!(first, second);
    let (stop, start) = (unit.stop(), unit.start());
    let both = async { tokio::join!(stop, start) };
    assert_eq!(timeout(SOON, both).await.unwrap(), (State::Ready, State::Ready));
    assert_ne!(unit.status().borrow().pid, second);
    assert_eq!(unit.disable().await, State::Disabled);
    unit.want();
    assert_eq!(unit.stop().await, State::Disabled);
    assert_eq!(unit.start().await, State::Ready);
}

#[tokio::test]
async fn hung_starts_block_nobody() {
    let mut context = context();
    context.permits = Permits::new(1);
    let hung = Unit::launch(spec("sleep 300"), SaysReady, &context);
    in_state(&hung, State::Handshaking).await;
    let begun = Instant::now();
    let good = Unit::launch(spec(SERVER), SaysReady, &context);
    assert_eq!(in_state(&good, State::Queued).await.state, State::Queued);
    in_state(&good, State::Ready).await;
    let waited = begun.elapsed();
    assert!(
        waited > Duration::from_secs(1) && waited < Duration::from_secs(4),
        "{waited:?}"
    );
    assert_eq!(hung.status().borrow().state, State::Handshaking);
}

#[tokio::test]
async fn a_killed_guard_is_a_crash_like_any_other() {
    let unit = launch(spec(SERVER));
    let pid = in_state(&unit, State::Ready).await.pid.unwrap();
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let guard: u32 = stat
        .rsplit_once(')')
        .unwrap()
        .1
        .split_whitespace()
        .nth(1)
        .unwrap()
        .parse()
        .unwrap();
    let killed = Instant::now();
    send(guard, Signal::SIGKILL);
    let again = wait(&unit, "again", |s| s.state == State::Ready && s.restarts == 1).await;
    assert!(killed.elapsed() < Duration::from_secs(2), "{:?}", killed.elapsed());
    assert_eq!(again.last_exit.unwrap().reason, Reason::GuardLost);
    until(SOON, "dead", || !alive(pid)).await;
}

#[tokio::test]
async fn unanswered_calls_degrade_and_then_restart() {
    let unit = launch(spec(SERVER));
    let first = in_state(&unit, State::Ready).await.pid;
    let time_outs = |n| (0..n).for_each(|_| unit.report(Event::CallTimedOut));
    time_outs(5);
    let degraded = in_state(&unit, State::Degraded).await;
    assert!(degraded.session.is_some());
    unit.report(Event::CallAnswered);
    in_state(&unit, State::Ready).await;
    time_outs(5);
    in_state(&unit, State::Degraded).await;
    time_outs(5);
    let again = wait(&unit, "again", |s| s.state == State::Ready && s.pid != first).await;
    let exit = again.last_exit.unwrap();
    assert_eq!(exit.reason, Reason::Unresponsive);
    assert!(exit.detail.starts_with("answered no calls in time ("), "{exit}");
}

#[tokio::test]
async fn the_hubs_end_is_theirs() {
    let context = context();
    let unit = Unit::launch(spec(SERVER), SaysReady, &context);
    let forgotten = Unit::launch(spec(SERVER), SaysReady, &context);
    let pids = [&unit, &forgotten].map(|unit| async { in_state(unit, State::Ready).await.pid.unwrap() });
    let pids = futures_util::future::join_all(pids).await;
    drop(forgotten);
    until(SOON, "dead", || !alive(pids[1])).await;
    assert!(alive(pids[0]));
    context.tasks.stop();
    assert_eq!(context.tasks.finish(SOON).await, Ending::Clean);
    assert!(!alive(pids[0]));
    assert_eq!(unit.status().borrow().state, State::Stopped);
    // Too late for anything, but nobody hangs.
    assert_eq!(timeout(SOON, unit.start()).await.unwrap(), State::Stopped);
}

#[tokio::test]
async fn a_hurried_end_does_not_wait_for_the_deaf() {
    let context = context();
    let unit = Unit::launch(
        spec("trap '' TERM; echo ready; while :; do sleep 1; done"),
        SaysReady,
        &context,
    );
    let pid = in_state(&unit, State::Ready).await.pid.unwrap();
    let begun = Instant::now();
    context.tasks.stop();
    in_state(&unit, State::Stopping).await;
    context.tasks.hurry();
    assert_eq!(context.tasks.finish(SOON).await, Ending::Clean);
    assert!(begun.elapsed() < Duration::from_millis(2500), "{:?}", begun.elapsed());
    assert!(!alive(pid));
}
