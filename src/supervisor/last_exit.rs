//! How a process last ended, as operators and callers are told.

use std::fmt;

/// How the last process of a unit ended, or why it could not be started.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LastExit {
    /// In words, such as `exited with code 3`.
    pub reason: String,
    /// The exit code, if it ended by itself.
    pub code: Option<i32>,
    /// The signal that killed it.
    pub signal: Option<i32>,
    /// The last lines of its stderr, at most 20.
    pub stderr: Vec<String>,
    /// Whether we had asked it to stop.
    pub asked: bool,
    /// When, in milliseconds since 1970 UTC.
    pub at_unix_ms: u64,
}

impl fmt::Display for LastExit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.reason)
    }
}
