//! The state machine against random scripts and against the table in `README.md`.

use std::{collections::BTreeSet, time::Duration};

use proptest::{prelude::*, strategy::ValueTree};
use tokio::time::Instant;

use super::{
    machine::Machine,
    policy::{Policy, RestartPolicy},
    state::{Action, At, ExitKind, Input, Phase, Rest, State},
};

fn policy(restart: RestartPolicy) -> Policy {
    Policy {
        restart,
        start: Duration::from_secs(30),
        drain: Duration::from_secs(18),
        stop: Duration::from_secs(10),
        max_delay: Duration::from_mins(1),
        lazy: false,
    }
}

/// What a process and its tree look like from outside.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Tree {
    None,
    /// The guard was started and has not reported.
    Starting,
    Alive,
    /// The server is gone, the rest of its tree is not.
    Remains,
}

/// A world that behaves as processes do, and notices when the machine asks for something it must not.
#[expect(clippy::struct_excessive_bools, reason = "independent facts, each with a name")]
struct World {
    machine: Machine,
    policy: Policy,
    now: Instant,
    tree: Tree,
    handshaking: bool,
    session: bool,
    /// In line for a permit, or holding one.
    permit: bool,
    /// Somebody or something wants the process gone.
    unwanted: bool,
    told_to_go: bool,
    left: BTreeSet<&'static str>,
}

