//! Many clients that only listen: what they cost a server, and how soon each hears of a change.

use std::{
    cell::{Cell, RefCell},
    convert::Infallible,
    fmt,
    time::{Duration, Instant},
};

use anyhow::{Context as _, bail, ensure};
use futures_util::{StreamExt as _, stream::FuturesUnordered};
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use serde::Serialize;
use serde_json::json;
use tokio::sync::{Notify, Semaphore};

use super::{
    args::Args,
    http::{Session, Target},
    measure::{Figures, Tally},
    process::{self, Usage},
};
use crate::mcp::method;

/// Streams opened at the same time.
const OPEN_AT_ONCE: usize = 64;
/// How long to wait for the last stream to hear of a change.
const PATIENCE: Duration = Duration::from_secs(30);

/// What holding the streams cost.
#[derive(Debug, Serialize)]
pub(super) struct Held {
    target: String,
    streams: usize,
    /// Seconds it took to open all.
    opened_in: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    before: Option<Usage>,
    #[serde(skip_serializing_if = "Option::is_none")]
    holding: Option<Usage>,
    /// CPU of the process while nothing happened, in percent of one core.
    #[serde(skip_serializing_if = "Option::is_none")]
    idle_cpu_percent: Option<f64>,
    /// From sending the call that changes the tools until each stream had the notification.
    #[serde(skip_serializing_if = "Option::is_none")]
    heard: Option<Figures>,
}

impl Held {
    /// Whether every stream heard of the change, if there was one.
    pub(super) fn complete(&self) -> bool {
        self.heard
            .as_ref()
            .is_none_or(|heard| heard.errors == 0 && heard.calls == self.streams as u64)
    }
}

impl fmt::Display for Held {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "{}: {} streams, open after {:.2} s",
            self.target, self.streams, self.opened_in
        )?;
        for (when, usage) in [("before", self.before), ("holding", self.holding)] {
            if let Some(usage) = usage {
                let (rss, private) = (usage.rss_mib, usage.private_mib);
                writeln!(f, "{when}: {rss:.1} MiB resident, {private:.1} MiB private")?;
            }
        }
        if let Some(percent) = self.idle_cpu_percent {
            writeln!(f, "idle: {percent:.1} % of one core")?;
        }
        if let Some(heard) = &self.heard {
            writeln!(
                f,
                "list_changed: {} heard, p50 {:.1} ms, p99 {:.1} ms, max {:.1} ms, {} did not hear",
                heard.calls, heard.p50_ms, heard.p99_ms, heard.max_ms, heard.errors
            )?;
        }
        Ok(())
    }
}

/// Where all streams meet.
struct Gate {
    opening: Semaphore,
    wanted: usize,
    open: Cell<usize>,
    all_open: Notify,
    /// When each stream heard of the change.
    heard: RefCell<Vec<Instant>>,
    one_heard: Notify,
    sessions: RefCell<Vec<Session>>,
}

