//! Single values as people write them: numbers that came as text (from `${PORT}` or the environment),
//! `30s`, `16MiB`, `a,b,c`. Each says what it wanted; none says what it found where that may be a secret.

use std::{borrow::Cow, fmt, time::Duration};

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{
    Deserialize, Deserializer, Serialize, Serializer,
    de::{self, SeqAccess, Visitor},
};

/// Whatever a format calls a single value.
enum Scalar {
    Bool(bool),
    Whole(u64),
    Negative(i64),
    Fraction(f64),
    Text(String),
}

struct ScalarVisitor;

impl Visitor<'_> for ScalarVisitor {
    type Value = Scalar;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a single value")
    }

    fn visit_bool<E>(self, value: bool) -> Result<Scalar, E> {
        Ok(Scalar::Bool(value))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Scalar, E> {
        Ok(Scalar::Whole(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Scalar, E> {
        Ok(u64::try_from(value).map_or(Scalar::Negative(value), Scalar::Whole))
    }

    fn visit_u128<E: de::Error>(self, value: u128) -> Result<Scalar, E> {
        u64::try_from(value).map_or_else(|_| Err(E::custom("the number is too large")), |v| Ok(Scalar::Whole(v)))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Scalar, E> {
        Ok(Scalar::Fraction(value))
    }

    fn visit_str<E>(self, value: &str) -> Result<Scalar, E> {
        Ok(Scalar::Text(value.to_owned()))
    }

    fn visit_string<E>(self, value: String) -> Result<Scalar, E> {
        Ok(Scalar::Text(value))
    }

    fn visit_char<E>(self, value: char) -> Result<Scalar, E> {
        Ok(Scalar::Text(value.to_string()))
    }
}

impl<'de> Deserialize<'de> for Scalar {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(ScalarVisitor)
    }
}

/// Text. Whole numbers and booleans are taken as they would be written; fractions are refused, because
/// `1.10` would silently become `1.1`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(try_from = "Scalar", into = "String")]
pub(super) struct Text(pub(super) String);

impl TryFrom<Scalar> for Text {
    type Error = &'static str;

    fn try_from(scalar: Scalar) -> Result<Self, Self::Error> {
        match scalar {
            Scalar::Text(text) => Ok(Self(text)),
            Scalar::Bool(value) => Ok(Self(value.to_string())),
            Scalar::Whole(value) => Ok(Self(value.to_string())),
            Scalar::Negative(value) => Ok(Self(value.to_string())),
            Scalar::Fraction(_) => Err("put a number with a fraction into quotes, so that it stays as written"),
        }
    }
}

impl From<Text> for String {
    fn from(text: Text) -> Self {
        text.0
    }
}

impl From<&str> for Text {
    fn from(text: &str) -> Self {
        Self(text.to_owned())
    }
}

/// A boolean.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(try_from = "Scalar", into = "bool")]
pub(super) struct Switch(pub(super) bool);

impl From<Switch> for bool {
    fn from(switch: Switch) -> Self {
        switch.0
    }
}

impl TryFrom<Scalar> for Switch {
    type Error = &'static str;

    fn try_from(scalar: Scalar) -> Result<Self, Self::Error> {
        const WANTED: &str = "expected `true` or `false`";
        match scalar {
            Scalar::Bool(value) => Ok(Self(value)),
            Scalar::Whole(1) => Ok(Self(true)),
            Scalar::Whole(0) => Ok(Self(false)),
            Scalar::Text(text) => match text.to_ascii_lowercase().as_str() {
                "true" | "yes" | "on" | "1" => Ok(Self(true)),
                "false" | "no" | "off" | "0" => Ok(Self(false)),
                _ => Err(WANTED),
            },
            Scalar::Whole(_) | Scalar::Negative(_) | Scalar::Fraction(_) => Err(WANTED),
        }
    }
}

/// A whole number, zero or more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(try_from = "Scalar", into = "u64")]
pub(super) struct Whole(pub(super) u64);

impl From<Whole> for u64 {
    fn from(whole: Whole) -> Self {
        whole.0
    }
}

impl TryFrom<Scalar> for Whole {
    type Error = String;

    fn try_from(scalar: Scalar) -> Result<Self, Self::Error> {
        let wanted = |found: &dyn fmt::Display| format!("expected a whole number, found `{found}`");
        match scalar {
            Scalar::Whole(value) => Ok(Self(value)),
            Scalar::Text(text) => text.trim().parse().ok().map(Self).ok_or_else(|| wanted(&text)),
            Scalar::Bool(value) => Err(wanted(&value)),
            Scalar::Negative(value) => Err(wanted(&value)),
            Scalar::Fraction(value) => Err(wanted(&value)),
        }
    }
}

/// A length of time: `500ms`, `30s`, `5m`, `2h`, `1d`, or a number of seconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "Scalar")]
pub(super) struct Span(pub(super) Duration);

/// No setting is longer than this; it keeps sums of times far from overflow.
const LONGEST: Duration = Duration::from_hours(365 * 24);

impl TryFrom<Scalar> for Span {
    type Error = String;

    fn try_from(scalar: Scalar) -> Result<Self, Self::Error> {
        let wanted = |found: &dyn fmt::Display| {
            format!("expected a length of time such as `500ms`, `30s`, `5m` or `2h`, found `{found}`")
        };
        let span = match scalar {
            Scalar::Whole(seconds) => Some(Duration::from_secs(seconds)),
            Scalar::Fraction(seconds) => Duration::try_from_secs_f64(seconds).ok(),
            Scalar::Text(ref text) => parse_span(text),
            Scalar::Bool(_) | Scalar::Negative(_) => None,
        };
        match span {
            Some(span) if span <= LONGEST => Ok(Self(span)),
            Some(_) => Err("no time here is longer than 365d".to_owned()),
            None => Err(match scalar {
                Scalar::Bool(value) => wanted(&value),
                Scalar::Whole(value) => wanted(&value),
                Scalar::Negative(value) => wanted(&value),
                Scalar::Fraction(value) => wanted(&value),
                Scalar::Text(text) => wanted(&text),
            }),
        }
    }
}

/// A number and the unit behind it, `None` if there is no number.
fn number_and_unit(text: &str) -> Option<(f64, &str)> {
    let text = text.trim();
    let end = text
        .find(|c: char| !(c.is_ascii_digit() || c == '.'))
        .unwrap_or(text.len());
    let (number, unit) = text.split_at_checked(end)?;
    Some((number.parse().ok()?, unit.trim()))
}

fn parse_span(text: &str) -> Option<Duration> {
    let (number, unit) = number_and_unit(text)?;
    let millis = match unit {
        "ms" => 1.0,
        "" | "s" => 1e3,
        "m" | "min" => 60e3,
        "h" => 3_600e3,
        "d" => 86_400e3,
        _ => return None,
    };
    // Whole milliseconds stay exact: a fraction of one is nobody's setting.
    let whole = Duration::try_from_secs_f64((number * millis).round()).ok()?.as_secs();
    Some(Duration::from_millis(whole))
}

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let millis = self.0.as_millis();
        for (unit, length) in [("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1_000)] {
            if millis != 0 && millis.is_multiple_of(length) {
                return write!(f, "{}{unit}", millis / length);
            }
        }
        write!(f, "{millis}ms")
    }
}

impl Serialize for Span {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// An amount of memory: `16MiB`, `64kB`, or a number of bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "Scalar")]
pub(super) struct Size(pub(super) usize);

impl TryFrom<Scalar> for Size {
    type Error = String;

    fn try_from(scalar: Scalar) -> Result<Self, Self::Error> {
        let wanted = |found: &dyn fmt::Display| format!("expected a size such as `512KiB` or `16MiB`, found `{found}`");
        match scalar {
            Scalar::Whole(bytes) => usize::try_from(bytes).ok().map(Self).ok_or_else(|| wanted(&bytes)),
            Scalar::Text(text) => parse_size(&text).map(Self).ok_or_else(|| wanted(&text)),
            Scalar::Bool(value) => Err(wanted(&value)),
            Scalar::Negative(value) => Err(wanted(&value)),
            Scalar::Fraction(value) => Err(wanted(&value)),
        }
    }
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "checked to lie between 0 and 2^53 before the cast"
)]
fn parse_size(text: &str) -> Option<usize> {
    let (number, unit) = number_and_unit(text)?;
    let factor = match unit.to_ascii_lowercase().as_str() {
        "" | "b" => 1.0,
        "k" | "kib" => 1_024.0,
        "m" | "mib" => 1_048_576.0,
        "g" | "gib" => 1_073_741_824.0,
        "kb" => 1e3,
        "mb" => 1e6,
        "gb" => 1e9,
        _ => return None,
    };
    let bytes = number * factor;
    (0.0..9e15).contains(&bytes).then_some(bytes as usize)
}

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (unit, length) in [("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)] {
            if self.0 != 0 && self.0.is_multiple_of(length) {
                return write!(f, "{}{unit}", self.0 / length);
            }
        }
        write!(f, "{}", self.0)
    }
}

impl Serialize for Size {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if self.0.is_multiple_of(1024) && self.0 != 0 {
            serializer.collect_str(self)
        } else {
            serializer.serialize_u64(self.0 as u64)
        }
    }
}

