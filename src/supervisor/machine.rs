//! What one unit does next: a pure state machine, no I/O, no clock and no dice of its own.
//! A pair of phase and input that is not named changes nothing.

use std::{collections::VecDeque, time::Duration};

use tokio::time::Instant;

use super::{
    policy::Policy,
    state::{Action, At, ExitKind, Input, Next, Phase, Rest, State, Step, Wait},
};

/// How long the guard may take to report that the process runs.
const SPAWN_LIMIT: Duration = Duration::from_secs(10);

/// From SIGTERM to SIGKILL when someone is in a hurry.
const HURRIED_TERM: Duration = Duration::from_secs(1);

/// One unit's life.
#[derive(Clone, Debug)]
#[expect(clippy::struct_excessive_bools, reason = "independent facts, each with a name")]
pub struct Machine {
    pub(super) phase: Phase,
    /// Whether a call may start it from rest.
    pub(super) wakeable: bool,
    /// Failures in a row.
    pub(super) failures: u32,
    /// Failed starts of a program that cannot be started, in a row.
    pub(super) misconfigured: usize,
    /// When it failed lately; at most a handful.
    pub(super) recent: VecDeque<Instant>,
    /// In a crash loop until it has run stably once.
    pub(super) looping: bool,
    /// Whether the process at hand finished its handshake.
    pub(super) was_ready: bool,
    /// Whether the last ready phase was long enough to forget earlier failures.
    pub(super) was_stable: bool,
}

impl Machine {
    /// A unit that rests. A lazy one may be started by a call.
    pub fn new(rest: Rest, lazy: bool) -> Self {
        Self {
            phase: Phase::Resting(rest),
            wakeable: lazy && rest == Rest::Stopped,
            failures: 0,
            misconfigured: 0,
            recent: VecDeque::new(),
            looping: false,
            was_ready: false,
            was_stable: false,
        }
    }

    /// Where it is in its life.
    pub fn state(&self) -> State {
        match self.phase {
            Phase::Resting(Rest::Stopped | Rest::Retired) => State::Stopped,
            Phase::Resting(Rest::Disabled) => State::Disabled,
            Phase::Queued => State::Queued,
            Phase::Spawning { .. } => State::Spawning,
            Phase::Handshaking { .. } => State::Handshaking,
            Phase::Ready { .. } => State::Ready,
            Phase::Degraded { .. } => State::Degraded,
            Phase::Draining { .. } => State::Draining,
            Phase::Stopping { .. } => State::Stopping,
            Phase::Waiting { why, .. } => match why {
                Wait::Backoff => State::Backoff,
                Wait::CrashLoop => State::CrashLoop,
                Wait::Misconfigured => State::Misconfigured,
            },
        }
    }

    /// The finer state.
    pub fn phase(&self) -> Phase {
        self.phase
    }

    /// Whether a call may start it.
    pub fn wakeable(&self) -> bool {
        self.wakeable
    }

    /// Whether a process of this unit, or something it left, may exist.
    pub fn has_process(&self) -> bool {
        match self.phase {
            Phase::Resting(_) | Phase::Queued | Phase::Waiting { .. } => false,
            Phase::Spawning { .. }
            | Phase::Handshaking { .. }
            | Phase::Ready { .. }
            | Phase::Degraded { .. }
            | Phase::Draining { .. }
            | Phase::Stopping { .. } => true,
        }
    }

    /// When [`Input::Tick`] is due.
    pub fn deadline(&self) -> Option<Instant> {
        match self.phase {
            Phase::Resting(_) | Phase::Queued | Phase::Ready { .. } | Phase::Degraded { .. } => None,
            Phase::Spawning { until }
            | Phase::Handshaking { until }
            | Phase::Draining { until, .. }
            | Phase::Stopping { until, .. }
            | Phase::Waiting { until, .. } => Some(until),
        }
    }

