//! The command line: a file per subcommand. Without one, the launch line: the hub runs.
//!
//! Standard output belongs to MCP on the launch line; only subcommands print there.

mod args;
mod bench;
mod check;
mod completions;
mod connect;
mod demo_server;
mod exit;
mod health;
mod import;
mod manual;
mod memory;
mod output;
mod run;
mod schema;
mod serve;

pub use run::run;
