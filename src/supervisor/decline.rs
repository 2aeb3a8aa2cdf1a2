//! How a unit goes down: what an exit leads to, and the steps of a stop. The other half of [`Machine`].

use std::time::Duration;

use tokio::time::Instant;

use super::{
    machine::Machine,
    policy::{Policy, RestartPolicy},
    state::{Action, At, ExitKind, Next, Phase, Rest, Step, Wait},
};

/// How long an exit status is waited for after the session broke, before the process is told to go.
const EXIT_GRACE: Duration = Duration::from_millis(80);
/// From SIGTERM to SIGKILL for a process that failed or never got to work.
const SHORT_TERM: Duration = Duration::from_secs(2);
/// How long the guard may take to kill a tree before it is killed itself.
const KILL_LIMIT: Duration = Duration::from_secs(20);
/// So many failures within [`CRASH_WINDOW`] make a crash loop.
const CRASH_COUNT: usize = 5;
const CRASH_WINDOW: Duration = Duration::from_mins(10);
/// How often a crash loop is probed with one start.
const CRASH_RETRY: Duration = Duration::from_mins(5);
/// The waits after a program that cannot be started.
const MISCONFIGURED_RETRIES: [Duration; 3] = [Duration::from_mins(1), Duration::from_mins(5), Duration::from_mins(15)];

impl Machine {
    /// The session or the handshake ended by itself: an exit status often follows within milliseconds and tells more.
    pub(super) fn broke(&mut self, session: bool, policy: &Policy, at: At) -> Vec<Action> {
        let until = at.now + EXIT_GRACE;
        let step = Step::Broken;
        match self.phase {
            Phase::Handshaking { .. } if !session => {
                let next = Next::Judge;
                self.phase = Phase::Stopping { step, until, next };
                vec![Action::ReleasePermit]
            }
            Phase::Ready { since } | Phase::Degraded { since } if session => {
                self.note_run(since, policy, at);
                let next = Next::Judge;
                self.phase = Phase::Stopping { step, until, next };
                vec![]
            }
            Phase::Draining { next, .. } if session => {
                self.phase = Phase::Stopping { step, until, next };
                vec![]
            }
            Phase::Resting(_)
            | Phase::Queued
            | Phase::Spawning { .. }
            | Phase::Handshaking { .. }
            | Phase::Ready { .. }
            | Phase::Degraded { .. }
            | Phase::Draining { .. }
            | Phase::Stopping { .. }
            | Phase::Waiting { .. } => vec![],
        }
    }

    /// The process is gone: whatever comes next, its session ends now and the rest of its tree is cleared away.
    pub(super) fn exited(&mut self, kind: ExitKind, policy: &Policy, at: At) -> Vec<Action> {
        let next = match self.phase {
            Phase::Resting(_) | Phase::Queued | Phase::Waiting { .. } => return vec![],
            Phase::Spawning { .. } | Phase::Handshaking { .. } => self.judge(kind, policy, at),
            Phase::Ready { since } | Phase::Degraded { since } => {
                self.note_run(since, policy, at);
                self.judge(kind, policy, at)
            }
            Phase::Draining { next, .. } | Phase::Stopping { next, .. } => {
                if next == Next::Judge {
                    self.judge(kind, policy, at)
                } else {
                    next
                }
            }
        };
        self.phase = Phase::Stopping {
            step: Step::Kill,
            until: at.now + KILL_LIMIT,
            next,
        };
        vec![Action::ReleasePermit, Action::EndSession]
    }

    pub(super) fn gone(&mut self, policy: &Policy, at: At) -> Vec<Action> {
        if let Phase::Stopping { next, .. } = self.phase {
            self.settle(next, policy, at)
        } else {
            vec![]
        }
    }

    /// Nothing is left of the process: on to what was decided.
    pub(super) fn settle(&mut self, next: Next, policy: &Policy, at: At) -> Vec<Action> {
        match next {
            Next::Rest(rest) => {
                self.phase = Phase::Resting(rest);
                vec![]
            }
            Next::Start => self.queue(false),
            Next::Wait { why, delay } => {
                let until = at.now + delay;
                self.phase = Phase::Waiting { why, until };
                vec![]
            }
            Next::Judge => {
                let next = self.judge(ExitKind::Failure, policy, at);
                self.settle(next, policy, at)
            }
        }
    }

