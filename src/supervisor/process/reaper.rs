//! Buries the children that this process inherited: the duty of PID 1, and of every subreaper.
//!
//! Never takes a status that somebody waits for: `waitid` looks without taking, and only children that are no guards are then
//! waited for, each by its number.

use std::{
    io,
    sync::PoisonError,
    time::{Duration, Instant},
};

use nix::{
    sys::wait::{WaitPidFlag, waitpid},
    unistd::Pid,
};
use tokio::{
    signal::unix::{SignalKind, signal},
    time::{sleep, timeout},
};

use super::{spawn::GUARDS, tree};

/// Signals that come faster than this count as one.
const PAUSE: Duration = Duration::from_millis(10);
/// A signal may be lost where somebody else handles SIGCHLD too: looks without one.
const LOOK_EVERY: Duration = Duration::from_mins(1);
/// How long a dead guard may stand in front of others before they are looked up in the list of processes.
const IN_FRONT: Duration = Duration::from_millis(200);

/// Takes the statuses of inherited children as they end, for as long as it is polled.
///
/// # Errors
/// When the system refuses to tell of children that end.
pub async fn reap() -> io::Result<()> {
    let mut ended = signal(SignalKind::child())?;
    let mut in_front = None;
    loop {
        let wait = match bury(in_front) {
            Buried::All => {
                in_front = None;
                LOOK_EVERY
            }
            Buried::GuardInFront => {
                in_front.get_or_insert_with(Instant::now);
                PAUSE
            }
        };
        // Told or not: looks again.
        if timeout(wait, ended.recv()).await == Ok(None) {
            return Ok(());
        }
        sleep(PAUSE).await;
    }
}

/// What a look at the dead came to.
enum Buried {
    /// No dead child is left.
    All,
    /// The first one is a guard, whose status is not ours to take; there may be others behind it.
    GuardInFront,
}

/// Takes the statuses of all dead children that are no guards. A guard has stood in front since `in_front`.
fn bury(in_front: Option<Instant>) -> Buried {
    // Held throughout: a guard that is being born must not be taken for a stranger.
    let guards = GUARDS.lock().unwrap_or_else(PoisonError::into_inner);
    while let Some(pid) = first_dead() {
        if !guards.has(pid) {
            take(pid);
            continue;
        }
        if in_front.is_some_and(|since| since.elapsed() > IN_FRONT) {
            drop(guards);
            bury_once();
        }
        return Buried::GuardInFront;
    }
    Buried::All
}

/// A child that has ended, without taking its status.
#[cfg(target_os = "linux")]
fn first_dead() -> Option<i32> {
    use nix::sys::wait::{Id, waitid};

    let look = WaitPidFlag::WEXITED | WaitPidFlag::WNOHANG | WaitPidFlag::WNOWAIT;
    // No children at all is an error too.
    let status = waitid(Id::All, look).ok()?;
    status.pid().map(Pid::as_raw)
}

/// Without a subreaper there is nothing to inherit.
#[cfg(not(target_os = "linux"))]
fn first_dead() -> Option<i32> {
    None
}

fn take(pid: i32) {
    // Somebody else may have been faster.
    let _no_child = waitpid(Pid::from_raw(pid), Some(WaitPidFlag::WNOHANG));
}

/// Takes the statuses of all dead children that are no guards, once.
pub(super) fn bury_once() {
    let guards = GUARDS.lock().unwrap_or_else(PoisonError::into_inner);
    let dead = tree::zombies_of(Pid::this().as_raw());
    dead.into_iter().filter(|pid| !guards.has(*pid)).for_each(take);
}
