//! A world that behaves as processes do, for the tests of the state machine: it notices when the machine asks for something
//! it must not, and which states follow on which.

use std::{collections::BTreeSet, time::Duration};

use proptest::prelude::*;
use tokio::time::Instant;

use super::{
    machine::Machine,
    policy::{Policy, RestartPolicy},
    state::{Action, At, ExitKind, Input, Rest, State},
};

pub(super) fn policy(restart: RestartPolicy) -> Policy {
    Policy {
        restart,
        start: Duration::from_secs(30),
        drain: Duration::from_secs(18),
        stop: Duration::from_secs(10),
        max_delay: Duration::from_mins(1),
        lazy: false,
        loops: true,
    }
}

/// What a process and its tree look like from outside.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Tree {
    None,
    /// The guard was started and has not reported.
    Starting,
    Alive,
    /// The server is gone, the rest of its tree is not.
    Remains,
}

/// A world that behaves as processes do, and notices when the machine asks for something it must not.
#[expect(clippy::struct_excessive_bools, reason = "independent facts, each with a name")]
pub(super) struct World {
    pub(super) machine: Machine,
    pub(super) policy: Policy,
    pub(super) now: Instant,
    pub(super) tree: Tree,
    handshaking: bool,
    pub(super) session: bool,
    /// In line for a permit, or holding one.
    permit: bool,
    /// Somebody or something wants the process gone.
    unwanted: bool,
    pub(super) told_to_go: bool,
    /// Which state followed on which.
    pub(super) changes: BTreeSet<(State, State)>,
}

impl World {
    pub(super) fn new(policy: Policy, rest: Rest) -> Self {
        Self {
            machine: Machine::new(rest, policy.lazy),
            policy,
            now: Instant::now(),
            tree: Tree::None,
            handshaking: false,
            session: false,
            permit: false,
            unwanted: false,
            told_to_go: false,
            changes: BTreeSet::new(),
        }
    }

    /// Whether the world can do this now. Orders always can come.
    fn possible(&self, input: Input) -> bool {
        match input {
            Input::Permit => self.permit && self.tree == Tree::None,
            Input::Spawned | Input::SpawnFailed(_) => self.tree == Tree::Starting,
            Input::HandshakeDone | Input::HandshakeFailed => self.handshaking,
            Input::SessionEnded | Input::Troubled | Input::Recovered | Input::Idle => self.session,
            Input::Exited(_) => self.tree == Tree::Alive,
            Input::Gone => self.tree == Tree::Remains,
            Input::Drained => self.machine.state() == State::Draining,
            Input::Start | Input::Want | Input::Stop(_) | Input::Restart | Input::Hurry | Input::Tick => true,
        }
    }

    pub(super) fn feed(&mut self, input: Input, luck: f64) {
        if !self.possible(input) {
            return;
        }
        let before = self.machine.state();
        let late = self.machine.deadline().is_some_and(|until| self.now >= until);
        match input {
            Input::Stop(_) | Input::Restart | Input::Idle => self.unwanted = true,
            Input::HandshakeFailed => (self.unwanted, self.handshaking) = (true, false),
            Input::SessionEnded => self.unwanted = true,
            Input::Troubled => self.unwanted |= before == State::Degraded,
            Input::Tick => self.unwanted |= late,
            Input::HandshakeDone => (self.session, self.handshaking) = (true, false),
            Input::Spawned => self.tree = Tree::Alive,
            Input::SpawnFailed(_) => self.tree = Tree::None,
            Input::Exited(_) => self.tree = Tree::Remains,
            Input::Gone => self.tree = Tree::None,
            Input::Start | Input::Want | Input::Hurry | Input::Permit | Input::Recovered | Input::Drained => {}
        }
        let at = At { now: self.now, luck };
        for action in self.machine.step(input, &self.policy, at) {
            self.act(action);
        }
        let state = self.machine.state();
        if state != before {
            self.changes.insert((before, state));
        }
        assert_eq!(self.machine.has_process(), self.tree != Tree::None, "{state}");
        assert_eq!(
            self.permit,
            matches!(state, State::Queued | State::Spawning | State::Handshaking),
            "{state}"
        );
        assert!(!matches!(state, State::Ready | State::Degraded) || self.session);
        assert!(
            !self.session || matches!(self.tree, Tree::Alive),
            "calls to a dead process"
        );
        assert!(
            self.machine.deadline().is_some()
                || matches!(
                    state,
                    State::Ready | State::Degraded | State::Stopped | State::Disabled | State::Queued
                ),
            "{state} would last for ever"
        );
    }

    fn act(&mut self, action: Action) {
        match action {
            Action::AskPermit { .. } => {
                assert!(!self.permit);
                self.permit = true;
            }
            Action::Hasten => assert!(self.permit),
            Action::ReleasePermit => self.permit = false,
            Action::Spawn => {
                assert!(self.permit, "started out of turn");
                assert_eq!(self.tree, Tree::None, "two processes");
                self.tree = Tree::Starting;
                (self.unwanted, self.told_to_go, self.session) = (false, false, false);
            }
            Action::Handshake => self.handshaking = true,
            Action::Drain => assert!(self.session),
            Action::CloseStdin => assert!(self.unwanted, "stdin closed unasked"),
            Action::Terminate => {
                assert!(self.unwanted, "terminated unasked");
                self.told_to_go = true;
            }
            Action::KillTree | Action::KillGuard => {
                assert!(self.unwanted, "killed unasked");
                // One that was not even spawned in time has nobody to be told.
                self.told_to_go |= self.tree == Tree::Starting;
                assert!(self.told_to_go || self.tree == Tree::Remains, "killed untold");
            }
            Action::EndSession => (self.session, self.handshaking) = (false, false),
        }
    }

    /// Lets time pass up to the next deadline and ticks.
    pub(super) fn tick(&mut self) {
        if let Some(until) = self.machine.deadline() {
            self.now = self.now.max(until);
        }
        self.feed(Input::Tick, 0.5);
    }
}

/// What the world does more often than what operators do, or no script would get anywhere.
fn any_input() -> impl Strategy<Value = Input> {
    use ExitKind::{Clean, Failure, Misconfigured};
    let often = [
        Input::Permit,
        Input::Spawned,
        Input::HandshakeDone,
        Input::Gone,
        Input::Tick,
    ];
    let seldom = [
        Input::Start,
        Input::Want,
        Input::Stop(Rest::Stopped),
        Input::Stop(Rest::Disabled),
        Input::Restart,
        Input::Hurry,
        Input::SpawnFailed(Failure),
        Input::SpawnFailed(Misconfigured),
        Input::HandshakeFailed,
        Input::SessionEnded,
        Input::Exited(Clean),
        Input::Exited(Failure),
        Input::Exited(Misconfigured),
        Input::Troubled,
        Input::Recovered,
        Input::Idle,
        Input::Drained,
    ];
    let weighted = often.iter().cycle().take(8 * often.len()).chain(&seldom);
    prop::sample::select(weighted.copied().collect::<Vec<_>>())
}

pub(super) fn any_policy() -> impl Strategy<Value = Policy> {
    let restart = prop_oneof![
        Just(RestartPolicy::Always),
        Just(RestartPolicy::OnFailure),
        Just(RestartPolicy::Never),
    ];
    (restart, any::<bool>()).prop_map(|(restart, lazy)| Policy {
        lazy,
        ..policy(restart)
    })
}

pub(super) fn any_script(length: usize) -> impl Strategy<Value = Vec<(Input, u64, f64)>> {
    prop::collection::vec((any_input(), 0_u64..20_000, 0.0..1.0), 0..length)
}
