//! Where this process stands in the control groups: read from `/proc/self/cgroup` and `/proc/self/mountinfo`, whose texts
//! are all that is looked at here.

use std::{
    collections::BTreeMap,
    path::{Component, Path, PathBuf},
};

/// What a group can hold its members to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Controller {
    Memory,
    Pids,
    Cpu,
}

impl Controller {
    pub(super) const ALL: [Self; 3] = [Self::Memory, Self::Pids, Self::Cpu];

    /// Its name in the kernel's files.
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Memory => "memory",
            Self::Pids => "pids",
            Self::Cpu => "cpu",
        }
    }
}

/// The folders of the groups this process is in, where they are mounted and not read-only.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Places {
    /// In the one hierarchy of version 2.
    pub(super) unified: Option<PathBuf>,
    /// In those of version 1.
    pub(super) legacy: BTreeMap<Controller, PathBuf>,
}

/// Finds the folders; both texts as the kernel writes them.
pub(super) fn places(cgroup: &str, mountinfo: &str) -> Places {
    let mut places = Places::default();
    for mount in mountinfo.lines().filter_map(Mount::parse) {
        let own = own_path(cgroup, &mount);
        // Of several mounts the last is the one that shows.
        match mount.hierarchy {
            Hierarchy::Unified => places.unified = own,
            Hierarchy::Legacy(controllers) => {
                for controller in Controller::ALL {
                    if controllers.contains(&controller.as_str()) {
                        match &own {
                            Some(folder) => places.legacy.insert(controller, folder.clone()),
                            None => places.legacy.remove(&controller),
                        };
                    }
                }
            }
        }
    }
    places
}

/// One line of `mountinfo` that shows control groups.
struct Mount<'a> {
    hierarchy: Hierarchy<'a>,
    /// Which group of the hierarchy the mount point shows.
    root: String,
    point: PathBuf,
    writable: bool,
}

enum Hierarchy<'a> {
    Unified,
    /// With the options of the mount, which name its controllers.
    Legacy(Vec<&'a str>),
}

impl<'a> Mount<'a> {
    fn parse(line: &'a str) -> Option<Self> {
        let (before, after) = line.split_once(" - ")?;
        let mut after = after.split(' ');
        let (kind, _source, options) = (after.next()?, after.next()?, after.next()?);
        let hierarchy = match kind {
            "cgroup2" => Hierarchy::Unified,
            "cgroup" => Hierarchy::Legacy(options.split(',').collect()),
            _ => return None,
        };
        let mut before = before.split(' ').skip(3);
        Some(Self {
            hierarchy,
            root: unescaped(before.next()?),
            point: PathBuf::from(unescaped(before.next()?)),
            writable: before.next()?.split(',').all(|option| option != "ro"),
        })
    }
}

/// Spaces and the like are written as three octal digits.
fn unescaped(text: &str) -> String {
    [("\\040", " "), ("\\011", "\t"), ("\\012", "\n"), ("\\134", "\\")]
        .iter()
        .fold(text.to_owned(), |text, (escape, plain)| text.replace(escape, plain))
}