    /// What follows a process that ended by itself. Never [`Next::Judge`].
    pub(super) fn judge(&mut self, kind: ExitKind, policy: &Policy, at: At) -> Next {
        // Ending with code 0 before the handshake is no success.
        let clean = kind == ExitKind::Clean && self.was_ready;
        let rests = match policy.restart {
            RestartPolicy::Always => false,
            RestartPolicy::OnFailure => clean,
            RestartPolicy::Never => true,
        };
        if rests {
            self.wakeable = policy.lazy || policy.restart == RestartPolicy::OnFailure;
            return Next::Rest(Rest::Stopped);
        }
        if kind == ExitKind::Misconfigured && !self.was_ready {
            let last = MISCONFIGURED_RETRIES.len() - 1;
            let wait = MISCONFIGURED_RETRIES[self.misconfigured.min(last)];
            self.misconfigured += 1;
            return Next::Wait {
                why: Wait::Misconfigured,
                delay: wait,
            };
        }
        self.failures = self.failures.saturating_add(1);
        self.recent
            .retain(|failed| at.now.duration_since(*failed) < CRASH_WINDOW);
        self.recent.push_back(at.now);
        let stable = std::mem::take(&mut self.was_stable);
        self.looping |= policy.loops && self.recent.len() >= CRASH_COUNT;
        if self.looping {
            // Only the latest matter for the next judgement.
            self.recent.drain(..self.recent.len().saturating_sub(CRASH_COUNT));
            Next::Wait {
                why: Wait::CrashLoop,
                delay: CRASH_RETRY,
            }
        } else {
            Next::Wait {
                why: Wait::Backoff,
                delay: policy.jittered(self.failures, stable, at.luck),
            }
        }
    }

    /// A ready phase ends: was it long enough to forget what failed before?
    pub(super) fn note_run(&mut self, since: Instant, policy: &Policy, at: At) {
        self.was_stable = at.now.duration_since(since) >= policy.stable_after(self.failures);
        if self.was_stable {
            self.failures = 0;
            self.looping = false;
        }
    }

    /// The process failed, or never got to work, but still runs: it gets a short term.
    pub(super) fn put_down(&mut self, next: Next, at: At) -> Vec<Action> {
        self.phase = Phase::Stopping {
            step: Step::Term,
            until: at.now + SHORT_TERM,
            next,
        };
        vec![
            Action::ReleasePermit,
            Action::CloseStdin,
            Action::Terminate,
            Action::EndSession,
        ]
    }

    pub(super) fn troubled(&mut self, policy: &Policy, at: At) -> Vec<Action> {
        match self.phase {
            Phase::Ready { since } => {
                self.phase = Phase::Degraded { since };
                vec![]
            }
            Phase::Degraded { since } => {
                self.note_run(since, policy, at);
                let next = self.judge(ExitKind::Failure, policy, at);
                self.put_down(next, at)
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

    pub(super) fn tick(&mut self, policy: &Policy, at: At) -> Vec<Action> {
        if self.deadline().is_none_or(|deadline| at.now < deadline) {
            return vec![];
        }
        match self.phase {
            Phase::Spawning { .. } => {
                let next = self.judge(ExitKind::Failure, policy, at);
                self.phase = Phase::Stopping {
                    step: Step::Kill,
                    until: at.now + KILL_LIMIT,
                    next,
                };
                vec![Action::ReleasePermit, Action::KillTree]
            }
            Phase::Handshaking { .. } => {
                let next = self.judge(ExitKind::Failure, policy, at);
                self.put_down(next, at)
            }
            Phase::Draining { .. } => {
                let mut actions = self.drained(policy, at);
                actions.push(Action::EndSession);
                actions
            }
            Phase::Stopping { step, next, .. } => self.next_step(step, next, policy, at),
            Phase::Waiting { .. } => self.queue(false),
            Phase::Resting(_) | Phase::Queued | Phase::Ready { .. } | Phase::Degraded { .. } => {
                vec![]
            }
        }
    }

    /// A step of the stop did not work in its time: the next, harder one.
    fn next_step(&mut self, step: Step, next: Next, policy: &Policy, at: At) -> Vec<Action> {
        let (step, limit, actions) = match step {
            Step::Broken => {
                let next = match next {
                    Next::Judge => self.judge(ExitKind::Failure, policy, at),
                    Next::Rest(_) | Next::Start | Next::Wait { .. } => next,
                };
                return self.put_down(next, at);
            }
            Step::Stdin => (Step::Term, policy.stop / 2, vec![Action::Terminate]),
            Step::Term => (Step::Kill, KILL_LIMIT, vec![Action::KillTree]),
            Step::Kill => (Step::Kill, KILL_LIMIT, vec![Action::KillGuard]),
        };
        self.phase = Phase::Stopping {
            step,
            until: at.now + limit,
            next,
        };
        actions
    }
}
