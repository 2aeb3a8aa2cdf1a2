//! Watches a session from outside: whether it is still used, and whether an idle one still answers.

use std::{sync::Arc, time::Duration};

use futures_util::future::BoxFuture;
use tokio::time::{Instant, sleep_until, timeout};

use super::Session;

/// How long a session without calls is left alone between probes.
const PROBE_EVERY: Duration = Duration::from_secs(30);
/// How long a probe may take.
const PROBE_LIMIT: Duration = Duration::from_secs(5);
/// So many unanswered probes in a row are trouble.
const PROBES: u32 = 3;
/// The longest time between two looks at an idle session.
const LOOK_EVERY: Duration = Duration::from_secs(30);

/// What was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Nobody called for the idle time.
    Idle,
    /// Probes go unanswered.
    Troubled,
    /// They are answered again.
    Recovered,
}

/// Watches one unit's sessions, one after the other.
pub(super) struct Health<S> {
    idle_timeout: Option<Duration>,
    watched: Option<Watched<S>>,
}

struct Watched<S> {
    session: Arc<S>,
    /// Calls at the last look, and when they were last seen to grow.
    calls: u64,
    active: Instant,
    look_at: Option<Instant>,
    probe_at: Option<Instant>,
    probe: Option<BoxFuture<'static, bool>>,
    unanswered: u32,
}

impl<S: Session> Health<S> {
    pub(super) fn new(idle_timeout: Option<Duration>) -> Self {
        Self {
            idle_timeout,
            watched: None,
        }
    }

    /// Watches `session` from now on.
    pub(super) fn begin(&mut self, session: Arc<S>) {
        let now = Instant::now();
        self.watched = Some(Watched {
            calls: session.calls(),
            session,
            active: now,
            look_at: self.idle_timeout.map(|idle| now + look_every(idle)),
            probe_at: Some(now + PROBE_EVERY),
            probe: None,
            unanswered: 0,
        });
    }

    /// Watches nothing from now on.
    pub(super) fn end(&mut self) {
        self.watched = None;
    }

    /// The next finding. May be dropped and asked again at any time.
    pub(super) async fn next(&mut self) -> Verdict {
        let Some(watched) = &mut self.watched else {
            return std::future::pending().await;
        };
        loop {
            let (look_at, probe_at) = (watched.look_at, watched.probe_at);
            tokio::select! {
                alive = ready(&mut watched.probe) => if let Some(verdict) = watched.probed(alive) {
                    return verdict;
                },
                () = at(look_at) => if let Some(idle) = self.idle_timeout && watched.is_idle(idle) {
                    return Verdict::Idle;
                },
                () = at(probe_at) => watched.begin_probe(),
            }
        }
    }
}

/// Often enough to stop in time, rarely enough to cost nothing.
fn look_every(idle: Duration) -> Duration {
    (idle / 4).clamp(Duration::from_millis(10), LOOK_EVERY)
}

impl<S: Session> Watched<S> {
    fn is_idle(&mut self, idle: Duration) -> bool {
        let (now, calls) = (Instant::now(), self.session.calls());
        if calls != self.calls || self.session.in_flight() > 0 {
            (self.calls, self.active) = (calls, now);
        }
        self.look_at = Some(now + look_every(idle));
        now.duration_since(self.active) >= idle
    }

    /// A busy session is not probed: a server may well do one thing at a time, and calls have limits of their own.
    fn begin_probe(&mut self) {
        self.probe_at = Some(Instant::now() + PROBE_EVERY);
        if self.session.in_flight() > 0 {
            return;
        }
        match self.session.probe() {
            Some(probe) => {
                self.probe_at = None;
                self.probe = Some(Box::pin(async { timeout(PROBE_LIMIT, probe).await.unwrap_or(false) }));
            }
            None => self.probe_at = None,
        }
    }

    fn probed(&mut self, alive: bool) -> Option<Verdict> {
        let now = Instant::now();
        if alive {
            let was = std::mem::take(&mut self.unanswered);
            self.probe_at = Some(now + PROBE_EVERY);
            (was >= PROBES).then_some(Verdict::Recovered)
        } else {
            self.unanswered += 1;
            // Five seconds have passed; ask again at once to be sure soon.
            self.probe_at = Some(now);
            (self.unanswered >= PROBES).then_some(Verdict::Troubled)
        }
    }
}

/// Resolves when the future there is resolves, and takes it away; never if there is none.
pub(super) async fn ready<T>(future: &mut Option<BoxFuture<'static, T>>) -> T {
    let Some(running) = future else {
        return std::future::pending().await;
    };
    let output = running.await;
    *future = None;
    output
}

/// Resolves at `when`; never if there is no such time.
pub(super) async fn at(when: Option<Instant>) {
    match when {
        Some(when) => sleep_until(when).await,
        None => std::future::pending().await,
    }
}
