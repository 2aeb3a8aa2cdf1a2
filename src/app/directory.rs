//! The services as the admin door reports them.

use std::sync::Arc;

use super::replacing::Replacing;
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
    replacing: Replacing,
}

impl Directory {
    pub(super) fn new(gateway: Gateway, replacing: Replacing) -> Self {
        Self { gateway, replacing }
    }

    /// What has not taken over yet, and what is on its way out.
    fn others(&self, service: &Service) -> (Units, Units) {
        let next = self.replacing.next(service.name()).map(|next| next.units());
        let mut leaving = self.replacing.leaving();
        leaving.retain(|leaving| leaving.name() == service.name());
        (
            next.unwrap_or_default(),
            leaving.iter().flat_map(|service| service.leaving()).collect(),
        )
    }

    fn report(&self, service: &Service, collisions: &[Collision]) -> ServiceReport {
        let units = service.units();
        let (next, leaving) = self.others(service);
        let counts = self.gateway.catalog().counts(service.name());
        ServiceReport {
            name: service.name().to_string(),
            // Calls that wait for a successor see nothing of what leaves; operators do.
            state: state(if units.is_empty() { &leaving } else { &units }),
            restarts: units.iter().map(|(_, status)| status.restarts).sum(),
            last_exit: units
                .iter()
                .chain(&next)
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
            instances: instances(&units, &next, &leaving),
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

type Units = Vec<(Variant, Status<Connection>)>;

/// Every unit under an id of its own: several generations may be there at once.
fn instances(units: &Units, next: &Units, leaving: &Units) -> Vec<InstanceReport> {
    let mut all: Vec<InstanceReport> = Vec::new();
    for (units, suffix) in [(units, ""), (next, "-next"), (leaving, "-leaving")] {
        for (variant, status) in units {
            let name = format!("{}{suffix}", variant.label());
            let same = |id: &str| all.iter().any(|instance| instance.id == id);
            let numbers = (2..).map(|number| format!("{name}-{number}"));
            let id = std::iter::once(name.clone()).chain(numbers).find(|id| !same(id));
            all.push(InstanceReport {
                id: id.unwrap_or(name),
                state: status.state,
                pid: status.pid,
            });
        }
    }
    all
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
