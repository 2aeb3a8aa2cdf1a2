//! What the supervisor and the protocol side owe each other. The supervisor knows processes and
//! nothing of MCP; whoever launches a unit brings the handshake.

use std::{fmt, sync::Arc};

use futures_util::future::BoxFuture;
use tokio::net::unix::pipe;

use super::{
    LastExit, Reason,
    process::{Process, SpawnError},
};
use crate::lifecycle::Tasks;

/// The server's ends of its pipes, as seen from here. Both are non-blocking and not inherited by
/// other children.
#[derive(Debug)]
pub struct ChildIo {
    /// What is written here, the server reads on its stdin.
    pub stdin: pipe::Sender,
    /// What the server writes to its stdout.
    pub stdout: pipe::Receiver,
}

/// Turns a fresh process into a session. One value serves all processes of a unit.
pub trait Handshake: Send + Sync + 'static {
    /// What a successful handshake yields.
    type Session: Session;

    /// Speaks to a process that has just been spawned. The driver gives it the unit's start limit
    /// and drops the future when that passes or the process ends; it needs no deadline of its own.
    fn begin(&self, io: ChildIo) -> BoxFuture<'static, Result<Arc<Self::Session>, HandshakeError>>;
}

/// The way to something that runs without us, such as a server behind a URL.
pub trait Attach: fmt::Debug + Send + Sync + 'static {
    /// Makes an instance: pipes as a process has them, and a task behind them. Must not block.
    ///
    /// # Errors
    /// When there can be none.
    fn attach(&self, tasks: &Tasks) -> Result<Process, SpawnError>;
}

/// How a running instance is told to go.
pub trait Control: fmt::Debug + Send + Sync {
    /// Asks it to go: SIGTERM and SIGCONT to a process's group.
    fn terminate(&self);
    /// Ends it and all it started.
    fn kill(&self);
    /// [`Self::kill`] did not get it done: ends whatever carries it out, too.
    fn force(&self);
}

/// A running conversation with one process.
pub trait Session: Send + Sync + 'static {
    /// Calls that wait for an answer; a drain ends when it is 0. Asked a few times a second while
    /// draining, otherwise rarely.
    fn in_flight(&self) -> usize;

    /// Calls sent since the session began, ever growing; tells an idle session from a used one.
    fn calls(&self) -> u64;

    /// Resolves when the session itself broke, whether or not the process still runs.
    fn closed(&self) -> BoxFuture<'_, SessionEnd>;

    /// Closes the process's stdin: the first step of a stop. Calls in flight may still be answered.
    fn close_stdin(&self);

    /// The process is gone, or given up on: answer every pending call, within 100 ms. Called exactly once.
    fn fail(&self, exit: &LastExit);

    /// Asks the server for a sign of life; resolves to whether one came. The driver gives it five
    /// seconds. `None` (the default): this session is never probed.
    fn probe(&self) -> Option<BoxFuture<'static, bool>> {
        None
    }
}

/// How a session broke.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SessionEnd {
    /// The process closed its stdout.
    Eof,
    /// The process stopped reading or writing.
    Stalled,
    /// The process writes what is no protocol; the text says what came.
    Garbage(String),
}

impl SessionEnd {
    /// The word for a process that has to go for this.
    pub(super) fn reason(&self) -> Reason {
        match self {
            Self::Eof => Reason::Closed,
            Self::Stalled => Reason::Stalled,
            Self::Garbage(_) => Reason::Garbage,
        }
    }
}

impl fmt::Display for SessionEnd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Eof => f.write_str("closed its stdout"),
            Self::Stalled => f.write_str("stopped reading its stdin"),
            Self::Garbage(what) => write!(f, "wrote what is no MCP: {what}"),
        }
    }
}

/// Why a handshake did not succeed. The text completes "the handshake failed: …".
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{text}")]
pub struct HandshakeError {
    text: String,
    /// Whether it was the end of the server's output: an exit that follows at once says more.
    pub(super) ended: bool,
}

impl HandshakeError {
    /// `reason` completes "the handshake failed: …".
    pub fn new(reason: impl Into<String>) -> Self {
        Self {
            text: reason.into(),
            ended: false,
        }
    }

    /// The server closed its output instead of answering; `reason` as above.
    pub fn ended(reason: impl Into<String>) -> Self {
        Self {
            text: reason.into(),
            ended: true,
        }
    }
}

/// What callers observed, for [`super::Unit::report`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// A call was given up on after its time limit.
    CallTimedOut,
    /// A call was answered, with whatever result. Costs one atomic load unless a time-out preceded.
    CallAnswered,
}

/// Takes the lines that a process writes to its stderr. Must not block.
pub trait LineSink: Send + Sync + 'static {
    /// Takes one line, without its end of line.
    fn write_line(&self, line: &str);
}
