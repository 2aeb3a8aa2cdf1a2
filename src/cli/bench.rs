//! `mcpvisor bench URL`.

use std::process::ExitCode;

use super::{exit::Exit, output};

/// What it is told.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The address of the MCP endpoint
    url: String,
}

/// Not part of this build.
#[expect(clippy::needless_pass_by_value, reason = "a place to be filled")]
pub(super) fn run(args: Args) -> ExitCode {
    output::note(&format_args!("{}: `bench` is not part of this build", args.url));
    Exit::Failed.into()
}
