//! Opens the database of a data folder.

use std::{io, path::Path, time::Duration};

use sqlx::{
    SqlitePool,
    migrate::{MigrateError, Migrator},
    sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous},
};

use super::{Catalogs, DataDir, Eras, Leftovers, LockError};

const FILE: &str = "mcpvisor.db";
/// How long a write waits for another writer.
const BUSY: Duration = Duration::from_secs(5);

/// The migrations, embedded. A database that a newer hub has migrated further is used as it is, so that an upgrade can be
/// undone.
static MIGRATOR: Migrator = {
    let mut migrator = sqlx::migrate!("./migrations");
    migrator.ignore_missing = true;
    migrator
};

/// Why the database could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The data folder is not ours.
    #[error(transparent)]
    Lock(#[from] LockError),
    /// The file is no database, or cannot be read or written.
    #[error("cannot open the database in `{}`", .0.display())]
    Connect(std::path::PathBuf, #[source] sqlx::Error),
    /// The file is a database of some other form.
    #[error("cannot bring the database in `{}` up to date", .0.display())]
    Migrate(std::path::PathBuf, #[source] MigrateError),
}

/// Why the database did not do what it should. Nothing was changed.
#[derive(Debug, thiserror::Error)]
#[error("the database did not {act}")]
pub struct QueryError {
    act: &'static str,
    #[source]
    cause: sqlx::Error,
}

impl QueryError {
    /// For `map_err`: `act` completes "the database did not …".
    pub(super) fn when(act: &'static str) -> impl FnOnce(sqlx::Error) -> Self {
        move |cause| Self { act, cause }
    }

    /// Whether another program holds the database, which may be over at the next try.
    pub fn is_locked(&self) -> bool {
        matches!(&self.cause, sqlx::Error::PoolTimedOut)
            || self.code().is_some_and(|code| {
                // SQLITE_BUSY 5, SQLITE_LOCKED 6, in the low byte of the extended code.
                [5, 6].contains(&(code & 0xff))
            })
    }

    fn code(&self) -> Option<u32> {
        self.cause.as_database_error()?.code()?.parse().ok()
    }

    /// Whether the disk is to blame: full, read-only or broken.
    pub fn is_disk(&self) -> bool {
        matches!(&self.cause, sqlx::Error::Io(error) if error.kind() != io::ErrorKind::NotFound)
            || self.code().is_some_and(|code| {
                // SQLITE_READONLY 8, SQLITE_IOERR 10, SQLITE_FULL 13, in the low byte of the extended code.
                [8, 10, 13].contains(&(code & 0xff))
            })
    }
}

/// The database of one data folder. Clones share connections and lock.
#[derive(Clone, Debug)]
pub struct Storage {
    pool: SqlitePool,
    data_dir: DataDir,
}

impl Storage {
    /// Locks `data_dir`, makes folder and database if they are not there, and brings the database up to date.
    ///
    /// # Errors
    /// [`OpenError`]: another hub has the folder, the system refuses, or the file is no database of ours.
    pub async fn open(data_dir: &Path) -> Result<Self, OpenError> {
        Self::open_in(DataDir::lock(data_dir)?).await
    }

    /// Like [`Self::open`], in a folder that is locked already.
    ///
    /// # Errors
    /// [`OpenError`]: the system refuses, or the file is no database of ours.
    pub async fn open_in(data_dir: DataDir) -> Result<Self, OpenError> {
        let file = data_dir.path().join(FILE);
        let options = SqliteConnectOptions::new()
            .filename(&file)
            .create_if_missing(true)
            .journal_mode(SqliteJournalMode::Wal)
            // A commit survives power loss; NORMAL would only survive the end of the process.
            .synchronous(SqliteSynchronous::Full)
            .busy_timeout(BUSY)
            .statement_cache_capacity(16)
            .pragma("cache_size", "-256");
        let pool = SqlitePoolOptions::new()
            .max_connections(2)
            .acquire_timeout(BUSY)
            .idle_timeout(Duration::from_mins(1))
            .test_before_acquire(false)
            .connect_with(options)
            .await
            .map_err(|cause| OpenError::Connect(file.clone(), cause))?;
        migrate(&pool).await.map_err(|cause| OpenError::Migrate(file, cause))?;
        Ok(Self { pool, data_dir })
    }

    /// The folder.
    pub fn data_dir(&self) -> &DataDir {
        &self.data_dir
    }

    /// What services listed when they last ran.
    pub fn catalogs(&self) -> Catalogs {
        Catalogs(self.pool.clone())
    }

    /// Which eras services speak.
    pub fn eras(&self) -> Eras {
        Eras(self.pool.clone())
    }

    /// Process trees that hubs may have left.
    pub fn leftovers(&self) -> Leftovers {
        Leftovers(self.pool.clone())
    }

    /// Finishes what is under way and closes the file; without it, the next hub has the write-ahead log to read.
    pub async fn close(self) {
        self.pool.close().await;
    }
}

/// Brings the database up to date. A migration that power loss undoes is simply done again, so that it need not wait for the
/// disk: that would be most of the time that opening a new folder takes.
async fn migrate(pool: &SqlitePool) -> Result<(), MigrateError> {
    let mut connection = pool.acquire().await?;
    sqlx::query("pragma synchronous = normal")
        .execute(&mut *connection)
        .await?;
    MIGRATOR.run(&mut *connection).await?;
    sqlx::query("pragma synchronous = full")
        .execute(&mut *connection)
        .await?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_new_folder_and_an_old_one_open() {
        let dir = tempfile::tempdir().unwrap();
        let storage = Storage::open(dir.path()).await.unwrap();
        let journal: String = sqlx::query_scalar("pragma journal_mode")
            .fetch_one(&storage.pool)
            .await
            .unwrap();
        let synchronous: i64 = sqlx::query_scalar("pragma synchronous")
            .fetch_one(&storage.pool)
            .await
            .unwrap();
        assert_eq!((journal.as_str(), synchronous), ("wal", 2));
        assert!(matches!(
            Storage::open(dir.path()).await,
            Err(OpenError::Lock(LockError::InUse { .. }))
        ));
        storage.close().await;
        Storage::open(dir.path()).await.unwrap().close().await;
    }

    #[tokio::test]
    async fn a_file_that_is_no_database_is_told_and_kept() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join(FILE);
        let content = "this is not what SQLite writes\n".repeat(100);
        std::fs::write(&file, &content).unwrap();
        let error = Storage::open(dir.path()).await.unwrap_err();
        assert!(error.to_string().contains("mcpvisor.db"), "{error}");
        assert_eq!(std::fs::read_to_string(file).unwrap(), content);
    }

    #[tokio::test]
    async fn a_newer_database_can_be_used() {
        let dir = tempfile::tempdir().unwrap();
        let storage = Storage::open(dir.path()).await.unwrap();
        sqlx::query(
            "insert into _sqlx_migrations (version, description, success, checksum, execution_time) values (9999, 'later', true, x'00', 0)",
        )
        .execute(&storage.pool)
        .await
        .unwrap();
        storage.close().await;
        Storage::open(dir.path()).await.unwrap().close().await;
    }
}
