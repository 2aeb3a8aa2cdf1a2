//! Which groups the hub may make: found once, at its start, by making one.

use std::{
    collections::BTreeSet,
    fs, io,
    path::{Path, PathBuf},
    time::Duration,
};

use nix::errno::Errno;

use super::{
    cage::Order,
    group::{Group, Kind, clear},
    places::{Controller, Places, places},
};
use crate::config::ServiceLimits;

/// How many processes and threads a server may have if nothing is configured, where a group can hold it to that.
const DEFAULT_PIDS: u64 = 2048;
/// How long a group may be empty before whoever it was made for has entered it.
const NEWBORN: Duration = Duration::from_mins(1);
/// The group that the hub moves itself to, to make place beside it.
const OWN_GROUP: &str = "hub";

/// Where the groups of this hub's servers are made.
#[derive(Debug)]
pub struct Cgroups {
    /// Begins the name of every group of this hub.
    hub_id: String,
    /// The folder of version 2, with what it can hold its members to.
    unified: Option<(PathBuf, BTreeSet<Controller>)>,
    /// Those of version 1.
    legacy: Vec<(Controller, PathBuf)>,
    /// Whether the hub stands in [`OWN_GROUP`] below `unified` now.
    moved: bool,
}

impl Cgroups {
    /// Tries what this process may do. May move it to a group of its own (version 2, if it is alone in its group). `None` if
    /// no group can be made. Takes a few milliseconds.
    pub fn find(hub_id: &str) -> Option<Self> {
        let read = |file| fs::read_to_string(file).unwrap_or_default();
        Self::find_in(
            &places(&read("/proc/self/cgroup"), &read("/proc/self/mountinfo")),
            hub_id,
        )
    }

    fn find_in(places: &Places, hub_id: &str) -> Option<Self> {
        let mut found = Self {
            hub_id: hub_id.to_owned(),
            unified: None,
            legacy: Vec::new(),
            moved: false,
        };
        if let Some(folder) = &places.unified {
            found.moved = make_room(folder);
            let probe = found.probe(folder);
            found.unified = probe.map(|held| (folder.clone(), held));
        }
        for (controller, folder) in &places.legacy {
            if found.probe(folder).is_some_and(|held| held.contains(controller)) {
                found.legacy.push((*controller, folder.clone()));
            }
        }
        for folder in found.folders() {
            tidy(folder);
        }
        let any = found.unified.is_some() || !found.legacy.is_empty();
        any.then_some(found)
    }

    fn folders(&self) -> impl Iterator<Item = &Path> {
        let unified = self.unified.iter().map(|(folder, _)| folder.as_path());
        unified.chain(self.legacy.iter().map(|(_, folder)| folder.as_path()))
    }

    /// What a group made in `folder` can hold its members to; `None` if none can be made.
    fn probe(&self, folder: &Path) -> Option<BTreeSet<Controller>> {
        let path = folder.join(self.name("probe"));
        fs::create_dir(&path).ok()?;
        let has = |file: &str| path.join(file).exists();
        let held = Controller::ALL.into_iter().filter(|controller| match controller {
            Controller::Memory => has("memory.max") || has("memory.limit_in_bytes"),
            Controller::Pids => has("pids.max"),
            Controller::Cpu => has("cpu.max") || has("cpu.cfs_quota_us"),
        });
        let held = held.collect();
        clear(&[path]);
        Some(held)
    }

    fn name(&self, rest: &str) -> String {
        format!("mcpvisor-{}.{rest}", self.hub_id)
    }

    fn holds(&self, controller: Controller) -> bool {
        let unified = self
            .unified
            .as_ref()
            .is_some_and(|(_, held)| held.contains(&controller));
        unified || self.legacy.iter().any(|(own, _)| *own == controller)
    }

