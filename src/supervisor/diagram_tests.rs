//! The diagram in `README.md` against the state machine: it shows every change of state that can happen, and no other.

use std::collections::BTreeSet;

use proptest::strategy::{Strategy as _, ValueTree as _};

use super::{
    machine_world::{World, any_script, policy},
    policy::RestartPolicy,
    state::{ExitKind, Input, Rest, State},
};

/// The changes that the first diagram below `heading` shows, of states that `named` knows by their words.
pub(super) fn drawn<S: Ord>(heading: &str, named: impl Fn(&str) -> Option<S>) -> BTreeSet<(S, S)> {
    let state = |word: &str| named(word.trim()).unwrap_or_else(|| panic!("the diagram names a state `{word}`"));
    let (_, text) = include_str!("README.md").split_once(heading).expect("the heading");
    let (_, diagram) = text.split_once("stateDiagram-v2").expect("a diagram");
    let (diagram, _) = diagram.split_once("```").expect("its end");
    let mut changes = BTreeSet::new();
    for line in diagram.lines().filter(|line| line.contains("-->")) {
        let (from, rest) = line.split_once("-->").unwrap();
        let (to, why) = rest.split_once(':').expect("every arrow says why");
        assert!(!why.trim().is_empty(), "{line}");
        if from.trim() != "[*]" {
            assert!(changes.insert((state(from), state(to))), "twice in the diagram: {line}");
        }
    }
    changes
}

/// The changes that random walks meet, always the same ones. Some begin with a unit that has failed so often that once more
/// is a crash loop; all end with its retirement.
fn seen() -> BTreeSet<(State, State)> {
    let mut runner = proptest::test_runner::TestRunner::deterministic();
    let mut changes = BTreeSet::new();
    for (rest, restart, failures) in lives() {
        for _ in 0..100 {
            let script = any_script(150).new_tree(&mut runner).unwrap().current();
            let mut world = World::new(policy(restart), rest);
            fail(&mut world, failures);
            for (input, _, luck) in script {
                if input == Input::Tick {
                    world.tick();
                } else {
                    world.feed(input, luck);
                }
            }
            world.feed(Input::Stop(Rest::Retired), 0.5);
            changes.append(&mut world.changes);
        }
    }
    changes
}

fn lives() -> impl Iterator<Item = (Rest, RestartPolicy, u32)> {
    let rests = [Rest::Stopped, Rest::Disabled].into_iter();
    rests.flat_map(|rest| {
        let restarts = [RestartPolicy::Always, RestartPolicy::OnFailure, RestartPolicy::Never].into_iter();
        restarts.flat_map(move |restart| [0, 4, 5].map(|failures| (rest, restart, failures)))
    })
}

fn fail(world: &mut World, times: u32) {
    if times > 0 {
        world.feed(Input::Start, 0.5);
    }
    for _ in 0..times {
        world.feed(Input::Permit, 0.5);
        world.feed(Input::SpawnFailed(ExitKind::Failure), 0.5);
        world.tick();
    }
}

fn words<'a>(changes: impl Iterator<Item = &'a (State, State)>) -> Vec<String> {
    changes.map(|(from, to)| format!("{from} --> {to}")).collect()
}

#[test]
fn the_diagram_shows_what_can_happen_and_nothing_else() {
    let named = |word: &str| State::ALL.into_iter().find(|state| state.as_str() == word);
    let (drawn, seen) = (drawn("## States", named), seen());
    let (missing, wrong) = (words(seen.difference(&drawn)), words(drawn.difference(&seen)));
    assert!(missing.is_empty(), "happens and is not drawn:\n{}", missing.join("\n"));
    assert!(wrong.is_empty(), "is drawn and does not happen:\n{}", wrong.join("\n"));
}

#[test]
fn every_state_is_reached_and_left() {
    let seen = seen();
    for state in State::ALL {
        assert!(seen.iter().any(|(from, _)| *from == state), "{state} is never left");
        assert!(seen.iter().any(|(_, to)| *to == state), "{state} is never reached");
    }
}
