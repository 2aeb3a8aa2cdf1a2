//! The services as the admin door reports them.

use std::sync::Arc;

use arc_swap::ArcSwap;

use crate::{config::Config, gateway::Gateway};

/// Reads states from the supervisor and counts from the catalog.
#[derive(Debug)]
pub(super) struct Directory {
    gateway: Gateway,
    config: ArcSwap<Config>,
}

impl Directory {
    pub(super) fn new(gateway: Gateway, config: Arc<Config>) -> Self {
        Self {
            gateway,
            config: ArcSwap::new(config),
        }
    }

    /// Takes over a new configuration.
    pub(super) fn reconfigure(&self, config: Arc<Config>) {
        self.config.store(config);
    }
}