impl World {
    fn new(policy: Policy, rest: Rest) -> Self {
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
            left: BTreeSet::new(),
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

    fn feed(&mut self, input: Input, luck: f64) {
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
            self.left.insert(before.as_str());
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
    fn tick(&mut self) {
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

fn any_policy() -> impl Strategy<Value = Policy> {
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

fn any_script(length: usize) -> impl Strategy<Value = Vec<(Input, u64, f64)>> {
    prop::collection::vec((any_input(), 0_u64..20_000, 0.0..1.0), 0..length)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    /// Whatever happens in whatever order: one process at most, nothing killed unasked or untold, no
    /// call sent to a process that is gone, no permit kept, no state without a way out; and whenever it is retired, it
    /// ends in time with nothing left.
    #[test]
    fn it_holds_under_any_script(policy in any_policy(), script in any_script(150)) {
        let mut world = World::new(policy, Rest::Stopped);
        for (input, millis, luck) in script {
            world.now += Duration::from_millis(millis);
            world.feed(input, luck);
        }
        let begun = world.now;
        world.feed(Input::Stop(Rest::Retired), 0.5);
        // An operator who changes his mind too late.
        world.feed(Input::Start, 0.5);
        // A world in which every politeness is ignored.
        for _ in 0..5 {
            if world.machine.phase() != Phase::Resting(Rest::Retired) && world.tree != Tree::Remains {
                world.tick();
            }
        }
        if world.tree == Tree::Starting {
            world.feed(Input::Spawned, 0.5);
        }
        world.feed(Input::Exited(ExitKind::Failure), 0.5);
        world.feed(Input::Gone, 0.5);
        prop_assert_eq!(world.machine.phase(), Phase::Resting(Rest::Retired));
        prop_assert_eq!(world.tree, Tree::None);
        let limit = policy.drain + policy.stop + Duration::from_mins(2);
        prop_assert!(world.now - begun <= limit);
    }

    /// However it fails, the next start comes, and neither sooner nor later than promised.
    #[test]
    fn a_failing_unit_is_always_tried_again(lucks in prop::collection::vec(0.0..1.0, 1..40)) {
        let mut world = World::new(policy(RestartPolicy::Always), Rest::Stopped);
        world.feed(Input::Start, 0.0);
        for luck in lucks {
            world.feed(Input::Permit, luck);
            world.feed(Input::Spawned, luck);
            world.feed(Input::Exited(ExitKind::Failure), luck);
            world.feed(Input::Gone, luck);
            let wait = world.machine.deadline().unwrap() - world.now;
            if world.machine.state() == State::Backoff {
                prop_assert!(wait <= Duration::from_secs(8));
            } else {
                prop_assert_eq!(world.machine.state(), State::CrashLoop);
                prop_assert_eq!(wait, Duration::from_mins(5));
            }
            world.tick();
            prop_assert_eq!(world.machine.state(), State::Queued);
        }
    }
}

/// Random walks, seeded, and one that fails until it is a crash loop.
#[test]
fn every_state_is_reached_and_left() {
    let mut runner = proptest::test_runner::TestRunner::deterministic();
    let mut left = BTreeSet::new();
    for rest in [Rest::Stopped, Rest::Disabled] {
        for _ in 0..100 {
            let script = any_script(200).new_tree(&mut runner).unwrap().current();
            let mut world = World::new(policy(RestartPolicy::Always), rest);
            for (input, _, luck) in script {
                if input == Input::Tick {
                    world.tick();
                } else {
                    world.feed(input, luck);
                }
            }
            left.append(&mut world.left);
        }
    }
    let mut failing = World::new(policy(RestartPolicy::Always), Rest::Stopped);
    failing.feed(Input::Start, 0.5);
    while !failing.left.contains("crash_loop") {
        failing.feed(Input::Permit, 0.5);
        failing.feed(Input::Spawned, 0.5);
        failing.feed(Input::HandshakeFailed, 0.5);
        failing.feed(Input::Exited(ExitKind::Failure), 0.5);
        failing.feed(Input::Gone, 0.5);
        failing.tick();
    }
    left.append(&mut failing.left);
    let all: BTreeSet<_> = State::ALL.map(State::as_str).into();
    assert_eq!(left, all);
}

fn ready(restart: RestartPolicy) -> World {
    let mut world = World::new(policy(restart), Rest::Stopped);
    for input in [Input::Start, Input::Permit, Input::Spawned, Input::HandshakeDone] {
        world.feed(input, 0.5);
    }
    assert_eq!(world.machine.state(), State::Ready);
    world
}

fn exit(world: &mut World, kind: ExitKind) -> State {
    world.feed(Input::Exited(kind), 0.5);
    world.feed(Input::Gone, 0.5);
    world.machine.state()
}

#[test]
fn restart_policies_tell_exits_apart() {
    use ExitKind::{Clean, Failure};
    use RestartPolicy::{Always, Never, OnFailure};
    for (restart, kind, state) in [
        (Always, Clean, State::Backoff),
        (Always, Failure, State::Backoff),
        (OnFailure, Clean, State::Stopped),
        (OnFailure, Failure, State::Backoff),
        (Never, Clean, State::Stopped),
        (Never, Failure, State::Stopped),
    ] {
        assert_eq!(exit(&mut ready(restart), kind), state, "{restart:?} {kind:?}");
    }
}

#[test]
fn a_call_wakes_what_rests_because_nobody_needed_it() {
    let mut idle = ready(RestartPolicy::Always);
    idle.feed(Input::Idle, 0.5);
    idle.feed(Input::Drained, 0.5);
    assert_eq!(exit(&mut idle, ExitKind::Clean), State::Stopped);
    assert!(idle.machine.wakeable());
    idle.feed(Input::Want, 0.5);
    assert_eq!(idle.machine.state(), State::Queued);

    let mut stopped = ready(RestartPolicy::Always);
    stopped.feed(Input::Stop(Rest::Stopped), 0.5);
    stopped.feed(Input::Drained, 0.5);
    assert_eq!(exit(&mut stopped, ExitKind::Clean), State::Stopped);
    stopped.feed(Input::Want, 0.5);
    assert_eq!(stopped.machine.state(), State::Stopped);

    // Wanted while it goes to sleep.
    let mut falling = ready(RestartPolicy::Always);
    falling.feed(Input::Idle, 0.5);
    falling.feed(Input::Want, 0.5);
    falling.feed(Input::Drained, 0.5);
    assert_eq!(exit(&mut falling, ExitKind::Clean), State::Queued);
}

#[test]
fn a_stop_goes_stdin_term_kill_with_its_budgets() {
    let mut world = ready(RestartPolicy::Always);
    let begun = world.now;
    world.feed(Input::Stop(Rest::Stopped), 0.5);
    assert_eq!(world.machine.state(), State::Draining);
    let at = |world: &World| At {
        now: world.now,
        luck: 0.5,
    };
    let policy = world.policy;
    for (seconds, actions) in [
        (18, vec![Action::CloseStdin, Action::EndSession]),
        (23, vec![Action::Terminate]),
        (28, vec![Action::KillTree]),
        (48, vec![Action::KillGuard]),
    ] {
        world.now = world.machine.deadline().unwrap();
        assert_eq!(world.now - begun, Duration::from_secs(seconds));
        let at = at(&world);
        assert_eq!(world.machine.step(Input::Tick, &policy, at), actions);
    }
}

#[test]
fn an_exit_status_that_follows_a_broken_session_counts() {
    let mut world = ready(RestartPolicy::OnFailure);
    world.feed(Input::SessionEnded, 0.5);
    assert_eq!(world.machine.state(), State::Stopping);
    assert_eq!(exit(&mut world, ExitKind::Clean), State::Stopped);

    let mut mute = ready(RestartPolicy::OnFailure);
    mute.feed(Input::SessionEnded, 0.5);
    mute.tick();
    assert!(mute.told_to_go && !mute.session);
    assert_eq!(exit(&mut mute, ExitKind::Clean), State::Backoff);
}

#[test]
fn what_cannot_start_is_tried_after_1_5_and_15_minutes() {
    let mut world = World::new(policy(RestartPolicy::Always), Rest::Stopped);
    world.feed(Input::Start, 0.5);
    for minutes in [1, 5, 15, 15] {
        world.feed(Input::Permit, 0.5);
        world.feed(Input::SpawnFailed(ExitKind::Misconfigured), 0.5);
        assert_eq!(world.machine.state(), State::Misconfigured);
        let wait = world.machine.deadline().unwrap() - world.now;
        assert_eq!(wait, Duration::from_mins(minutes));
        world.tick();
    }
    // 127 after the handshake is an exit code like any other.
    let mut later = ready(RestartPolicy::Always);
    assert_eq!(exit(&mut later, ExitKind::Misconfigured), State::Backoff);
}

#[test]
fn a_stable_run_forgives() {
    let mut world = ready(RestartPolicy::Always);
    for failures in 1..=20_u32 {
        world.now += Duration::from_mins(11);
        world.feed(Input::Exited(ExitKind::Failure), 0.0);
        world.feed(Input::Gone, 0.0);
        // The luckiest draw right after a stable run is no wait at all.
        assert_eq!(world.machine.state(), State::Backoff, "{failures}");
        assert_eq!(world.machine.deadline(), Some(world.now));
        for input in [Input::Tick, Input::Permit, Input::Spawned, Input::HandshakeDone] {
            world.feed(input, 0.5);
        }
    }
}

#[test]
fn hurry_cuts_every_step_short() {
    let mut world = ready(RestartPolicy::Always);
    world.feed(Input::Stop(Rest::Retired), 0.5);
    let begun = world.now;
    world.feed(Input::Hurry, 0.5);
    assert!(world.told_to_go);
    world.tick();
    assert_eq!(world.now - begun, Duration::from_secs(1));
    assert_eq!(exit(&mut world, ExitKind::Failure), State::Stopped);
    assert_eq!(world.machine.phase(), Phase::Resting(Rest::Retired));
}
