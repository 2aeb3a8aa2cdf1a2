//! What the operator asks for by signal: SIGTERM and SIGINT stop (a second one hurries), SIGHUP
//! reloads the configuration.

use std::io;

use futures_util::StreamExt;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use tokio::sync::watch;

use super::Tasks;

/// Counts the reloads asked for; see [`Reloads::asked`].
#[derive(Clone, Debug)]
pub struct Reloads(watch::Receiver<u64>);

impl Reloads {
    /// Resolves when SIGHUP came since the last call. Several that came meanwhile count as one.
    /// Never resolves once the process stops.
    pub async fn asked(&mut self) {
        if self.0.changed().await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}

/// Takes over SIGTERM, SIGINT and SIGHUP for the rest of the process's life.
///
/// # Errors
/// When the system refuses the handlers.
pub fn install(tasks: &Tasks) -> io::Result<Reloads> {
    let mut signals = signal_hook_tokio::Signals::new([SIGTERM, SIGINT, SIGHUP])?;
    let (reload, reloads) = watch::channel(0);
    // Not on the roll of tasks: it must hear the second signal while the others are waited for,
    // and would itself be waited for.
    let t = tasks.clone();
    Tasks::spawn_unwaited(async move {
        while let Some(signal) = signals.next().await {
            let name = signal_hook::low_level::signal_name(signal).unwrap_or("a signal");
            if signal == SIGHUP {
                tracing::info!(signal.name = name, "reload asked by {name}");
                reload.send_modify(|n| *n += 1);
            } else if t.is_stopping() {
                tracing::warn!(signal.name = name, "hurrying: {name} while stopping");
                t.hurry();
            } else {
                tracing::info!(signal.name = name, "stopping: {name}");
                t.stop();
            }
        }
    });
    Ok(Reloads(reloads))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const SOON: Duration = Duration::from_secs(5);

    /// One test for all, because signals reach the whole test process.
    #[tokio::test]
    async fn signals_reach_the_tasks() {
        let tasks = Tasks::default();
        let mut reloads = install(&tasks).unwrap();
        signal_hook::low_level::raise(SIGHUP).unwrap();
        tokio::time::timeout(SOON, reloads.asked()).await.unwrap();
        assert!(!tasks.is_stopping());
        signal_hook::low_level::raise(SIGTERM).unwrap();
        tokio::time::timeout(SOON, tasks.stopping()).await.unwrap();
        assert!(!tasks.is_hurrying());
        signal_hook::low_level::raise(SIGTERM).unwrap();
        tokio::time::timeout(SOON, tasks.hurrying()).await.unwrap();
    }
}
