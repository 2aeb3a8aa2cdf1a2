//! Section `log`: how much is written, how, and where.

use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tracing_subscriber::EnvFilter;

use super::{
    mistakes::{KeyPath, Mistakes},
    scalar::{Text, Whole},
};

/// How a log line looks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
#[schemars(inline)]
pub enum LogFormat {
    /// For people
    #[default]
    Text,
    /// One JSON object per line
    Json,
}

/// How much is written, how, and where. Standard output is never written to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Log {
    /// `error`, `warn`, `info`, `debug`, `trace`, or directives such as `info,mcpvisor::gateway=debug`.
    pub level: String,
    /// How a line looks on stderr and in the file.
    pub format: LogFormat,
    /// Folder of the log files; `None` means `logs` in the data folder.
    pub dir: Option<PathBuf>,
    /// How many files of the hub (one a day) and of each service are kept; 0 writes no files.
    pub keep_files: usize,
}

impl Default for Log {
    fn default() -> Self {
        Self {
            level: "info".to_owned(),
            format: LogFormat::Text,
            dir: None,
            keep_files: 7,
        }
    }
}

/// How much is written, how, and where.
#[derive(Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
#[schemars(inline)]
pub(super) struct RawLog {
    /// `error`, `warn`, `info`, `debug` or `trace`, also per part: `info,mcpvisor::gateway=debug`.
    #[schemars(extend("default" = "info"))]
    #[serde(skip_serializing_if = "Option::is_none")]
    level: Option<Text>,
    /// `text` for people, `json` for one JSON object per line.
    #[schemars(extend("default" = "text"))]
    #[serde(skip_serializing_if = "Option::is_none")]
    format: Option<LogFormat>,
    /// Folder of the log files; `logs` in the data folder if not set.
    #[serde(skip_serializing_if = "Option::is_none")]
    dir: Option<Text>,
    /// How many files of the hub (one a day) and of each service are kept; 0 writes no files.
    #[schemars(extend("default" = 7))]
    #[serde(skip_serializing_if = "Option::is_none")]
    keep_files: Option<Whole>,
}

impl RawLog {
    pub(super) fn check(self, at: &KeyPath, mistakes: &mut Mistakes) -> Log {
        let defaults = Log::default();
        let level = self.level.map_or(defaults.level, |Text(level)| level);
        if EnvFilter::try_new(&level).is_err() || level.trim().is_empty() {
            let message = format!(
                "`{level}` is not a level; use `error`, `warn`, `info`, `debug`, `trace` or `part=level` with commas"
            );
            mistakes.push(at.join("level"), message);
        }
        let keep_files = self
            .keep_files
            .map_or(defaults.keep_files, |Whole(n)| usize::try_from(n).unwrap_or(usize::MAX));
        if keep_files > 1_000 {
            mistakes.push(at.join("keep_files"), "keeps at most 1000 files");
        }
        Log {
            level,
            format: self.format.unwrap_or(defaults.format),
            dir: self.dir.map(|Text(dir)| dir.into()),
            keep_files,
        }
    }
}

impl From<&Log> for RawLog {
    fn from(log: &Log) -> Self {
        Self {
            level: Some(Text(log.level.clone())),
            format: Some(log.format),
            dir: log.dir.as_ref().map(|dir| Text(dir.display().to_string())),
            keep_files: Some(Whole(log.keep_files as u64)),
        }
    }
}
