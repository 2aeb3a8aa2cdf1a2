//! What a unit publishes about itself.

use std::{fmt, sync::Arc};

use tokio::time::Instant;

use super::{LastExit, Session, State};

/// A snapshot of one unit, published through a `watch` channel whenever it changes.
pub struct Status<S> {
    /// Where the unit is in its life.
    pub state: State,
    /// The server's process, not its guard; `None` while there is none.
    pub pid: Option<u32>,
    /// How many times a process was started again after the first.
    pub restarts: u64,
    /// How the last process ended.
    pub last_exit: Option<Arc<LastExit>>,
    /// The session to send calls to: there is one in `ready` and `degraded` only.
    pub session: Option<Arc<S>>,
    /// Since when the unit is in this state.
    pub since: Instant,
    /// When a start will be tried again: in `backoff`, `crash_loop` and `misconfigured`.
    pub retry_at: Option<Instant>,
    /// Whether a call may start the unit (see [`super::Unit::want`]).
    pub wakeable: bool,
    /// The last order that was carried out; tickets wait for theirs.
    pub(super) settled: u64,
}

impl<S: Session> Status<S> {
    pub(super) fn new(state: State) -> Self {
        Self {
            state,
            pid: None,
            restarts: 0,
            last_exit: None,
            session: None,
            since: Instant::now(),
            retry_at: None,
            wakeable: false,
            settled: 0,
        }
    }

    /// Whether a call that waits has a chance: the unit is starting, about to be, or will try again.
    pub fn may_become_ready(&self) -> bool {
        match self.state {
            State::Queued | State::Spawning | State::Handshaking | State::Ready | State::Degraded | State::Backoff => {
                true
            }
            State::Stopped => self.wakeable,
            State::Disabled | State::Draining | State::Stopping | State::CrashLoop | State::Misconfigured => false,
        }
    }
}

impl<S> Clone for Status<S> {
    fn clone(&self) -> Self {
        Self {
            state: self.state,
            pid: self.pid,
            restarts: self.restarts,
            last_exit: self.last_exit.clone(),
            session: self.session.clone(),
            since: self.since,
            retry_at: self.retry_at,
            wakeable: self.wakeable,
            settled: self.settled,
        }
    }
}

impl<S> fmt::Debug for Status<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Status")
            .field("state", &self.state)
            .field("pid", &self.pid)
            .field("restarts", &self.restarts)
            .field("last_exit", &self.last_exit)
            .field("session", &self.session.is_some())
            .field("since", &self.since)
            .field("retry_at", &self.retry_at)
            .finish_non_exhaustive()
    }
}
