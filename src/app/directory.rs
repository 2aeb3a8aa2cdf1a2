//! The services as the admin door reports them.

use std::sync::Arc;

use crate::{
    admin::{CollisionReport, Counts, Exit, InstanceReport, ServiceDirectory, ServiceReport},
    catalog::Collision,
    gateway::Gateway,
    supervisor::{State, Status},
    upstream::{Connection, ListKind, Service, Variant},
};

/// Reads states from the supervisor and counts from the catalog.
#[derive(Debug)]
pub(super) struct Directory {
    gateway: Gateway,
}

impl Directory {
    pub(super) fn new(gateway: Gateway) -> Self {
        Self { gateway }
    }

    fn report(&self, service: &Service, collisions: &[Collision]) -> ServiceReport {
        let units = service.units();
        let counts = self.gateway.catalog().counts(service.name());
        ServiceReport {
            name: service.name().to_string(),
            state: state(&units),
            restarts: units.iter().map(|(_, status)| status.restarts).sum(),
            last_exit: units
                .iter()
                .filter_map(|(_, status)| status.last_exit.as_ref())
                // An end that was asked for explains nothing.
                .filter(|exit| !exit.asked)
                .max_by_key(|exit| exit.at)
                .map(|exit| Exit {
                    reason: exit.reason.to_string(),
                    detail: exit.detail.clone(),
                    code: exit.code,
                    signal: exit.signal,
                    stderr: exit.stderr.clone(),
                }),
            counts: Counts {
                tools: counts.tools,
                resources: counts.resources,
                prompts: counts.prompts,
            },
            instances: units
                .iter()
                .map(|(variant, status)| InstanceReport {
                    id: variant.label(),
                    state: status.state,
                    pid: status.pid,
                })
                .collect(),
            collisions: collisions
                .iter()
                .filter(|collision| collision.service == *service.name())
                .map(|collision| CollisionReport {
                    kind: kind(collision.kind),
                    name: collision.exposed.to_string(),
                    holder: collision.holder.to_string(),
                })
                .collect(),
        }
    }
}

fn kind(list: ListKind) -> &'static str {
    match list {
        ListKind::Tools => "tool",
        ListKind::Resources => "resource",
        ListKind::Templates => "resource_template",
        ListKind::Prompts => "prompt",
    }
}

/// The state of the unit that is best off: a service is up if one of its connections is.
fn state(units: &[(Variant, Status<Connection>)]) -> State {
    let rank = |state: State| match state {
        State::Ready => 0,
        State::Degraded => 1,
        State::Handshaking => 2,
        State::Spawning => 3,
        State::Queued => 4,
        State::Draining => 5,
        State::Stopping => 6,
        State::Backoff => 7,
        State::CrashLoop => 8,
        State::Misconfigured => 9,
        State::Stopped => 10,
        State::Disabled => 11,
    };
    units
        .iter()
        .map(|(_, status)| status.state)
        .min_by_key(|state| rank(*state))
        .unwrap_or(State::Stopped)
}

impl ServiceDirectory for Directory {
    fn list(&self) -> Vec<ServiceReport> {
        let services: Vec<Arc<Service>> = self.gateway.services();
        let collisions = self.gateway.catalog().collisions();
        services
            .iter()
            .map(|service| self.report(service, &collisions))
            .collect()
    }
}