    /// What the guard of one server is to do; `mark` (`hub/service/unit/number/`) becomes the name of the groups.
    pub(in super::super) fn order(this: Option<&Self>, limits: &ServiceLimits, mark: &str) -> Order {
        let mut limits = *limits;
        let Some(this) = this else {
            return Order {
                limits,
                groups: Vec::new(),
            };
        };
        if this.holds(Controller::Pids) {
            limits.pids = limits.pids.or(Some(DEFAULT_PIDS));
        }
        let rest = mark.strip_prefix(&this.hub_id).unwrap_or(mark);
        let name = this.name(&rest.trim_matches('/').replace('/', "."));
        let unified = this.unified.iter().map(|(folder, _)| (Kind::Unified, folder));
        let legacy = this.legacy.iter().filter(|(controller, _)| match controller {
            Controller::Memory => limits.memory.is_some(),
            // Also without a limit: a server with many threads is no more than one of many then.
            Controller::Pids | Controller::Cpu => true,
        });
        let legacy = legacy.map(|(controller, folder)| (Kind::Legacy(*controller), folder));
        let groups = unified.chain(legacy).map(|(kind, folder)| Group {
            kind,
            path: folder.join(&name),
        });
        let groups = groups.filter(|group| group.path.to_str().is_some()).collect();
        Order { limits, groups }
    }

    /// Kills and removes what the hub called `hub_id` left in groups. Only for one that is gone. Blocks for two seconds at
    /// most. Returns how many processes there were.
    pub fn sweep(&self, hub_id: &str) -> usize {
        let begin = format!("mcpvisor-{hub_id}.");
        let mut left = Vec::new();
        for entry in self
            .folders()
            .filter_map(|folder| fs::read_dir(folder).ok())
            .flatten()
            .flatten()
        {
            let is_theirs = entry.file_name().to_str().is_some_and(|name| name.starts_with(&begin));
            if is_theirs {
                left.push(entry.path());
            }
        }
        clear(&left)
    }

    /// Undoes what [`Self::find`] did to the hub's own group, when no server runs any more.
    pub fn leave(&self) {
        let Some((folder, _)) = self.unified.as_ref().filter(|_| self.moved) else {
            return;
        };
        for controller in Controller::ALL {
            // Not every one was switched on.
            drop(switch(folder, '-', controller));
        }
        let back = fs::write(folder.join("cgroup.procs"), "0");
        if let Err(error) = back.and_then(|()| fs::remove_dir(folder.join(OWN_GROUP))) {
            tracing::debug!(%error, "the hub's own control group stays");
        }
    }

    /// For the log: what enforces limits here.
    pub fn describe(this: Option<&Self>) -> String {
        let Some(this) = this else {
            return "no control groups: limits of memory and processes are looked after twice a second".to_owned();
        };
        let names = |held: &mut dyn Iterator<Item = Controller>| {
            let names: Vec<_> = held.map(Controller::as_str).collect();
            names.join(", ")
        };
        let v2 = this.unified.as_ref().map(|(_, held)| names(&mut held.iter().copied()));
        let v1 = names(&mut this.legacy.iter().map(|(controller, _)| *controller));
        let mut text = match (v2.filter(|names| !names.is_empty()), v1.is_empty()) {
            (Some(v2), true) => format!("services are held in control groups (v2): {v2}"),
            (Some(v2), false) => format!("services are held in control groups (v2): {v2}; (v1): {v1}"),
            (None, false) => format!("services are held in control groups (v1): {v1}"),
            (None, true) => "control groups hold no limits here, they are looked after twice a second".to_owned(),
        };
        if this.unified.is_some() {
            text.push_str("; their trees are ended by cgroup.kill");
        }
        text
    }

    /// Whether nothing here can do what `limits.cpus` asks for.
    pub fn leaves_cpus(this: Option<&Self>, limits: &ServiceLimits) -> bool {
        limits.cpus.is_some() && !this.is_some_and(|this| this.holds(Controller::Cpu))
    }
}

/// Removes the groups in which nobody is any more, of hubs that were killed together with all their guards and their data
/// folder. A group that was just made is left alone: a server may be about to enter it.
fn tidy(folder: &Path) {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    for entry in entries {
        let is_ours = entry
            .file_name()
            .to_str()
            .is_some_and(|name| name.starts_with("mcpvisor-"));
        let made = entry.metadata().and_then(|about| about.modified()).ok();
        let is_old = made
            .and_then(|made| made.elapsed().ok())
            .is_some_and(|age| age > NEWBORN);
        if is_ours && is_old {
            // Refused while anybody is in it.
            let _busy = fs::remove_dir(entry.path());
        }
    }
}

