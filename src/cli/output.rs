//! Printing from subcommands: answers on stdout, notes for people on stderr.

use std::{
    fmt,
    io::{self, Write as _},
    process::ExitCode,
};

use super::exit::Exit;
use crate::config::ConfigError;

/// Prints an answer. Somebody who stops reading (`| head`) is no failure.
pub(super) fn answer(text: &str) -> ExitCode {
    let mut out = io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            note(&format_args!("cannot write the answer: {error}"));
            Exit::Failed.into()
        }
        Ok(()) | Err(_) => Exit::Clean.into(),
    }
}

/// Prints a note. There is nobody to tell if that fails.
pub(super) fn note(text: &dyn fmt::Display) {
    drop(writeln!(io::stderr().lock(), "mcpvisor: {text}"));
}

/// Prints every mistake of a configuration, a line each.
pub(super) fn refuse(error: &ConfigError) -> ExitCode {
    let count = match error.mistakes.len() {
        1 => "a mistake".to_owned(),
        count => format!("{count} mistakes"),
    };
    let lines: Vec<String> = error.mistakes.iter().map(|mistake| format!("  {mistake}")).collect();
    drop(writeln!(
        io::stderr().lock(),
        "mcpvisor: the configuration has {count}:\n{}",
        lines.join("\n")
    ));
    Exit::Configuration.into()
}
