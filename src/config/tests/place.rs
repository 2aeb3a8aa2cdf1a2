//! A folder with a configuration, apart from everything else on this machine.

use std::fs;

use tempfile::TempDir;

use crate::config::{Command, Config, ConfigError, Flags, Loaded, Source, Surroundings};

/// A folder to put files into, and surroundings that see nothing else of this machine.
pub(super) struct Place {
    pub(super) dir: TempDir,
    pub(super) surroundings: Surroundings,
}

impl Place {
    pub(super) fn new() -> Self {
        let dir = TempDir::new().unwrap();
        let surroundings = Surroundings {
            folder: dir.path().to_owned(),
            ..Surroundings::default()
        };
        Self { dir, surroundings }
    }

    pub(super) fn with(file: &str, text: &str) -> Self {
        let place = Self::new();
        place.write(file, text);
        place
    }

    pub(super) fn write(&self, file: &str, text: &str) {
        fs::write(self.dir.path().join(file), text).unwrap();
    }

    pub(super) fn set(mut self, name: &str, value: &str) -> Self {
        self.surroundings.variables.insert(name.to_owned(), value.to_owned());
        self
    }

    pub(super) fn load(&self) -> Result<Loaded, ConfigError> {
        Config::load_in(&Flags::default(), &self.surroundings)
    }

    pub(super) fn config(&self) -> Config {
        self.load().unwrap_or_else(|error| panic!("{error}")).config
    }

    /// The mistakes without the folder of this test in them.
    pub(super) fn mistakes(&self) -> Vec<String> {
        let folder = format!("{}/", self.dir.path().display());
        let error = self.load().expect_err("a configuration with mistakes");
        error
            .mistakes
            .iter()
            .map(|mistake| mistake.to_string().replace(&folder, ""))
            .collect()
    }
}

pub(super) fn command(config: &Config, name: &str) -> Command {
    match &config.services[name].source {
        Source::Command(command) => command.clone(),
        other @ (Source::Demo | Source::Remote(_)) => panic!("{name} is {other:?}"),
    }
}