/// A number of things that can be divided, kept in thousandths: `0.5`, `2`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "Scalar")]
pub(super) struct Thousandths(pub(super) u32);

impl TryFrom<Scalar> for Thousandths {
    type Error = String;

    fn try_from(scalar: Scalar) -> Result<Self, Self::Error> {
        let wanted = |found: &dyn fmt::Display| format!("expected a number such as `0.5` or `2`, found `{found}`");
        let of = |number: f64| {
            let thousandths = Duration::try_from_secs_f64(number).ok()?.as_millis();
            u32::try_from(thousandths).ok().map(Self)
        };
        match scalar {
            Scalar::Whole(value) => u32::try_from(value)
                .ok()
                .and_then(|value| value.checked_mul(1000))
                .map(Self)
                .ok_or_else(|| wanted(&value)),
            Scalar::Fraction(value) => of(value).ok_or_else(|| wanted(&value)),
            Scalar::Text(text) => text.trim().parse().ok().and_then(of).ok_or_else(|| wanted(&text)),
            Scalar::Bool(value) => Err(wanted(&value)),
            Scalar::Negative(value) => Err(wanted(&value)),
        }
    }
}

impl Serialize for Thousandths {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_f64(f64::from(self.0) / 1e3)
    }
}

/// A list of texts, also written as one text with commas.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub(super) struct Words(pub(super) Vec<String>);

