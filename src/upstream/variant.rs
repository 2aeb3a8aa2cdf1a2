//! Which of a service's connections may serve a client.

use crate::mcp::{Era, Features};

/// The key of a connection: clients share it if theirs is the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Variant {
    /// Its era.
    pub era: Era,
    /// What it declared to the server (legacy; a modern connection declares per request).
    pub features: Features,
    /// The one client it belongs to, where the service is set to `sharing: per-client`.
    pub owner: Option<u64>,
}

impl Variant {
    /// The connection that is started first and whose catalogue all clients see until a better one is known.
    pub const BASE: Self = Self {
        era: Era::Legacy,
        features: Features::NONE,
        owner: None,
    };
    /// The one connection of the modern era.
    pub const MODERN: Self = Self {
        era: Era::Modern,
        features: Features::NONE,
        owner: None,
    };

    /// A stable word for logs, storage and listings: `legacy`, `legacy-sampling`, `modern`, `legacy-client7`.
    #[must_use]
    pub fn label(&self) -> String {
        let mut label = self.era.as_str().to_owned();
        if !self.features.is_none() {
            label.push('-');
            label.push_str(&self.features.label());
        }
        if let Some(owner) = self.owner {
            label.push_str("-client");
            label.push_str(&owner.to_string());
        }
        label
    }
}

/// Which eras a service was seen to speak.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct EraVerdict {
    /// Whether `initialize` works.
    pub legacy: Option<bool>,
    /// Whether `server/discover` names a modern revision.
    pub modern: Option<bool>,
}

impl EraVerdict {
    /// The era for a client of era `client`, or `None` if the modern one has to be tried first.
    #[must_use]
    pub fn choose(self, client: Era) -> Option<Era> {
        match (client, self.legacy, self.modern) {
            (Era::Modern, _, Some(true)) => Some(Era::Modern),
            (Era::Modern, _, Some(false)) => Some(Era::Legacy),
            (Era::Modern, Some(false), None) => Some(Era::Modern),
            (Era::Modern, Some(true) | None, None) => None,
            (Era::Legacy, Some(false), _) => Some(Era::Modern),
            (Era::Legacy, Some(true) | None, _) => Some(Era::Legacy),
        }
    }

    /// Takes in that `era` was seen to be spoken or refused.
    ///
    /// Nothing speaks neither: a server that refuses both broke in the middle of one, or was exchanged behind its command. So
    /// the one it does not refuse in this moment stays to be tried.
    #[must_use]
    pub fn with(self, era: Era, does: bool) -> Self {
        match (era, does) {
            (Era::Legacy, false) if self.modern == Some(false) => Self {
                legacy: Some(false),
                modern: None,
            },
            (Era::Modern, false) if self.legacy == Some(false) => Self { modern: None, ..self },
            (Era::Legacy, _) => Self {
                legacy: Some(does),
                ..self
            },
            (Era::Modern, _) => Self {
                modern: Some(does),
                ..self
            },
        }
    }
}

/// What is known about `era`.
pub(super) fn speaks(verdict: EraVerdict, era: Era) -> Option<bool> {
    match era {
        Era::Legacy => verdict.legacy,
        Era::Modern => verdict.modern,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn there_is_always_an_era_left_to_try(seen in proptest::collection::vec((any::<bool>(), any::<bool>()), 0..20)) {
            let mut verdict = EraVerdict::default();
            for (legacy, does) in seen {
                verdict = verdict.with(if legacy { Era::Legacy } else { Era::Modern }, does);
                for client in [Era::Legacy, Era::Modern] {
                    let chosen = verdict.choose(client);
                    prop_assert!(chosen.is_none_or(|era| speaks(verdict, era) != Some(false)), "{verdict:?} {client:?}");
                }
            }
        }
    }
}
