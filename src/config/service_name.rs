//! The name of a service: part of tool names, paths and log files, so its form is narrow.

use std::{fmt, sync::Arc};

/// Longest name, in characters.
const MAX: usize = 32;

/// A checked service name: `[A-Za-z0-9-]+(_[A-Za-z0-9-]+)*`, at most 32 characters, so that `__` can only be the separator
/// between a service and a tool. Cloning is cheap.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ServiceName(Arc<str>);

/// Why a text is no service name.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no service name: letters, digits and `-`, single `_` between them, at most {MAX} characters")]
pub struct InvalidServiceName(String);

impl ServiceName {
    /// Checks `text`.
    ///
    /// # Errors
    /// [`InvalidServiceName`] if it has another form.
    pub fn new(text: &str) -> Result<Self, InvalidServiceName> {
        let part_ok = |part: &str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-');
        if text.len() <= MAX && text.split('_').all(part_ok) {
            Ok(Self(text.into()))
        } else {
            Err(InvalidServiceName(text.to_owned()))
        }
    }

    /// The name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
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

impl std::borrow::Borrow<str> for ServiceName {
    fn borrow(&self) -> &str {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_separator_cannot_hide_in_a_name() {
        for good in ["a", "git-2", "my_server", "A_b_C", "x-"] {
            assert!(ServiceName::new(good).is_ok(), "{good}");
        }
        for bad in ["", "_a", "a_", "a__b", "a b", "a/b", "é", &"x".repeat(33)] {
            assert!(ServiceName::new(bad).is_err(), "{bad}");
        }
    }
}
