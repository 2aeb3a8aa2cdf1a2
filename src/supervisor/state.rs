//! The words of a unit's life: its states, what can happen to it, and what is to be done about it.

use std::{fmt, time::Duration};

use tokio::time::Instant;

/// Where a unit is in its life, as operators see it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum State {
    /// Switched off; only an operator starts it.
    Disabled,
    /// Not running, by order, by policy or because nobody needs it.
    Stopped,
    /// Waits for its turn to start.
    Queued,
    /// The guard is starting the process.
    Spawning,
    /// The process runs and has yet to finish the handshake.
    Handshaking,
    /// Calls go through.
    Ready,
    /// Calls go through, but the last ones or the probes were not answered.
    Degraded,
    /// No new calls; waits for those in flight.
    Draining,
    /// The process has been told to go, or its tree is being cleared away.
    Stopping,
    /// Failed; waits before the next start.
    Backoff,
    /// Failed again and again; tried once every five minutes.
    CrashLoop,
    /// The program cannot be started; tried after 1, 5, then every 15 minutes.
    Misconfigured,
}

impl State {
    /// Every state, in the order of a life.
    pub const ALL: [Self; 12] = [
        Self::Disabled,
        Self::Stopped,
        Self::Queued,
        Self::Spawning,
        Self::Handshaking,
        Self::Ready,
        Self::Degraded,
        Self::Draining,
        Self::Stopping,
        Self::Backoff,
        Self::CrashLoop,
        Self::Misconfigured,
    ];

    /// Its name in the API, in metrics and in logs.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Disabled => "disabled",
            Self::Stopped => "stopped",
            Self::Queued => "queued",
            Self::Spawning => "spawning",
            Self::Handshaking => "handshaking",
            Self::Ready => "ready",
            Self::Degraded => "degraded",
            Self::Draining => "draining",
            Self::Stopping => "stopping",
            Self::Backoff => "backoff",
            Self::CrashLoop => "crash_loop",
            Self::Misconfigured => "misconfigured",
        }
    }
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Why nothing runs and nothing will by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rest {
    /// Stopped; `start` starts it again.
    Stopped,
    /// Switched off; `start` switches it on again.
    Disabled,
    /// Forgotten: nothing starts it again.
    Retired,
}

/// Why the next start has to wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wait {
    /// It failed.
    Backoff,
    /// It failed again and again.
    CrashLoop,
    /// It cannot be started.
    Misconfigured,
}

/// How far a stop has got.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// The session broke by itself; an exit status may follow.
    Broken,
    /// stdin was closed.
    Stdin,
    /// SIGTERM was sent.
    Term,
    /// The tree is being killed, or what the process left is being cleared away.
    Kill,
}

/// What follows once the process and all it started are gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// Nothing.
    Rest(Rest),
    /// The next start, at once.
    Start,
    /// The next start, after `delay`.
    Wait { why: Wait, delay: Duration },
    /// The exit status decides; without one it was a failure.
    Judge,
}

/// The machine's own, finer state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    Resting(Rest),
    Queued,
    Spawning {
        until: Instant,
    },
    Handshaking {
        until: Instant,
    },
    /// `since` survives a stay in [`Phase::Degraded`].
    Ready {
        since: Instant,
    },
    Degraded {
        since: Instant,
    },
    Draining {
        until: Instant,
        next: Next,
    },
    Stopping {
        step: Step,
        until: Instant,
        next: Next,
    },
    Waiting {
        why: Wait,
        until: Instant,
    },
}

/// What an exit says about the next start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ExitKind {
    /// Exit code 0.
    Clean,
    /// Another code, or a signal.
    Failure,
    /// The program cannot be run as configured: exit 126 or 127 before the handshake, no such file, no permission.
    Misconfigured,
}

/// What can happen to a unit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Input {
    /// An operator wants it to run.
    Start,
    /// A call wants it to run.
    Want,
    /// An operator, a new configuration or the hub's end wants it to rest.
    Stop(Rest),
    /// Stop, then start.
    Restart,
    /// Whatever stop is under way has no time left.
    Hurry,
    /// Its turn to start.
    Permit,
    /// The process exists.
    Spawned,
    /// There will be no process.
    SpawnFailed(ExitKind),
    /// Calls can go through.
    HandshakeDone,
    /// The server speaks no MCP, or not in this way.
    HandshakeFailed,
    /// The session broke; the process may still run.
    SessionEnded,
    /// The process is gone; what it started may still run.
    Exited(ExitKind),
    /// Nothing of the process is left.
    Gone,
    /// Calls or probes go unanswered.
    Troubled,
    /// They are answered again.
    Recovered,
    /// Nobody called for the idle time.
    Idle,
    /// No call is in flight any more.
    Drained,
    /// The time that [`super::machine::Machine::deadline`] gave may have come.
    Tick,
}

/// What the driver must do, in order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Get in line for a start permit; ahead of others if a call waits.
    AskPermit { urgent: bool },
    /// A call waits now: move ahead in the line.
    Hasten,
    /// Leave the line, or give the permit back.
    ReleasePermit,
    /// Start guard and process.
    Spawn,
    /// Begin the handshake.
    Handshake,
    /// Watch the calls in flight until there are none.
    Drain,
    /// Close the process's stdin.
    CloseStdin,
    /// SIGTERM and SIGCONT to the process group.
    Terminate,
    /// SIGKILL the whole tree.
    KillTree,
    /// The guard does not get it done: kill it and what it left.
    KillGuard,
    /// End the session, answering its calls; also drops a handshake under way.
    EndSession,
}

/// The moment of a step: time and dice are the caller's.
#[derive(Clone, Copy, Debug)]
pub struct At {
    /// Now.
    pub now: Instant,
    /// A random number in 0..1.
    pub luck: f64,
}
