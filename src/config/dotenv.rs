//! Reads `.env` files: `KEY=value` lines with comments and quotes, and nothing cleverer.

use std::collections::BTreeMap;

/// The variables of a `.env` file, and the lines (from 1) that are not understood.
///
/// A line is `KEY=value`, `export KEY=value`, a comment or empty. Single quotes keep everything; double quotes know
/// `\n`, `\t`, `\"`, `\\` and `\$`; an unquoted value ends at ` #`. Nothing is expanded.
pub(super) fn parse(text: &str) -> (BTreeMap<String, String>, Vec<usize>) {
    let mut variables = BTreeMap::new();
    let mut bad = Vec::new();
    for (number, line) in (1..).zip(text.trim_start_matches('\u{feff}').lines()) {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        match assignment(line.strip_prefix("export ").unwrap_or(line)) {
            Some((key, value)) => {
                variables.insert(key, value);
            }
            None => bad.push(number),
        }
    }
    (variables, bad)
}

fn assignment(line: &str) -> Option<(String, String)> {
    let (key, value) = line.split_once('=')?;
    let key = key.trim();
    let named = !key.is_empty()
        && key
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.'));
    named.then_some(())?;
    let value = value.trim();
    let value = if let Some(rest) = value.strip_prefix('\'') {
        let (inside, after) = rest.split_once('\'')?;
        only_comment(after).then(|| inside.to_owned())?
    } else if let Some(rest) = value.strip_prefix('"') {
        double_quoted(rest)?
    } else {
        let end = value.find(" #").or_else(|| value.find("\t#")).unwrap_or(value.len());
        let value = value.split_at_checked(end).map_or(value, |(value, _)| value);
        if value.starts_with('#') {
            String::new()
        } else {
            value.trim_end().to_owned()
        }
    };
    Some((key.to_owned(), value))
}

fn double_quoted(rest: &str) -> Option<String> {
    let mut value = String::new();
    let mut chars = rest.chars();
    loop {
        match chars.next()? {
            '"' => return only_comment(chars.as_str()).then_some(value),
            '\\' => value.push(match chars.next()? {
                'n' => '\n',
                't' => '\t',
                'r' => '\r',
                other => other,
            }),
            c => value.push(c),
        }
    }
}

fn only_comment(after: &str) -> bool {
    let after = after.trim();
    after.is_empty() || after.starts_with('#')
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn every_form() {
        let (variables, bad) = parse(
            "# comment\n\nA=1\nexport B = two words # note\nC='$X # \"kept\"'\nD=\"a\\n\\\"b\\\"\" # note\nE=\nF=a#b\nG=#x\nnonsense\nH='open\n",
        );
        let expected = [
            ("A", "1"),
            ("B", "two words"),
            ("C", "$X # \"kept\""),
            ("D", "a\n\"b\""),
            ("E", ""),
            ("F", "a#b"),
            ("G", ""),
        ];
        assert_eq!(variables, expected.map(|(k, v)| (k.to_owned(), v.to_owned())).into());
        assert_eq!(bad, [10, 11]);
    }

    proptest! {
        #[test]
        fn a_quoted_value_comes_back_whole(value in "[^\\r\\n]{0,30}") {
            let quoted = value.replace('\\', "\\\\").replace('"', "\\\"");
            let (variables, bad) = parse(&format!("K=\"{quoted}\""));
            prop_assert!(bad.is_empty());
            prop_assert_eq!(&variables["K"], &value);
        }

        #[test]
        fn no_text_panics(text in "\\PC{0,60}") {
            drop(parse(&text));
        }
    }
}
