//! The driver's bookkeeping: starts and ends what belongs to a process, and gives account of it in
//! words, status and log.

use std::sync::Arc;

use tokio::{sync::watch, time::Instant};

use super::{
    LastExit, Reason, Runs, State,
    contract::{Handshake, Session},
    driver::{Cause, Driver, Happening, Running},
    process::{self, Breach, Confinement, SpawnError},
    state::{Input, Phase, Rest, Step},
    stderr::{Drain, Redaction},
};

/// How many lines of stderr an exit carries.
const EXIT_LINES: usize = 20;

impl<H: Handshake> Driver<H> {
    /// Starts guard and process; a failure to do so is the next input.
    pub(super) fn spawn(&mut self) -> Option<Input> {
        (self.cause, self.eof) = (None, false);
        self.spawns += 1;
        self.orders.forget_calls();
        let spec = &self.spec;
        let tree = format!("{}/{}/{}", self.context.hub_id, spec.service, spec.unit);
        let (guard, tasks) = (&self.context.guard, &self.context.tasks);
        let confinement = Confinement {
            limits: spec.limits,
            cgroups: self.context.cgroups.as_deref(),
        };
        let started = match &spec.runs {
            Runs::Process(command) => process::spawn(command, guard, &tree, confinement, tasks),
            Runs::Attached(way) => way.attach(tasks),
        };
        let mut process = match started {
            Ok(process) => process,
            Err(error) => {
                self.note_spawn_error(&error);
                return Some(Input::SpawnFailed(error.kind));
            }
        };
        let stderr_ended = watch::Sender::new(false);
        let follow = stderr_ended.subscribe();
        if let Some(stderr) = process.stderr.take() {
            let drain = Drain {
                tail: self.stderr.clone(),
                log: spec.log.clone(),
                redaction: Redaction::of(spec.runs.variables().into_iter().flatten()),
            };
            tasks.spawn("unit.stderr", drain.run(stderr, stderr_ended));
        }
        self.process = Some(Running {
            process,
            pid: None,
            exit: None,
            breach: None,
            stderr_mark: self.stderr.mark(),
            stderr_ended: follow,
        });
        None
    }

    /// Calls can go through `session` now.
    pub(super) fn begin_session(&mut self, session: Arc<H::Session>) {
        self.health.begin(Arc::clone(&session));
        let watched = Arc::clone(&session);
        self.happening.session_end = Some(Box::pin(async move { watched.closed().await }));
        self.session = Some(session);
    }

    /// Ends the session, or the handshake that would have led to one.
    pub(super) fn end_session(&mut self) {
        self.happening = Happening::default();
        self.health.end();
        let Some(session) = self.session.take() else {
            return;
        };
        let seen = self.process.as_ref().is_some_and(|p| p.exit.is_some());
        match &self.last_exit {
            Some(exit) if seen => session.fail(exit),
            _ => session.fail(&self.describe_exit()),
        }
    }

    /// Notes why the process is going down; the first reason counts.
    pub(super) fn blame(&mut self, reason: Reason, why: &str) {
        if self.cause.is_none() && self.machine.has_process() {
            let text = why.to_owned();
            self.cause = Some(Cause { reason, text });
        }
    }

    pub(super) fn blame_order(&mut self, order: Input) {
        if let Input::Stop(rest) = order {
            let why = match rest {
                Rest::Stopped => "stopped by request",
                Rest::Disabled => "disabled by request",
                Rest::Retired => "no longer configured",
            };
            self.blame(Reason::Stopped, why);
        } else if order == Input::Restart {
            self.blame(Reason::Stopped, "restarted by request");
        } else if order == Input::Troubled && self.machine.state() == State::Degraded {
            self.blame(Reason::Unresponsive, "answered no calls in time");
        }
    }

    /// A deadline passed: if that is the process's fault, says so.
    pub(super) fn blame_lateness(&mut self) {
        let now = Instant::now();
        if self.machine.deadline().is_none_or(|until| now < until) {
            return;
        }
        let phase = self.machine.phase();
        if matches!(phase, Phase::Spawning { .. }) {
            self.blame(Reason::Spawn, "could not be spawned in time");
        } else if matches!(phase, Phase::Handshaking { .. }) {
            let why = format!("did not finish the handshake within {:?}", self.policy.start);
            self.blame(Reason::Handshake, &why);
        }
    }

    /// Whether the process at hand ended without having been told to.
    pub(super) fn exited_by_itself(&self) -> bool {
        match self.machine.phase() {
            Phase::Spawning { .. }
            | Phase::Handshaking { .. }
            | Phase::Ready { .. }
            | Phase::Degraded { .. }
            | Phase::Stopping { step: Step::Broken, .. } => true,
            Phase::Resting(_)
            | Phase::Queued
            | Phase::Draining { .. }
            | Phase::Stopping { .. }
            | Phase::Waiting { .. } => false,
        }
    }

