//! The time of day, and the two facts that tell one process from another that later got its number.
//!
//! Two clocks, and which is for what. Everything that measures a span (limits of calls, waits between starts, idleness,
//! probes, drains, sessions, streams) uses `tokio::time::Instant`, which nobody can set and tests can pause. The time of day
//! is set, by people and by the network, forwards and backwards. It is for what people read, and for what has to be
//! compared with another run of the hub: that takes a [`Clock`], which tests can set, and a rule that holds when the clock
//! has jumped. This is the only place that asks the system what time it is.

use std::{
    sync::{
        Arc, OnceLock,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, SystemTime, UNIX_EPOCH},
};

/// The time of day.
#[derive(Clone, Debug, Default)]
pub struct Clock {
    /// In milliseconds since 1970-01-01 UTC; the system's time where it is not set.
    set: Option<Arc<AtomicU64>>,
}

impl Clock {
    /// A clock that stands at `unix_millis` until it is set again, for tests. Its clones are the same clock.
    #[must_use]
    pub fn standing_at(unix_millis: u64) -> Self {
        Self {
            set: Some(Arc::new(AtomicU64::new(unix_millis))),
        }
    }

    /// Sets a clock that stands; the system's clock is not touched.
    pub fn set(&self, unix_millis: u64) {
        if let Some(set) = &self.set {
            set.store(unix_millis, Ordering::Relaxed);
        }
    }

    /// Milliseconds since 1970-01-01 UTC.
    #[must_use]
    pub fn now_unix_millis(&self) -> u64 {
        let set = self.set.as_ref();
        set.map_or_else(now_unix_millis, |set| set.load(Ordering::Relaxed))
    }

    /// Whether `then` (in milliseconds since 1970 UTC) was less than `limit` ago. What lies in the future was noted before the clock
    /// was set back: how long ago that is, nobody knows, so that it does not count.
    #[must_use]
    pub fn is_within(&self, then: u64, limit: Duration) -> bool {
        let age = self.now_unix_millis().checked_sub(then);
        age.is_some_and(|age| u128::from(age) < limit.as_millis())
    }
}

/// Milliseconds since 1970-01-01 UTC; 0 for a clock set before that.
#[expect(clippy::disallowed_methods, reason = "this is the one place that may")]
pub fn now_unix_millis() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

/// Names this boot of the machine: process numbers mean something only together with it.
/// Empty where the system does not tell (anything but Linux).
pub fn boot_id() -> &'static str {
    static BOOT_ID: OnceLock<String> = OnceLock::new();
    BOOT_ID.get_or_init(|| {
        std::fs::read_to_string("/proc/sys/kernel/random/boot_id")
            .map(|id| id.trim().to_owned())
            .unwrap_or_default()
    })
}

/// When process `pid` started, in clock ticks since boot (`proc(5)`, `stat` field 22). `None` if no
/// such process exists, or where the system does not tell.
pub fn process_start_time(pid: u32) -> Option<u64> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name in field 2 may hold spaces and parentheses, so count from the last parenthesis.
    let (_, fields) = stat.rsplit_once(')')?;
    fields.split_ascii_whitespace().nth(19)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_age_survives_a_clock_that_jumps() {
        const HOUR: u64 = 3_600_000;
        let day = Duration::from_hours(24);
        let clock = Clock::standing_at(1000 * HOUR);
        let noted = clock.clone().now_unix_millis();
        assert!(clock.is_within(noted, day));
        clock.set(noted + 24 * HOUR - 1);
        assert!(clock.is_within(noted, day));
        clock.set(noted + 24 * HOUR);
        assert!(!clock.is_within(noted, day));
        // Set back by an hour, or by years: it would be believed for as long as the clock needs to catch up.
        for back in [1, HOUR, 900 * HOUR] {
            clock.set(noted - back);
            assert!(!clock.is_within(noted, day), "{back}");
        }
        // A clock that was never set (1970) is a clock that was set back.
        assert!(!Clock::standing_at(0).is_within(noted, day));
        Clock::default().set(5);
        assert!(
            Clock::default().now_unix_millis() > 5,
            "the system's clock is not ours to set"
        );
    }

    #[test]
    fn the_clock_is_set() {
        // 2020-01-01, long before this was written.
        assert!(now_unix_millis() > 1_577_836_800_000);
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn processes_can_be_told_apart() {
        let me = process_start_time(std::process::id()).unwrap();
        assert_eq!(process_start_time(std::process::id()), Some(me));
        assert_ne!(process_start_time(1), None);
        // Above the largest number that a kernel gives out.
        assert_eq!(process_start_time(u32::MAX), None);
        assert_eq!(boot_id().len(), 36);
    }
}
