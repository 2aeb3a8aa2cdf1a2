//! Which generation of a service calls go to while a new configuration takes the place of an old one: a pure state
//! machine, whose diagram is in `README.md`. It decides; whoever knows services carries its acts out.

use std::fmt;

/// How far a service's replacement has got.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Stage {
    /// One generation, and calls go to it.
    #[default]
    Settled,
    /// Calls go to the old generation while the new one starts.
    Overlapping,
    /// The same, but the new one failed or took too long; it is tried on.
    Overdue,
    /// The old generation leaves first; calls wait for the new one.
    Vacating,
    /// No longer configured.
    Removed,
}

impl Stage {
    /// Every stage.
    pub const ALL: [Self; 5] = [
        Self::Settled,
        Self::Overlapping,
        Self::Overdue,
        Self::Vacating,
        Self::Removed,
    ];

    /// Its name in diagrams and logs.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Settled => "settled",
            Self::Overlapping => "overlapping",
            Self::Overdue => "overdue",
            Self::Vacating => "vacating",
            Self::Removed => "removed",
        }
    }
}

impl fmt::Display for Stage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// How a new generation takes an old one's place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Manner {
    /// When it is ready; until then the old one serves.
    Overlap,
    /// When nothing of the old one is left: two can't live side by side.
    StopFirst,
    /// Now: the old one serves nobody, or the new one is not to run.
    AtOnce,
}

/// What can happen to a service.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum News {
    /// A configuration that needs other processes.
    Replace(Manner),
    /// A configuration that the generation which serves has already.
    Keep,
    /// It is not configured any more.
    Remove,
    /// The new generation can take calls.
    Ready,
    /// It has failed, or not got ready in its time.
    Late,
    /// The old generation takes no calls, and will not soon.
    Lost,
    /// Nothing is left of the old generation.
    Vacated,
}

/// What is to be done, in order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Act {
    /// Launch a generation of the latest configuration.
    Launch,
    /// Retire the generation that was launched and has not taken over.
    CallOff,
    /// Calls go to the generation that was launched; the one they went to before drains and leaves.
    TakeOver,
    /// The generation calls go to drains and leaves.
    Retire,
    /// Tell the operator that the new generation does not get ready.
    Tell,
}

impl Stage {
    /// Where `news` lead to, and what is to be done about them.
    #[must_use]
    pub fn step(self, news: News) -> (Self, Vec<Act>) {
        match self {
            Self::Settled => match news {
                News::Replace(manner) => begin(manner),
                News::Remove => (Self::Removed, vec![Act::Retire]),
                News::Keep | News::Ready | News::Late | News::Lost | News::Vacated => (self, vec![]),
            },
            Self::Overlapping | Self::Overdue => match news {
                News::Replace(manner) => {
                    let (stage, acts) = begin(manner);
                    (stage, [vec![Act::CallOff], acts].concat())
                }
                News::Keep => (Self::Settled, vec![Act::CallOff]),
                News::Remove => (Self::Removed, vec![Act::CallOff, Act::Retire]),
                News::Ready | News::Lost => (Self::Settled, vec![Act::TakeOver]),
                News::Late if self == Self::Overlapping => (Self::Overdue, vec![Act::Tell]),
                News::Late | News::Vacated => (self, vec![]),
            },
            Self::Vacating => match news {
                News::Vacated => (Self::Settled, vec![Act::Launch, Act::TakeOver]),
                News::Remove => (Self::Removed, vec![]),
                // What is launched in the end is the latest configuration.
                News::Replace(_) | News::Keep | News::Ready | News::Late | News::Lost => (self, vec![]),
            },
            Self::Removed => (self, vec![]),
        }
    }
}

