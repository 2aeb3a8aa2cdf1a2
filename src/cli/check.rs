//! `mcpvisor check`: the configuration in force, or every mistake in it.

use std::{
    path::{Path, PathBuf},
    process::ExitCode,
};

use super::output;
use crate::config::{Config, Flags, Source, Surroundings};

/// Prints the effective configuration as YAML with secrets masked; warnings go to stderr.
pub(super) fn run(flags: &Flags) -> ExitCode {
    let surroundings = Surroundings::of_process();
    let loaded = match Config::load_in(flags, &surroundings) {
        Ok(loaded) => loaded,
        Err(error) => return output::refuse(&error),
    };
    for warning in loaded
        .warnings
        .iter()
        .chain(&missing_programs(&loaded.config, &surroundings))
    {
        output::note(&format_args!("warning: {warning}"));
    }
    let origin = match &loaded.config.file {
        Some(file) => format!("# {}\n", file.display()),
        None => "# no configuration file\n".to_owned(),
    };
    output::answer(&(origin + &loaded.config.to_yaml()))
}

/// Programs that cannot be found. Not mistakes: they may be installed before the service starts.
fn missing_programs(config: &Config, surroundings: &Surroundings) -> Vec<String> {
    let path = surroundings
        .variables
        .get("PATH")
        .map(String::as_str)
        .unwrap_or_default();
    let enabled = config.services.values().filter(|service| service.enabled);
    enabled
        .filter_map(|service| match &service.source {
            Source::Command(command) => Some((service, command)),
            Source::Demo | Source::Remote(_) => None,
        })
        .filter(|(_, command)| {
            let folder = command.cwd.clone().unwrap_or_else(|| surroundings.folder.clone());
            let own_path = command.env.get("PATH").map(|path| path.expose().as_str());
            !is_found(&command.program, &folder, own_path.unwrap_or(path))
        })
        .map(|(service, command)| {
            format!(
                "services.{}.command: there is no program `{}`",
                service.name, command.program
            )
        })
        .collect()
}

fn is_found(program: &str, folder: &Path, path: &str) -> bool {
    if program.contains('/') {
        return folder.join(program).is_file();
    }
    path.split(':')
        .map(|entry| PathBuf::from(entry).join(program))
        .any(|file| file.is_file())
}
