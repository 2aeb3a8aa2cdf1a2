//! What hub and guard tell each other over their socket: lines from the guard, single bytes from the
//! hub. The socket is also the lifeline: its end, however it comes about, kills the tree.

use super::{Breach, Exit};

/// SIGTERM and SIGCONT to the server's process group.
pub(super) const TERMINATE: u8 = b't';
/// SIGKILL to the whole tree.
pub(super) const KILL: u8 = b'k';

/// What the guard reports.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Report {
    /// The server runs as this process.
    Spawned(u32),
    /// The server could not be started; the system's error number.
    Failed(i32),
    /// The server ended; what it left is being killed.
    Exited(Exit),
    /// So many processes could not be killed.
    Left(u32),
    /// The server went over this limit; its end follows.
    Breached(Breach),
    /// Not every control group could be made or entered; the system's error number.
    Loose(i32),
}

impl Report {
    pub(super) fn to_line(self) -> String {
        match self {
            Self::Spawned(pid) => format!("spawned {pid}\n"),
            Self::Failed(errno) => format!("failed {errno}\n"),
            Self::Exited(Exit::Code(code)) => format!("exited {code}\n"),
            Self::Exited(Exit::Signal(signal)) => format!("killed {signal}\n"),
            // A guard's server is a process.
            Self::Exited(Exit::GuardLost | Exit::Disconnected) => "lost 0\n".to_owned(),
            Self::Left(count) => format!("left {count}\n"),
            Self::Breached(breach) => format!("breached {breach}\n"),
            Self::Loose(errno) => format!("loose {errno}\n"),
        }
    }

    pub(super) fn from_line(line: &str) -> Option<Self> {
        let (word, number) = line.trim_end().split_once(' ')?;
        match word {
            "spawned" => number.parse().ok().map(Self::Spawned),
            "failed" => number.parse().ok().map(Self::Failed),
            "exited" => number.parse().ok().map(|code| Self::Exited(Exit::Code(code))),
            "killed" => number.parse().ok().map(|signal| Self::Exited(Exit::Signal(signal))),
            "lost" => Some(Self::Exited(Exit::GuardLost)),
            "left" => number.parse().ok().map(Self::Left),
            "breached" => Breach::from_word(number).map(Self::Breached),
            "loose" => number.parse().ok().map(Self::Loose),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reports_survive_the_wire() {
        for report in [
            Report::Spawned(77),
            Report::Failed(2),
            Report::Exited(Exit::Code(0)),
            Report::Exited(Exit::Signal(15)),
            Report::Exited(Exit::GuardLost),
            Report::Left(3),
            Report::Breached(Breach::Oom),
            Report::Breached(Breach::Pids),
            Report::Loose(13),
        ] {
            assert_eq!(Report::from_line(&report.to_line()), Some(report));
        }
        assert_eq!(Report::from_line("nonsense"), None);
    }
}
