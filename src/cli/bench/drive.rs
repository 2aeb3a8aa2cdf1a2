//! One run of `mcpvisor bench`: connect, choose the tool, warm up, measure, report.

use std::{
    cell::{Cell, OnceCell, RefCell},
    process::ExitCode,
    time::{Duration, Instant},
};

use anyhow::{Context as _, ensure};
use futures_util::{StreamExt as _, TryStreamExt as _, stream, stream::FuturesUnordered};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use tokio::{runtime, sync::Barrier};

use super::{
    args::{Args, Until},
    call::Call,
    http::{Link, Session, Target},
    measure::Tally,
    process::{self, Family},
    report::{self, Report, Run},
    stdio::Pipes,
    streams, tool,
};
use crate::cli::{exit::Exit, output};

/// Sessions opened at the same time.
const OPEN_AT_ONCE: usize = 32;

/// Measures and prints. Fails if the server could not be reached, refused the handshake, or has no suitable tool; calls
/// that fail are figures of the report.
pub(in crate::cli) fn run(args: &Args) -> ExitCode {
    match measure(args) {
        Ok(good) if good || !args.strict => Exit::Clean.into(),
        Ok(_) => Exit::Failed.into(),
        Err(error) => {
            output::note(&format_args!("{error:#}"));
            Exit::Failed.into()
        }
    }
}

/// Whether every call was answered right.
fn measure(args: &Args) -> anyhow::Result<bool> {
    raise_file_limit();
    let runtime = runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        if let (Some(count), Some(url)) = (args.streams, &args.url) {
            let held = Box::pin(streams::hold(args, url, count)).await?;
            report::print(&held, args.json)?;
            return Ok(held.complete());
        }
        let measured = match &args.url {
            Some(url) => Box::pin(over_http(args, url)).await?,
            None => Box::pin(over_stdio(args)).await?,
        };
        report::print(&measured, args.json)?;
        Ok(measured.runs.iter().all(|run| run.figures.errors == 0))
    })
}

/// A socket per connection: as many as the system allows.
fn raise_file_limit() {
    if let Ok((_, hard)) = getrlimit(Resource::RLIMIT_NOFILE) {
        // Where it can't be raised, opening too many sockets says so.
        let _unchanged = setrlimit(Resource::RLIMIT_NOFILE, hard, hard);
    }
}

async fn over_stdio(args: &Args) -> anyhow::Result<Report> {
    let mut pipes = Pipes::start(&args.stdio, args.era()).await?;
    let choice = tool::choose(args, &pipes.tools().await?)?;
    let call = Call::new(args.era(), &choice, args.bytes);
    let mut runs = Vec::new();
    for &concurrency in &args.concurrency {
        pipes.measure(&call, concurrency, Until::Time(args.warm_up()?)).await?;
        let pid = args.pid.or(pipes.pid());
        let before = pid.and_then(process::family);
        let figures = pipes.measure(&call, concurrency, args.until()?).await?;
        let used = before.zip(pid.and_then(process::family));
        runs.push(Run::new(concurrency, figures, used));
    }
    pipes.close().await;
    Ok(Report {
        target: args.stdio.join(" "),
        era: args.era().as_str(),
        tool: choice.tool,
        runs,
    })
}

async fn over_http(args: &Args, url: &str) -> anyhow::Result<Report> {
    let target = Target::of(args, url).await?;
    let sessions: Vec<Session> = stream::iter(0..args.sessions.max(1))
        .map(|_| target.open_session())
        .buffer_unordered(OPEN_AT_ONCE)
        .try_collect()
        .await?;
    let first = sessions.first().context("no session")?;
    let tools = target.connected(async |link| first.tools(link).await).await?;
    let choice = tool::choose(args, &tools)?;
    let call = Call::new(args.era(), &choice, args.bytes);
    let load = Load {
        target: &target,
        sessions: &sessions,
        call: &call,
        ids: args.ids,
        pid: args.pid,
        warm_up: args.warm_up()?,
        until: args.until()?,
        serial: Cell::new(0),
    };
    let mut runs = Vec::new();
    for &concurrency in &args.concurrency {
        ensure!(concurrency > 0, "--concurrency 0 measures nothing");
        runs.push(load.measure(concurrency).await?);
    }
    target.close_sessions(&sessions).await?;
    Ok(Report {
        target: url.to_owned(),
        era: args.era().as_str(),
        tool: choice.tool,
        runs,
    })
}

/// What is the same for every concurrency.
struct Load<'a> {
    target: &'a Target,
    sessions: &'a [Session],
    call: &'a Call,
    ids: Option<u64>,
    pid: Option<u32>,
    warm_up: Duration,
    until: Until,
    serial: Cell<u64>,
}

/// When the measured part began, and what the process had used by then.
struct Start {
    at: Instant,
    family: Option<Family>,
}

/// One measurement while it runs.
struct Round {
    begun: Instant,
    /// Passed when every worker has warmed up.
    warm: Barrier,
    start: OnceCell<Start>,
    made: Cell<u64>,
    tally: RefCell<Tally>,
}

impl Load<'_> {
    async fn measure(&self, concurrency: usize) -> anyhow::Result<Run> {
        let round = Round {
            begun: Instant::now(),
            warm: Barrier::new(concurrency),
            start: OnceCell::new(),
            made: Cell::new(0),
            tally: RefCell::default(),
        };
        // One task for all: on one thread a task each would only add wake-ups.
        let mut workers: FuturesUnordered<_> = self
            .sessions
            .iter()
            .cycle()
            .take(concurrency)
            .map(|session| Box::pin(self.work(&round, session)))
            .collect();
        while let Some(done) = workers.next().await {
            done?;
        }
        let start = round.start.get().context("nothing was measured")?;
        let took = start.at.elapsed();
        let used = start.family.zip(self.pid.and_then(process::family));
        Ok(Run::new(concurrency, round.tally.take().finish(took), used))
    }

    /// One connection's calls; a new connection where the server closes one.
    async fn work(&self, round: &Round, session: &Session) -> anyhow::Result<()> {
        let caller = session.caller(self.call, self.ids)?;
        let mut warm = false;
        loop {
            let done = self
                .target
                .connected(async |link| {
                    while !warm && link.is_open() {
                        if round.begun.elapsed() < self.warm_up {
                            // Failures will show in the measured part.
                            let _unmeasured = caller.call(link, self.next_serial()).await;
                        } else {
                            round.warm.wait().await;
                            warm = true;
                        }
                    }
                    self.calls(round, &caller, link).await
                })
                .await?;
            if done && warm {
                return Ok(());
            }
        }
    }

    async fn calls(&self, round: &Round, caller: &super::http::Caller<'_>, link: &mut Link) -> anyhow::Result<bool> {
        let start = round.start.get_or_init(|| Start {
            family: self.pid.and_then(process::family),
            at: Instant::now(),
        });
        while link.is_open() {
            if !self.until.allows(start.at, round.made.get()) {
                return Ok(true);
            }
            round.made.set(round.made.get() + 1);
            let outcome = caller.call(link, self.next_serial()).await;
            round.tally.borrow_mut().record(outcome);
        }
        Ok(false)
    }

    fn next_serial(&self) -> u64 {
        self.serial.set(self.serial.get() + 1);
        self.serial.get()
    }
}
