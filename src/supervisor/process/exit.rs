//! How a process ended.

use std::fmt;

use nix::sys::signal::Signal;

use crate::supervisor::state::ExitKind;

/// How a server process ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// It ended with this code.
    Code(i32),
    /// This signal killed it.
    Signal(i32),
    /// It was no process of ours, and the way to it ended.
    Disconnected,
    /// Its guard was killed, which kills it too; how it ended nobody saw.
    GuardLost,
}

impl Exit {
    /// The exit code, if there is one.
    pub fn code(self) -> Option<i32> {
        match self {
            Self::Code(code) => Some(code),
            Self::Signal(_) | Self::Disconnected | Self::GuardLost => None,
        }
    }

    /// The signal that killed it, if one did.
    pub fn signal(self) -> Option<i32> {
        match self {
            Self::Signal(signal) => Some(signal),
            Self::Code(_) | Self::Disconnected | Self::GuardLost => None,
        }
    }

    /// What it says about the next start. 126 and 127 are what shells and `env` say of a program
    /// that they cannot run.
    pub fn kind(self) -> ExitKind {
        match self {
            Self::Code(0) => ExitKind::Clean,
            Self::Code(126 | 127) => ExitKind::Misconfigured,
            Self::Code(_) | Self::Signal(_) | Self::Disconnected | Self::GuardLost => ExitKind::Failure,
        }
    }
}

impl fmt::Display for Exit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Code(code) => write!(f, "exited with code {code}"),
            Self::Signal(number) => match Signal::try_from(*number) {
                Ok(signal) => write!(f, "killed by signal {number} ({signal})"),
                Err(_unnamed) => write!(f, "killed by signal {number}"),
            },
            Self::Disconnected => f.write_str("the connection to the server ended"),
            Self::GuardLost => f.write_str("its guard process was killed"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exits_read_well() {
        assert_eq!(Exit::Code(3).to_string(), "exited with code 3");
        assert_eq!(Exit::Signal(9).to_string(), "killed by signal 9 (SIGKILL)");
        assert_eq!(Exit::Code(127).kind(), ExitKind::Misconfigured);
        assert_eq!(Exit::Signal(15).signal(), Some(15));
    }
}
