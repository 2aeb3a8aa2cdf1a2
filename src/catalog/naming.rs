//! Names as clients see them.

use sha2::{Digest as _, Sha256};

use crate::config::{Prefix, Service, WhenDown};

/// Between a service's prefix and a name of its own.
const SEPARATOR: &str = "__";
/// Hex digits of the hash that ends a shortened name.
const HASH_DIGITS: usize = 8;

/// How a service's names and presence are set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Naming {
    /// What stands before the separator; `None` for bare names.
    pub prefix: Option<String>,
    /// Whether its entries stay while it is down.
    pub keep_when_down: bool,
    /// Longest name in characters (model APIs refuse more than 64).
    pub max_length: usize,
}

impl Naming {
    /// As configured.
    #[must_use]
    pub fn of(service: &Service, max_length: usize) -> Self {
        Self {
            prefix: match &service.prefix {
                Prefix::Service => Some(service.name.to_string()),
                Prefix::None => None,
                Prefix::Text(text) => Some(text.clone()),
            },
            keep_when_down: match service.when_down {
                WhenDown::Keep => true,
                WhenDown::Hide => false,
            },
            max_length,
        }
    }
}

/// `prefix__name`, or a shortened form that is the same on every start: its first characters, `_`, and eight hex digits of
/// the SHA-256 of the whole.
#[must_use]
pub fn exposed_name(naming: &Naming, name: &str) -> String {
    let full = match &naming.prefix {
        Some(prefix) => format!("{prefix}{SEPARATOR}{name}"),
        None => name.to_owned(),
    };
    if full.chars().count() <= naming.max_length {
        return full;
    }
    let keep = naming.max_length.saturating_sub(HASH_DIGITS + 1);
    let short: String = full.chars().take(keep).collect();
    format!("{short}_{}", hex_digest(full.as_bytes(), HASH_DIGITS))
}

/// The first `digits` hex digits of the SHA-256 of `bytes`.
pub(super) fn hex_digest(bytes: &[u8], digits: usize) -> String {
    let mut text = String::with_capacity(64);
    for byte in Sha256::digest(bytes) {
        for nibble in [byte >> 4, byte & 15] {
            text.push(char::from_digit(nibble.into(), 16).unwrap_or('0'));
        }
    }
    text.truncate(digits);
    text
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn naming(prefix: Option<&str>) -> Naming {
        Naming {
            prefix: prefix.map(str::to_owned),
            keep_when_down: true,
            max_length: 64,
        }
    }

    #[test]
    fn long_names_stay_apart() {
        let a = exposed_name(&naming(Some("service")), &format!("{}a", "x".repeat(70)));
        let b = exposed_name(&naming(Some("service")), &format!("{}b", "x".repeat(70)));
        assert_eq!(a.len(), 64);
        assert_ne!(a, b);
        assert_eq!(exposed_name(&naming(None), "echo"), "echo");
        assert_eq!(exposed_name(&naming(Some("git")), "log"), "git__log");
    }

    proptest! {
        #[test]
        fn never_longer_than_asked(name in "[a-zA-Zé_.-]{1,120}", max in 16usize..128) {
            let naming = Naming { max_length: max, ..naming(Some("svc")) };
            prop_assert!(exposed_name(&naming, &name).chars().count() <= max);
        }
    }
}
