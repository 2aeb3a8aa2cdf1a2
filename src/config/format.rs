//! The file formats: YAML and JSON with comments as figment formats of our own; TOML is figment's.

use std::fmt;

use figment::providers::Format;
use serde::de::{DeserializeOwned, Error as _};

/// YAML 1.2 booleans (`yes` and `no` are text), duplicate keys refused, no source text in errors: it may hold secrets.
#[derive(Debug)]
pub(super) struct Yaml;

impl Format for Yaml {
    type Error = serde_saphyr::Error;

    const NAME: &'static str = "YAML file";

    fn from_str<T: DeserializeOwned>(text: &str) -> Result<T, Self::Error> {
        if text
            .lines()
            .all(|line| line.trim().is_empty() || line.trim_start().starts_with('#'))
        {
            // A file of comments only is an empty configuration, not a null one.
            return serde_saphyr::from_str("{}");
        }
        let options = serde_saphyr::options! { strict_booleans: true, with_snippet: false };
        serde_saphyr::from_str_with_options(text, options)
    }
}

/// JSON in which comments and commas at the end are allowed, as editors write it.
#[derive(Debug)]
pub(super) struct Jsonc;

impl Format for Jsonc {
    type Error = serde_json::Error;

    const NAME: &'static str = "JSON file";

    fn from_str<T: DeserializeOwned>(text: &str) -> Result<T, Self::Error> {
        let text = strip_comments(text).map_err(serde_json::Error::custom)?;
        if text.trim().is_empty() {
            serde_json::from_str("{}")
        } else {
            serde_json::from_str(&text)
        }
    }
}

/// A comment that never ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OpenComment;

impl fmt::Display for OpenComment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a comment `/*` has no end")
    }
}

/// Replaces comments and trailing commas by blanks, so that lines and columns stay where they were.
pub fn strip_comments(text: &str) -> Result<String, OpenComment> {
    let mut out = String::with_capacity(text.len());
    let mut chars = text.trim_start_matches('\u{feff}').chars().peekable();
    // Where in `out` the last comma stands, while only blanks have followed it.
    let mut comma: Option<usize> = None;
    while let Some(c) = chars.next() {
        match (c, chars.peek()) {
            ('"', _) => {
                comma = None;
                out.push('"');
                let mut escaped = false;
                for c in chars.by_ref() {
                    out.push(c);
                    if c == '"' && !escaped {
                        break;
                    }
                    escaped = c == '\\' && !escaped;
                }
            }
            ('/', Some('/')) => {
                out.push(' ');
                while chars.peek().is_some_and(|&c| c != '\n') {
                    chars.next();
                    out.push(' ');
                }
            }
            ('/', Some('*')) => {
                chars.next();
                out.push_str("  ");
                let mut star = false;
                loop {
                    let c = chars.next().ok_or(OpenComment)?;
                    out.push(if c == '\n' { '\n' } else { ' ' });
                    if star && c == '/' {
                        break;
                    }
                    star = c == '*';
                }
            }
            (',', _) => {
                comma = Some(out.len());
                out.push(',');
            }
            ('}' | ']', _) => {
                if let Some(at) = comma.take() {
                    out.replace_range(at..=at, " ");
                }
                out.push(c);
            }
            (c, _) => {
                if !c.is_whitespace() {
                    comma = None;
                }
                out.push(c);
            }
        }
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;

    #[test]
    fn comments_and_trailing_commas_go() {
        let text = "// head\n{\"a\": \"// no, /* neither\\\" */\", /* b */ \"c\": [1, 2, /* x */\n],\n}";
        let value: Value = Jsonc::from_str(text).unwrap();
        assert_eq!(value, json!({"a": "// no, /* neither\" */", "c": [1, 2]}));
        assert_eq!(strip_comments("{} /* open"), Err(OpenComment));
        assert!(
            Jsonc::from_str::<Value>("[,]")
                .unwrap()
                .as_array()
                .is_some_and(Vec::is_empty)
        );
    }

    #[test]
    fn yaml_of_comments_only_is_empty_and_no_is_text() {
        assert_eq!(Yaml::from_str::<Value>("# nothing\n\n").unwrap(), json!({}));
        assert_eq!(
            Yaml::from_str::<Value>("a: no\nb: on\nc: true").unwrap(),
            json!({"a": "no", "b": "on", "c": true})
        );
        assert!(Yaml::from_str::<Value>("a: 1\na: 2").is_err());
    }

    #[test]
    fn a_yaml_error_does_not_show_the_file() {
        let error = Yaml::from_str::<Value>("token: canary-5d1f\n  bad: [")
            .unwrap_err()
            .to_string();
        assert!(!error.contains("canary"), "{error}");
        assert!(error.contains("line"), "{error}");
    }

    proptest! {
        #[test]
        fn json_without_comments_stays(value in "\\PC{0,20}") {
            let text = serde_json::to_string_pretty(&json!({"k": [value, 1, {}]})).unwrap();
            prop_assert_eq!(strip_comments(&text).unwrap(), text);
        }

        #[test]
        fn no_text_panics(text in "[\\PC\n]{0,60}") {
            drop(strip_comments(&text));
        }
    }
}
