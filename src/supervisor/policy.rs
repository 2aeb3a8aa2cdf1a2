//! How patient the supervisor is with a unit, and how long it waits between starts.

use std::time::Duration;

/// The wait before the first restart, before jitter.
const FIRST_DELAY: Duration = Duration::from_millis(500);
/// How long a unit has to be ready at least before earlier failures are forgotten.
const STABLE: Duration = Duration::from_mins(1);

/// Whether a process that ended by itself is started again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RestartPolicy {
    /// After every exit.
    Always,
    /// After every exit but one with code 0.
    OnFailure,
    /// Never.
    Never,
}

/// How patient the supervisor is with a unit.
#[derive(Clone, Copy, Debug)]
pub struct Policy {
    /// Whether to start again after an exit.
    pub restart: RestartPolicy,
    /// From spawn to a finished handshake.
    pub start: Duration,
    /// For calls in flight to finish before a stop.
    pub drain: Duration,
    /// From closing stdin to the kill.
    pub stop: Duration,
    /// The longest wait between two starts.
    pub max_delay: Duration,
    /// Whether a call may start the unit even where `restart` would not.
    pub lazy: bool,
    /// Whether failing again and again makes a crash loop. What runs elsewhere costs nothing to try, and comes back when it
    /// comes back.
    pub loops: bool,
}

impl Policy {
    /// `min(max_delay, 0.5 s · 2^(failures − 1))`: the wait after so many failures in a row, before jitter.
    pub(super) fn delay(&self, failures: u32) -> Duration {
        let doublings = failures.saturating_sub(1).min(16);
        FIRST_DELAY.saturating_mul(1 << doublings).min(self.max_delay)
    }

    /// The wait after so many failures in a row: half of [`Self::delay`] and up to as much again by `luck` (0..1), so that
    /// units that failed together do not start together. The first failure after a stable run waits half of that at most.
    pub(super) fn jittered(&self, failures: u32, was_stable: bool, luck: f64) -> Duration {
        let half = self.delay(failures) / 2;
        if was_stable {
            half.mul_f64(luck)
        } else {
            half + half.mul_f64(luck)
        }
    }

    /// How long a unit must have been ready before earlier failures are forgotten.
    pub(super) fn stable_after(&self, failures: u32) -> Duration {
        STABLE.max(self.delay(failures) * 2)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    pub(in crate::supervisor) fn policy() -> Policy {
        Policy {
            restart: RestartPolicy::Always,
            start: Duration::from_secs(30),
            drain: Duration::from_secs(18),
            stop: Duration::from_secs(10),
            max_delay: Duration::from_mins(1),
            lazy: false,
            loops: true,
        }
    }

    #[test]
    fn delays_double_up_to_the_limit() {
        let delays = [1, 2, 3, 7, 8, 100].map(|n| policy().delay(n).as_millis());
        assert_eq!(delays, [500, 1000, 2000, 32_000, 60_000, 60_000]);
    }

    proptest! {
        #[test]
        fn jitter_stays_in_its_bounds(failures in 1u32..200, stable: bool, luck in 0.0..1.0) {
            let (policy, wait) = (policy(), policy().jittered(failures, stable, luck));
            prop_assert!(wait <= policy.delay(failures));
            prop_assert!(stable || wait >= policy.delay(failures) / 2);
            if stable { prop_assert!(wait <= policy.delay(failures) / 2); }
        }
    }
}
