//! Section `storage`: databases beside the built-in one. Accepted and kept; nothing uses them in this version.

use std::path::Path;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{
    mistakes::{KeyPath, Mistakes},
    scalar::Text,
    secret::Secret,
    twin::{Files, twin},
};

/// Databases beside the built-in one.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Storage {
    /// A PostgreSQL address, also from `DATABASE_URL`.
    pub database_url: Option<Secret<String>>,
    /// A Redis address, also from `REDIS_URL`.
    pub redis_url: Option<Secret<String>>,
}

/// Databases beside the built-in one. Accepted, not used by this version.
#[derive(Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
#[schemars(inline)]
pub(super) struct RawStorage {
    /// A PostgreSQL address; also taken from `DATABASE_URL`.
    #[serde(skip_serializing_if = "Option::is_none")]
    database_url: Option<Secret<String>>,
    /// A file that holds the PostgreSQL address.
    #[serde(skip_serializing_if = "Option::is_none")]
    database_url_file: Option<Text>,
    /// A Redis address; also taken from `REDIS_URL`.
    #[serde(skip_serializing_if = "Option::is_none")]
    redis_url: Option<Secret<String>>,
    /// A file that holds the Redis address.
    #[serde(skip_serializing_if = "Option::is_none")]
    redis_url_file: Option<Text>,
}

impl RawStorage {
    pub(super) fn check(self, at: &KeyPath, files: &mut Files, mistakes: &mut Mistakes) -> Storage {
        let path = |file: &Option<Text>| file.as_ref().map(|Text(file)| Path::new(file).to_owned());
        let (database, redis) = (path(&self.database_url_file), path(&self.redis_url_file));
        Storage {
            database_url: twin(
                "database_url",
                self.database_url,
                database.as_deref(),
                at,
                files,
                mistakes,
            ),
            redis_url: twin("redis_url", self.redis_url, redis.as_deref(), at, files, mistakes),
        }
    }
}

impl From<&Storage> for RawStorage {
    fn from(storage: &Storage) -> Self {
        Self {
            database_url: storage.database_url.clone(),
            redis_url: storage.redis_url.clone(),
            ..Self::default()
        }
    }
}
