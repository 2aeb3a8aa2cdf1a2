//! When a server that writes what is no message counts as broken.

use std::{collections::VecDeque, time::Duration};

use tokio::time::Instant;

/// So many bad lines…
const MOST: usize = 100;
/// …within this time: a banner, or a library that prints to stdout, is forgiven; a program that speaks something else is not.
const WITHIN: Duration = Duration::from_secs(10);

/// The latest bad lines of one connection. Holds no memory until there is one.
#[derive(Debug, Default)]
pub(super) struct BadLines(VecDeque<Instant>);

impl BadLines {
    /// Notes a bad line; `true` if there were too many of late.
    pub(super) fn note(&mut self, now: Instant) -> bool {
        while self
            .0
            .front()
            .is_some_and(|at| self.0.len() >= MOST || now.duration_since(*at) >= WITHIN)
        {
            self.0.pop_front();
        }
        self.0.push_back(now);
        self.0.len() >= MOST
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_hundred_in_ten_seconds_are_too_many() {
        let begun = Instant::now();
        let mut bad = BadLines::default();
        for n in 0..99 {
            assert!(!bad.note(begun + Duration::from_millis(n * 101)), "{n}");
        }
        assert!(bad.note(begun + Duration::from_millis(9_999)));
        let mut slow = BadLines::default();
        for n in 0..10_000 {
            assert!(!slow.note(begun + Duration::from_millis(n * 102)), "{n}");
        }
    }

    proptest! {
        /// It says so exactly when the last ten seconds hold a hundred, wherever they begin.
        #[test]
        fn it_counts_every_window(steps in prop::collection::vec(0u64..250, 1..400)) {
            let (mut bad, mut now, mut all) = (BadLines::default(), Instant::now(), Vec::new());
            for step in steps {
                now += Duration::from_millis(step);
                all.push(now);
                let recent = all.iter().filter(|at| now.duration_since(**at) < WITHIN).count();
                prop_assert_eq!(bad.note(now), recent >= MOST);
                prop_assert!(bad.0.len() <= MOST);
            }
        }
    }
}
