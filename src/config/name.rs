//! Names of services: what they may look like, so that `service__tool` can be taken apart again.

use std::{borrow::Borrow, fmt, str::FromStr, sync::Arc};

use serde::{Serialize, Serializer};

/// Longest name of a service, in characters.
pub const MAX_NAME: usize = 32;

/// The name of a service: `[A-Za-z0-9-]+(_[A-Za-z0-9-]+)*`, at most 32 characters. Two underscores in
/// a row never occur in it, which is what makes `service__tool` unambiguous. Cheap to clone.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ServiceName(Arc<str>);

/// Why a text cannot be the name of a service.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// Nothing there.
    #[error("a name cannot be empty")]
    Empty,
    /// More than [`MAX_NAME`] characters.
    #[error("a name has at most {MAX_NAME} characters, this one has {0}")]
    TooLong(usize),
    /// A character outside letters, digits, `-` and `_`.
    #[error("a name has only letters, digits, `-` and single `_`, not {0:?}")]
    Character(char),
    /// `_` at either end or twice in a row.
    #[error("`_` may only stand alone between two other characters")]
    Underscore,
}

/// Checks `text` against the rule of service names (prefixes follow the same one).
pub(super) fn check(text: &str) -> Result<(), NameError> {
    if text.is_empty() {
        return Err(NameError::Empty);
    }
    if let Some(bad) = text
        .chars()
        .find(|c| !(c.is_ascii_alphanumeric() || matches!(c, '-' | '_')))
    {
        return Err(NameError::Character(bad));
    }
    if text.split('_').any(str::is_empty) {
        return Err(NameError::Underscore);
    }
    if text.len() > MAX_NAME {
        return Err(NameError::TooLong(text.len()));
    }
    Ok(())
}

/// The nearest valid name to `text`: other characters become `-`, runs of `_` one `_`.
pub fn nearest(text: &str) -> String {
    let swapped: String = text
        .chars()
        .map(|c| {
            if c.is_ascii_alphanumeric() || matches!(c, '-' | '_') {
                c
            } else {
                '-'
            }
        })
        .collect();
    let single: Vec<&str> = swapped.split('_').filter(|part| !part.is_empty()).collect();
    let short: String = single.join("_").chars().take(MAX_NAME).collect();
    let trimmed = short.trim_matches(['_', '-']);
    if trimmed.is_empty() { "service" } else { trimmed }.to_owned()
}

impl ServiceName {
    /// # Errors
    /// What about `text` breaks the rule.
    pub fn new(text: &str) -> Result<Self, NameError> {
        check(text).map(|()| Self(text.into()))
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for ServiceName {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        Self::new(text)
    }
}

impl fmt::Display for ServiceName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl AsRef<str> for ServiceName {
    fn as_ref(&self) -> &str {
        &self.0
    }
}

impl Borrow<str> for ServiceName {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl Serialize for ServiceName {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_rule_in_examples() {
        for good in ["a", "github", "my-server", "a_b", "A1-_-b"] {
            assert!(ServiceName::new(good).is_ok(), "{good}");
        }
        assert_eq!(ServiceName::new(""), Err(NameError::Empty));
        assert_eq!(ServiceName::new("a b"), Err(NameError::Character(' ')));
        assert_eq!(ServiceName::new("a.b"), Err(NameError::Character('.')));
        for bad in ["a__b", "_a", "a_", "_"] {
            assert_eq!(ServiceName::new(bad), Err(NameError::Underscore), "{bad}");
        }
        assert_eq!(ServiceName::new(&"x".repeat(33)), Err(NameError::TooLong(33)));
    }

    proptest! {
        #[test]
        fn the_nearest_name_is_a_name(text in "\\PC{0,60}") {
            prop_assert!(ServiceName::new(&nearest(&text)).is_ok());
        }

        #[test]
        fn a_good_name_is_its_own_nearest(text in "[A-Za-z0-9]([A-Za-z0-9-]{0,8}(_[A-Za-z0-9]{1,5}){0,2})?") {
            prop_assume!(!text.ends_with('-'));
            prop_assert_eq!(nearest(&text), text);
        }
    }
}
