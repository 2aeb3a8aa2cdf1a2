//! The launch line: reads the configuration, starts logs and metrics, and runs the hub.

use std::{process::ExitCode, sync::Arc, time::Duration};

use tokio::runtime;

use super::{exit::Exit, memory, output};
use crate::{
    app,
    config::{Config, Flags, Loaded},
    telemetry::{self, TelemetryGuard, metrics},
};

/// How long threads that wait for something outside (stdin, a disk) may hold up the exit.
const LAST_WAIT: Duration = Duration::from_millis(100);

/// Runs the hub until it is asked to stop.
pub(super) fn run(flags: &Flags) -> ExitCode {
    let loaded = match Config::load(flags) {
        Ok(loaded) => loaded,
        Err(error) => return output::refuse(&error),
    };
    let telemetry = match telemetry::start(&loaded.config.log, &loaded.config.data_dir) {
        Ok(telemetry) => Arc::new(telemetry),
        Err(error) => {
            output::note(&format_args!("{:#}", anyhow::Error::new(error)));
            return Exit::Configuration.into();
        }
    };
    telemetry.hide(&loaded.config.secrets());
    for warning in &loaded.warnings {
        tracing::warn!("configuration: {warning}");
    }
    if let Err(error) = metrics::install() {
        tracing::warn!("no metrics: {:#}", anyhow::Error::new(error));
    }
    let runtime = match runtime::Builder::new_multi_thread()
        .enable_all()
        .worker_threads(threads())
        .thread_name("hub")
        .on_thread_park(memory::give_back)
        .build()
    {
        Ok(runtime) => runtime,
        Err(error) => {
            output::note(&format_args!("cannot start: {error}"));
            return Exit::Failed.into();
        }
    };
    let code = runtime.block_on(hub(flags, loaded, Arc::clone(&telemetry)));
    runtime.shutdown_timeout(LAST_WAIT);
    drop(telemetry);
    code
}

/// Half of the processors: services need the other half, and calls that change threads on their way cost more than
/// they gain (measured on two: a tenth less time per call, a fifth less CPU).
fn threads() -> usize {
    std::thread::available_parallelism().map_or(1, |count| (count.get() / 2).max(1))
}

/// Hands over to the composition root.
async fn hub(flags: &Flags, loaded: Loaded, telemetry: Arc<TelemetryGuard>) -> ExitCode {
    let ended = tokio::select! {
        ended = app::run(flags, loaded, telemetry) => ended,
        never = metrics::upkeep() => match never {},
    };
    match ended {
        Ok(ending) => ending.into(),
        Err(error) => {
            let exit = if error.is_configuration() {
                Exit::Configuration
            } else {
                Exit::Failed
            };
            output::note(&format_args!("{:#}", anyhow::Error::new(error)));
            exit.into()
        }
    }
}
