//! The roll of running tasks: every one has a name, ends before the process does, or is named when
//! it does not.

use std::{
    collections::BTreeMap,
    future::Future,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use tokio::time::{Instant, timeout_at};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::Ending;

/// What is left of the grace once someone is in a hurry.
const HURRIED_GRACE: Duration = Duration::from_secs(3);
/// How often the tasks that are late are named.
const REPORT_EVERY: Duration = Duration::from_secs(5);

type Names = Arc<Mutex<BTreeMap<u64, &'static str>>>;

/// The only way to start a task (`tokio::spawn` is disallowed by clippy). Clones share one roll.
#[derive(Clone, Debug, Default)]
pub struct Tasks {
    tracker: TaskTracker,
    stop: CancellationToken,
    hurry: CancellationToken,
    failed: CancellationToken,
    names: Names,
}

/// Takes a task off the roll when it ends, also by panic.
struct Roll {
    names: Names,
    id: u64,
}

impl Drop for Roll {
    fn drop(&mut self) {
        self.names
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .remove(&self.id);
    }
}

impl Tasks {
    /// Runs `task` until it ends by itself or the process does.
    #[expect(clippy::disallowed_methods, reason = "this is the one place that may")]
    pub fn spawn(&self, name: &'static str, task: impl Future<Output = ()> + Send + 'static) {
        let mut names = self.names.lock().unwrap_or_else(PoisonError::into_inner);
        let id = names.last_key_value().map_or(0, |(last, _)| last + 1);
        names.insert(id, name);
        let roll = Roll {
            names: Arc::clone(&self.names),
            id,
        };
        drop(tokio::spawn(self.tracker.track_future(async move {
            let _roll = roll;
            task.await;
        })));
    }

    /// Runs `task` until the process ends: only for what must outlive the others, and may be cut off at any moment.
    pub fn spawn_outliving(&self, task: impl Future<Output = ()> + Send + 'static) {
        Self::spawn_unwaited(task);
    }

    /// Runs `task` without waiting for it at the end.
    #[expect(clippy::disallowed_methods, reason = "this is the one place that may")]
    pub(super) fn spawn_unwaited(task: impl Future<Output = ()> + Send + 'static) {
        drop(tokio::spawn(task));
    }

    /// Like [`Self::spawn`], for a task without which the hub is no use: if it ends before
    /// shutdown, even by panic, the process stops and says so.
    pub fn spawn_vital(&self, name: &'static str, task: impl Future<Output = ()> + Send + 'static) {
        let (stop, failed) = (self.stop.clone(), self.failed.clone().drop_guard());
        self.spawn(name, async move {
            let failed = failed;
            task.await;
            if stop.is_cancelled() {
                failed.disarm();
            } else {
                tracing::error!(task.name = name, "vital task `{name}` ended early");
            }
        });
    }

    /// Asks every task to finish what it has in hand and return. May be called by anybody, and
    /// more than once.
    pub fn stop(&self) {
        self.stop.cancel();
    }

    /// Asks to skip what is left of the grace: calls in flight are given up, children killed soon.
    /// Also asks to stop, if nobody has.
    pub fn hurry(&self) {
        self.stop.cancel();
        self.hurry.cancel();
    }

    /// Resolves when this task should finish what it has in hand and return.
    pub async fn stopping(&self) {
        self.stop.cancelled().await;
    }

    /// Resolves when there is no time left to finish anything.
    pub async fn hurrying(&self) {
        self.hurry.cancelled().await;
    }

    /// Whether [`Self::stop`] was called.
    pub fn is_stopping(&self) -> bool {
        self.stop.is_cancelled()
    }

    /// Whether [`Self::hurry`] was called.
    pub fn is_hurrying(&self) -> bool {
        self.hurry.is_cancelled()
    }

    /// The token behind [`Self::stopping`], for code that takes one.
    pub fn stop_token(&self) -> CancellationToken {
        self.stop.clone()
    }

    /// The names of the tasks that run, oldest first.
    pub fn running(&self) -> Vec<&'static str> {
        let names = self.names.lock().unwrap_or_else(PoisonError::into_inner);
        names.values().copied().collect()
    }

    /// Resolves when somebody asked to stop, or a vital task ended early.
    pub async fn asked_or_failed(&self) -> Ending {
        tokio::select! {
            biased;
            () = self.failed.cancelled() => Ending::Failed,
            () = self.stop.cancelled() => Ending::Clean,
        }
    }

    /// Waits until somebody asked to stop or a vital task failed, then gives every task until
    /// `grace` to return; [`Self::hurry`] cuts that to three seconds. Late ones are named every
    /// five seconds.
    pub async fn finish(&self, grace: Duration) -> Ending {
        let ending = self.asked_or_failed().await;
        self.stop.cancel();
        self.tracker.close();
        let mut deadline = Instant::now() + grace;
        loop {
            let report_at = deadline.min(Instant::now() + REPORT_EVERY);
            let hurried = self.hurry.is_cancelled();
            tokio::select! {
                done = timeout_at(report_at, self.tracker.wait()) => if done.is_ok() {
                    let failed = self.failed.is_cancelled();
                    return if failed { Ending::Failed } else { ending };
                },
                () = self.hurry.cancelled(), if !hurried => {
                    deadline = deadline.min(Instant::now() + HURRIED_GRACE);
                    continue;
                }
            }
            let late = self.running();
            if Instant::now() >= deadline {
                tracing::error!(?late, "cut off tasks that did not stop in time");
                return ending.and(Ending::Forced);
            }
            tracing::info!(?late, "waiting for tasks to stop");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GRACE: Duration = Duration::from_secs(10);

    #[tokio::test(start_paused = true)]
    async fn tasks_that_listen_end_clean() {
        let tasks = Tasks::default();
        let t = tasks.clone();
        tasks.spawn_vital("listener", async move { t.stopping().await });
        assert_eq!(tasks.running(), ["listener"]);
        tasks.stop();
        assert_eq!(tasks.finish(GRACE).await, Ending::Clean);
        assert!(tasks.running().is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn a_deaf_task_is_cut_off() {
        let (tasks, begun) = (Tasks::default(), Instant::now());
        tasks.spawn("deaf", std::future::pending());
        tasks.stop();
        assert_eq!(tasks.finish(GRACE).await, Ending::Forced);
        assert_eq!(begun.elapsed(), GRACE);
    }

    #[tokio::test(start_paused = true)]
    async fn hurry_shortens_the_grace() {
        let (tasks, begun) = (Tasks::default(), Instant::now());
        tasks.spawn("deaf", std::future::pending());
        let t = tasks.clone();
        tasks.spawn("impatient", async move {
            t.stopping().await;
            tokio::time::sleep(Duration::from_secs(1)).await;
            t.hurry();
        });
        tasks.stop();
        assert_eq!(tasks.finish(GRACE).await, Ending::Forced);
        assert_eq!(begun.elapsed(), Duration::from_secs(1) + HURRIED_GRACE);
    }

    #[tokio::test(start_paused = true)]
    async fn a_vital_panic_stops_the_process() {
        let tasks = Tasks::default();
        tasks.spawn_vital("doomed", async { panic!("as the test wants") });
        assert_eq!(tasks.finish(GRACE).await, Ending::Failed);
        assert!(tasks.is_stopping());
    }
}
