//! What a unit is told about itself and its surroundings.

use std::{collections::BTreeMap, fmt, path::PathBuf, sync::Arc, time::Duration};

use tokio_util::sync::CancellationToken;

use super::{Attach, LineSink, Permits, Policy, RestartPolicy, process::Cgroups};
use crate::{
    config::{ServiceLimits, ServiceName},
    lifecycle::Tasks,
};

/// The program of a unit. Never goes through a shell.
#[derive(Clone, PartialEq, Eq)]
pub struct Command {
    /// A path, or a name that is looked up in the `PATH` the process will have.
    pub program: String,
    /// Its arguments, as they are.
    pub args: Vec<String>,
    /// Variables beyond those that every child inherits (see [`super::process::inherited`]).
    pub env: BTreeMap<String, String>,
    /// The working folder; the hub's own if `None`.
    pub cwd: Option<PathBuf>,
}

impl fmt::Debug for Command {
    /// Leaves the values of `env` out: they hold secrets.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Command")
            .field("program", &self.program)
            .field("args", &self.args)
            .field("env", &self.env.keys())
            .field("cwd", &self.cwd)
            .finish()
    }
}

/// What a unit runs: the units of everything look the same from outside.
#[derive(Clone, Debug)]
pub enum Runs {
    /// A process on this machine, under a guard.
    Process(Command),
    /// Something that runs without us, to which an instance is a way.
    Attached(Arc<dyn Attach>),
}

impl Runs {
    /// The variables of a process; nothing else has any.
    pub(super) fn variables(&self) -> Option<&BTreeMap<String, String>> {
        match self {
            Self::Process(command) => Some(&command.env),
            Self::Attached(_) => None,
        }
    }
}

/// When a unit runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Start {
    /// From launch on.
    Eager,
    /// When first wanted.
    Lazy,
    /// When an operator starts it.
    Disabled,
}

/// How long each step may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timeouts {
    /// From spawn to a finished handshake.
    pub start: Duration,
    /// For calls in flight to finish before a stop.
    pub drain: Duration,
    /// From closing stdin to the kill: half for the closed stdin to work, half for SIGTERM.
    pub stop: Duration,
}

/// One process slot, fully described. Immutable: a changed service gets a new unit.
#[derive(Clone)]
pub struct UnitSpec {
    /// The service it belongs to.
    pub service: ServiceName,
    /// Which of the service's units it is: `legacy`, `modern`, …
    pub unit: String,
    /// What to run.
    pub runs: Runs,
    /// What each process may take.
    pub limits: ServiceLimits,
    /// How long each step may take.
    pub timeouts: Timeouts,
    /// Whether to start again after an exit.
    pub restart: RestartPolicy,
    /// The longest wait between two starts.
    pub max_delay: Duration,
    /// When it runs.
    pub start: Start,
    /// Stops after this long without a call; a later call starts it again.
    pub idle_timeout: Option<Duration>,
    /// Where stderr lines go besides the ring.
    pub log: Option<Arc<dyn LineSink>>,
}

/// What a stop keeps for the kill at its end, and the most of its time that this may take: one part in three.
const KILL_RESERVE: (Duration, u32) = (Duration::from_secs(1), 3);

impl UnitSpec {
    pub(super) fn policy(&self, stop_budget: Duration) -> Policy {
        let drain = self.timeouts.drain.min(stop_budget);
        // The whole stop has to fit its budget. Calls in flight come first, whatever they leave is the process' own.
        let rest = stop_budget.saturating_sub(drain);
        let left = rest.saturating_sub(KILL_RESERVE.0.min(rest / KILL_RESERVE.1));
        Policy {
            restart: self.restart,
            start: self.timeouts.start,
            drain,
            stop: self.timeouts.stop.min(left),
            max_delay: self.max_delay,
            lazy: self.start == Start::Lazy,
            loops: matches!(self.runs, Runs::Process(_)),
        }
    }
}

impl fmt::Debug for UnitSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("UnitSpec")
            .field("service", &self.service)
            .field("unit", &self.unit)
            .field("runs", &self.runs)
            .field("limits", &self.limits)
            .field("timeouts", &self.timeouts)
            .field("restart", &self.restart)
            .field("start", &self.start)
            .field("idle_timeout", &self.idle_timeout)
            .finish_non_exhaustive()
    }
}

/// What all units of a hub share.
#[derive(Clone, Debug)]
pub struct UnitContext {
    /// Where their tasks run.
    pub tasks: Tasks,
    /// How many may start at once.
    pub permits: Permits,
    /// The program whose `__guard` command runs [`super::process::guard::run`].
    pub guard: PathBuf,
    /// Marks the process trees of this hub; unique per run, no `/` in it.
    pub hub_id: Arc<str>,
    /// Where control groups of their processes are made, if they can be.
    pub cgroups: Option<Arc<Cgroups>>,
    /// Retires every unit when cancelled.
    pub stop: CancellationToken,
    /// The longest that drain and stop may take together.
    pub stop_budget: Duration,
}

impl UnitContext {
    /// Units that start four at once, stop with `tasks` and have 30 s for it.
    pub fn new(tasks: Tasks, guard: PathBuf) -> Self {
        Self {
            stop: tasks.stop_token(),
            tasks,
            permits: Permits::new(4),
            guard,
            hub_id: format!("{:016x}", rand::random::<u64>()).into(),
            cgroups: None,
            stop_budget: Duration::from_secs(30),
        }
    }

    /// The program that this process runs, to be its own guard: the very same file even if it was replaced since.
    ///
    /// # Errors
    /// When the system does not tell.
    pub fn own_program() -> std::io::Result<PathBuf> {
        let exe = PathBuf::from("/proc/self/exe");
        if exe.exists() { Ok(exe) } else { std::env::current_exe() }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_whole_stop_fits_its_budget(drain in 0_u64..60_000, stop in 0_u64..60_000, budget in 500_u64..60_000) {
            let [drain, stop, budget] = [drain, stop, budget].map(Duration::from_millis);
            let spec = UnitSpec {
                service: ServiceName::new("test").unwrap(),
                unit: "only".to_owned(),
                runs: Runs::Process(Command { program: "true".to_owned(), args: vec![], env: BTreeMap::new(), cwd: None }),
                timeouts: Timeouts { start: budget, drain, stop },
                restart: RestartPolicy::Always,
                max_delay: budget,
                start: Start::Eager,
                idle_timeout: None,
                log: None,
                limits: ServiceLimits::default(),
            };
            let policy = spec.policy(budget);
            prop_assert!(policy.drain + policy.stop <= budget);
            prop_assert!(policy.drain == drain.min(budget) && policy.stop <= stop);
            // Some of it is left for the kill, where calls leave any.
            prop_assert!(policy.drain == budget || policy.drain + policy.stop < budget);
        }
    }
}
