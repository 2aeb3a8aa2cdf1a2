//! Finds chosen fields of a JSON object in one pass, as raw slices, and refuses ambiguous ones.

use std::fmt;

use serde::de::{
    Deserialize as _, DeserializeSeed, Deserializer, IgnoredAny, MapAccess, Visitor,
    value::{self, BorrowedStrDeserializer, MapDeserializer},
};
use serde_json::value::RawValue;

use super::scan::Scan;

/// Why an object was refused although it is JSON.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ShapeError {
    /// The value is not an object.
    #[error("is not an object")]
    NotAnObject,
    /// One of the fields that decide what happens stands there twice; two parsers could read two things.
    #[error("has the field `{0}` twice")]
    Duplicate(&'static str),
    /// A field that differs from a deciding one by letter case only (a known way to slip past a check).
    #[error("has a field that differs from `{0}` by case only")]
    CaseVariant(&'static str),
}

/// The raw values of the `N` fields named, each `None` where absent. Other fields are skipped, not kept.
#[derive(Clone, Copy, Debug)]
pub struct Fields<'a, const N: usize> {
    values: [Option<&'a RawValue>; N],
}

impl<'a, const N: usize> Fields<'a, N> {
    /// Reads `json`, which must be one whole JSON value.
    ///
    /// # Errors
    /// The outer error means that `json` is not JSON, the inner that it is not an object with unambiguous fields.
    pub fn find(json: &'a str, names: &[&'static str; N]) -> Result<Result<Self, ShapeError>, serde_json::Error> {
        match Self::find_fast(json, names) {
            Some(found) => Ok(found),
            None => Self::find_carefully(json, names),
        }
    }

    /// `None` if it is no object, no JSON, or has a key with escapes: then nothing was decided.
    fn find_fast(json: &'a str, names: &[&'static str; N]) -> Option<Result<Self, ShapeError>> {
        let mut scan = Scan::new(json);
        let (mut values, mut wrong) = ([None; N], None);
        if !scan.take(b'{') {
            return None;
        }
        let mut more = !scan.take(b'}');
        while more {
            let key = scan.string()?.strip_prefix('"')?.strip_suffix('"')?;
            if key.contains('\\') || !scan.take(b':') {
                return None;
            }
            let value = scan.value()?;
            match Key::of(key, names) {
                Key::Known(index) => {
                    let slot = values.get_mut(index)?;
                    if slot.replace(raw(value)?).is_some() {
                        wrong = wrong.or(names.get(index).map(|name| ShapeError::Duplicate(name)));
                    }
                }
                Key::CaseVariant(index) => {
                    wrong = wrong.or(names.get(index).map(|name| ShapeError::CaseVariant(name)));
                }
                Key::Other => {}
            }
            more = scan.take(b',');
            if !more && !scan.take(b'}') {
                return None;
            }
        }
        scan.is_at_end().then(|| wrong.map_or(Ok(Self { values }), Err))
    }

    fn find_carefully(json: &'a str, names: &[&'static str; N]) -> Result<Result<Self, ShapeError>, serde_json::Error> {
        let mut reader = serde_json::Deserializer::from_str(json);
        let found = reader.deserialize_any(FieldsVisitor { names })?;
        reader.end()?;
        Ok(found)
    }

    /// Like [`Self::find`] for a value that is known to be JSON; not an object reads as an object without fields.
    ///
    /// # Errors
    /// [`ShapeError`] as above.
    pub fn of(value: &'a RawValue, names: &[&'static str; N]) -> Result<Self, ShapeError> {
        Self::find(value.get(), names).unwrap_or(Err(ShapeError::NotAnObject))
    }

    /// The value of the field that stood at `index` in the names.
    #[must_use]
    pub fn get(&self, index: usize) -> Option<&'a RawValue> {
        self.values.get(index).copied().flatten()
    }

    /// All values in the order of the names.
    #[must_use]
    pub fn values(self) -> [Option<&'a RawValue>; N] {
        self.values
    }
}

struct FieldsVisitor<'n, const N: usize> {
    names: &'n [&'static str; N],
}

enum Key {
    Known(usize),
    CaseVariant(usize),
    Other,
}

