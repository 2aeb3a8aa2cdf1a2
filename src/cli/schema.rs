//! `mcpvisor schema`: the JSON schema of the configuration file, as committed in `docs/config.schema.json`.

use std::process::ExitCode;

use super::output;
use crate::config;

/// Prints the schema.
pub(super) fn run() -> ExitCode {
    output::answer(&config::schema_text())
}
