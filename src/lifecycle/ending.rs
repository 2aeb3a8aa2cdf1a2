//! How the process ended, and the exit code that tells.

use std::process::ExitCode;

/// How the process ended; `main` turns it into the exit code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// Everyone stopped by themselves, because we were asked to.
    Clean,
    /// Someone had to be cut off.
    Forced,
    /// A task that should have outlived the process ended first.
    Failed,
}

impl Ending {
    /// The process exit code: 0 clean, 3 forced, 1 failed.
    #[must_use]
    pub fn code(self) -> u8 {
        match self {
            Self::Clean => 0,
            Self::Forced => 3,
            Self::Failed => 1,
        }
    }

    /// The worse of two endings.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        match (self, other) {
            (Self::Failed, _) | (_, Self::Failed) => Self::Failed,
            (Self::Forced, _) | (_, Self::Forced) => Self::Forced,
            (Self::Clean, Self::Clean) => Self::Clean,
        }
    }
}

impl From<Ending> for ExitCode {
    fn from(ending: Ending) -> Self {
        Self::from(ending.code())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_worse_ending_wins() {
        use Ending::{Clean, Failed, Forced};
        assert_eq!(Clean.and(Clean), Clean);
        assert_eq!(Clean.and(Forced), Forced);
        assert_eq!(Failed.and(Forced), Failed);
        assert_eq!([Clean, Forced, Failed].map(Ending::code), [0, 3, 1]);
    }
}
