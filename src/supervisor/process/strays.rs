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

use nix::unistd::Pid;

use super::{TREE_MARK, census, census::Known, reaper, spawn::GUARDS, tree, tree::Listed};

/// How long strays are killed again and again before what is left is given up.
const LIMIT: Duration = Duration::from_secs(5);

/// Whether orphans below this process become its children.
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

/// Whose strays are looked for.
#[derive(Clone, Copy, Debug)]
pub enum Quarry<'a> {
    /// Those of a guard of ours that was killed.
    Lost {
        /// The mark of its tree, `hub/service/unit/number/`.
        mark: &'a str,
        /// The guard's process, which led the session of its server.
        guard: u32,
    },
    /// Those of a hub that is gone: what carries its mark, and what it had written down.
    Gone {
        /// The name of its run, with which its marks begin.
        hub_id: &'a str,
        /// Processes it knew, by number and start time: a number alone may be somebody else's by now.
        known: &'a [Known],
    },
    /// Whatever this hub inherited and is no guard.
    Inherited {
        /// The name of our run.
        hub_id: &'a str,
    },
}

/// What a sweep came to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Swept {
    /// So many processes were killed.
    pub killed: usize,
    /// So many are there still.
    pub left: usize,
}

/// Kills the strays of `quarry` with all their descendants. Blocks: at most five seconds, usually some milliseconds.
pub fn sweep(quarry: Quarry<'_>) -> Swept {
    let (begun, mut killed, mut left) = (Instant::now(), BTreeSet::new(), 0);
    loop {
        let now = tree::freeze_and_kill(|| strays(quarry));
        if now.is_empty() {
            break;
        }
        killed.extend(now.iter().copied());
        if begun.elapsed() > LIMIT {
            left = now.len();
            break;
        }
        std::thread::yield_now();
    }
    if SUBREAPER.load(Ordering::Relaxed) {
        reaper::bury_once();
    }
    Swept {
        killed: killed.len(),
        left,
    }
}

fn strays(quarry: Quarry<'_>) -> BTreeSet<i32> {
    let guards = GUARDS.lock().unwrap_or_else(PoisonError::into_inner);
    let all = tree::processes();
    let me = Pid::this().as_raw();
    let known = match quarry {
        Quarry::Lost { guard, .. } => census::below_guard(guard),
        Quarry::Gone { known, .. } => known.to_vec(),
        Quarry::Inherited { .. } => Vec::new(),
    };
    let is_known = |process: &Listed| known.iter().any(|known| known.is(process));
    // Whoever shares a session with one of them, which one of them began, has it from them: sessions are left, never entered.
    let began = |session: i32| known.iter().any(|known| i32::try_from(known.pid) == Ok(session));
    let sessions = all
        .iter()
        .filter(|p| is_known(p) && began(p.session))
        .map(|p| p.session);
    let sessions: BTreeSet<i32> = sessions.collect();
    let is_ours = |process: &Listed| is_known(process) || sessions.contains(&process.session);
    // PID 1 inherits strangers too, such as what somebody runs beside us in our container.
    let inherited = |process: &Listed| SUBREAPER.load(Ordering::Relaxed) && process.parent == me;
    let adopted = |process: &Listed| me != 1 && inherited(process);
    let is_stray = |process: &Listed| match quarry {
        Quarry::Lost { mark, guard } => {
            adopted(process)
                || i32::try_from(guard) == Ok(process.session)
                || is_ours(process)
                || is_marked(process.pid, mark)
        }
        Quarry::Gone { hub_id, .. } => is_ours(process) || is_marked(process.pid, hub_id),
        Quarry::Inherited { hub_id } => adopted(process) || (inherited(process) && is_marked(process.pid, hub_id)),
    };
    let is_spared = |pid: i32| pid == me || guards.has(pid);
    let roots = all.iter().filter(|p| !is_spared(p.pid) && is_stray(p)).map(|p| p.pid);
    let roots: BTreeSet<i32> = roots.collect();
    let below = roots.iter().flat_map(|root| tree::below(*root, &all));
    let found = below.chain(roots.iter().copied());
    found.filter(|pid| !is_spared(*pid)).collect()
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
