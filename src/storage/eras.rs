//! Which protocol eras each service spoke when it was asked.

use sqlx::SqlitePool;

use super::QueryError;

/// What one service said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredEra {
    /// The service.
    pub service: String,
    /// Of what the service was configured to run; another one makes the verdict worthless.
    pub fingerprint: String,
    /// Whether it speaks the legacy era; `None` if it was not asked.
    pub legacy: Option<bool>,
    /// Whether it speaks the modern era; `None` if it was not asked.
    pub modern: Option<bool>,
    /// When, in milliseconds since 1970 UTC.
    pub checked_unix_ms: u64,
}

type Row = (String, String, Option<bool>, Option<bool>, i64);

/// The stored verdicts.
#[derive(Clone, Debug)]
pub struct Eras(pub(super) SqlitePool);

impl Eras {
    /// All of them, by service.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn load_all(&self) -> Result<Vec<StoredEra>, QueryError> {
        let rows: Vec<Row> =
            sqlx::query_as("select service, fingerprint, legacy, modern, checked_unix_ms from era order by service")
                .fetch_all(&self.0)
                .await
                .map_err(QueryError::when("list the stored eras"))?;
        let stored = rows
            .into_iter()
            .map(|(service, fingerprint, legacy, modern, checked)| StoredEra {
                service,
                fingerprint,
                legacy,
                modern,
                checked_unix_ms: checked.unsigned_abs(),
            });
        Ok(stored.collect())
    }

    /// Stores `era`, in place of what was known of the service. Durable when it returns.
    ///
    /// # Errors
    /// When it could not be stored.
    pub async fn save(&self, era: &StoredEra) -> Result<(), QueryError> {
        sqlx::query(
            "insert into era (service, fingerprint, legacy, modern, checked_unix_ms) values ($1, $2, $3, $4, $5)
             on conflict (service) do update set
             fingerprint = excluded.fingerprint, legacy = excluded.legacy, modern = excluded.modern,
             checked_unix_ms = excluded.checked_unix_ms",
        )
        .bind(&era.service)
        .bind(&era.fingerprint)
        .bind(era.legacy)
        .bind(era.modern)
        .bind(i64::try_from(era.checked_unix_ms).unwrap_or(i64::MAX))
        .execute(&self.0)
        .await
        .map_err(QueryError::when("store an era"))?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::storage::Storage;

    #[tokio::test]
    async fn the_last_verdict_counts() {
        let dir = tempfile::tempdir().unwrap();
        let storage = Storage::open(dir.path()).await.unwrap();
        let mut era = StoredEra {
            service: "time".to_owned(),
            fingerprint: "f".to_owned(),
            legacy: Some(true),
            modern: None,
            checked_unix_ms: 5,
        };
        storage.eras().save(&era).await.unwrap();
        era.modern = Some(false);
        storage.eras().save(&era).await.unwrap();
        assert_eq!(storage.eras().load_all().await.unwrap(), [era]);
    }
}
