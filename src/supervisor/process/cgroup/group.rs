//! One control group of one server: made, entered, read, killed and removed through its files.

use std::{
    collections::BTreeSet,
    fs::{self, File},
    io,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use nix::sys::signal::Signal;

use super::{super::tree, places::Controller};
use crate::config::ServiceLimits;

/// How long members of a group that is to go are killed and waited for.
const CLEAR_LIMIT: Duration = Duration::from_secs(2);
/// The stretch of time over which processor time is handed out, in microseconds.
const CPU_PERIOD: u64 = 100_000;
/// What is left to a tree that does nothing but try to fork, in microseconds per [`SQUEEZED_PERIOD`].
const SQUEEZED: u64 = 5_000;
/// Long, because each new stretch wakes the whole tree at once.
const SQUEEZED_PERIOD: u64 = 1_000_000;

/// Which hierarchy a group is in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// The one of version 2, whatever controllers it has there.
    Unified,
    /// That of one controller of version 1.
    Legacy(Controller),
}

/// A group, made or to be made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Group {
    pub(super) kind: Kind,
    pub(super) path: PathBuf,
}

impl Group {
    /// How a guard is told of it: `unified=/sys/fs/cgroup/…`.
    pub(super) fn to_arg(&self) -> String {
        let kind = match self.kind {
            Kind::Unified => "unified",
            Kind::Legacy(controller) => controller.as_str(),
        };
        format!("{kind}={}", self.path.display())
    }

    pub(super) fn from_arg(arg: &str) -> Option<Self> {
        let (kind, path) = arg.split_once('=')?;
        let legacy = || {
            Controller::ALL
                .into_iter()
                .find(|controller| controller.as_str() == kind)
        };
        let kind = if kind == "unified" {
            Kind::Unified
        } else {
            Kind::Legacy(legacy()?)
        };
        let path = PathBuf::from(path);
        Some(Self { kind, path })
    }

    /// Makes it and sets its limits; says which of them it will hold.
    pub(super) fn make(&self, limits: &ServiceLimits) -> io::Result<BTreeSet<Controller>> {
        match fs::create_dir(&self.path) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
            Ok(()) | Err(_) => {}
        }
        let mut held = BTreeSet::new();
        for controller in Controller::ALL {
            let limited = match self.kind {
                Kind::Unified => self.limit_unified(controller, limits),
                Kind::Legacy(own) if own == controller => self.limit_legacy(controller, limits),
                Kind::Legacy(_) => Ok(false),
            };
            match limited {
                Ok(true) => drop(held.insert(controller)),
                Ok(false) => {}
                Err(error) => {
                    self.remove();
                    return Err(error);
                }
            }
        }
        Ok(held)
    }

    /// Whether there was something to hold, and a file to hold it with.
    fn limit_unified(&self, controller: Controller, limits: &ServiceLimits) -> io::Result<bool> {
        match controller {
            Controller::Memory => {
                let Some(bytes) = limits.memory.filter(|_| self.has("memory.max")) else {
                    return Ok(false);
                };
                self.write("memory.max", &bytes.to_string())?;
                self.write_if_there("memory.swap.max", "0")?;
                // Half a server is worth nothing: all of it goes, or nothing.
                self.write_if_there("memory.oom.group", "1")?;
                Ok(true)
            }
            Controller::Pids => self.limit_pids(limits),
            Controller::Cpu => {
                let Some(cpus) = limits.cpus.filter(|_| self.has("cpu.max")) else {
                    return Ok(false);
                };
                self.write("cpu.max", &format!("{} {CPU_PERIOD}", quota(cpus)))?;
                Ok(true)
            }
        }
    }

    fn limit_legacy(&self, controller: Controller, limits: &ServiceLimits) -> io::Result<bool> {
        match controller {
            Controller::Memory => {
                let Some(bytes) = limits.memory else { return Ok(false) };
                self.write("memory.limit_in_bytes", &bytes.to_string())?;
                self.write_if_there("memory.memsw.limit_in_bytes", &bytes.to_string())?;
                Ok(true)
            }
            Controller::Pids => self.limit_pids(limits),
            Controller::Cpu => {
                let Some(cpus) = limits.cpus else { return Ok(false) };
                self.write("cpu.cfs_period_us", &CPU_PERIOD.to_string())?;
                self.write("cpu.cfs_quota_us", &quota(cpus).to_string())?;
                Ok(true)
            }
        }
    }

    fn limit_pids(&self, limits: &ServiceLimits) -> io::Result<bool> {
        let Some(pids) = limits.pids.filter(|_| self.has("pids.max")) else {
            return Ok(false);
        };
        self.write("pids.max", &pids.to_string())?;
        Ok(true)
    }

    /// The file to write `0` to, for whoever is to become a member.
    pub(super) fn door(&self) -> io::Result<File> {
        File::options().write(true).open(self.path.join("cgroup.procs"))
    }

    pub(super) fn has(&self, file: &str) -> bool {
        self.path.join(file).exists()
    }

    fn write(&self, file: &str, text: &str) -> io::Result<()> {
        fs::write(self.path.join(file), text)
    }

    fn write_if_there(&self, file: &str, text: &str) -> io::Result<()> {
        if self.has(file) { self.write(file, text) } else { Ok(()) }
    }

    /// Leaves its members a little processor time, or what they may have again. For a tree that stands at its limit of processes
    /// and does nothing but try to fork. Never nothing: whoever is stopped within the kernel holds locks that others wait for.
    pub(super) fn squeeze(&self, tight: bool, limits: &ServiceLimits) {
        let usual = (limits.cpus.map(quota), CPU_PERIOD);
        let (most, period) = if tight {
            (Some(SQUEEZED), SQUEEZED_PERIOD)
        } else {
            usual
        };
        // Without it the group is merely as fair as any other.
        drop(match self.kind {
            Kind::Unified if self.has("cpu.max") => {
                let most = most.map_or_else(|| "max".to_owned(), |most| most.to_string());
                self.write("cpu.max", &format!("{most} {period}"))
            }
            Kind::Legacy(Controller::Cpu) => {
                let most = most.map_or_else(|| "-1".to_owned(), |most| most.to_string());
                let period = self.write("cpu.cfs_period_us", &period.to_string());
                period.and_then(|()| self.write("cpu.cfs_quota_us", &most))
            }
            Kind::Unified | Kind::Legacy(Controller::Memory | Controller::Pids) => Ok(()),
        });
    }

    /// Kills every member, those being born included; `false` if the kernel can't do that for this group.
    pub(super) fn kill(&self) -> bool {
        self.kind == Kind::Unified && self.write("cgroup.kill", "1").is_ok()
    }

    /// Removes it; `false` while it has members.
    pub(super) fn remove(&self) -> bool {
        match fs::remove_dir(&self.path) {
            Ok(()) => true,
            Err(error) => error.kind() == io::ErrorKind::NotFound,
        }
    }

    /// Processes in it, as this process sees them.
    fn members(&self) -> Vec<i32> {
        let members = fs::read_to_string(self.path.join("cgroup.procs")).unwrap_or_default();
        // Those of a namespace that we do not see into are 0.
        members
            .lines()
            .filter_map(|pid| pid.parse().ok())
            .filter(|pid| *pid > 0)
            .collect()
    }
}

