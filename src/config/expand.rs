//! `${VAR}` and `${VAR:default}` in strings, after parsing, so that no variable can inject structure.

use std::collections::BTreeMap;

/// Why a text could not be expanded.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum ExpandError {
    #[error("the variable `{0}` is not set; give it a value or a default: `${{{0}:default}}`")]
    Unset(String),
    #[error("`${{` has no closing `}}`; write `$$` for a plain dollar")]
    Open,
    #[error("`${{{0}}}` is not a variable; write `$${{{0}}}` if it is meant as it stands")]
    NotAName(String),
    #[error("`${{{0}}}` is another program's spelling")]
    Foreign(String, &'static str),
}

/// A text with its variables put in.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Expanded {
    pub(super) text: String,
    /// The names of the variables.
    pub(super) used: Vec<String>,
}

/// Replaces every `${NAME}` by the variable, `${NAME:default}` (or `${NAME:-default}`) by the variable or,
/// if that is unset or empty, the default, and `$$` by `$`. A lone `$` stays. Values are taken as they are: what
/// looks like a reference inside a variable is not followed.
pub(super) fn expand(text: &str, variables: &BTreeMap<String, String>) -> Result<Expanded, ExpandError> {
    let mut used = Vec::new();
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('$') {
        out.push_str(before);
        if let Some(after) = after.strip_prefix('$') {
            out.push('$');
            rest = after;
        } else if let Some(reference) = after.strip_prefix('{') {
            let (reference, after) = reference.split_once('}').ok_or(ExpandError::Open)?;
            let (name, value) = look_up(reference, variables)?;
            out.push_str(value);
            used.push(name.to_owned());
            rest = after;
        } else {
            out.push('$');
            rest = after;
        }
    }
    out.push_str(rest);
    Ok(Expanded { text: out, used })
}

/// The name in a reference, and what stands for it.
fn look_up<'v>(reference: &'v str, variables: &'v BTreeMap<String, String>) -> Result<(&'v str, &'v str), ExpandError> {
    let (name, default) = match reference.split_once(':') {
        Some((name, default)) => (name, Some(default.strip_prefix('-').unwrap_or(default))),
        None => (reference, None),
    };
    if let (Some(_), "env" | "input") = (default, name) {
        // `${env:TOKEN}` and `${input:token}` of editors would read as a variable `env` with a default.
        return Err(ExpandError::Foreign(reference.to_owned(), "${NAME}"));
    }
    if !is_name(name) {
        return Err(ExpandError::NotAName(reference.to_owned()));
    }
    match (variables.get(name), default) {
        (Some(value), None) => Ok((name, value)),
        (Some(value), Some(_)) if !value.is_empty() => Ok((name, value)),
        (_, Some(default)) => Ok((name, default)),
        (None, None) => Err(ExpandError::Unset(name.to_owned())),
    }
}

fn is_name(name: &str) -> bool {
    !name.is_empty()
        && !name.starts_with(|c: char| c.is_ascii_digit())
        && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn variables() -> BTreeMap<String, String> {
        [("A", "1"), ("EMPTY", ""), ("TRICK", "${A}: [x]")]
            .map(|(k, v)| (k.to_owned(), v.to_owned()))
            .into()
    }

    #[test]
    fn every_form() {
        let expand = |text| expand(text, &variables()).map(|expanded| expanded.text);
        assert_eq!(expand("x${A}y${A}").unwrap(), "x1y1");
        assert_eq!(expand("${B:two}").unwrap(), "two");
        assert_eq!(expand("${B:-two}").unwrap(), "two");
        assert_eq!(expand("${B:http://h:1/}").unwrap(), "http://h:1/");
        assert_eq!(expand("${B:}").unwrap(), "");
        assert_eq!(expand("${EMPTY}|${EMPTY:d}").unwrap(), "|d");
        assert_eq!(expand("$$ $${A} $A 5$ $").unwrap(), "$ ${A} $A 5$ $");
        assert_eq!(expand("$$$${A}$$${A}").unwrap(), "$${A}$1");
        assert_eq!(expand("${TRICK}").unwrap(), "${A}: [x]");
        assert_eq!(expand("${B}"), Err(ExpandError::Unset("B".to_owned())));
        assert_eq!(expand("${A"), Err(ExpandError::Open));
        assert_eq!(expand("${a b}"), Err(ExpandError::NotAName("a b".to_owned())));
        assert!(matches!(expand("${env:A}"), Err(ExpandError::Foreign(..))));
        assert_eq!(
            expand("${B}").unwrap_err().to_string(),
            "the variable `B` is not set; give it a value or a default: `${B:default}`"
        );
    }

    proptest! {
        #[test]
        fn text_without_a_dollar_stays(text in "[^$]{0,40}") {
            prop_assert_eq!(expand(&text, &variables()).unwrap().text, text);
        }

        #[test]
        fn escaped_text_comes_back_whole(text in "\\PC{0,40}") {
            prop_assert_eq!(expand(&text.replace('$', "$$"), &variables()).unwrap().text, text);
        }

        #[test]
        fn a_value_is_never_read_again(value in "\\PC{0,20}") {
            let variables = [("V".to_owned(), value.clone())].into();
            prop_assert_eq!(expand("<${V}>", &variables).unwrap().text, format!("<{value}>"));
        }
    }
}
