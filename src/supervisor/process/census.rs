//! Who lives under our guards: looked up now and then, so that whoever sheds mark and session is known all the same
//! when its guard is gone.

use std::{
    collections::BTreeMap,
    sync::{Mutex, PoisonError},
};

use super::{spawn::GUARDS, tree, tree::Listed};

/// What a process is known by: its number, and when it got it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Known {
    /// The process.
    pub pid: u32,
    /// When it started, in ticks since boot.
    pub start_time: u64,
}

impl Known {
    pub(super) fn is(self, process: &Listed) -> bool {
        i32::try_from(self.pid) == Ok(process.pid) && self.start_time == process.started
    }
}

/// One that lives under a guard, or is one.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Member {
    /// The process.
    pub process: Known,
    /// Its process group.
    pub group: u32,
    /// The service it serves.
    pub service: String,
}

/// Who was found under which guard when last looked.
static LAST: Mutex<BTreeMap<u32, Vec<Known>>> = Mutex::new(BTreeMap::new());

/// All guards of this process and everything below them. Blocks for some milliseconds, while the list of processes is read.
pub fn census() -> Vec<Member> {
    let guards: Vec<(i32, String)> = {
        let guards = GUARDS.lock().unwrap_or_else(PoisonError::into_inner);
        guards.all().map(|(pid, mark)| (pid, mark.to_owned())).collect()
    };
    let all = tree::processes();
    let (mut members, mut last) = (Vec::new(), BTreeMap::new());
    for (guard, mark) in guards {
        let service = mark.split('/').nth(1).unwrap_or_default();
        let mut tree = tree::below(guard, &all);
        tree.insert(guard);
        let of_tree: Vec<Member> = all
            .iter()
            .filter(|process| tree.contains(&process.pid))
            .filter_map(|process| member(process, service))
            .collect();
        if let Ok(guard) = u32::try_from(guard) {
            last.insert(guard, of_tree.iter().map(|member| member.process).collect());
        }
        members.extend(of_tree);
    }
    *LAST.lock().unwrap_or_else(PoisonError::into_inner) = last;
    members
}

fn member(process: &Listed, service: &str) -> Option<Member> {
    Some(Member {
        process: Known {
            pid: u32::try_from(process.pid).ok()?,
            start_time: process.started,
        },
        group: u32::try_from(process.group).ok()?,
        service: service.to_owned(),
    })
}

/// Who was found under `guard` when last looked.
pub(super) fn below_guard(guard: u32) -> Vec<Known> {
    let last = LAST.lock().unwrap_or_else(PoisonError::into_inner);
    last.get(&guard).cloned().unwrap_or_default()
}
