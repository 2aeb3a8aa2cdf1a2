//! Process trees that hubs may have left: written at every start, removed when nothing is left, and read
//! by the next hub.

use sqlx::SqlitePool;

use super::QueryError;
use crate::clock;

/// One run of a hub on this data folder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HubRun {
    /// Names the run; the process trees it started carry it.
    pub hub_id: String,
    /// The hub's process.
    pub pid: u32,
    /// When that process started, in ticks since boot; 0 where the system does not tell.
    pub start_time: u64,
    /// The boot that this process number belongs to.
    pub boot_id: String,
}

impl HubRun {
    /// This process, under the name `hub_id`.
    pub fn of_this_process(hub_id: &str) -> Self {
        let pid = std::process::id();
        Self {
            hub_id: hub_id.to_owned(),
            pid,
            start_time: clock::process_start_time(pid).unwrap_or(0),
            boot_id: clock::boot_id().to_owned(),
        }
    }

    /// Whether that very process still runs.
    pub fn is_running(&self) -> bool {
        self.boot_id == clock::boot_id() && clock::process_start_time(self.pid) == Some(self.start_time)
    }
}

/// A process under one of a hub's guards.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Leftover {
    /// The run that started it.
    pub hub_id: String,
    /// The service it serves.
    pub service: String,
    /// The process.
    pub pid: u32,
    /// When it started, in ticks since boot; 0 where the system does not tell.
    pub start_time: u64,
    /// The boot that this process number belongs to.
    pub boot_id: String,
    /// Its process group.
    pub pgid: u32,
}

/// The records.
#[derive(Clone, Debug)]
pub struct Leftovers(pub(super) SqlitePool);

impl Leftovers {
    /// Records a run of a hub, before its first process.
    ///
    /// # Errors
    /// When it could not be stored.
    pub async fn begin(&self, run: &HubRun) -> Result<(), QueryError> {
        sqlx::query(
            "insert into hub (hub_id, pid, start_time, boot_id, begun_unix_ms) values ($1, $2, $3, $4, $5)
             on conflict (hub_id) do nothing",
        )
        .bind(&run.hub_id)
        .bind(run.pid)
        .bind(signed(run.start_time))
        .bind(&run.boot_id)
        .bind(signed(clock::now_unix_millis()))
        .execute(&self.0)
        .await
        .map_err(QueryError::when("record this run"))?;
        Ok(())
    }

    /// All recorded runs.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn runs(&self) -> Result<Vec<HubRun>, QueryError> {
        let rows: Vec<(String, u32, i64, String)> =
            sqlx::query_as("select hub_id, pid, start_time, boot_id from hub order by begun_unix_ms")
                .fetch_all(&self.0)
                .await
                .map_err(QueryError::when("list earlier runs"))?;
        let runs = rows.into_iter().map(|(hub_id, pid, start_time, boot_id)| HubRun {
            hub_id,
            pid,
            start_time: start_time.unsigned_abs(),
            boot_id,
        });
        Ok(runs.collect())
    }

    /// Forgets a run and all it recorded.
    ///
    /// # Errors
    /// When it could not be removed.
    pub async fn end(&self, hub_id: &str) -> Result<(), QueryError> {
        let failed = "forget a run";
        let mut change = self.0.begin().await.map_err(QueryError::when(failed))?;
        for statement in [
            "delete from leftover where hub_id = $1",
            "delete from hub where hub_id = $1",
        ] {
            sqlx::query(statement)
                .bind(hub_id)
                .execute(&mut *change)
                .await
                .map_err(QueryError::when(failed))?;
        }
        change.commit().await.map_err(QueryError::when(failed))
    }

    /// Forgets the processes `gone` of run `hub_id` and records `new` ones, all or nothing: those that would have to be killed if
    /// that hub were gone.
    ///
    /// # Errors
    /// When it could not be stored.
    pub async fn change(&self, hub_id: &str, gone: &[u32], new: &[Leftover]) -> Result<(), QueryError> {
        let failed = "record processes";
        let mut change = self.0.begin().await.map_err(QueryError::when(failed))?;
        for pid in gone {
            sqlx::query("delete from leftover where hub_id = $1 and pid = $2")
                .bind(hub_id)
                .bind(pid)
                .execute(&mut *change)
                .await
                .map_err(QueryError::when(failed))?;
        }
        for leftover in new {
            sqlx::query(
                "insert or replace into leftover (hub_id, service, pid, start_time, boot_id, pgid)
                 values ($1, $2, $3, $4, $5, $6)",
            )
            .bind(hub_id)
            .bind(&leftover.service)
            .bind(leftover.pid)
            .bind(signed(leftover.start_time))
            .bind(&leftover.boot_id)
            .bind(leftover.pgid)
            .execute(&mut *change)
            .await
            .map_err(QueryError::when(failed))?;
        }
        change.commit().await.map_err(QueryError::when(failed))
    }

    /// All recorded processes.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn load_all(&self) -> Result<Vec<Leftover>, QueryError> {
        let rows: Vec<(String, String, u32, i64, String, u32)> =
            sqlx::query_as("select hub_id, service, pid, start_time, boot_id, pgid from leftover order by hub_id, pid")
                .fetch_all(&self.0)
                .await
                .map_err(QueryError::when("list recorded processes"))?;
        let leftovers = rows
            .into_iter()
            .map(|(hub_id, service, pid, start_time, boot_id, pgid)| Leftover {
                hub_id,
                service,
                pid,
                start_time: start_time.unsigned_abs(),
                boot_id,
                pgid,
            });
        Ok(leftovers.collect())
    }
}

fn signed(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::storage::Storage;

    #[tokio::test]
    async fn records_come_and_go() {
        let dir = tempfile::tempdir().unwrap();
        let storage = Storage::open(dir.path()).await.unwrap();
        let (leftovers, run) = (storage.leftovers(), HubRun::of_this_process("run"));
        assert!(run.is_running());
        leftovers.begin(&run).await.unwrap();
        let record = |pid| Leftover {
            hub_id: "run".to_owned(),
            service: "time".to_owned(),
            pid,
            start_time: 7,
            boot_id: "boot".to_owned(),
            pgid: pid,
        };
        leftovers.change("run", &[], &[record(1), record(2)]).await.unwrap();
        leftovers.change("other", &[1], &[]).await.unwrap();
        assert_eq!(leftovers.load_all().await.unwrap(), [record(1), record(2)]);
        leftovers.change("run", &[1], &[record(2)]).await.unwrap();
        assert_eq!(leftovers.load_all().await.unwrap(), [record(2)]);
        assert_eq!(leftovers.runs().await.unwrap(), [run]);
        leftovers.end("run").await.unwrap();
        assert_eq!(leftovers.load_all().await.unwrap(), []);
        assert_eq!(leftovers.runs().await.unwrap(), []);
    }
}
