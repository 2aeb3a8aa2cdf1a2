//! Kills what outlived its guard. Needed only when the guard itself was killed: everything else a guard
//! does.

use std::{
    collections::BTreeSet,
    sync::{
        PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use nix::{
    sys::wait::{WaitPidFlag, waitpid},
    unistd::Pid,
};

use super::{TREE_MARK, spawn::GUARDS, tree};

/// How long strays are killed again and again before what is left is given up.
const LIMIT: Duration = Duration::from_secs(5);

/// Whether every child of this process that is no guard is a stray.
static SUBREAPER: AtomicBool = AtomicBool::new(false);

/// Makes this process inherit what loses its parent further down, instead of PID 1, so that strays stay in reach. Call it
/// once, in the hub, which has no children but guards; does nothing where the system has no such thing.
pub fn become_subreaper() {
    #[cfg(target_os = "linux")]
    match nix::sys::prctl::set_child_subreaper(true) {
        Ok(()) => SUBREAPER.store(true, Ordering::Relaxed),
        Err(error) => {
            tracing::warn!(%error, "strays of a killed guard will be inherited by PID 1");
        }
    }
}

/// Kills every process that carries the mark `tree` (`hub/service/unit`, or the first parts of it), or
/// belongs to the session that `guard` led, or that this process inherited as subreaper, with all their descendants.
/// Returns how many there were. Blocks: at most five seconds, usually some milliseconds.
pub fn sweep(tree: &str, guard: Option<u32>) -> usize {
    let (begun, mut killed) = (Instant::now(), BTreeSet::new());
    let guard = guard.and_then(|pid| i32::try_from(pid).ok());
    loop {
        let now = tree::freeze_and_kill(|| strays(tree, guard));
        if now.is_empty() || begun.elapsed() > LIMIT {
            break;
        }
        killed.extend(now);
        std::thread::yield_now();
    }
    reap();
    killed.len()
}

fn strays(mark: &str, guard: Option<i32>) -> BTreeSet<i32> {
    let guards = GUARDS.lock().unwrap_or_else(PoisonError::into_inner);
    let all = tree::processes();
    let is_guard = |pid: i32| u32::try_from(pid).is_ok_and(|pid| guards.contains(&pid));
    let me = Pid::this().as_raw();
    // PID 1 inherits strangers too, such as what somebody runs beside us in our container.
    let adopts = SUBREAPER.load(Ordering::Relaxed) && me != 1;
    let is_stray = |process: &tree::Listed| {
        process.pid != me
            && !is_guard(process.pid)
            && ((adopts && process.parent == me)
                || guard.is_some_and(|guard| process.session == guard)
                || is_marked(process.pid, mark))
    };
    let roots: BTreeSet<i32> = all
        .iter()
        .filter(|process| is_stray(process))
        .map(|process| process.pid)
        .collect();
    let below = roots.iter().flat_map(|root| tree::below(*root, &all));
    below.chain(roots.iter().copied()).collect()
}

/// Takes the statuses of dead children that nobody else waits for: those inherited from a guard that was killed.
fn reap() {
    if !SUBREAPER.load(Ordering::Relaxed) {
        return;
    }
    let guards = GUARDS.lock().unwrap_or_else(PoisonError::into_inner);
    for pid in tree::zombies_of(Pid::this().as_raw()) {
        if !u32::try_from(pid).is_ok_and(|pid| guards.contains(&pid)) {
            let _no_child = waitpid(Pid::from_raw(pid), Some(WaitPidFlag::WNOHANG));
        }
    }
}

/// Whether the environment that `pid` was started with has our mark, or a longer one that begins with it and a `/`.
fn is_marked(pid: i32, mark: &str) -> bool {
    // Unreadable means another user's, or gone.
    let environment = std::fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
    has_mark(&environment, mark)
}

fn has_mark(environment: &[u8], mark: &str) -> bool {
    let mark = mark.trim_end_matches('/').as_bytes();
    environment.split(|byte| *byte == 0).any(|entry| {
        entry
            .strip_prefix(TREE_MARK.as_bytes())
            .and_then(|rest| rest.strip_prefix(b"="))
            .and_then(|value| value.strip_prefix(mark))
            .is_some_and(|rest| rest.is_empty() || rest.starts_with(b"/"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mark_counts_in_whole_parts() {
        let environment = b"A=1\0__MCPVISOR_TREE=12-34/time/legacy/5/\0B=__MCPVISOR_TREE=9/\0";
        for (mark, counts) in [
            ("12-34", true),
            ("12-34/", true),
            ("12-34/time/legacy/5/", true),
            ("12-3", false),
            ("12-34/time/legacy/55/", false),
            ("9", false),
        ] {
            assert_eq!(has_mark(environment, mark), counts, "{mark}");
        }
    }
}
