//! Finds and kills whole process trees by the list of processes in `/proc`.

use std::collections::{BTreeMap, BTreeSet};

use nix::{
    sys::signal::{Signal, kill, killpg},
    unistd::Pid,
};

/// A live process as `/proc/<pid>/stat` has it; zombies are left out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Listed {
    pub(super) pid: i32,
    pub(super) parent: i32,
    pub(super) group: i32,
    pub(super) session: i32,
    /// When it started, in ticks since boot: tells it from another that gets its number later.
    pub(super) started: u64,
}

/// All live processes; empty where there is no `/proc`.
pub(super) fn processes() -> Vec<Listed> {
    list().filter_map(|(process, alive)| alive.then_some(process)).collect()
}

/// The children of `parent` that have ended and were not waited for.
pub(super) fn zombies_of(parent: i32) -> Vec<i32> {
    list()
        .filter(|(process, alive)| !alive && process.parent == parent)
        .map(|(process, _)| process.pid)
        .collect()
}

/// All processes, and whether they are alive.
fn list() -> impl Iterator<Item = (Listed, bool)> {
    let entries = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    entries
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .filter_map(|pid| {
            // Gone between listing and reading is the same as not listed.
            let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
            parse(pid, &stat)
        })
}

fn parse(pid: i32, stat: &str) -> Option<(Listed, bool)> {
    // The name in field 2 may hold spaces and parentheses, so go on from the last parenthesis.
    let (_, fields) = stat.rsplit_once(')')?;
    let mut fields = fields.split_ascii_whitespace();
    let state = fields.next()?;
    let mut number = || fields.next()?.parse().ok();
    let (parent, group, session) = (number()?, number()?, number()?);
    let process = Listed {
        pid,
        parent,
        group,
        session,
        // Field 22; the session was field 6.
        started: fields.nth(15)?.parse().ok()?,
    };
    Some((process, !matches!(state, "Z" | "X")))
}

/// Everything below `root` in `all`, without `root` itself.
pub(super) fn below(root: i32, all: &[Listed]) -> BTreeSet<i32> {
    let mut children: BTreeMap<i32, Vec<i32>> = BTreeMap::new();
    for process in all {
        children.entry(process.parent).or_default().push(process.pid);
    }
    let (mut found, mut next) = (BTreeSet::new(), vec![root]);
    while let Some(parent) = next.pop() {
        for child in children.get(&parent).into_iter().flatten() {
            if found.insert(*child) {
                next.push(*child);
            }
        }
    }
    found
}

/// Everything below `root`, by the lists of children that each thread has: cheap where the tree is small, but it may miss
/// what moves meanwhile. `None` if the kernel keeps no such lists.
pub(super) fn children_below(root: i32) -> Option<BTreeSet<i32>> {
    let (mut found, mut next) = (BTreeSet::new(), vec![root]);
    std::fs::metadata(format!("/proc/{root}/task/{root}/children")).ok()?;
    while let Some(parent) = next.pop() {
        let threads = std::fs::read_dir(format!("/proc/{parent}/task"))
            .into_iter()
            .flatten()
            .flatten();
        for thread in threads {
            // Gone between listing and reading is the same as not listed.
            let children = std::fs::read_to_string(thread.path().join("children")).unwrap_or_default();
            let children = children.split_ascii_whitespace().filter_map(|pid| pid.parse().ok());
            next.extend(children.filter(|child| found.insert(*child)));
        }
    }
    Some(found)
}

/// Stops what `find` finds until it finds nothing new, so that nothing forks on, then kills it all. Returns what it killed.
pub(super) fn freeze_and_kill(find: impl Fn() -> BTreeSet<i32>) -> BTreeSet<i32> {
    /// A tree that forks faster than it is stopped is killed as far as it is known; the caller comes back for the rest.
    const ROUNDS: u32 = 8;
    let mut known = BTreeSet::new();
    for _ in 0..ROUNDS {
        let found = find();
        let fresh: Vec<i32> = found.difference(&known).copied().collect();
        if fresh.is_empty() {
            break;
        }
        for pid in &fresh {
            send(*pid, Signal::SIGSTOP);
        }
        known.extend(fresh);
    }
    for pid in &known {
        send(*pid, Signal::SIGKILL);
    }
    known
}

/// The guard of `server` was killed. Where the kernel does not kill the server with its guard (everywhere but on Linux), its
/// process group is killed: we are the one who knows its number, and it has not been buried yet.
pub(super) fn kill_orphaned_group(server: Option<u32>) {
    let group = server.and_then(|pid| i32::try_from(pid).ok());
    if !cfg!(target_os = "linux")
        && let Some(group) = group
    {
        let _gone = killpg(Pid::from_raw(group), Signal::SIGKILL);
    }
}

/// Sends `signal`; a process that is gone by now is what we want.
pub(super) fn send(pid: i32, signal: Signal) {
    let _gone = kill(Pid::from_raw(pid), signal);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_cannot_confuse_the_reader() {
        let stat = "42 (a) b) (c) S 7 8 9 0 -1 4194304 1 2 3 4 5 6 7 8 20 0 1 0 123456 99 98";
        let (process, alive) = parse(42, stat).unwrap();
        assert_eq!((process.parent, process.group, process.session), (7, 8, 9));
        assert_eq!(process.started, 123_456);
        assert!(alive && !parse(42, &stat.replace(" S ", " Z ")).unwrap().1);
        assert_eq!(parse(42, "42"), None);
    }

    #[cfg(target_os = "linux")]
    #[test]
    #[expect(clippy::disallowed_methods, reason = "a child to be found")]
    fn children_are_found_without_a_look_at_everybody() {
        let mut child = std::process::Command::new("cat")
            .stdin(std::process::Stdio::piped())
            .spawn()
            .unwrap();
        let own = i32::try_from(std::process::id()).unwrap();
        let (found, pid) = (children_below(own).unwrap(), i32::try_from(child.id()).unwrap());
        assert!(found.contains(&pid), "{found:?}");
        drop(child.stdin.take());
        child.wait().unwrap();
        assert!(!children_below(own).unwrap().contains(&pid));
    }

    #[test]
    fn below_finds_every_generation() {
        let of = |pid, parent| Listed {
            pid,
            parent,
            group: 0,
            session: 0,
            started: 0,
        };
        let all = [of(2, 1), of(3, 2), of(4, 3), of(9, 8), of(5, 2)];
        assert_eq!(below(2, &all), BTreeSet::from([3, 4, 5]));
        assert_eq!(below(7, &all), BTreeSet::new());
    }
}