/// Switches the controllers on for the groups below `folder`, in which this process is. Where only an empty group may do that,
/// and nobody else is in it, moves to one of its own. Answers whether it did.
fn make_room(folder: &Path) -> bool {
    let mut moved = false;
    for controller in Controller::ALL {
        match switch(folder, '+', controller) {
            Err(error) if error.raw_os_error() == Some(Errno::EBUSY as i32) && !moved => {
                moved = is_alone(folder) && move_out(folder).is_ok();
                if !moved {
                    return false;
                }
                drop(switch(folder, '+', controller));
            }
            Ok(()) | Err(_) => {}
        }
    }
    moved
}

/// Switches a controller for the groups below on or off; an error if there is none.
fn switch(folder: &Path, sign: char, controller: Controller) -> io::Result<()> {
    let file = folder.join("cgroup.subtree_control");
    fs::write(file, format!("{sign}{}", controller.as_str()))
}

fn is_alone(folder: &Path) -> bool {
    let members = fs::read_to_string(folder.join("cgroup.procs")).unwrap_or_default();
    members.trim() == std::process::id().to_string()
}

fn move_out(folder: &Path) -> io::Result<()> {
    let own = folder.join(OWN_GROUP);
    match fs::create_dir(&own) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
        Ok(()) | Err(_) => {}
    }
    fs::write(own.join("cgroup.procs"), "0")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(unified: Option<&[Controller]>, legacy: &[Controller]) -> Cgroups {
        Cgroups {
            hub_id: "7-8".to_owned(),
            unified: unified.map(|held| (PathBuf::from("/u"), held.iter().copied().collect())),
            legacy: legacy
                .iter()
                .map(|controller| (*controller, PathBuf::from("/l").join(controller.as_str())))
                .collect(),
            moved: false,
        }
    }

    #[test]
    fn groups_are_named_after_the_tree() {
        let here = found(Some(&[]), &Controller::ALL);
        let order = Cgroups::order(Some(&here), &ServiceLimits::default(), "7-8/files/legacy/3/");
        // No memory is to be held, so nobody pays for counting it.
        assert_eq!(
            order.to_args(),
            [
                "max-pids=2048",
                "unified=/u/mcpvisor-7-8.files.legacy.3",
                "pids=/l/pids/mcpvisor-7-8.files.legacy.3",
                "cpu=/l/cpu/mcpvisor-7-8.files.legacy.3",
            ]
        );
        let limits = ServiceLimits {
            memory: Some(1 << 30),
            pids: Some(10),
            ..ServiceLimits::default()
        };
        let args = Cgroups::order(Some(&here), &limits, "7-8/files/legacy/3/").to_args();
        assert!(
            args.contains(&"max-pids=10".to_owned()) && args.iter().any(|arg| arg.starts_with("memory=/l/memory/"))
        );
    }

    #[test]
    fn without_a_group_there_is_no_default() {
        for here in [None, Some(&found(Some(&[]), &[]))] {
            let order = Cgroups::order(here, &ServiceLimits::default(), "7-8/files/legacy/3/");
            assert_eq!(order.limits, ServiceLimits::default());
        }
    }

    #[test]
    fn the_log_says_what_holds() {
        let said = |here: &Cgroups| Cgroups::describe(Some(here));
        assert_eq!(
            said(&found(Some(&[]), &Controller::ALL)),
            "services are held in control groups (v1): memory, pids, cpu; their trees are ended by cgroup.kill"
        );
        assert_eq!(
            said(&found(Some(&[Controller::Memory, Controller::Pids]), &[])),
            "services are held in control groups (v2): memory, pids; their trees are ended by cgroup.kill"
        );
        assert!(said(&found(Some(&[]), &[])).starts_with("control groups hold no limits here"));
        assert!(Cgroups::describe(None).starts_with("no control groups"));
    }

    #[test]
    fn only_processors_go_unwatched() {
        let cpus = ServiceLimits {
            cpus: Some(500),
            ..ServiceLimits::default()
        };
        assert!(Cgroups::leaves_cpus(None, &cpus));
        assert!(!Cgroups::leaves_cpus(Some(&found(None, &[Controller::Cpu])), &cpus));
        assert!(!Cgroups::leaves_cpus(None, &ServiceLimits::default()));
    }

    #[test]
    fn nothing_is_found_where_nothing_can_be_made() {
        let places = Places {
            unified: Some(PathBuf::from("/proc/self")),
            legacy: [(Controller::Memory, PathBuf::from("/no/such/folder"))].into(),
        };
        assert!(Cgroups::find_in(&places, "7-8").is_none());
    }
}
