//! From a configured service to the units that run it.

use std::{collections::BTreeMap, path::PathBuf, sync::Arc, time::Duration};

use crate::{
    config::{self, Source},
    supervisor::{Command, LineSink, RestartPolicy, Runs, Start, Timeouts, UnitSpec},
    telemetry::ChildLog,
    upstream::{Describe, Target, Variant},
};

/// How long a connection beside the first one stays without a call, where nothing is set.
const EXTRA_IDLE: Duration = Duration::from_mins(10);

/// What units need to know of the hub.
pub(super) struct Surroundings {
    /// The hub's own binary, which is also the demo server.
    pub(super) own_binary: PathBuf,
    /// How long calls in flight are waited for before a stop.
    pub(super) drain: Duration,
    /// The longest message taken of a service, in bytes.
    pub(super) line_limit: usize,
    /// Opens the log of a service.
    pub(super) log: Box<dyn Fn(&config::ServiceName) -> ChildLog + Send + Sync>,
}

struct Log(ChildLog);

impl LineSink for Log {
    fn write_line(&self, line: &str) {
        self.0.write_line(line);
    }
}

/// Describes the unit of each variant.
pub(super) fn describe(surroundings: Surroundings) -> Arc<Describe> {
    Arc::new(move |service, variant, first| unit(&surroundings, service, variant, first))
}

fn unit(surroundings: &Surroundings, service: &config::Service, variant: &Variant, first: bool) -> UnitSpec {
    let start = match (service.enabled, first, service.start) {
        (false, _, _) => Start::Disabled,
        (true, true, config::Start::Eager) => Start::Eager,
        (true, true, config::Start::Lazy) | (true, false, _) => Start::Lazy,
    };
    UnitSpec {
        service: service.name.clone(),
        unit: variant.label(),
        runs: runs(surroundings, service),
        limits: service.limits,
        timeouts: Timeouts {
            start: service.timeouts.start,
            drain: surroundings.drain,
            stop: service.timeouts.stop,
        },
        restart: match service.restart.policy {
            config::RestartPolicy::Always => RestartPolicy::Always,
            config::RestartPolicy::OnFailure => RestartPolicy::OnFailure,
            config::RestartPolicy::Never => RestartPolicy::Never,
        },
        max_delay: service.restart.max_delay,
        start,
        idle_timeout: service.idle_timeout.or((!first).then_some(EXTRA_IDLE)),
        log: Some(Arc::new(Log((surroundings.log)(&service.name)))),
    }
}

fn runs(surroundings: &Surroundings, service: &config::Service) -> Runs {
    match &service.source {
        Source::Demo => Runs::Process(Command {
            program: surroundings.own_binary.display().to_string(),
            args: vec!["demo-server".to_owned()],
            env: BTreeMap::new(),
            cwd: None,
        }),
        Source::Remote(remote) => Runs::Attached(Arc::new(Target {
            service: service.name.clone(),
            url: remote.url.clone(),
            transport: remote.transport,
            headers: remote.header_map(),
            limit: surroundings.line_limit,
        })),
        Source::Command(command) => Runs::Process(Command {
            program: command.program.clone(),
            args: command.args.clone(),
            env: command
                .env
                .iter()
                .map(|(name, value)| (name.clone(), value.expose().clone()))
                .collect(),
            cwd: command.cwd.clone(),
        }),
    }
}
