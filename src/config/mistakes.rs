//! Everything that is wrong with a configuration, gathered before anybody is told.

use std::{collections::BTreeSet, fmt, path::PathBuf};

/// Where in the configuration something stands: `services`, `github`, `timeouts`, `call`.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct KeyPath(pub(super) Vec<String>);

impl KeyPath {
    /// A path from its segments.
    pub(super) fn of(segments: &[&str]) -> Self {
        Self(segments.iter().map(|&segment| segment.to_owned()).collect())
    }

    /// Its segments, for matching.
    pub(super) fn segments(&self) -> Vec<&str> {
        self.0.iter().map(String::as_str).collect()
    }

    /// This path and one more segment.
    pub(super) fn join(&self, segment: impl fmt::Display) -> Self {
        let mut path = self.clone();
        path.0.push(segment.to_string());
        path
    }
}

impl fmt::Display for KeyPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, segment) in self.0.iter().enumerate() {
            let index = !segment.is_empty() && segment.bytes().all(|b| b.is_ascii_digit());
            match (index, i) {
                (true, 1..) => write!(f, "[{segment}]")?,
                (_, 0) => f.write_str(segment)?,
                (false, 1..) => write!(f, ".{segment}")?,
            }
        }
        Ok(())
    }
}

/// One thing that is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mistake {
    /// The key it is about, such as `services.github.timeouts.call`; empty for a whole file.
    pub path: String,
    /// What is wrong, as a lower-case fragment.
    pub message: String,
    /// What may have been meant.
    pub suggestion: Option<String>,
    /// Where the value came from: a file, a variable, a flag.
    pub origin: Option<String>,
}

impl fmt::Display for Mistake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.path.is_empty() {
            write!(f, "{}: ", self.path)?;
        }
        f.write_str(&self.message)?;
        if let Some(suggestion) = &self.suggestion {
            write!(f, "; did you mean `{suggestion}`?")?;
        }
        if let Some(origin) = &self.origin {
            write!(f, " ({origin})")?;
        }
        Ok(())
    }
}

/// A configuration that cannot be used, with every reason why.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}", .mistakes.iter().map(Mistake::to_string).collect::<Vec<_>>().join("\n"))]
pub struct ConfigError {
    /// Never empty; one line each when displayed.
    pub mistakes: Vec<Mistake>,
    /// The files that were read or looked for: when one of them changes, it is worth another try.
    pub watched: BTreeSet<PathBuf>,
}

/// Collects mistakes while a configuration is read. `origin` is filled in at the end.
#[derive(Debug, Default)]
pub(super) struct Mistakes(pub(super) Vec<(KeyPath, Mistake)>);

impl Mistakes {
    /// Notes that `path` is wrong.
    pub(super) fn push(&mut self, path: KeyPath, message: impl Into<String>) {
        self.suggest(path, message, None);
    }

    /// Notes that `path` is wrong and what may have been meant.
    pub(super) fn suggest(&mut self, path: KeyPath, message: impl Into<String>, suggestion: Option<String>) {
        let mistake = Mistake {
            path: path.to_string(),
            message: message.into(),
            suggestion,
            origin: None,
        };
        self.0.push((path, mistake));
    }

    /// Whether a misspelled key of the section `at` was meant to be `key`.
    pub(super) fn meant(&self, at: &KeyPath, key: &str) -> bool {
        self.0
            .iter()
            .any(|(path, mistake)| path.0.starts_with(&at.0) && mistake.suggestion.as_deref() == Some(key))
    }

    /// Whether something at or under `path` is already known to be wrong.
    pub(super) fn under(&self, path: &KeyPath) -> bool {
        self.0.iter().any(|(known, _)| known.0.starts_with(&path.0))
    }
}

/// The candidate that `word` most likely stood for, if one is near enough.
pub(super) fn nearest<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<String> {
    let word = word.to_ascii_lowercase();
    candidates
        .into_iter()
        .map(|candidate| (strsim::jaro_winkler(&word, &candidate.to_ascii_lowercase()), candidate))
        .filter(|(likeness, _)| *likeness >= 0.8)
        .max_by(|(a, _), (b, _)| a.total_cmp(b))
        .map(|(_, candidate)| candidate.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_reads_like_a_path() {
        let path = KeyPath::of(&["auth", "tokens", "0", "token"]);
        assert_eq!(path.to_string(), "auth.tokens[0].token");
        assert_eq!(KeyPath::default().to_string(), "");
    }

    #[test]
    fn the_nearest_word_or_none() {
        let keys = ["command", "args", "env", "enabled"];
        assert_eq!(nearest("comand", keys), Some("command".to_owned()));
        assert_eq!(nearest("Enable", keys), Some("enabled".to_owned()));
        assert_eq!(nearest("zzz", keys), None);
    }
}