/// Processor time per [`CPU_PERIOD`], in microseconds, from thousandths of a processor.
fn quota(cpus: u32) -> u64 {
    u64::from(cpus) * CPU_PERIOD / 1000
}

/// Kills whatever is in the groups and removes them. Blocks: at most two seconds, usually less than a millisecond. Returns
/// how many processes there were.
pub(in super::super) fn clear(paths: &[PathBuf]) -> usize {
    let groups = paths.iter().filter(|path| path.is_dir()).map(|path| group_at(path));
    let (mut groups, mut killed, begun): (Vec<_>, _, _) = (groups.collect(), BTreeSet::new(), Instant::now());
    loop {
        groups.retain(|group| {
            if group.remove() {
                return false;
            }
            let members = group.members();
            if !group.kill() {
                for pid in &members {
                    tree::send(*pid, Signal::SIGKILL);
                }
            }
            killed.extend(members);
            true
        });
        if groups.is_empty() || begun.elapsed() > CLEAR_LIMIT {
            return killed.len();
        }
        std::thread::yield_now();
    }
}

/// A group whose hierarchy can be told from its files.
fn group_at(path: &Path) -> Group {
    let unified = path.join("cgroup.kill").exists();
    let kind = if unified {
        Kind::Unified
    } else {
        Kind::Legacy(Controller::Pids)
    };
    let path = path.to_owned();
    Group { kind, path }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_group_survives_the_command_line() {
        for arg in ["unified=/sys/fs/cgroup/a b", "memory=/x", "pids=/x", "cpu=/x=y"] {
            assert_eq!(Group::from_arg(arg).unwrap().to_arg(), arg);
        }
        assert_eq!(Group::from_arg("blkio=/x"), None);
        assert_eq!(Group::from_arg("memory"), None);
    }

    #[test]
    fn a_folder_of_ordinary_files_shows_what_is_written() {
        let dir = tempfile::tempdir().unwrap();
        let limits = ServiceLimits {
            memory: Some(1 << 20),
            pids: Some(9),
            cpus: Some(500),
            open_files: None,
        };
        let group = Group {
            kind: Kind::Unified,
            path: dir.path().join("group"),
        };
        fs::create_dir(&group.path).unwrap();
        for file in ["memory.max", "memory.swap.max", "memory.oom.group", "cpu.max"] {
            fs::write(group.path.join(file), "").unwrap();
        }
        let held = group.make(&limits).unwrap();
        assert_eq!(held, BTreeSet::from([Controller::Memory, Controller::Cpu]));
        let read = |file| fs::read_to_string(group.path.join(file)).unwrap();
        assert_eq!(read("memory.max"), "1048576");
        assert_eq!(
            (read("memory.swap.max"), read("memory.oom.group")),
            ("0".into(), "1".into())
        );
        assert_eq!(read("cpu.max"), "50000 100000");
    }
}