impl<'de> Deserialize<'de> for Words {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct List;
        impl<'de> Visitor<'de> for List {
            type Value = Words;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a list")
            }

            fn visit_str<E>(self, text: &str) -> Result<Words, E> {
                let words = text.split(',').map(str::trim).filter(|word| !word.is_empty());
                Ok(Words(words.map(str::to_owned).collect()))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Words, A::Error> {
                let mut words = Vec::new();
                while let Some(Text(word)) = list.next_element()? {
                    words.push(word);
                }
                Ok(Words(words))
            }
        }
        deserializer.deserialize_any(List)
    }
}

/// The schema of each of these, written once: all are single values that may also come as text.
macro_rules! schemas {
    ($($type:ty => $schema:tt),* $(,)?) => {$(
        impl JsonSchema for $type {
            fn inline_schema() -> bool {
                true
            }

            fn schema_name() -> Cow<'static, str> {
                stringify!($type).into()
            }

            fn json_schema(_: &mut SchemaGenerator) -> Schema {
                json_schema!($schema)
            }
        }
    )*};
}

schemas! {
    Text => { "type": ["string", "integer", "boolean"] },
    Switch => { "type": ["boolean", "string"] },
    Whole => { "type": ["integer", "string"], "minimum": 0 },
    Span => { "type": ["string", "number"], "minimum": 0 },
    Size => { "type": ["string", "integer"], "minimum": 0 },
    Thousandths => { "type": ["number", "string"], "minimum": 0 },
    Words => { "type": ["array", "string"], "items": { "type": ["string", "integer", "boolean"] } },
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{from_value, json};

    use super::*;

    fn span(value: serde_json::Value) -> Option<Duration> {
        from_value::<Span>(value).ok().map(|span| span.0)
    }

    fn size(value: serde_json::Value) -> Option<usize> {
        from_value::<Size>(value).ok().map(|size| size.0)
    }

    #[test]
    fn times_in_every_spelling() {
        let seconds = |s| Some(Duration::from_secs(s));
        assert_eq!(span(json!("30s")), seconds(30));
        assert_eq!(span(json!("5m")), seconds(300));
        assert_eq!(span(json!("1.5h")), seconds(5_400));
        assert_eq!(span(json!("500ms")), Some(Duration::from_millis(500)));
        assert_eq!(span(json!(7)), seconds(7));
        assert_eq!(span(json!("7")), seconds(7));
        assert_eq!(span(json!(0.25)), Some(Duration::from_millis(250)));
        for bad in [
            json!("5 weeks"),
            json!("-3s"),
            json!(-3),
            json!("s"),
            json!(""),
            json!(true),
            json!("1e30d"),
        ] {
            assert_eq!(span(bad.clone()), None, "{bad}");
        }
    }

    #[test]
    fn sizes_in_every_spelling() {
        assert_eq!(size(json!("16MiB")), Some(16 << 20));
        assert_eq!(size(json!("16 mib")), Some(16 << 20));
        assert_eq!(size(json!("1.5K")), Some(1536));
        assert_eq!(size(json!("2MB")), Some(2_000_000));
        assert_eq!(size(json!(4096)), Some(4096));
        for bad in [json!("16 lots"), json!(-1), json!("99999999999GiB"), json!(true)] {
            assert_eq!(size(bad.clone()), None, "{bad}");
        }
    }

    #[test]
    fn parts_of_a_thing_in_every_spelling() {
        let parts = |value| from_value::<Thousandths>(value).ok().map(|parts| parts.0);
        assert_eq!(parts(json!(0.5)), Some(500));
        assert_eq!(parts(json!("1.25")), Some(1250));
        assert_eq!(parts(json!(2)), Some(2000));
        assert_eq!(serde_json::to_value(Thousandths(500)).unwrap(), json!(0.5));
        for bad in [json!(-1), json!(-0.5), json!("half"), json!(true), json!(1e12)] {
            assert_eq!(parts(bad.clone()), None, "{bad}");
        }
    }

    #[test]
    fn text_keeps_what_was_written_or_refuses() {
        assert_eq!(from_value::<Text>(json!(8080)).unwrap().0, "8080");
        assert_eq!(from_value::<Text>(json!(true)).unwrap().0, "true");
        assert!(from_value::<Text>(json!(1.10)).is_err());
    }

    #[test]
    fn a_list_may_be_one_text() {
        assert_eq!(from_value::<Words>(json!("a, b,,c")).unwrap().0, ["a", "b", "c"]);
        assert_eq!(from_value::<Words>(json!(["a,b", 3])).unwrap().0, ["a,b", "3"]);
    }

    proptest! {
        #[test]
        fn a_printed_time_reads_back(millis in 0_u64..10_000_000_000) {
            let span = Span(Duration::from_millis(millis));
            prop_assert_eq!(parse_span(&span.to_string()), Some(span.0));
        }

        #[test]
        fn a_printed_size_reads_back(bytes in 0_usize..1 << 50) {
            prop_assert_eq!(parse_size(&Size(bytes).to_string()), Some(bytes));
        }

        #[test]
        fn no_text_panics(text in "\\PC{0,20}") {
            let _ = (parse_span(&text), parse_size(&text));
        }
    }
}
