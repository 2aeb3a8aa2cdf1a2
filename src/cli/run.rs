//! From arguments to an exit code.

use std::{ffi::OsString, process::ExitCode};

use clap::{Parser as _, error::ErrorKind};

use super::{
    args::{Cli, Command},
    bench, check, completions, connect, demo_server,
    exit::Exit,
    health, import, schema, serve,
};

/// Does what `args` (the program's name first) say.
pub fn run(args: impl IntoIterator<Item = OsString>) -> ExitCode {
    let cli = match Cli::try_parse_from(args) {
        Ok(cli) => cli,
        Err(error) => {
            // Help and version arrive here too, and belong on stdout; clap knows.
            drop(error.print());
            let asked_for = matches!(error.kind(), ErrorKind::DisplayHelp | ErrorKind::DisplayVersion);
            return if asked_for { Exit::Clean } else { Exit::Usage }.into();
        }
    };
    match cli.command {
        None => serve::run(&cli.launch.flags()),
        Some(Command::Check(launch)) => check::run(&launch.flags()),
        Some(Command::Import { file }) => import::run(&file),
        Some(Command::Connect(args)) => connect::run(&args),
        Some(Command::Health(files)) => health::run(&files.flags()),
        Some(Command::Bench(args)) => bench::run(&args),
        Some(Command::Completions { shell }) => completions::run(shell),
        Some(Command::DemoServer) => demo_server::run(),
        Some(Command::Schema) => schema::run(),
    }
}
