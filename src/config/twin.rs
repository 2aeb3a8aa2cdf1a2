//! Secrets that may stand in a file of their own: `token` and its twin `token_file`.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

use super::{
    mistakes::{KeyPath, Mistakes},
    secret::Secret,
};

/// Larger than any secret.
const LARGEST: u64 = 64 * 1024;

/// The secret files that were read, so that a change of one is noticed.
#[derive(Debug, Default)]
pub(super) struct Files(pub(super) BTreeSet<PathBuf>);

impl Files {
    /// The content of a secret file without the line end; `None` after noting what is wrong with it.
    pub(super) fn read(&mut self, file: &Path, at: &KeyPath, mistakes: &mut Mistakes) -> Option<Secret<String>> {
        self.0.insert(file.to_owned());
        let content = match fs::metadata(file) {
            Ok(about) if about.len() > LARGEST => Err("is larger than any secret".to_owned()),
            Ok(_) => fs::read_to_string(file).map_err(|error| error.to_string()),
            Err(error) => Err(error.to_string()),
        };
        match content {
            Ok(content) if content.trim_end_matches(['\r', '\n']).is_empty() => {
                mistakes.push(at.clone(), format!("`{}` is empty", file.display()));
                None
            }
            Ok(content) => Some(Secret::new(content.trim_end_matches(['\r', '\n']).to_owned())),
            Err(error) => {
                mistakes.push(at.clone(), format!("cannot read `{}`: {error}", file.display()));
                None
            }
        }
    }
}

/// The value of `key` or what its twin file holds; both at once is a mistake, and so is an empty one.
pub(super) fn twin(
    key: &str,
    value: Option<Secret<String>>,
    file: Option<&Path>,
    at: &KeyPath,
    files: &mut Files,
    mistakes: &mut Mistakes,
) -> Option<Secret<String>> {
    match (value, file) {
        (Some(_), Some(_)) => {
            mistakes.push(at.join(key), format!("set either `{key}` or `{key}_file`, not both"));
            None
        }
        (Some(value), None) if value.expose().is_empty() => {
            mistakes.push(at.join(key), "is empty");
            None
        }
        (value, None) => value,
        (None, Some(file)) => files.read(file, &at.join(format!("{key}_file")), mistakes),
    }
}