fn begin(manner: Manner) -> (Stage, Vec<Act>) {
    match manner {
        Manner::Overlap => (Stage::Overlapping, vec![Act::Launch]),
        Manner::StopFirst => (Stage::Vacating, vec![Act::Retire]),
        Manner::AtOnce => (Stage::Settled, vec![Act::Launch, Act::TakeOver]),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    /// One launched generation.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
    struct Generation {
        ready: bool,
        retired: bool,
        told: bool,
    }

    /// Notices when the machine asks for something it must not.
    #[derive(Default)]
    struct World {
        stage: Stage,
        generations: Vec<Generation>,
        /// To which calls go, and which is to come.
        routed: Option<usize>,
        next: Option<usize>,
        changes: BTreeSet<(Stage, Stage)>,
    }

    impl World {
        fn new() -> Self {
            let mut world = Self::default();
            world.act(Act::Launch);
            world.act(Act::TakeOver);
            world.generations[0].ready = true;
            world
        }

        fn possible(&self, news: News) -> bool {
            match news {
                News::Replace(_) | News::Keep | News::Remove => true,
                News::Ready | News::Late | News::Lost => self.next.is_some(),
                News::Vacated => self.routed.is_some_and(|at| self.generations[at].retired),
            }
        }

        fn feed(&mut self, news: News) {
            if !self.possible(news) {
                return;
            }
            let before = (self.stage, self.routed, self.next);
            if news == News::Ready
                && let Some(next) = self.next
            {
                self.generations[next].ready = true;
            }
            let (stage, acts) = self.stage.step(news);
            if stage != self.stage {
                self.changes.insert((self.stage, stage));
            }
            self.stage = stage;
            for act in acts {
                self.act(act);
            }
            self.check(news, before);
        }

        fn act(&mut self, act: Act) {
            match act {
                Act::Launch => {
                    assert_eq!(self.next, None, "two to come");
                    self.next = Some(self.generations.len());
                    self.generations.push(Generation::default());
                }
                Act::CallOff => {
                    let next = self.next.take().expect("one to call off");
                    self.generations[next].retired = true;
                }
                Act::TakeOver => {
                    let next = self.next.take().expect("one to take over");
                    if let Some(old) = self.routed.replace(next) {
                        self.generations[old].retired = true;
                    }
                }
                Act::Retire => {
                    let old = self.routed.expect("one to retire");
                    assert!(!self.generations[old].retired, "retired twice");
                    self.generations[old].retired = true;
                }
                Act::Tell => {
                    let next = self.next.expect("one to tell of");
                    assert!(!std::mem::replace(&mut self.generations[next].told, true), "told twice");
                }
            }
        }

        fn check(&self, news: News, (stage, routed, next): (Stage, Option<usize>, Option<usize>)) {
            let serving: Vec<_> = (0..self.generations.len())
                .filter(|at| !self.generations[*at].retired)
                .collect();
            let overlaps = matches!(self.stage, Stage::Overlapping | Stage::Overdue);
            // Whatever was launched is called, is to come, or is on its way out.
            let known: Vec<_> = self
                .routed
                .into_iter()
                .filter(|at| !self.generations[*at].retired)
                .chain(self.next)
                .collect();
            assert_eq!(serving, known);
            assert_eq!(self.next.is_some(), overlaps);
            let routes = self.routed.is_some_and(|at| !self.generations[at].retired);
            assert_eq!(routes, !matches!(self.stage, Stage::Vacating | Stage::Removed));
            // Nobody loses calls unasked, and none gets them before it is ready while another serves.
            let was_overlapping = matches!(stage, Stage::Overlapping | Stage::Overdue);
            if was_overlapping && self.routed != routed && self.routed == next {
                assert!(matches!(news, News::Ready | News::Lost), "{news:?}");
            }
            if matches!(news, News::Late | News::Keep | News::Vacated) && was_overlapping {
                assert_eq!(self.routed, routed);
                assert!(routes);
            }
        }
    }

    fn any_news() -> impl Strategy<Value = News> {
        prop::sample::select(vec![
            News::Replace(Manner::Overlap),
            News::Replace(Manner::Overlap),
            News::Replace(Manner::StopFirst),
            News::Replace(Manner::AtOnce),
            News::Keep,
            News::Ready,
            News::Late,
            News::Lost,
            News::Vacated,
        ])
    }

    proptest! {
        #[test]
        fn one_generation_serves_and_none_is_forgotten(script in prop::collection::vec(any_news(), 0..60)) {
            let mut world = World::new();
            for news in script {
                world.feed(news);
            }
            world.feed(News::Remove);
            prop_assert!(world.generations.iter().all(|generation| generation.retired));
            // Nothing brings it back.
            for news in [News::Ready, News::Vacated, News::Lost, News::Late, News::Replace(Manner::Overlap)] {
                prop_assert_eq!(world.stage.step(news), (Stage::Removed, vec![]));
            }
        }
    }

    #[test]
    fn the_diagram_shows_what_can_happen_and_nothing_else() {
        use proptest::strategy::ValueTree as _;

        let mut runner = proptest::test_runner::TestRunner::deterministic();
        let mut seen = BTreeSet::new();
        for _ in 0..300 {
            let script = prop::collection::vec(any_news(), 0..20)
                .new_tree(&mut runner)
                .unwrap()
                .current();
            let mut world = World::new();
            for news in script {
                world.feed(news);
            }
            world.feed(News::Remove);
            seen.append(&mut world.changes);
        }
        let named = |word: &str| Stage::ALL.into_iter().find(|stage| stage.as_str() == word);
        let drawn = crate::supervisor::diagram_tests::drawn("## Generations", named);
        assert_eq!(seen, drawn);
    }
}
