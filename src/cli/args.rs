//! The launch line and the subcommands, as clap sees them.

use std::{net::IpAddr, path::PathBuf};

use clap::{Args, Parser, Subcommand};
use clap_complete::Shell;

use super::{bench, connect, manual};
use crate::config::{Flags, LogFormat, Transport};

/// One binary that runs, watches and serves all your MCP servers
#[derive(Debug, Parser)]
#[command(
    name = "mcpvisor",
    version,
    about,
    long_about = manual::ABOUT,
    after_long_help = manual::MANUAL,
    after_help = "`mcpvisor --help` is the whole manual.",
    args_conflicts_with_subcommands = true,
    subcommand_negates_reqs = true,
    max_term_width = 110,
    disable_help_subcommand = true
)]
pub(super) struct Cli {
    #[command(subcommand)]
    pub(super) command: Option<Command>,
    #[command(flatten)]
    pub(super) launch: Launch,
}

/// What the hub is started with
#[derive(Debug, Args)]
pub(super) struct Launch {
    /// Doors for MCP clients [default: both]
    #[arg(long, value_enum, value_name = "DOORS", hide_possible_values = true)]
    #[arg(long_help = "Doors for MCP clients [default: both]\n\
        stdio: one client on stdin and stdout\n\
        sse:   MCP over HTTP: /mcp, /sse and /ws\n\
        both:  both of them")]
    transport: Option<Transport>,
    /// Open the admin door: health, metrics and the state of services
    #[arg(long)]
    admin: bool,
    #[command(flatten)]
    files: Files,
    /// Address of the MCP door [default: 127.0.0.1]
    #[arg(long, value_name = "ADDRESS", value_parser = address)]
    host: Option<String>,
    /// Port of the MCP door, 0 for any free one [default: 9090]
    #[arg(long)]
    port: Option<u16>,
    /// Address of the admin door [default: 127.0.0.1]
    #[arg(long, value_name = "ADDRESS", value_parser = address)]
    admin_host: Option<String>,
    /// Port of the admin door, 0 for any free one [default: 9091]
    #[arg(long, value_name = "PORT")]
    admin_port: Option<u16>,
    /// error, warn, info, debug, trace, or directives such as `info,hyper=warn` [default: info]
    #[arg(long, value_name = "LEVEL")]
    log_level: Option<String>,
    /// How log lines look on stderr and in files [default: text]
    #[arg(long, value_enum, value_name = "FORMAT")]
    log_format: Option<LogFormat>,
}

/// Where things are
#[derive(Clone, Debug, Default, Args)]
pub(super) struct Files {
    /// The configuration file [default: the first mcpvisor.{yaml,yml,toml,json} in ., ~/.config/mcpvisor, /etc/mcpvisor]
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Folder for state, logs and keys [default: data beside the file, else ~/.local/share/mcpvisor]
    #[arg(long, value_name = "FOLDER")]
    data_dir: Option<PathBuf>,
}

/// Everything but running the hub
#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Print the configuration in force, secrets masked, or every mistake in it
    Check(Launch),
    /// Turn the configuration of a desktop client into ours: Claude, Cursor, VS Code, Zed and others
    Import {
        /// Its JSON file, comments allowed; `-` is stdin
        file: PathBuf,
    },
    /// Serve one stdio client through a hub that runs elsewhere
    Connect(connect::Args),
    /// Ask the running hub whether it is well; for container health checks
    Health(Files),
    /// Measure an MCP server over HTTP: delays, throughput, memory
    Bench(Box<bench::Args>),
    /// Print the completions for a shell
    Completions {
        /// Which shell
        shell: Shell,
    },
    /// Be the built-in demo server on stdin and stdout
    DemoServer,
    /// Print the JSON schema of the configuration file
    #[command(hide = true)]
    Schema,
}

impl Launch {
    /// As the configuration takes them.
    pub(super) fn flags(self) -> Flags {
        Flags {
            config: self.files.config,
            transport: self.transport,
            admin: self.admin,
            host: self.host,
            port: self.port,
            admin_host: self.admin_host,
            admin_port: self.admin_port,
            log_level: self.log_level,
            log_format: self.log_format,
            data_dir: self.files.data_dir,
        }
    }
}

impl Files {
    /// As the configuration takes them.
    pub(super) fn flags(self) -> Flags {
        Flags {
            config: self.config,
            data_dir: self.data_dir,
            ..Flags::default()
        }
    }
}

/// An IP address or `localhost`; names are not looked up.
fn address(text: &str) -> Result<String, &'static str> {
    let fine = text == "localhost" || text.parse::<IpAddr>().is_ok();
    fine.then(|| text.to_owned())
        .ok_or("an IP address is needed, such as 127.0.0.1 or 0.0.0.0")
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn the_definition_is_sound() {
        Cli::command().debug_assert();
    }

    #[test]
    fn the_launch_line() {
        let line = [
            "mcpvisor",
            "--transport",
            "sse",
            "--admin",
            "--port",
            "0",
            "--log-format",
            "json",
            "--config",
            "x.yaml",
        ];
        let cli = Cli::try_parse_from(line).unwrap();
        assert!(cli.command.is_none());
        let expected = Flags {
            transport: Some(Transport::Sse),
            admin: true,
            port: Some(0),
            log_format: Some(LogFormat::Json),
            config: Some("x.yaml".into()),
            ..Flags::default()
        };
        assert_eq!(cli.launch.flags(), expected);
        for bad in [
            &["--transport", "http"][..],
            &["--port", "65536"],
            &["--host", "example.org"],
            &["chekc"],
        ] {
            assert!(Cli::try_parse_from(["mcpvisor"].iter().chain(bad)).is_err(), "{bad:?}");
        }
    }
}
