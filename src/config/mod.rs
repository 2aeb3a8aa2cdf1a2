//! What is configured, read once: defaults < file < `.env` < `.env.local` < environment < flags.
//!
//! A value goes through layers (`layers`, one per file, variable and flag), `desktop` (the `mcpServers` form), `expand`
//! (`${VAR}`), `extract` (tree to raw section, all mistakes at once) and the check of its section, which makes the
//! immutable public type. Nobody else reads the environment or a configuration file. This module starts nothing, binds
//! nothing and writes nothing.

mod auth;
mod desktop;
mod diff;
mod doors;
mod dotenv;
mod expand;
mod extract;
mod format;
mod layers;
mod limits;
mod load;
mod log;
mod mistakes;
mod model;
mod name;
mod network;
mod places;
mod raw;
mod scalar;
mod schema;
mod secret;
mod sensitive;
mod service;
mod storage;
#[cfg(test)]
mod tests;
mod twin;
mod watch;

pub use auth::{Auth, McpAuth, NamedToken};
pub use diff::{Changes, diff};
pub use doors::{ADMIN_PORT, AdminDoor, HTTP_PORT, HttpDoor, Transport};
pub use format::{OpenComment, strip_comments};
pub use layers::Flags;
pub use limits::{Cgroups, Limits, Names};
pub use load::Loaded;
pub use log::{Log, LogFormat};
pub use mistakes::{ConfigError, Mistake};
pub use model::Config;
pub use name::{MAX_NAME, NameError, ServiceName, nearest as nearest_name};
pub use network::Network;
pub use places::Surroundings;
pub use schema::schema_text;
pub use secret::{MASK, Secret};
pub use sensitive::{Argument, arguments, carries_password, is_token, looks_secret};
pub use service::{
    Command, EraChoice, Placement, Prefix, Remote, RemoteTransport, Replace, Restart, RestartPolicy, Service,
    ServiceLimits, Sharing, Source, Start, Timeouts, ToolSettings, WhenDown,
};
pub use storage::Storage;
pub use watch::{Reload, Watcher};
