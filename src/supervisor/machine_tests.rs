//! The state machine against random scripts.

use std::time::Duration;

use proptest::prelude::*;

use super::{
    machine_world::{Tree, World, any_policy, any_script, policy},
    policy::RestartPolicy,
    state::{Action, At, ExitKind, Input, Phase, Rest, State},
};

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
