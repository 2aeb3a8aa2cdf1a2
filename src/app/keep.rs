//! Keeps what was learned over restarts: from the services to the database, without anybody waiting for it.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::{
    catalog::{Catalog, StoredOffers, fingerprint},
    clock::Clock,
    config::{self, Config, ServiceName},
    gateway::Keeper,
    lifecycle::Tasks,
    storage::{QueryError, Storage, StoredCatalog, StoredEra},
    upstream::{EraVerdict, Variant},
};

/// Records that may wait for the disk. More are dropped: they are learned again at the next start.
const WAITING: usize = 256;
/// Between two tries to write to a database that is locked; each try waits by itself, too.
const PAUSE: Duration = Duration::from_millis(200);
/// How long a verdict about an era is believed: a server may be updated behind the same command.
const VERDICT_TTL: Duration = Duration::from_hours(24);

enum Record {
    Catalog(Box<StoredCatalog>),
    Eras(StoredEra),
}

struct Queue {
    records: mpsc::Sender<Record>,
    clock: Clock,
}

impl Queue {
    fn push(&self, record: Record) {
        if self.records.try_send(record).is_err() {
            tracing::warn!("what a service offers could not be stored: the disk does not keep up");
        }
    }
}

impl Keeper for Queue {
    fn keep_catalog(&self, service: &config::Service, variant: Variant, stored: StoredOffers) {
        match serde_json::to_string(&stored) {
            Ok(body) => self.push(Record::Catalog(Box::new(StoredCatalog {
                service: service.name.to_string(),
                variant: variant.label(),
                fingerprint: fingerprint(service),
                body,
                updated_unix_ms: self.clock.now_unix_millis(),
            }))),
            Err(error) => tracing::warn!(service = %service.name, %error, "a catalogue could not be stored"),
        }
    }

    fn keep_eras(&self, service: &config::Service, verdict: EraVerdict) {
        self.push(Record::Eras(StoredEra {
            service: service.name.to_string(),
            fingerprint: fingerprint(service),
            legacy: verdict.legacy,
            modern: verdict.modern,
            checked_unix_ms: self.clock.now_unix_millis(),
        }));
    }
}

/// A keeper that writes behind a bounded queue; what is queued at the stop is still written.
pub(super) fn keeper(storage: &Storage, tasks: &Tasks, clock: Clock) -> Arc<dyn Keeper> {
    let (sender, mut records) = mpsc::channel(WAITING);
    let (storage, stop) = (storage.clone(), tasks.stop_token());
    tasks.spawn("app.keep", async move {
        loop {
            let record = tokio::select! {
                record = records.recv() => record,
                () = stop.cancelled() => records.try_recv().ok(),
            };
            let Some(record) = record else { return };
            if !write(&storage, &record, &stop).await {
                return;
            }
        }
    });
    Arc::new(Queue { records: sender, clock })
}

/// Writes one record. Another program may hold the database for as long as it likes: nothing is lost for that, until the hub
/// stops. `false` if it is locked at the stop, so that the others need not be tried.
async fn write(storage: &Storage, record: &Record, stop: &CancellationToken) -> bool {
    loop {
        let written = match record {
            Record::Catalog(catalog) => storage.catalogs().save(catalog).await,
            Record::Eras(eras) => storage.eras().save(eras).await,
        };
        let Err(error) = written else { return true };
        let locked = error.is_locked();
        let cause: &(dyn std::error::Error + Send + Sync) = &error;
        if !locked || stop.is_cancelled() {
            tracing::warn!(
                error = cause as &dyn std::error::Error,
                "what a service offers could not be stored"
            );
            return !locked;
        }
        tracing::warn!("what a service offers waits to be stored: another program has locked the database");
        tokio::select! {
            // SQLite tells nobody when a lock is given back.
            () = tokio::time::sleep(PAUSE) => {}
            () = stop.cancelled() => {}
        }
    }
}

/// Puts what was offered last into the catalog, for services whose command is still the same.
pub(super) async fn recall(
    storage: &Storage,
    config: &Config,
    catalog: &Catalog,
    clock: &Clock,
) -> Result<BTreeMap<ServiceName, EraVerdict>, QueryError> {
    let current = |name: &str, stored: &str| {
        let service = config.services.get(name).filter(|service| service.enabled)?;
        (fingerprint(service) == stored).then(|| service.name.clone())
    };
    for stored in storage.catalogs().load_all().await? {
        let Some(name) = current(&stored.service, &stored.fingerprint) else {
            continue;
        };
        match serde_json::from_str::<StoredOffers>(&stored.body) {
            Ok(offers) => {
                let (variant, introduction, offers) = offers.into_parts();
                catalog.learn(&name, variant, &Arc::new(introduction), &Arc::new(offers));
            }
            Err(error) => tracing::warn!(service = %name, %error, "a stored catalogue could not be read"),
        }
    }
    let mut eras = BTreeMap::new();
    for stored in storage.eras().load_all().await? {
        if clock.is_within(stored.checked_unix_ms, VERDICT_TTL)
            && let Some(name) = current(&stored.service, &stored.fingerprint)
        {
            eras.insert(
                name,
                EraVerdict {
                    legacy: stored.legacy,
                    modern: stored.modern,
                },
            );
        }
    }
    Ok(eras)
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: u64 = 3_600_000;
    const NOTED: u64 = 1000 * HOUR;

    /// A verdict that was noted at one time is believed at some others.
    #[tokio::test]
    async fn a_verdict_is_believed_for_a_day_whatever_the_clock_does() {
        let dir = tempfile::tempdir().unwrap();
        let config = Config::default();
        let storage = Storage::open(dir.path()).await.unwrap();
        let clock = Clock::standing_at(NOTED);
        let tasks = Tasks::default();
        let keeper = keeper(&storage, &tasks, clock.clone());
        let demo = config.services.values().next().unwrap();
        let spoken = EraVerdict {
            legacy: Some(true),
            modern: Some(false),
        };
        keeper.keep_eras(demo, spoken);
        while storage.eras().load_all().await.unwrap().is_empty() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        for (now, believed) in [
            (NOTED, true),
            (NOTED + 24 * HOUR - 1, true),
            (NOTED + 24 * HOUR, false),
            (NOTED - 1, false),
            (NOTED - 24 * HOUR, false),
            (NOTED + HOUR, true),
        ] {
            clock.set(now);
            let catalog = Catalog::new(100);
            let eras = recall(&storage, &config, &catalog, &clock).await.unwrap();
            assert_eq!(eras.get(&demo.name), believed.then_some(&spoken), "{now}");
        }
        tasks.stop();
    }
}
