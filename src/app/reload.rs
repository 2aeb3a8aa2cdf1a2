//! Follows the configuration's files and SIGHUP.

use std::sync::Arc;

use super::services::Launcher;
use crate::{
    config::{Flags, Loaded, Watcher},
    lifecycle::{Tasks, signals::Reloads},
    telemetry::{TelemetryGuard, names},
};

/// Applies every good new configuration until the hub stops.
pub(super) fn follow(
    flags: &Flags,
    loaded: &Loaded,
    launcher: Launcher,
    telemetry: Arc<TelemetryGuard>,
    mut reloads: Reloads,
    tasks: &Tasks,
) {
    let (watcher, reload, mut configs) = Watcher::new(flags, loaded);
    let (stop, stopping) = (tasks.stop_token(), tasks.stop_token());
    tasks.spawn("config.watch", async move { watcher.run(stop.cancelled_owned()).await });
    let mut current = Arc::clone(&configs.borrow_and_update());
    tasks.spawn("app.reload", async move {
        loop {
            tokio::select! {
                () = stopping.cancelled() => return,
                () = reloads.asked() => reload.now(),
                changed = configs.changed() => {
                    if changed.is_err() {
                        return;
                    }
                    let next = Arc::clone(&configs.borrow_and_update());
                    telemetry.hide(&next.secrets());
                    if next.log.level != current.log.level
                        && let Err(error) = telemetry.set_level(&next.log.level)
                    {
                        tracing::warn!(%error, "the log level stays as it is");
                    }
                    metrics::counter!(names::RELOADS).increment(1);
                    launcher.apply(&current, &next);
                    current = next;
                }
            }
        }
    });
}
