//! What a process and its children use, as `/proc` tells (proc(5)).

use std::{fs, time::Duration};

use serde::Serialize;

/// CPU time so far and memory now.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub(super) struct Usage {
    #[serde(skip)]
    pub(super) cpu: Duration,
    /// Resident memory in MiB, shared pages included.
    pub(super) rss_mib: f64,
    /// Resident memory in MiB that nobody else has mapped.
    pub(super) private_mib: f64,
    pub(super) processes: usize,
}

/// One process and all that descend from it now.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Family {
    pub(super) itself: Usage,
    pub(super) children: Usage,
}

/// `None` if the process is gone or not ours to look at.
pub(super) fn family(pid: u32) -> Option<Family> {
    let itself = usage(pid)?;
    let mut children = Usage::default();
    for child in descendants(pid) {
        // One that ends meanwhile counts for nothing.
        if let Some(of_child) = usage(child) {
            children.cpu += of_child.cpu;
            children.rss_mib += of_child.rss_mib;
            children.private_mib += of_child.private_mib;
            children.processes += 1;
        }
    }
    Some(Family { itself, children })
}

fn usage(pid: u32) -> Option<Usage> {
    let stat = Stat::read(pid)?;
    let memory = fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).ok()?;
    let mib = |names: &[&str]| {
        let kib = memory.lines().filter_map(|line| {
            let (name, rest) = line.split_once(':')?;
            let value: f64 = rest.trim().strip_suffix("kB")?.trim().parse().ok()?;
            names.contains(&name).then_some(value)
        });
        kib.sum::<f64>() / 1024.0
    };
    Some(Usage {
        cpu: stat.cpu,
        rss_mib: mib(&["Rss"]),
        private_mib: mib(&["Private_Clean", "Private_Dirty", "Private_Hugetlb"]),
        processes: 1,
    })
}

fn descendants(pid: u32) -> Vec<u32> {
    let all: Vec<(u32, u32)> = fs::read_dir("/proc")
        .into_iter()
        .flatten()
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
        .filter_map(|pid| Some((pid, Stat::read(pid)?.parent)))
        .collect();
    let mut found = vec![pid];
    let mut next = 0;
    while let Some(parent) = found.get(next).copied() {
        next += 1;
        found.extend(all.iter().filter(|(_, of)| *of == parent).map(|(child, _)| *child));
    }
    found.remove(0);
    found
}

struct Stat {
    parent: u32,
    cpu: Duration,
}

impl Stat {
    fn read(pid: u32) -> Option<Self> {
        Self::parse(&fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)
    }

    fn parse(stat: &str) -> Option<Self> {
        // The second field, the program's name in parentheses, may hold anything; fields count from the third on.
        let rest = stat.rsplit_once(')')?.1;
        let fields: Vec<&str> = rest.split_ascii_whitespace().collect();
        let ticks = |field: usize| fields.get(field - 3)?.parse::<u64>().ok();
        let milliseconds = (ticks(14)? + ticks(15)?) * 1000 / TICKS_PER_SECOND;
        Some(Self {
            parent: fields.get(1)?.parse().ok()?,
            cpu: Duration::from_millis(milliseconds),
        })
    }
}

/// `USER_HZ`, which is 100 on every architecture the hub is built for.
const TICKS_PER_SECOND: u64 = 100;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_may_hold_anything() {
        let stat = "42 (a) R 1 b) S 7 42 42 0 -1 4194560 1 0 0 0 150 25 9 9 20 0 4 0 100 0 0";
        let parsed = Stat::parse(stat).unwrap();
        assert_eq!(parsed.parent, 7);
        assert_eq!(parsed.cpu, Duration::from_millis(1750));
    }

    #[test]
    fn this_process_is_alive_and_has_memory() {
        let own = family(std::process::id()).unwrap();
        assert!(own.itself.rss_mib > 0.5 && own.itself.private_mib > 0.1, "{own:?}");
        assert!(own.itself.private_mib <= own.itself.rss_mib, "{own:?}");
        assert_eq!(family(u32::MAX), None);
    }
}
