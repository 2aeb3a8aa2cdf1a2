//! `mcpvisor completions SHELL`: a script that completes the launch line.

use std::process::ExitCode;

use clap::CommandFactory as _;
use clap_complete::Shell;

use super::{args::Cli, output};

/// Prints the script for `shell`.
pub(super) fn run(shell: Shell) -> ExitCode {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "mcpvisor", &mut script);
    output::answer(&String::from_utf8_lossy(&script))
}