    /// Takes `input` in and says what to do about it.
    pub fn step(&mut self, input: Input, policy: &Policy, at: At) -> Vec<Action> {
        match input {
            Input::Start => self.start(at),
            Input::Want => self.want(at),
            Input::Stop(rest) => self.stop(rest, policy, at),
            Input::Restart => self.restart(policy, at),
            Input::Hurry => self.hurry(at),
            Input::Permit => self.permit(at),
            Input::Spawned => self.spawned(policy, at),
            Input::SpawnFailed(kind) => self.spawn_failed(kind, policy, at),
            Input::HandshakeDone => self.handshake_done(at),
            Input::HandshakeFailed => self.broke(false, policy, at),
            Input::SessionEnded => self.broke(true, policy, at),
            Input::Exited(kind) => self.exited(kind, policy, at),
            Input::Gone => self.gone(policy, at),
            Input::Troubled => self.troubled(policy, at),
            Input::Recovered => self.recovered(),
            Input::Idle => self.idle(policy, at),
            Input::Drained => self.drained(policy, at),
            Input::Tick => self.tick(policy, at),
        }
    }

    pub(super) fn queue(&mut self, urgent: bool) -> Vec<Action> {
        self.phase = Phase::Queued;
        self.wakeable = false;
        vec![Action::AskPermit { urgent }]
    }

    fn forgive(&mut self) {
        self.failures = 0;
        self.misconfigured = 0;
        self.recent.clear();
        self.looping = false;
    }

    fn start(&mut self, _at: At) -> Vec<Action> {
        match self.phase {
            Phase::Resting(Rest::Stopped | Rest::Disabled) | Phase::Waiting { .. } => {
                self.forgive();
                self.queue(false)
            }
            Phase::Draining { ref mut next, .. } | Phase::Stopping { ref mut next, .. } => {
                if *next != Next::Rest(Rest::Retired) {
                    *next = Next::Start;
                }
                vec![]
            }
            Phase::Resting(Rest::Retired)
            | Phase::Queued
            | Phase::Spawning { .. }
            | Phase::Handshaking { .. }
            | Phase::Ready { .. }
            | Phase::Degraded { .. } => vec![],
        }
    }

    fn want(&mut self, _at: At) -> Vec<Action> {
        match self.phase {
            Phase::Resting(Rest::Stopped) if self.wakeable => self.queue(true),
            Phase::Draining { ref mut next, .. } | Phase::Stopping { ref mut next, .. } => {
                if self.wakeable && *next == Next::Rest(Rest::Stopped) {
                    *next = Next::Start;
                }
                vec![]
            }
            Phase::Queued => vec![Action::Hasten],
            Phase::Resting(_)
            | Phase::Spawning { .. }
            | Phase::Handshaking { .. }
            | Phase::Ready { .. }
            | Phase::Degraded { .. }
            | Phase::Waiting { .. } => vec![],
        }
    }

    fn stop(&mut self, rest: Rest, policy: &Policy, at: At) -> Vec<Action> {
        self.wakeable = false;
        match self.phase {
            Phase::Resting(Rest::Disabled) if rest == Rest::Stopped => vec![],
            Phase::Resting(Rest::Retired) => vec![],
            Phase::Resting(_) | Phase::Waiting { .. } => {
                self.phase = Phase::Resting(rest);
                vec![]
            }
            Phase::Queued => {
                self.phase = Phase::Resting(rest);
                vec![Action::ReleasePermit]
            }
            Phase::Spawning { .. }
            | Phase::Handshaking { .. }
            | Phase::Ready { .. }
            | Phase::Degraded { .. }
            | Phase::Draining { .. }
            | Phase::Stopping { .. } => self.wind_down(Next::Rest(rest), policy, at),
        }
    }

    fn restart(&mut self, policy: &Policy, at: At) -> Vec<Action> {
        match self.phase {
            Phase::Resting(Rest::Stopped) | Phase::Waiting { .. } => {
                self.forgive();
                self.queue(false)
            }
            Phase::Resting(Rest::Disabled | Rest::Retired) | Phase::Queued => vec![],
            Phase::Spawning { .. }
            | Phase::Handshaking { .. }
            | Phase::Ready { .. }
            | Phase::Degraded { .. }
            | Phase::Draining { .. }
            | Phase::Stopping { .. } => {
                self.forgive();
                self.wind_down(Next::Start, policy, at)
            }
        }
    }