/// The folder of our group under `mount`; `None` if we are in no group of that hierarchy, it does not show there, or it can't
/// be written to.
fn own_path(cgroup: &str, mount: &Mount<'_>) -> Option<PathBuf> {
    let own = cgroup.lines().find_map(|line| {
        let mut fields = line.splitn(3, ':');
        let (_, controllers, path) = (fields.next()?, fields.next()?, fields.next()?);
        let ours = match &mount.hierarchy {
            Hierarchy::Unified => controllers.is_empty(),
            Hierarchy::Legacy(options) => controllers.split(',').any(|name| options.contains(&name)),
        };
        ours.then_some(path)
    })?;
    let below = Path::new(own).strip_prefix(&mount.root).ok()?;
    // A path with `..` lies outside of what our namespace shows.
    let shows = below.components().all(|part| matches!(part, Component::Normal(_)));
    if !shows || !mount.writable {
        return None;
    }
    Some(if below.as_os_str().is_empty() {
        mount.point.clone()
    } else {
        mount.point.join(below)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn legacy(of: &[(Controller, &str)]) -> BTreeMap<Controller, PathBuf> {
        of.iter()
            .map(|(controller, folder)| (*controller, PathBuf::from(folder)))
            .collect()
    }

    #[test]
    fn a_systemd_service_stands_in_version_2() {
        let mounts = "25 30 0:23 / /sys rw,nosuid shared:7 - sysfs sysfs rw\n\
                      35 25 0:29 / /sys/fs/cgroup rw,nosuid,nodev shared:9 - cgroup2 cgroup2 rw,nsdelegate\n";
        let found = places("0::/system.slice/mcpvisor.service\n", mounts);
        assert_eq!(
            found.unified.as_deref(),
            Some(Path::new("/sys/fs/cgroup/system.slice/mcpvisor.service"))
        );
        assert!(found.legacy.is_empty());
    }

    #[test]
    fn a_hybrid_has_both() {
        let cgroup = "9:name=systemd:/\n8:pids:/\n4:memory:/jobs/a40b\n2:cpuacct:/\n1:cpu:/\n0::/\n";
        let mounts = "31 23 0:28 / /sys/fs/cgroup rw - tmpfs tmpfs rw,mode=755\n\
                      32 31 0:29 / /sys/fs/cgroup/cpu rw,relatime - cgroup cgroup rw,cpu\n\
                      33 31 0:30 / /sys/fs/cgroup/cpuacct rw,relatime - cgroup cgroup rw,cpuacct\n\
                      35 31 0:32 / /sys/fs/cgroup/memory rw,relatime - cgroup cgroup rw,memory\n\
                      39 31 0:36 / /sys/fs/cgroup/pids rw,relatime - cgroup cgroup rw,pids\n\
                      40 31 0:37 / /sys/fs/cgroup/systemd rw,relatime - cgroup cgroup rw,name=systemd\n\
                      41 31 0:38 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw\n";
        let found = places(cgroup, mounts);
        assert_eq!(found.unified.as_deref(), Some(Path::new("/sys/fs/cgroup/unified")));
        assert_eq!(
            found.legacy,
            legacy(&[
                (Controller::Memory, "/sys/fs/cgroup/memory/jobs/a40b"),
                (Controller::Pids, "/sys/fs/cgroup/pids"),
                (Controller::Cpu, "/sys/fs/cgroup/cpu"),
            ])
        );
    }

    #[test]
    fn a_container_of_version_1_sees_its_own_group_as_the_root() {
        let cgroup = "5:memory:/docker/c0ffee\n4:pids:/docker/c0ffee\n2:cpu,cpuacct:/docker/c0ffee\n";
        let mount = |options: &str| {
            format!(
                "801 800 0:33 /docker/c0ffee /sys/fs/cgroup/memory {options},nosuid master:13 - cgroup cgroup rw,memory\n\
                 802 800 0:34 /docker/c0ffee /sys/fs/cgroup/cpu,cpuacct {options},nosuid master:14 - cgroup cgroup \
                 rw,cpu,cpuacct\n"
            )
        };
        assert_eq!(
            places(cgroup, &mount("rw")).legacy,
            legacy(&[
                (Controller::Memory, "/sys/fs/cgroup/memory"),
                (Controller::Cpu, "/sys/fs/cgroup/cpu,cpuacct"),
            ])
        );
        // As containers have it unless they are privileged.
        assert_eq!(places(cgroup, &mount("ro")), Places::default());
    }

    #[test]
    fn a_container_of_version_2_is_at_the_root_of_its_namespace() {
        let mounts =
            |options: &str| format!("900 800 0:29 / /sys/fs/cgroup {options} - cgroup2 cgroup rw,nsdelegate\n");
        let found = places("0::/\n", &mounts("rw,nosuid"));
        assert_eq!(found.unified.as_deref(), Some(Path::new("/sys/fs/cgroup")));
        assert_eq!(places("0::/\n", &mounts("ro,nosuid")), Places::default());
    }

    #[test]
    fn what_lies_outside_does_not_show() {
        let mounts = "900 800 0:29 / /sys/fs/cgroup rw - cgroup2 cgroup rw\n";
        assert_eq!(places("0::/../other\n", mounts), Places::default());
        let mounts = "900 800 0:29 /docker/a /sys/fs/cgroup rw - cgroup2 cgroup rw\n";
        assert_eq!(places("0::/docker/b\n", mounts), Places::default());
        assert_eq!(places("", ""), Places::default());
        assert_eq!(places("0:", "a - b"), Places::default());
    }

    #[test]
    fn the_last_mount_is_the_one_that_shows() {
        let mounts = "1 0 0:29 / /a rw - cgroup2 cgroup rw\n2 0 0:29 / /with\\040space rw - cgroup2 cgroup rw\n";
        assert_eq!(
            places("0::/x\n", mounts).unified.as_deref(),
            Some(Path::new("/with space/x"))
        );
    }
}
