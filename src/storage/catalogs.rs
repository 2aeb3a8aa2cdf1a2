//! The last good listing of each service.

use sqlx::SqlitePool;

use super::QueryError;

/// What one service listed to one kind of connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredCatalog {
    /// The service.
    pub service: String,
    /// The kind of connection it was listed to, such as `legacy`.
    pub variant: String,
    /// Of what the service was configured to run; another one makes the listing worthless.
    pub fingerprint: String,
    /// The listing, as JSON.
    pub body: String,
    /// When, in milliseconds since 1970 UTC.
    pub updated_unix_ms: u64,
}

/// The stored listings.
#[derive(Clone, Debug)]
pub struct Catalogs(pub(super) SqlitePool);

impl Catalogs {
    /// All of them, by service and variant.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn load_all(&self) -> Result<Vec<StoredCatalog>, QueryError> {
        let rows: Vec<(String, String, String, String, i64)> = sqlx::query_as(
            "select service, variant, fingerprint, body, updated_unix_ms from catalog order by service, variant",
        )
        .fetch_all(&self.0)
        .await
        .map_err(QueryError::when("list the stored catalogues"))?;
        let stored = rows
            .into_iter()
            .map(|(service, variant, fingerprint, body, updated)| StoredCatalog {
                service,
                variant,
                fingerprint,
                body,
                updated_unix_ms: updated.unsigned_abs(),
            });
        Ok(stored.collect())
    }

    /// Stores `catalog`, in place of the one with the same service and variant. Durable when it returns.
    ///
    /// # Errors
    /// When it could not be stored.
    pub async fn save(&self, catalog: &StoredCatalog) -> Result<(), QueryError> {
        sqlx::query(
            "insert into catalog (service, variant, fingerprint, body, updated_unix_ms) values ($1, $2, $3, $4, $5)
             on conflict (service, variant) do update set
             fingerprint = excluded.fingerprint, body = excluded.body, updated_unix_ms = excluded.updated_unix_ms",
        )
        .bind(&catalog.service)
        .bind(&catalog.variant)
        .bind(&catalog.fingerprint)
        .bind(&catalog.body)
        .bind(i64::try_from(catalog.updated_unix_ms).unwrap_or(i64::MAX))
        .execute(&self.0)
        .await
        .map_err(QueryError::when("store a catalogue"))?;
        Ok(())
    }

    /// Forgets all listings of `service`.
    ///
    /// # Errors
    /// When they could not be removed.
    pub async fn remove(&self, service: &str) -> Result<(), QueryError> {
        sqlx::query("delete from catalog where service = $1")
            .bind(service)
            .execute(&self.0)
            .await
            .map_err(QueryError::when("remove a catalogue"))?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::storage::Storage;

    #[tokio::test]
    async fn listings_survive_a_restart() {
        let dir = tempfile::tempdir().unwrap();
        let catalog = |service: &str, variant: &str, body: &str| StoredCatalog {
            service: service.to_owned(),
            variant: variant.to_owned(),
            fingerprint: "f".to_owned(),
            body: body.to_owned(),
            updated_unix_ms: 1_763_700_000_000,
        };
        let storage = Storage::open(dir.path()).await.unwrap();
        for stored in [
            catalog("time", "legacy", "1"),
            catalog("git", "modern", "2"),
            catalog("time", "legacy", "3"),
            catalog("time", "modern", "4"),
        ] {
            storage.catalogs().save(&stored).await.unwrap();
        }
        storage.close().await;
        let storage = Storage::open(dir.path()).await.unwrap();
        let expected = [
            catalog("git", "modern", "2"),
            catalog("time", "legacy", "3"),
            catalog("time", "modern", "4"),
        ];
        assert_eq!(storage.catalogs().load_all().await.unwrap(), expected);
        storage.catalogs().remove("time").await.unwrap();
        assert_eq!(storage.catalogs().load_all().await.unwrap(), expected[..1]);
    }
}
