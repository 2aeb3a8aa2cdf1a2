//! What holds services to their limits on this machine: found out at the start, and said once.

use std::sync::Arc;

use crate::{
    config::{self, Config},
    supervisor::process::Cgroups,
};

/// The control groups of this hub, if it may make some and the configuration wants them.
pub(super) fn find(config: &Config, hub_id: &str) -> Option<Arc<Cgroups>> {
    let found = match config.limits.cgroups {
        config::Cgroups::Auto => Cgroups::find(hub_id),
        config::Cgroups::Off => None,
    };
    tracing::info!("{}", Cgroups::describe(found.as_ref()));
    for service in config.services.values() {
        if Cgroups::leaves_cpus(found.as_ref(), &service.limits) {
            tracing::warn!(service = %service.name, "`limits.cpus` is not enforced here: there is no control group for it");
        }
    }
    found.map(Arc::new)
}

/// Gives back what [`find`] took, when no service runs any more.
pub(super) fn leave(cgroups: Option<&Cgroups>) {
    if let Some(cgroups) = cgroups {
        cgroups.leave();
    }
}