/// Opens `count` streams, holds them for `--seconds`, and changes the tools if `--trigger` says how.
pub(super) async fn hold(args: &Args, url: &str, count: usize) -> anyhow::Result<Held> {
    let target = Target::of(args, url).await?;
    let usage = || args.pid.and_then(process::family).map(|family| family.itself);
    let before = usage();
    let gate = Gate {
        opening: Semaphore::new(OPEN_AT_ONCE),
        wanted: count,
        open: Cell::new(0),
        all_open: Notify::new(),
        heard: RefCell::default(),
        one_heard: Notify::new(),
        sessions: RefCell::default(),
    };
    let begun = Instant::now();
    let mut listening: FuturesUnordered<_> = (0..count).map(|_| Box::pin(listen(&target, &gate))).collect();
    tokio::select! {
        () = gate.all_open.notified() => {}
        ended = listening.next() => bail_ended(ended)?,
    }
    let opened_in = begun.elapsed().as_secs_f64();
    let (idle_from, idle_begun) = (usage(), Instant::now());
    let rest = Duration::try_from_secs_f64(args.seconds).context("--seconds")?;
    tokio::select! {
        () = tokio::time::sleep(rest) => {}
        ended = listening.next() => bail_ended(ended)?,
    }
    ensure!(
        gate.heard.borrow().is_empty(),
        "the tools changed before this command changed them"
    );
    let holding = usage();
    let idle_cpu_percent = idle_from.zip(holding).map(|(from, to)| {
        100.0 * to.cpu.saturating_sub(from.cpu).as_secs_f64() / idle_begun.elapsed().as_secs_f64().max(f64::EPSILON)
    });
    let heard = match &args.trigger {
        Some(tool) => Some(change(&target, tool, &gate, &mut listening).await?),
        None => None,
    };
    drop(listening);
    target.close_sessions(&gate.sessions.take()).await?;
    Ok(Held {
        target: url.to_owned(),
        streams: count,
        opened_in,
        before,
        holding,
        idle_cpu_percent,
        heard,
    })
}

fn bail_ended(ended: Option<anyhow::Result<Infallible>>) -> anyhow::Result<()> {
    match ended {
        Some(Err(error)) => Err(error.context("a stream did not hold")),
        None => bail!("--streams 0 holds nothing"),
    }
}

/// Calls the tool that changes the tools, and waits until every stream has heard.
async fn change<F>(
    target: &Target,
    tool: &str,
    gate: &Gate,
    listening: &mut FuturesUnordered<F>,
) -> anyhow::Result<Figures>
where
    F: Future<Output = anyhow::Result<Infallible>>,
{
    let session = target.open_session().await?;
    let mut tally = Tally::default();
    let begun = Instant::now();
    let trigger = target.connected(async |link| {
        let params = json!({"name": tool, "arguments": {}});
        session.ask(link, method::TOOLS_CALL, params).await
    });
    let hear = async {
        while gate.heard.borrow().len() < listening.len() {
            tokio::select! {
                () = gate.one_heard.notified() => {}
                Some(Err(error)) = listening.next() => tally.record(Err(error.to_string())),
            }
        }
    };
    let (triggered, _late) = tokio::join!(trigger, tokio::time::timeout(PATIENCE, hear));
    triggered.with_context(|| format!("could not call `{tool}`"))?;
    let heard = gate.heard.take();
    for _ in heard.len()..listening.len() {
        tally.record(Err("heard nothing".to_owned()));
    }
    for at in heard {
        tally.record(Ok(at - begun));
    }
    target.close_sessions(&[session]).await?;
    Ok(tally.finish(begun.elapsed()))
}

/// Opens one stream, notes when it tells of changed tools, and holds it for as long as it is polled.
async fn listen(target: &Target, gate: &Gate) -> anyhow::Result<Infallible> {
    let opening = gate.opening.acquire().await?;
    let session = target.open_session().await?;
    target
        .connected(async |link| {
            let mut body = session.listen(link).await?;
            gate.sessions.borrow_mut().push(session);
            drop(opening);
            gate.open.set(gate.open.get() + 1);
            if gate.open.get() == gate.wanted {
                gate.all_open.notify_one();
            }
            hear(&mut body).await?;
            gate.heard.borrow_mut().push(Instant::now());
            gate.one_heard.notify_one();
            // Closing it now would take time from those that have not heard yet.
            while body.frame().await.transpose()?.is_some() {}
            bail!("the server ended a stream")
        })
        .await
}

async fn hear(body: &mut Incoming) -> anyhow::Result<()> {
    let wanted = method::TOOLS_CHANGED.as_bytes();
    while let Some(frame) = body.frame().await {
        // An event this short comes in one piece.
        if let Ok(data) = frame?.into_data()
            && memchr::memmem::find(&data, wanted).is_some()
        {
            return Ok(());
        }
    }
    bail!("the server ended a stream")
}