impl Key {
    fn of<const N: usize>(key: &str, names: &[&'static str; N]) -> Self {
        for (index, name) in names.iter().enumerate() {
            if key == *name {
                return Self::Known(index);
            }
            if key.len() == name.len() && key.eq_ignore_ascii_case(name) {
                return Self::CaseVariant(index);
            }
        }
        Self::Other
    }
}

/// What `serde_json` itself hands to a [`RawValue`] that it has read: a map of this key and the text.
const RAW: &str = "$serde_json::private::RawValue";

/// `text`, known to be JSON without white space around it, without reading it again. `None` should `serde_json` ever
/// change its ways.
fn raw(text: &str) -> Option<&RawValue> {
    let read = BorrowedStrDeserializer::<value::Error>::new(text);
    <&RawValue>::deserialize(MapDeserializer::new(std::iter::once((RAW, read)))).ok()
}

struct KeySeed<'n, const N: usize>(&'n [&'static str; N]);

impl<'de, const N: usize> DeserializeSeed<'de> for KeySeed<'_, N> {
    type Value = Key;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Key, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl<const N: usize> Visitor<'_> for KeySeed<'_, N> {
    type Value = Key;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a field name")
    }

    fn visit_str<E>(self, key: &str) -> Result<Key, E> {
        Ok(Key::of(key, self.0))
    }
}

impl<'de, const N: usize> Visitor<'de> for FieldsVisitor<'_, N> {
    type Value = Result<Fields<'de, N>, ShapeError>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut values = [None; N];
        let mut wrong = None;
        while let Some(key) = map.next_key_seed(KeySeed(self.names))? {
            match key {
                Key::Known(index) => {
                    let value: &'de RawValue = map.next_value()?;
                    if let Some(slot) = values.get_mut(index)
                        && slot.replace(value).is_some()
                    {
                        wrong = wrong.or(self.names.get(index).map(|name| ShapeError::Duplicate(name)));
                    }
                }
                Key::CaseVariant(index) => {
                    let IgnoredAny = map.next_value()?;
                    wrong = wrong.or(self.names.get(index).map(|name| ShapeError::CaseVariant(name)));
                }
                Key::Other => {
                    let IgnoredAny = map.next_value()?;
                }
            }
        }
        Ok(wrong.map_or(Ok(Fields { values }), Err))
    }

    fn visit_seq<A: serde::de::SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
        while seq.next_element::<IgnoredAny>()?.is_some() {}
        Ok(Err(ShapeError::NotAnObject))
    }

    fn visit_bool<E>(self, _: bool) -> Result<Self::Value, E> {
        Ok(Err(ShapeError::NotAnObject))
    }

    fn visit_i64<E>(self, _: i64) -> Result<Self::Value, E> {
        Ok(Err(ShapeError::NotAnObject))
    }

    fn visit_u64<E>(self, _: u64) -> Result<Self::Value, E> {
        Ok(Err(ShapeError::NotAnObject))
    }

    fn visit_f64<E>(self, _: f64) -> Result<Self::Value, E> {
        Ok(Err(ShapeError::NotAnObject))
    }

    fn visit_str<E>(self, _: &str) -> Result<Self::Value, E> {
        Ok(Err(ShapeError::NotAnObject))
    }

    fn visit_unit<E>(self) -> Result<Self::Value, E> {
        Ok(Err(ShapeError::NotAnObject))
    }
}

/// The text of a raw JSON string, unescaped; `None` if the value is not a string.
#[must_use]
pub fn text_of(value: &RawValue) -> Option<std::borrow::Cow<'_, str>> {
    let raw = value.get();
    let inner = raw.strip_prefix('"')?.strip_suffix('"')?;
    if inner.contains('\\') {
        let mut reader = serde_json::Deserializer::from_str(raw);
        String::deserialize(&mut reader).ok().map(std::borrow::Cow::Owned)
    } else {
        Some(std::borrow::Cow::Borrowed(inner))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    type Shown<'a> = Result<[Option<&'a str>; 2], ShapeError>;

    fn shown(found: Result<Fields<'_, 2>, ShapeError>) -> Shown<'_> {
        found.map(|fields| fields.values().map(|value| value.map(RawValue::get)))
    }

    #[test]
    fn raw_values_are_made_without_reading() {
        assert_eq!(raw("[1]").map(RawValue::get), Some("[1]"));
    }

    proptest! {
        /// The fast way and the careful one find the same, wherever the fast one decides.
        #[test]
        fn both_ways_agree(text in r#"\{ ?("(id|ID|a|\\u0069d)" ?: ?(1|"x\\n"|\[[0-2,]{0,4}\]|\{"id":2\}|-) ?,? ?){0,4}\} ?"#) {
            let names = ["id", "a"];
            if let Some(fast) = Fields::find_fast(&text, &names) {
                let careful = Fields::find_carefully(&text, &names).map(shown).map_err(|error| error.to_string());
                prop_assert_eq!(Ok(shown(fast)), careful, "{}", text);
            }
        }
    }
}
