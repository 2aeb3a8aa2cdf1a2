//! Which limit a server went over, and when going on makes no sense. Pure: counts and times come from outside.

use std::{
    fmt,
    time::{Duration, Instant},
};

/// How long a tree may stand at its limit of processes and try for more.
const STUCK: Duration = Duration::from_secs(5);
/// So many refusals from one look to the next are no accident.
const BOMB: u64 = 100;
/// For how long after a refusal a failure is put down to it.
const BLAMED: Duration = Duration::from_secs(5);

/// A limit that a server went over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Breach {
    /// That of memory.
    Oom,
    /// That of processes and threads.
    Pids,
}

impl Breach {
    /// As guard and hub tell each other.
    pub(in super::super) fn as_str(self) -> &'static str {
        match self {
            Self::Oom => "oom",
            Self::Pids => "pids",
        }
    }

    pub(in super::super) fn from_word(word: &str) -> Option<Self> {
        [Self::Oom, Self::Pids]
            .into_iter()
            .find(|breach| breach.as_str() == word)
    }
}

impl fmt::Display for Breach {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Follows how often the kernel refused the tree another process or thread.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Refusals {
    count: u64,
    /// Whether it was refused so many between two looks that it does little else. It is squeezed for that, so that there need
    /// not be more of them at every look.
    bomb: bool,
    /// Since when every look saw more of them, at the limit.
    growing: Option<Instant>,
    last: Option<Instant>,
}

impl Refusals {
    /// Takes in the count at this moment, and whether the tree stands at its limit.
    pub(super) fn note(&mut self, count: u64, at_limit: bool, now: Instant) {
        let (more, fresh) = (self.has_more(count), count.saturating_sub(self.count));
        self.count = count;
        if more {
            self.last = Some(now);
        }
        let goes_on = at_limit && (more || self.bomb);
        self.growing = self.growing.or(Some(now)).filter(|_| goes_on);
        self.bomb = goes_on && (self.bomb || fresh >= BOMB);
    }

    /// Whether there were more of them since the last look.
    pub(super) fn has_more(&self, count: u64) -> bool {
        count > self.count
    }

    /// Whether it goes on.
    pub(super) fn are_growing(&self) -> bool {
        self.growing.is_some()
    }

    /// Whether the tree is to be left little processor time.
    pub(super) fn are_a_bomb(&self) -> bool {
        self.bomb
    }

    /// Whether the tree does nothing else any more.
    pub(super) fn are_hopeless(&self, now: Instant) -> bool {
        self.growing.is_some_and(|since| now.duration_since(since) >= STUCK)
    }

    /// Whether a failure now may well come from them.
    pub(super) fn explain(&self, now: Instant) -> bool {
        self.last.is_some_and(|last| now.duration_since(last) <= BLAMED)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tree_that_keeps_trying_is_hopeless_after_a_while() {
        let (mut refusals, begun) = (Refusals::default(), Instant::now());
        let at = |ms| begun + Duration::from_millis(ms);
        for n in 0..10 {
            refusals.note(n + 1, true, at(n * 500));
            assert!(refusals.are_growing() && !refusals.are_hopeless(at(n * 500)), "{n}");
        }
        refusals.note(11, true, at(5000));
        assert!(refusals.are_hopeless(at(5000)));
    }

    #[test]
    fn a_pause_or_room_begins_it_anew() {
        let (mut refusals, begun) = (Refusals::default(), Instant::now());
        let at = |ms| begun + Duration::from_millis(ms);
        refusals.note(5, true, at(0));
        refusals.note(5, true, at(4900));
        assert!(!refusals.are_growing());
        refusals.note(6, true, at(5400));
        assert!(!refusals.are_hopeless(at(10_000)));
        refusals.note(7, false, at(10_500));
        assert!(!refusals.are_growing() && !refusals.are_hopeless(at(11_000)));
    }

    #[test]
    fn a_bomb_that_is_starved_stays_one_until_it_shrinks() {
        let (mut refusals, begun) = (Refusals::default(), Instant::now());
        let at = |ms| begun + Duration::from_millis(ms);
        refusals.note(5000, true, at(0));
        assert!(refusals.are_a_bomb());
        refusals.note(5000, true, at(2500));
        assert!(refusals.are_a_bomb() && !refusals.are_hopeless(at(4999)));
        assert!(refusals.are_hopeless(at(5000)));
        refusals.note(5000, false, at(5001));
        assert!(!refusals.are_a_bomb() && !refusals.are_growing() && !refusals.are_hopeless(at(9000)));
        refusals.note(5010, true, at(9500));
        assert!(!refusals.are_a_bomb() && refusals.are_growing());
    }

    #[test]
    fn old_refusals_explain_nothing() {
        let (mut refusals, now) = (Refusals::default(), Instant::now());
        assert!(!refusals.explain(now));
        refusals.note(1, false, now);
        assert!(refusals.explain(now + Duration::from_secs(5)));
        assert!(!refusals.explain(now + Duration::from_secs(6)));
    }
}
