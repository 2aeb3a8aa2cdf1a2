//! Where things are looked for: the process's surroundings, the file, the data folder.

use std::{
    collections::BTreeMap,
    env,
    path::{Path, PathBuf},
};

/// What the process was started in. The only reader of the process's environment.
#[derive(Clone, Debug, Default)]
pub struct Surroundings {
    /// Environment variables; those that are not Unicode are left out.
    pub variables: BTreeMap<String, String>,
    /// The current folder.
    pub folder: PathBuf,
    /// Whether this is a container, which is given less time to stop.
    pub in_container: bool,
    /// The folder for configuration of the whole machine.
    pub system: PathBuf,
}

impl Surroundings {
    /// Those of this process.
    pub fn of_process() -> Self {
        let variables: BTreeMap<_, _> = env::vars_os()
            .filter_map(|(key, value)| Some((key.into_string().ok()?, value.into_string().ok()?)))
            .collect();
        let marks = ["/.dockerenv", "/run/.containerenv"];
        Self {
            in_container: variables.contains_key("KUBERNETES_SERVICE_HOST")
                || marks.iter().any(|mark| Path::new(mark).exists()),
            variables,
            folder: env::current_dir().unwrap_or_default(),
            system: PathBuf::from("/etc/mcpvisor"),
        }
    }

    fn set(&self, name: &str) -> Option<&str> {
        self.variables
            .get(name)
            .map(String::as_str)
            .filter(|value| !value.is_empty())
    }

    /// The user's folder, if known.
    pub(super) fn home(&self) -> Option<PathBuf> {
        self.set("HOME").map(PathBuf::from)
    }

    /// `$VARIABLE/mcpvisor`, or `~/<otherwise>/mcpvisor`; a relative XDG folder is ignored, as its specification asks.
    fn xdg(&self, variable: &str, otherwise: &str) -> Option<PathBuf> {
        let set = self
            .set(variable)
            .map(PathBuf::from)
            .filter(|folder| folder.is_absolute());
        let folder = set.or_else(|| self.home().map(|home| home.join(otherwise)))?;
        Some(folder.join("mcpvisor"))
    }

    /// `path` as seen from the current folder.
    pub(super) fn absolute(&self, path: &Path) -> PathBuf {
        self.folder.join(path)
    }
}

/// Names of a configuration file, best first.
const NAMES: [&str; 4] = ["mcpvisor.yaml", "mcpvisor.yml", "mcpvisor.toml", "mcpvisor.json"];

/// The configuration file, if there is one, and the ones beside it that are not read because of it.
#[derive(Debug, Default)]
pub(super) struct Found {
    pub(super) file: Option<PathBuf>,
    pub(super) passed_over: Vec<PathBuf>,
}

/// Looks in the current folder, the XDG configuration folder and `/etc/mcpvisor`, in this order.
pub(super) fn find_file(surroundings: &Surroundings) -> Found {
    let folders = [
        Some(surroundings.folder.clone()),
        surroundings.xdg("XDG_CONFIG_HOME", ".config"),
        Some(surroundings.system.clone()).filter(|folder| !folder.as_os_str().is_empty()),
    ];
    for folder in folders.into_iter().flatten() {
        let mut there = NAMES.iter().map(|name| folder.join(name)).filter(|file| file.is_file());
        if let Some(file) = there.next() {
            return Found {
                file: Some(file),
                passed_over: there.collect(),
            };
        }
    }
    Found::default()
}

/// The data folder if none is set: `data` beside the file, else the XDG data folder, else `data` here.
pub(super) fn data_folder(file: Option<&Path>, surroundings: &Surroundings) -> PathBuf {
    let beside = file.and_then(Path::parent).map(|folder| folder.join("data"));
    beside
        .or_else(|| surroundings.xdg("XDG_DATA_HOME", ".local/share"))
        .unwrap_or_else(|| surroundings.absolute(Path::new("data")))
}

/// `path` from a file in `folder`: `~/` is the user's folder, relative paths start at the file.
pub(super) fn resolve(path: &str, folder: &Path, surroundings: &Surroundings) -> String {
    let home = path
        .strip_prefix('~')
        .filter(|rest| rest.is_empty() || rest.starts_with('/'));
    let resolved = match (home, surroundings.home()) {
        (Some(rest), Some(home)) => home.join(rest.trim_start_matches('/')),
        (Some(_), None) | (None, _) => folder.join(path),
    };
    resolved.display().to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_data_folder() {
        let variables = |pairs: &[(&str, &str)]| Surroundings {
            variables: pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect(),
            folder: PathBuf::from("/here"),
            ..Surroundings::default()
        };
        let with_home = variables(&[("HOME", "/home/u")]);
        let file = Path::new("/etc/mcpvisor/mcpvisor.yaml");
        assert_eq!(data_folder(Some(file), &with_home), Path::new("/etc/mcpvisor/data"));
        assert_eq!(
            data_folder(None, &with_home),
            Path::new("/home/u/.local/share/mcpvisor")
        );
        let xdg = variables(&[("HOME", "/home/u"), ("XDG_DATA_HOME", "/xdg")]);
        assert_eq!(data_folder(None, &xdg), Path::new("/xdg/mcpvisor"));
        assert_eq!(data_folder(None, &variables(&[])), Path::new("/here/data"));
        assert_eq!(resolve("~/x", Path::new("/f"), &with_home), "/home/u/x");
        assert_eq!(resolve("x", Path::new("/f"), &with_home), "/f/x");
        assert_eq!(resolve("/x", Path::new("/f"), &with_home), "/x");
        assert_eq!(resolve("~x", Path::new("/f"), &with_home), "/f/~x");
    }
}
