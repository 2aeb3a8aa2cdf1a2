//! How a process last ended, as operators and callers are told.

use std::fmt;

use tokio::time::Instant;

use super::process::Exit;

/// Why a process ended, or why there was none: a word that does not change between versions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// It ended by itself with this code.
    Exit(i32),
    /// This signal ended it, and we did not send it.
    Signal(i32),
    /// SIGKILL, neither ours nor for a cap that we know of.
    Killed,
    /// It needed more memory than it may have.
    Oom,
    /// It started more processes and threads than it may have.
    Pids,
    /// It was asked to end: a stop, a restart, another configuration, idleness, the hub's end.
    Stopped,
    /// It did not read its input.
    Stalled,
    /// It wrote what is no MCP.
    Garbage,
    /// It closed its output and ran on.
    Closed,
    /// It refused the handshake and ran on, or did not finish it in time.
    Handshake,
    /// It left calls or probes unanswered.
    Unresponsive,
    /// It could not be started.
    Spawn,
    /// It is no process of ours, and the way to it ended.
    Disconnected,
    /// Its guard was killed, and it with it.
    GuardLost,
}

impl Reason {
    /// The word for an end that nobody else had a hand in.
    pub(super) fn of(exit: Exit) -> Self {
        const SIGKILL: i32 = nix::sys::signal::Signal::SIGKILL as i32;
        match exit {
            Exit::Code(code) => Self::Exit(code),
            Exit::Signal(SIGKILL) => Self::Killed,
            Exit::Signal(signal) => Self::Signal(signal),
            Exit::Disconnected => Self::Disconnected,
            Exit::GuardLost => Self::GuardLost,
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exit(code) => write!(f, "exit {code}"),
            Self::Signal(signal) => write!(f, "signal {signal}"),
            Self::Killed => f.write_str("killed"),
            Self::Oom => f.write_str("oom"),
            Self::Pids => f.write_str("pids"),
            Self::Stopped => f.write_str("stopped"),
            Self::Stalled => f.write_str("stalled"),
            Self::Garbage => f.write_str("garbage"),
            Self::Closed => f.write_str("closed"),
            Self::Handshake => f.write_str("handshake"),
            Self::Unresponsive => f.write_str("unresponsive"),
            Self::Spawn => f.write_str("spawn"),
            Self::Disconnected => f.write_str("disconnected"),
            Self::GuardLost => f.write_str("guard_lost"),
        }
    }
}

/// How the last process of a unit ended, or why it could not be started.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LastExit {
    /// In a word.
    pub reason: Reason,
    /// In a sentence, such as `exited with code 3 before the handshake was done`.
    pub detail: String,
    /// The exit code, if it ended by itself.
    pub code: Option<i32>,
    /// The signal that killed it.
    pub signal: Option<i32>,
    /// The last lines of its stderr, at most 20.
    pub stderr: Vec<String>,
    /// Whether we had asked it to stop.
    pub asked: bool,
    /// When.
    pub at: Instant,
}

impl fmt::Display for LastExit {
    /// The sentence.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.detail)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_end_by_itself_has_a_word() {
        for (exit, word) in [
            (Exit::Code(0), "exit 0"),
            (Exit::Code(3), "exit 3"),
            (Exit::Signal(11), "signal 11"),
            (Exit::Signal(15), "signal 15"),
            (Exit::Signal(9), "killed"),
            (Exit::GuardLost, "guard_lost"),
        ] {
            assert_eq!(Reason::of(exit).to_string(), word);
        }
    }
}
