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

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};

    use super::*;
    use crate::supervisor::{LastExit, SessionEnd};

    #[derive(Default)]
    struct Fake {
        in_flight: AtomicUsize,
        calls: AtomicU64,
        probes: AtomicUsize,
        answers: AtomicBool,
    }

    impl Session for Fake {
        fn in_flight(&self) -> usize {
            self.in_flight.load(Ordering::Relaxed)
        }

        fn calls(&self) -> u64 {
            self.calls.load(Ordering::Relaxed)
        }

        fn closed(&self) -> BoxFuture<'_, SessionEnd> {
            Box::pin(std::future::pending())
        }

        fn close_stdin(&self) {}

        fn fail(&self, _exit: &LastExit) {}

        fn probe(&self) -> Option<BoxFuture<'static, bool>> {
            self.probes.fetch_add(1, Ordering::Relaxed);
            if self.answers.load(Ordering::Relaxed) {
                Some(Box::pin(std::future::ready(true)))
            } else {
                Some(Box::pin(std::future::pending()))
            }
        }
    }

    fn watching(idle: Option<Duration>) -> (Health<Fake>, Arc<Fake>) {
        let (mut health, session) = (Health::new(idle), Arc::new(Fake::default()));
        health.begin(Arc::clone(&session));
        (health, session)
    }

    #[tokio::test(start_paused = true)]
    async fn a_dead_session_is_found_by_probes_and_so_is_its_recovery() {
        let (mut health, session) = watching(None);
        let begun = Instant::now();
        assert_eq!(health.next().await, Verdict::Troubled);
        // One idle interval, then three probes of five seconds.
        assert_eq!(begun.elapsed(), PROBE_EVERY + PROBE_LIMIT * 3);
        assert_eq!(health.next().await, Verdict::Troubled);
        session.answers.store(true, Ordering::Relaxed);
        assert_eq!(health.next().await, Verdict::Recovered);
        let quiet = timeout(Duration::from_hours(1), health.next()).await;
        assert!(quiet.is_err());
    }

    #[tokio::test(start_paused = true)]
    async fn a_busy_session_is_not_probed() {
        let (mut health, session) = watching(None);
        session.in_flight.store(1, Ordering::Relaxed);
        assert!(timeout(Duration::from_mins(10), health.next()).await.is_err());
        assert_eq!(session.probes.load(Ordering::Relaxed), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn idle_is_who_is_not_called() {
        let (idle, not_quite) = (Duration::from_mins(4), Duration::from_secs(239));
        let (mut health, session) = watching(Some(idle));
        session.answers.store(true, Ordering::Relaxed);
        for _ in 0..10 {
            session.calls.fetch_add(1, Ordering::Relaxed);
            assert!(timeout(not_quite, health.next()).await.is_err());
        }
        session.in_flight.store(1, Ordering::Relaxed);
        assert!(timeout(idle * 3, health.next()).await.is_err());
        session.in_flight.store(0, Ordering::Relaxed);
        let begun = Instant::now();
        assert_eq!(health.next().await, Verdict::Idle);
        assert!(begun.elapsed() <= idle + look_every(idle));
        // Watches nothing once told so.
        health.end();
        assert!(timeout(idle * 3, health.next()).await.is_err());
    }
}