    /// Begins an ordered stop, or gives the one under way another end. Retirement is final.
    fn wind_down(&mut self, wanted: Next, policy: &Policy, at: At) -> Vec<Action> {
        match self.phase {
            Phase::Ready { since } | Phase::Degraded { since } => {
                self.note_run(since, policy, at);
                self.phase = Phase::Draining {
                    until: at.now + policy.drain,
                    next: wanted,
                };
                vec![Action::Drain]
            }
            // It has nothing to finish.
            Phase::Spawning { .. } | Phase::Handshaking { .. } => self.put_down(wanted, at),
            Phase::Draining { ref mut next, .. } | Phase::Stopping { ref mut next, .. } => {
                if *next != Next::Rest(Rest::Retired) {
                    *next = wanted;
                }
                vec![]
            }
            Phase::Resting(_) | Phase::Queued | Phase::Waiting { .. } => vec![],
        }
    }

    fn hurry(&mut self, at: At) -> Vec<Action> {
        match self.phase {
            Phase::Draining { next, .. }
            | Phase::Stopping {
                step: Step::Broken | Step::Stdin,
                next,
                ..
            } => {
                self.phase = Phase::Stopping {
                    step: Step::Term,
                    until: at.now + HURRIED_TERM,
                    next,
                };
                vec![Action::CloseStdin, Action::Terminate, Action::EndSession]
            }
            Phase::Stopping {
                step: Step::Term,
                ref mut until,
                ..
            } => {
                *until = (*until).min(at.now + HURRIED_TERM);
                vec![]
            }
            Phase::Stopping { step: Step::Kill, .. }
            | Phase::Resting(_)
            | Phase::Queued
            | Phase::Spawning { .. }
            | Phase::Handshaking { .. }
            | Phase::Ready { .. }
            | Phase::Degraded { .. }
            | Phase::Waiting { .. } => vec![],
        }
    }

    fn permit(&mut self, at: At) -> Vec<Action> {
        if self.phase == Phase::Queued {
            self.was_ready = false;
            self.phase = Phase::Spawning {
                until: at.now + SPAWN_LIMIT,
            };
            vec![Action::Spawn]
        } else {
            vec![Action::ReleasePermit]
        }
    }

    fn spawned(&mut self, policy: &Policy, at: At) -> Vec<Action> {
        if let Phase::Spawning { .. } = self.phase {
            self.phase = Phase::Handshaking {
                until: at.now + policy.start,
            };
            vec![Action::Handshake]
        } else {
            vec![]
        }
    }

    fn spawn_failed(&mut self, kind: ExitKind, policy: &Policy, at: At) -> Vec<Action> {
        match self.phase {
            Phase::Spawning { .. } => {
                let next = self.judge(kind, policy, at);
                let mut actions = vec![Action::ReleasePermit];
                actions.extend(self.settle(next, policy, at));
                actions
            }
            Phase::Stopping { next, .. } => self.settle(next, policy, at),
            Phase::Resting(_)
            | Phase::Queued
            | Phase::Handshaking { .. }
            | Phase::Ready { .. }
            | Phase::Degraded { .. }
            | Phase::Draining { .. }
            | Phase::Waiting { .. } => vec![],
        }
    }

    fn handshake_done(&mut self, at: At) -> Vec<Action> {
        if let Phase::Handshaking { .. } = self.phase {
            self.phase = Phase::Ready { since: at.now };
            self.was_ready = true;
            self.misconfigured = 0;
            vec![Action::ReleasePermit]
        } else {
            vec![]
        }
    }

    fn recovered(&mut self) -> Vec<Action> {
        if let Phase::Degraded { since } = self.phase {
            self.phase = Phase::Ready { since };
        }
        vec![]
    }

    fn idle(&mut self, policy: &Policy, at: At) -> Vec<Action> {
        match self.phase {
            Phase::Ready { .. } | Phase::Degraded { .. } => {
                self.wakeable = true;
                self.wind_down(Next::Rest(Rest::Stopped), policy, at)
            }
            Phase::Resting(_)
            | Phase::Queued
            | Phase::Spawning { .. }
            | Phase::Handshaking { .. }
            | Phase::Draining { .. }
            | Phase::Stopping { .. }
            | Phase::Waiting { .. } => vec![],
        }
    }

    pub(super) fn drained(&mut self, policy: &Policy, at: At) -> Vec<Action> {
        if let Phase::Draining { next, .. } = self.phase {
            self.phase = Phase::Stopping {
                step: Step::Stdin,
                until: at.now + policy.stop / 2,
                next,
            };
            vec![Action::CloseStdin]
        } else {
            vec![]
        }
    }
}