    /// How the process at hand ended, or is about to.
    pub(super) fn describe_exit(&self) -> LastExit {
        let running = self.process.as_ref();
        let exit = running.and_then(|p| p.exit);
        let breach = running
            .and_then(|p| p.breach)
            .map(|breach| self.describe_breach(breach));
        let asked = self.cause.as_ref().is_some_and(|cause| cause.reason == Reason::Stopped);
        // What it did beyond its limits explains everything but an end that somebody wanted.
        let cause = if asked || breach.is_none() {
            &self.cause
        } else {
            &breach
        };
        let reason = match (cause, exit) {
            (Some(cause), _) => cause.reason,
            (None, Some(exit)) => Reason::of(exit),
            (None, None) => Reason::GuardLost,
        };
        let detail = match (cause, exit) {
            (Some(cause), Some(exit)) => format!("{} ({exit})", cause.text),
            (Some(cause), None) => cause.text.clone(),
            (None, Some(exit)) if !self.machine.was_ready => {
                format!("{exit} before the handshake was done")
            }
            (None, Some(exit)) => exit.to_string(),
            (None, None) => "ended".to_owned(),
        };
        LastExit {
            reason,
            detail,
            code: exit.and_then(process::Exit::code),
            signal: exit.and_then(process::Exit::signal),
            stderr: running
                .map(|p| self.stderr.last_since(p.stderr_mark, EXIT_LINES))
                .unwrap_or_default(),
            asked: reason == Reason::Stopped,
            at: Instant::now(),
        }
    }

    fn describe_breach(&self, breach: Breach) -> Cause {
        let limits = self.spec.limits;
        let (reason, text) = match breach {
            Breach::Oom => {
                let mib = limits.memory.unwrap_or_default() >> 20;
                let text = format!("needed more memory than the {mib} MiB of `limits.memory`");
                (Reason::Oom, text)
            }
            Breach::Pids => {
                let most = limits.pids.map(|most| format!("the {most} of `limits.pids`"));
                let most = most.unwrap_or_else(|| "it may have".to_owned());
                (Reason::Pids, format!("started more processes and threads than {most}"))
            }
        };
        Cause { reason, text }
    }

    /// Keeps and logs how the process ended.
    pub(super) fn note_exit(&mut self) {
        let exit = self.describe_exit();
        let (service, unit) = (&self.spec.service, &self.spec.unit);
        let reason = exit.reason.to_string();
        if exit.asked {
            tracing::info!(%service, unit, reason, "{service} ended: {exit}");
        } else {
            let stderr = exit.stderr.last();
            tracing::warn!(%service, unit, reason, stderr, "{service} ended: {exit}");
        }
        self.last_exit = Some(Arc::new(exit));
    }

    /// Keeps and logs that there will be no process.
    pub(super) fn note_spawn_error(&mut self, error: &SpawnError) {
        let (service, unit) = (&self.spec.service, &self.spec.unit);
        tracing::warn!(%service, unit, %error, "{service} could not be started: {error}");
        self.last_exit = Some(Arc::new(LastExit {
            reason: Reason::Spawn,
            detail: error.reason.clone(),
            code: None,
            signal: None,
            stderr: Vec::new(),
            asked: false,
            at: Instant::now(),
        }));
    }

    /// Publishes what has changed.
    pub(super) fn tell(&mut self) {
        let state = self.machine.state();
        self.settle_order();
        let (service, unit) = (&self.spec.service, &self.spec.unit);
        self.publish.send_if_modified(|status| {
            let changed = status.state != state;
            let restarts = self.spawns.saturating_sub(1);
            let pid = self.process.as_ref().and_then(|p| p.pid);
            let serves = matches!(state, State::Ready | State::Degraded);
            let session = self.session.clone().filter(|_| serves);
            let same_exit = match (&status.last_exit, &self.last_exit) {
                (Some(then), Some(now)) => Arc::ptr_eq(then, now),
                (then, now) => then.is_none() == now.is_none(),
            };
            let same = !changed
                && same_exit
                && status.pid == pid
                && status.restarts == restarts
                && status.settled == self.settled
                && status.wakeable == self.machine.wakeable()
                && status.session.is_some() == session.is_some();
            if same {
                return false;
            }
            if changed {
                tracing::debug!(%service, unit, state = %state, pid, "{service} is {state}");
                status.since = Instant::now();
                status.retry_at = self.retry_at();
            }
            status.state = state;
            status.pid = pid;
            status.restarts = restarts;
            status.last_exit.clone_from(&self.last_exit);
            status.session = session;
            status.wakeable = self.machine.wakeable();
            status.settled = self.settled;
            true
        });
    }

    /// When the next start is due, if one is waited for.
    fn retry_at(&self) -> Option<Instant> {
        match self.machine.phase() {
            Phase::Waiting { until, .. } => Some(until),
            Phase::Resting(_)
            | Phase::Queued
            | Phase::Spawning { .. }
            | Phase::Handshaking { .. }
            | Phase::Ready { .. }
            | Phase::Degraded { .. }
            | Phase::Draining { .. }
            | Phase::Stopping { .. } => None,
        }
    }

    /// An order is carried out once the unit stands where it will stay without another.
    fn settle_order(&mut self) {
        let stands = match self.machine.phase() {
            Phase::Resting(_) | Phase::Waiting { .. } | Phase::Ready { .. } | Phase::Degraded { .. } => true,
            Phase::Queued
            | Phase::Spawning { .. }
            | Phase::Handshaking { .. }
            | Phase::Draining { .. }
            | Phase::Stopping { .. } => false,
        };
        if stands && let Some(number) = self.serving.take() {
            self.settled = number;
        }
    }
}
