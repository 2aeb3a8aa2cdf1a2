//! What the exit codes mean.

use std::process::ExitCode;

/// How a command ended; the launch line also ends with those of [`Ending`](crate::lifecycle::Ending).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Exit {
    /// 0: did what it should.
    Clean,
    /// 1: could not do it.
    Failed,
    /// 64: was called in a way that makes no sense.
    Usage,
    /// 78: the configuration cannot be used, or a port is taken.
    Configuration,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(match exit {
            Exit::Clean => 0,
            Exit::Failed => 1,
            Exit::Usage => 64,
            Exit::Configuration => 78,
        })
    }
}
