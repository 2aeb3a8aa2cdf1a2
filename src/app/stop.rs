//! The steps of a stop, and the time that all of them have together.

use std::time::Duration;

use tokio::time::{Instant, sleep, timeout_at};

use super::replacing::Replacing;
use crate::{admin, config::Config, downstream, gateway::Gateway, lifecycle::Tasks};

/// After the drain: how long children, storage and logs may take to end.
const LAST_GRACE: Duration = Duration::from_secs(2);
/// What storage and logs may take of the stop budget at its end, and the part of it that this may be at most.
const LAST_WORDS: (Duration, u32) = (Duration::from_millis(300), 10);
/// How often calls in flight are looked at during the drain.
const DRAIN_POLL: Duration = Duration::from_millis(20);

/// When the whole stop has to be over.
#[derive(Clone, Copy, Debug)]
pub(super) struct Budget(Instant);

impl Budget {
    /// The stop was asked for now.
    pub(super) fn begins(config: &Config) -> Self {
        let budget = config.limits.stop_budget;
        let last_words = LAST_WORDS.0.min(budget / LAST_WORDS.1);
        Self(Instant::now() + budget.saturating_sub(last_words))
    }

    /// What tasks have left to end: the slowest service sets how long that may take, unless the budget is at its end before.
    pub(super) fn left(self, config: &Config) -> Duration {
        let slowest = config.services.values().map(|service| service.timeouts.stop).max();
        let left = self.0.saturating_duration_since(Instant::now());
        left.min(slowest.unwrap_or_default() + LAST_GRACE)
    }
}

/// Lets calls in flight finish within the drain limit; those that don't get an answer that says so. Answers how many.
pub(super) async fn drain(config: &Config, gateway: &Gateway, replacing: &Replacing, tasks: &Tasks) -> usize {
    gateway.drain();
    let deadline = Instant::now() + config.limits.drain;
    // Those that were replaced a moment ago have theirs too.
    let services = || [gateway.services(), replacing.leaving()].concat();
    let in_flight = || -> usize { services().iter().map(|service| service.calls_in_flight()).sum() };
    let idle = async {
        while in_flight() > 0 {
            // A count across connections has no event to wait for; twenty milliseconds are nothing to a stop.
            sleep(DRAIN_POLL).await;
        }
    };
    tokio::select! {
        // Past the deadline the rest is cut off below.
        _ = timeout_at(deadline, idle) => {}
        () = tasks.hurrying() => {}
    }
    let cut = in_flight();
    for service in services() {
        service.cut_off();
    }
    cut
}

/// Closes the doors; whoever does not let go in time is cut off.
pub(super) async fn close(doors: &downstream::Doors, admin_door: &admin::Doors) {
    let closing = async { tokio::join!(doors.close(), admin_door.close()) };
    if timeout_at(Instant::now() + LAST_GRACE, closing).await.is_err() {
        tracing::info!("connections of clients were still open and were cut off");
    }
}
