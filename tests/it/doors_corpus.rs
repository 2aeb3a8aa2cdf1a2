//! The corpus of JSON texts in `tests/corpora`, and what a door must make of each.

use std::fs;

/// What a parser must do with a text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    Take,
    Refuse,
    Either,
}

/// One text.
#[derive(Clone, Debug)]
pub struct Case {
    pub verdict: Verdict,
    pub text: Vec<u8>,
}

impl Case {
    /// A `ping` with the text as a parameter.
    pub fn in_a_ping(&self, id: usize) -> Vec<u8> {
        let mut message =
            format!("{{\"jsonrpc\":\"2.0\",\"id\":{id},\"method\":\"ping\",\"params\":{{\"v\":").into_bytes();
        message.extend_from_slice(&self.text);
        message.extend_from_slice(b"}}");
        message
    }
}

/// All cases.
pub fn cases() -> Vec<Case> {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/corpora/json-parsing.txt");
    let text = fs::read_to_string(path).unwrap();
    text.lines()
        .filter(|line| !line.starts_with('#'))
        .map(|line| {
            let (verdict, escaped) = line.split_once('\t').unwrap();
            let verdict = match verdict {
                "y" => Verdict::Take,
                "n" => Verdict::Refuse,
                "i" => Verdict::Either,
                other => panic!("`{other}` is no verdict"),
            };
            Case {
                verdict,
                text: unescape(escaped),
            }
        })
        .collect()
}

fn unescape(text: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut rest = text.as_bytes();
    while let Some((first, tail)) = rest.split_first() {
        if *first == b'\\' {
            let digits = std::str::from_utf8(&tail[1..3]).unwrap();
            bytes.push(u8::from_str_radix(digits, 16).unwrap());
            rest = &tail[3..];
        } else {
            bytes.push(*first);
            rest = tail;
        }
    }
    bytes
}

#[test]
fn the_corpus_is_large_and_without_doubles() {
    let all = cases();
    let distinct: std::collections::BTreeSet<_> = all.iter().map(|case| case.text.clone()).collect();
    assert_eq!(all.len(), distinct.len());
    let count = |verdict| all.iter().filter(|case| case.verdict == verdict).count();
    assert!(
        count(Verdict::Take) >= 100 && count(Verdict::Refuse) >= 200,
        "{}",
        all.len()
    );
}
