//! What follows a try of a call that got no answer: pure, so that the rules can be read and tested in one place.

use crate::mcp::{HubFault, Outcome, code};

/// How many processes or generations of a service one call may meet at the moment of their end.
const TRIES: usize = 5;

/// What is known when a try has failed.
#[derive(Clone, Copy, Debug)]
#[expect(clippy::struct_excessive_bools, reason = "independent facts, each with a name")]
pub(super) struct Facts {
    /// Tries so far.
    pub(super) tries: usize,
    /// Another generation of the service has taken over, or is about to.
    pub(super) replaced: bool,
    /// The operator says that calling the tool twice does no more than calling it once.
    pub(super) safe_to_repeat: bool,
    /// It was sent once more already.
    pub(super) repeated: bool,
    /// The client wants no answer any more.
    pub(super) taken_back: bool,
    /// Its time is over.
    pub(super) late: bool,
    /// The hub is stopping.
    pub(super) draining: bool,
}

/// What follows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Next {
    /// The fault is the answer.
    GiveUp,
    /// Nobody wants an answer.
    TakenBack,
    /// The service has seen nothing of it: on to the next process, of the next generation if the service was replaced.
    Again {
        /// Whether it was.
        replaced: bool,
    },
    /// It was sent and interrupted, and goes to the next process all the same.
    Repeat {
        /// As above.
        replaced: bool,
    },
}

/// Decides.
pub(super) fn next(fault: &HubFault, facts: Facts) -> Next {
    let replaced = facts.replaced;
    let interrupted = matches!(fault.code, code::CHILD_EXITED | code::CHILD_STALLED);
    match fault.outcome {
        // One that meets a service while it is replaced goes to the successor; one that meets a process as it ends goes to the next,
        // or learns why there is none. A process that reads nothing is not waited for: callers have waited for it long enough.
        Outcome::NotSent if replaced || fault.code == code::CHILD_EXITED => {
            if facts.taken_back {
                Next::TakenBack
            } else if facts.tries < TRIES && !facts.late {
                Next::Again { replaced }
            } else {
                Next::GiveUp
            }
        }
        Outcome::Unknown if interrupted && facts.safe_to_repeat && !facts.repeated => {
            if facts.taken_back {
                Next::TakenBack
            } else if facts.late || facts.draining {
                Next::GiveUp
            } else {
                Next::Repeat { replaced }
            }
        }
        Outcome::NotSent | Outcome::Unknown | Outcome::Done => Next::GiveUp,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn fault(code: i32, outcome: Outcome) -> HubFault {
        HubFault {
            code,
            reason: "test",
            service: "s".to_owned(),
            retryable: false,
            outcome,
            message: String::new(),
            stderr: Vec::new(),
            exit: None,
        }
    }

    const MARKED: Facts = Facts {
        tries: 1,
        replaced: false,
        safe_to_repeat: true,
        repeated: false,
        taken_back: false,
        late: false,
        draining: false,
    };

    #[test]
    fn only_a_marked_tool_is_repeated_and_only_once() {
        let exited = fault(code::CHILD_EXITED, Outcome::Unknown);
        assert_eq!(next(&exited, MARKED), Next::Repeat { replaced: false });
        let stalled = fault(code::CHILD_STALLED, Outcome::Unknown);
        assert_eq!(next(&stalled, MARKED), Next::Repeat { replaced: false });
        for (facts, wanted) in [
            (
                Facts {
                    replaced: true,
                    ..MARKED
                },
                Next::Repeat { replaced: true },
            ),
            (
                Facts {
                    safe_to_repeat: false,
                    ..MARKED
                },
                Next::GiveUp,
            ),
            (
                Facts {
                    repeated: true,
                    ..MARKED
                },
                Next::GiveUp,
            ),
            (
                Facts {
                    taken_back: true,
                    ..MARKED
                },
                Next::TakenBack,
            ),
            (Facts { late: true, ..MARKED }, Next::GiveUp),
            (
                Facts {
                    draining: true,
                    ..MARKED
                },
                Next::GiveUp,
            ),
        ] {
            assert_eq!(next(&exited, facts), wanted, "{facts:?}");
        }
        for other in [
            fault(code::TIMEOUT, Outcome::Unknown),
            fault(code::DRAINING, Outcome::Unknown),
            fault(code::OVERLOADED, Outcome::Done),
            fault(code::UNAVAILABLE, Outcome::NotSent),
        ] {
            assert_eq!(next(&other, MARKED), Next::GiveUp, "{other:?}");
        }
    }

    #[test]
    fn what_was_not_sent_goes_on_and_is_not_handed_around_for_ever() {
        let unsent = fault(code::CHILD_EXITED, Outcome::NotSent);
        let plain = Facts {
            safe_to_repeat: false,
            ..MARKED
        };
        assert_eq!(next(&unsent, plain), Next::Again { replaced: false });
        assert_eq!(next(&unsent, Facts { tries: TRIES, ..plain }), Next::GiveUp);
        assert_eq!(next(&fault(code::CHILD_STALLED, Outcome::NotSent), plain), Next::GiveUp);
        let replaced = Facts {
            replaced: true,
            ..plain
        };
        let gone = fault(code::UNAVAILABLE, Outcome::NotSent);
        assert_eq!(next(&gone, replaced), Next::Again { replaced: true });
    }

    proptest! {
        /// Whatever happened: nothing that may have run is sent again unless its tool is marked, and nothing that nobody waits for.
        #[test]
        fn never_twice_unasked(
            code in prop::sample::select(vec![code::CHILD_EXITED, code::TIMEOUT, code::OVERLOADED, code::DRAINING, code::UNAVAILABLE, code::CHILD_STALLED]),
            outcome in prop::sample::select(vec![Outcome::NotSent, Outcome::Unknown, Outcome::Done]),
            flags: [bool; 6], tries in 1usize..8,
        ) {
            let [replaced, safe_to_repeat, repeated, taken_back, late, draining] = flags;
            let facts = Facts { tries, replaced, safe_to_repeat, repeated, taken_back, late, draining };
            let next = next(&fault(code, outcome), facts);
            let sent_again = matches!(next, Next::Again { .. } | Next::Repeat { .. });
            prop_assert!(!sent_again || !(taken_back || late), "{facts:?}");
            prop_assert!(!sent_again || outcome == Outcome::NotSent || (safe_to_repeat && !repeated && !draining), "{facts:?}");
            prop_assert!(!sent_again || outcome != Outcome::Done);
            let repeat = matches!(next, Next::Repeat { .. });
            prop_assert!(!repeat || outcome == Outcome::Unknown);
        }
    }
}
