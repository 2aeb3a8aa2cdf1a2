//! Turns a tree of values into a raw section without stopping at the first thing that is wrong:
//! what does not fit is noted, taken out, and the rest is read again.

use figment::{
    Error,
    error::{Actual, Kind},
    value::Value,
};
use serde::de::DeserializeOwned;

use super::mistakes::{KeyPath, Mistakes, nearest};

/// Reads `value` as a `T`; everything that does not fit goes into `mistakes`.
pub(super) fn extract<T: DeserializeOwned + Default>(value: &Value, mistakes: &mut Mistakes) -> T {
    let mut value = value.clone();
    let mut removed = Removed::default();
    loop {
        let error = match value.deserialize::<T>() {
            Ok(section) => return section,
            Err(error) => error,
        };
        let path = KeyPath(error.path.clone());
        let (message, suggestion) = explain(&error);
        mistakes.suggest(removed.original(&path), message, suggestion);
        if !take_out(&mut value, &path.0) {
            return T::default();
        }
        removed.note(&path);
    }
}

/// Elements taken out of lists, so that later mistakes still name the place people wrote.
#[derive(Default)]
struct Removed(Vec<(KeyPath, usize)>);

impl Removed {
    fn note(&mut self, path: &KeyPath) {
        let original = self.original(path);
        if let Some((list, index)) = list_and_index(&original) {
            self.0.push((list, index));
            self.0.sort_by_key(|(_, index)| *index);
        }
    }

    fn original(&self, path: &KeyPath) -> KeyPath {
        let mut original = KeyPath::default();
        for segment in &path.0 {
            let shifted = segment.parse::<usize>().ok().map(|mut index| {
                for (_, gone) in self.0.iter().filter(|(list, _)| *list == original) {
                    index += usize::from(*gone <= index);
                }
                index.to_string()
            });
            original.0.push(shifted.unwrap_or_else(|| segment.clone()));
        }
        original
    }
}

fn list_and_index(path: &KeyPath) -> Option<(KeyPath, usize)> {
    let (last, list) = path.0.split_last()?;
    Some((KeyPath(list.to_vec()), last.parse().ok()?))
}

/// Removes what stands at `path`; false if there is nothing.
fn take_out(value: &mut Value, path: &[String]) -> bool {
    let Some((first, rest)) = path.split_first() else {
        return false;
    };
    match value {
        Value::Dict(_, map) if rest.is_empty() => map.remove(first).is_some(),
        Value::Dict(_, map) => map.get_mut(first).is_some_and(|inner| take_out(inner, rest)),
        Value::Array(_, list) => match first.parse::<usize>() {
            Ok(index) if index < list.len() && rest.is_empty() => {
                list.remove(index);
                true
            }
            Ok(index) => list.get_mut(index).is_some_and(|inner| take_out(inner, rest)),
            Err(_) => false,
        },
        Value::String(..) | Value::Char(..) | Value::Bool(..) | Value::Num(..) | Value::Empty(..) => false,
    }
}

/// What an error of the deserialiser says in our words. Values are not repeated: they may be secret.
fn explain(error: &Error) -> (String, Option<String>) {
    let list = |names: &[&str]| names.iter().map(|n| format!("`{n}`")).collect::<Vec<_>>().join(", ");
    match &error.kind {
        Kind::UnknownField(found, known) => {
            let suggestion = nearest(found, known.iter().copied());
            let hint = if suggestion.is_none() {
                format!("; known here: {}", list(known))
            } else {
                String::new()
            };
            (format!("unknown key{hint}"), suggestion)
        }
        Kind::UnknownVariant(found, known) => (
            format!("expected one of {}, found `{found}`", list(known)),
            nearest(found, known.iter().copied()),
        ),
        Kind::InvalidType(found, wanted) | Kind::InvalidValue(found, wanted) => {
            (format!("expected {}, found {}", plain(wanted), kind_of(found)), None)
        }
        Kind::Message(message) => (message.clone(), None),
        Kind::MissingField(name) => (format!("`{name}` is missing"), None),
        Kind::InvalidLength(..)
        | Kind::DuplicateField(_)
        | Kind::ISizeOutOfRange(_)
        | Kind::USizeOutOfRange(_)
        | Kind::Unsupported(_)
        | Kind::UnsupportedKey(..) => (error.kind.to_string(), None),
    }
}

/// Names of our own types have no place in a message.
fn plain(wanted: &str) -> &str {
    if wanted.starts_with("struct ") || wanted == "a map" {
        "a section with keys"
    } else {
        wanted
    }
}

fn kind_of(found: &Actual) -> &'static str {
    match found {
        Actual::Bool(_) => "a boolean",
        Actual::Unsigned(_) | Actual::Signed(_) | Actual::Float(_) => "a number",
        Actual::Char(_) | Actual::Str(_) | Actual::Bytes(_) => "text",
        Actual::Unit | Actual::Option => "nothing",
        Actual::Seq => "a list",
        Actual::Map => "a section with keys",
        Actual::NewtypeStruct
        | Actual::Enum
        | Actual::UnitVariant
        | Actual::NewtypeVariant
        | Actual::TupleVariant
        | Actual::StructVariant
        | Actual::Other(_) => "something else",
    }
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;

    use super::{super::scalar::Whole, *};

    #[derive(Default, Deserialize)]
    #[serde(deny_unknown_fields, default)]
    struct Raw {
        port: Option<Whole>,
        list: Vec<Whole>,
        host: Option<String>,
    }

    #[test]
    fn every_mistake_is_found_and_the_rest_is_read() {
        let value = Value::serialize(serde_json::json!({
            "prot": 1, "port": "many", "list": [1, "x", 2, "y", [], 3], "host": "h"
        }))
        .unwrap();
        let mut mistakes = Mistakes::default();
        let raw: Raw = extract(&value, &mut mistakes);
        assert_eq!((raw.port, raw.host.as_deref()), (None, Some("h")));
        assert_eq!(raw.list, [Whole(1), Whole(2), Whole(3)]);
        let mut found: Vec<String> = mistakes.0.iter().map(|(_, mistake)| mistake.to_string()).collect();
        found.sort();
        assert_eq!(
            found,
            [
                "list[1]: expected a whole number, found `x`",
                "list[3]: expected a whole number, found `y`",
                "list[4]: expected a single value, found a list",
                "port: expected a whole number, found `many`",
                "prot: unknown key; did you mean `port`?",
            ]
        );
    }
}
