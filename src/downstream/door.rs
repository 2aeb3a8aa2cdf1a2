//! What every request over HTTP needs at hand.

use std::sync::Arc;

use tokio_util::sync::CancellationToken;

use super::{
    duplex::Connections,
    endpoint::{Endpoint, Endpoints},
    http::{
        access::{Access, Caller},
        pulse::Pulse,
    },
    streamable::{Bounds, Sessions},
};
use crate::{
    config::{Config, Limits},
    gateway::Gateway,
    lifecycle::{Readiness, Tasks},
};

/// The MCP-over-HTTP door.
#[derive(Debug)]
pub(crate) struct Door {
    pub(crate) gateway: Gateway,
    pub(crate) access: Access,
    pub(crate) endpoints: Endpoints,
    pub(crate) sessions: Sessions,
    pub(crate) connections: Connections,
    pub(crate) limits: Limits,
    pub(crate) bounds: Bounds,
    pub(crate) tasks: Tasks,
    pub(crate) readiness: Readiness,
    /// Cancelled when the door closes: streams that only wait end, calls in flight go on.
    pub(crate) closing: CancellationToken,
}

impl Door {
    pub(super) fn new(config: &Config, gateway: Gateway, tasks: &Tasks, readiness: Readiness) -> Self {
        let access = Access::mcp(&config.network, &config.auth);
        Self {
            gateway,
            endpoints: Endpoints::new(access.principals()),
            access,
            sessions: Sessions::new(config.limits.max_sessions, config.limits.session_ttl),
            connections: Connections::default(),
            limits: config.limits.clone(),
            bounds: Bounds::of(&config.limits),
            tasks: tasks.clone(),
            readiness,
            closing: CancellationToken::new(),
        }
    }
}

/// A request that was let in: by whom, and to what.
#[derive(Clone, Debug)]
pub(crate) struct Visit {
    pub(crate) door: Arc<Door>,
    pub(crate) endpoint: Arc<Endpoint>,
    pub(crate) caller: Caller,
    pub(crate) pulse: Arc<Pulse>,
}
