//! What a client says it can do, reduced to what decides which upstream connection may serve it.

use serde_json::{Map, Value, json};

/// The client capabilities that a server may act on while it answers a call.
///
/// Connections to legacy servers are opened with one such set and shared by clients of the same set, because a server may
/// offer more tools to a client that can do more. Roots are only ever declared on a connection that one client owns.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Features(u8);

impl Features {
    /// Nothing beyond plain requests.
    pub const NONE: Self = Self(0);
    /// `sampling`.
    pub const SAMPLING: Self = Self(1);
    /// `sampling.tools` (2025-11-25).
    pub const SAMPLING_TOOLS: Self = Self(2);
    /// `sampling.context` (2025-11-25).
    pub const SAMPLING_CONTEXT: Self = Self(4);
    /// `elicitation` in form mode.
    pub const ELICITATION: Self = Self(8);
    /// `elicitation.url` (2025-11-25).
    pub const ELICITATION_URL: Self = Self(16);
    /// `roots`.
    pub const ROOTS: Self = Self(32);

    const PAIRS: [(Self, &'static str); 6] = [
        (Self::SAMPLING, "sampling"),
        (Self::SAMPLING_TOOLS, "sampling-tools"),
        (Self::SAMPLING_CONTEXT, "sampling-context"),
        (Self::ELICITATION, "elicitation"),
        (Self::ELICITATION_URL, "elicitation-url"),
        (Self::ROOTS, "roots"),
    ];

    /// Reads a `ClientCapabilities` object; whatever else it holds is ignored.
    #[must_use]
    pub fn read(capabilities: &Value) -> Self {
        let has = |path: &str| capabilities.pointer(path).is_some_and(Value::is_object);
        let mut found = Self::NONE;
        if has("/sampling") {
            found = found.with(Self::SAMPLING);
            if has("/sampling/tools") {
                found = found.with(Self::SAMPLING_TOOLS);
            }
            if has("/sampling/context") {
                found = found.with(Self::SAMPLING_CONTEXT);
            }
        }
        if has("/elicitation") {
            // An empty object means form mode (2025-11-25, client/elicitation "Capabilities").
            if has("/elicitation/form") || !has("/elicitation/url") {
                found = found.with(Self::ELICITATION);
            }
            if has("/elicitation/url") {
                found = found.with(Self::ELICITATION_URL);
            }
        }
        if has("/roots") {
            found = found.with(Self::ROOTS);
        }
        found
    }

    /// The union of both.
    #[must_use]
    pub const fn with(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// `self` without what `other` has.
    #[must_use]
    pub const fn without(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }

    /// Whether all of `other` is in it.
    #[must_use]
    pub const fn has(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    /// Whether it is empty.
    #[must_use]
    pub const fn is_none(self) -> bool {
        self.0 == 0
    }

    /// As a `ClientCapabilities` object to declare upstream.
    #[must_use]
    pub fn to_capabilities(self) -> Value {
        let mut object = Map::new();
        if self.has(Self::ROOTS) {
            object.insert("roots".to_owned(), json!({"listChanged": true}));
        }
        if self.has(Self::SAMPLING) {
            let mut sampling = Map::new();
            if self.has(Self::SAMPLING_TOOLS) {
                sampling.insert("tools".to_owned(), json!({}));
            }
            if self.has(Self::SAMPLING_CONTEXT) {
                sampling.insert("context".to_owned(), json!({}));
            }
            object.insert("sampling".to_owned(), Value::Object(sampling));
        }
        if self.has(Self::ELICITATION_URL) {
            let mut elicitation = Map::new();
            if self.has(Self::ELICITATION) {
                elicitation.insert("form".to_owned(), json!({}));
            }
            elicitation.insert("url".to_owned(), json!({}));
            object.insert("elicitation".to_owned(), Value::Object(elicitation));
        } else if self.has(Self::ELICITATION) {
            object.insert("elicitation".to_owned(), json!({}));
        }
        Value::Object(object)
    }

    /// A stable word for it, such as `plain` or `sampling+elicitation`.
    #[must_use]
    pub fn label(self) -> String {
        let names: Vec<_> = Self::PAIRS
            .iter()
            .filter(|(flag, _)| self.has(*flag))
            .map(|(_, name)| *name)
            .collect();
        if names.is_empty() {
            "plain".to_owned()
        } else {
            names.join("+")
        }
    }

    /// Whether a client with this set can answer the server request `method`.
    #[must_use]
    pub fn can_answer(self, method: &str) -> bool {
        match method {
            super::method::SAMPLING => self.has(Self::SAMPLING),
            super::method::ELICITATION => self.has(Self::ELICITATION) || self.has(Self::ELICITATION_URL),
            super::method::ROOTS_LIST => self.has(Self::ROOTS),
            _ => true,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_set_survives_the_wire() {
        for bits in 0..64 {
            let set = Features(bits);
            let sampling_ok = set.has(Features::SAMPLING)
                || set
                    .without(Features::SAMPLING_TOOLS)
                    .without(Features::SAMPLING_CONTEXT)
                    == set;
            if sampling_ok {
                assert_eq!(Features::read(&set.to_capabilities()), set, "{}", set.label());
            }
        }
        assert_eq!(Features::read(&json!({"elicitation": {}})), Features::ELICITATION);
    }
}
