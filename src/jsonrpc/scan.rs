//! Walks over valid JSON quickly; gives up on everything else.
//!
//! What is accepted here is JSON by RFC 8259. What is not may still be: whoever asks then asks `serde_json`, whose word and
//! error message count. Long strings, which are most of a message, are searched sixteen and more bytes at a time.

/// Over which bytes, and how far.
#[derive(Debug)]
pub(super) struct Scan<'a> {
    text: &'a str,
    at: usize,
}

/// Open arrays (0) and objects (1), innermost in the lowest bit.
#[derive(Default)]
struct Open {
    depth: usize,
    inner: u64,
    outer: Vec<u64>,
}

impl Open {
    fn push(&mut self, object: bool) {
        if self.depth > 0 && self.depth.is_multiple_of(64) {
            self.outer.push(self.inner);
        }
        self.inner = self.inner << 1 | u64::from(object);
        self.depth += 1;
    }

    fn in_object(&self) -> bool {
        self.inner & 1 == 1
    }

    fn pop(&mut self) {
        self.depth -= 1;
        self.inner >>= 1;
        if self.depth > 0 && self.depth.is_multiple_of(64) {
            self.inner = self.outer.pop().unwrap_or_default();
        }
    }
}

impl<'a> Scan<'a> {
    pub(super) fn new(text: &'a str) -> Self {
        Self { text, at: 0 }
    }

    fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    /// Takes `byte` after white space, if it stands there.
    pub(super) fn take(&mut self, byte: u8) -> bool {
        self.space();
        let there = self.peek() == Some(byte);
        self.at += usize::from(there);
        there
    }

    /// Whether nothing but white space is left.
    pub(super) fn is_at_end(&mut self) -> bool {
        self.space();
        self.at == self.text.len()
    }

    fn space(&mut self) {
        while let Some(b' ' | b'\t' | b'\n' | b'\r') = self.peek() {
            self.at += 1;
        }
    }

    /// A string with its quotes.
    pub(super) fn string(&mut self) -> Option<&'a str> {
        self.space();
        let start = self.at;
        self.skip_string()?;
        self.text.get(start..self.at)
    }

    /// A value, without the white space around it.
    pub(super) fn value(&mut self) -> Option<&'a str> {
        self.space();
        let start = self.at;
        self.skip_value()?;
        self.text.get(start..self.at)
    }

    fn skip_value(&mut self) -> Option<()> {
        let mut open = Open::default();
        loop {
            self.space();
            match self.peek()? {
                b'"' => self.skip_string()?,
                b'{' => {
                    self.at += 1;
                    if !self.take(b'}') {
                        open.push(true);
                        self.skip_key()?;
                        continue;
                    }
                }
                b'[' => {
                    self.at += 1;
                    if !self.take(b']') {
                        open.push(false);
                        continue;
                    }
                }
                b't' => self.skip_word(b"true")?,
                b'f' => self.skip_word(b"false")?,
                b'n' => self.skip_word(b"null")?,
                _ => self.skip_number()?,
            }
            loop {
                if open.depth == 0 {
                    return Some(());
                }
                if self.take(b',') {
                    if open.in_object() {
                        self.skip_key()?;
                    }
                    break;
                }
                if !self.take(if open.in_object() { b'}' } else { b']' }) {
                    return None;
                }
                open.pop();
            }
        }
    }

    fn skip_key(&mut self) -> Option<()> {
        self.space();
        self.skip_string()?;
        self.take(b':').then_some(())
    }

    fn skip_word(&mut self, word: &[u8]) -> Option<()> {
        let there = self.text.as_bytes().get(self.at..)?.starts_with(word);
        self.at += word.len();
        there.then_some(())
    }

    fn skip_digits(&mut self) -> Option<()> {
        let start = self.at;
        while self.peek().is_some_and(|byte| byte.is_ascii_digit()) {
            self.at += 1;
        }
        (self.at > start).then_some(())
    }

    fn skip_number(&mut self) -> Option<()> {
        self.at += usize::from(self.peek() == Some(b'-'));
        if self.peek() == Some(b'0') {
            self.at += 1;
        } else {
            self.skip_digits()?;
        }
        if self.peek() == Some(b'.') {
            self.at += 1;
            self.skip_digits()?;
        }
        if let Some(b'e' | b'E') = self.peek() {
            self.at += 1;
            if let Some(b'+' | b'-') = self.peek() {
                self.at += 1;
            }
            self.skip_digits()?;
        }
        Some(())
    }

    fn skip_string(&mut self) -> Option<()> {
        let bytes = self.text.as_bytes();
        if self.peek() != Some(b'"') {
            return None;
        }
        self.at += 1;
        loop {
            let rest = bytes.get(self.at..)?;
            let length = end_of_plain(rest)?;
            self.at += length;
            if bytes.get(self.at) == Some(&b'"') {
                self.at += 1;
                return Some(());
            }
            match bytes.get(self.at + 1)? {
                b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't' => self.at += 2,
                b'u' => {
                    let digits = bytes.get(self.at + 2..self.at + 6)?;
                    if !digits.iter().all(u8::is_ascii_hexdigit) {
                        return None;
                    }
                    self.at += 6;
                }
                _ => return None,
            }
        }
    }
}

/// Strings up to here are looked at byte by byte: names, mostly.
const SHORT: usize = 16;

/// How far it is to the next quote or backslash; `None` if a control character comes first or neither comes.
fn end_of_plain(bytes: &[u8]) -> Option<usize> {
    for (length, byte) in bytes.iter().take(SHORT).enumerate() {
        match byte {
            b'"' | b'\\' => return Some(length),
            0..0x20 => return None,
            _ => {}
        }
    }
    let rest = bytes.get(SHORT..)?;
    let length = memchr::memchr2(b'"', b'\\', rest)?;
    // Without a branch per byte, so that it is done many bytes at a time.
    let lowest = rest
        .get(..length)?
        .iter()
        .fold(u8::MAX, |lowest, byte| lowest.min(*byte));
    (lowest >= 0x20).then_some(SHORT + length)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde::de::IgnoredAny;

    use super::*;

    fn accepts(text: &str) -> bool {
        let mut scan = Scan::new(text);
        scan.value().is_some() && scan.is_at_end()
    }

    fn is_json(text: &str) -> bool {
        serde_json::from_str::<IgnoredAny>(text).is_ok()
    }

    #[test]
    fn it_knows_json() {
        let deep = format!("{}{}", "[{\"a\":".repeat(500), "}]".repeat(500)).replace(":}", ":1}");
        for text in [
            "0",
            "-0",
            "-0.0e+10",
            "12E-3",
            "true",
            "false",
            "null",
            "\"\"",
            "[]",
            "{}",
            " [ ] ",
            "{ }",
            "[1,2]",
            r#"{"a":1,"b":[{},[],"x"],"c":{"d":null}}"#,
            r#""\u00e9\n\"\\\/""#,
            r#""a long string with \" and \\ in it""#,
            "\"é\u{1f600}\u{7f}\"",
            "\t\r\n 1 \n",
            &deep,
        ] {
            assert!(accepts(text) && is_json(text), "{text}");
        }
        for text in [
            "",
            " ",
            "01",
            "1.",
            ".5",
            "+1",
            "-",
            "1e",
            "1e+",
            "t",
            "null0",
            "\"",
            "\"\\\"",
            "\"\\x\"",
            "\"\\u12g4\"",
            "\"\n\"",
            "\"a string of some length\u{1}\"",
            "[",
            "[1",
            "[1,",
            "[1,]",
            "[,1]",
            "{",
            "{\"a\"",
            "{\"a\":}",
            "{\"a\":1,}",
            "{a:1}",
            "{1:1}",
            "[1}",
            "{\"a\":1]",
            "1 2",
            "[]]",
            "\u{feff}1",
            "'a'",
            "NaN",
            "//",
            "\u{c}1",
        ] {
            assert!(!accepts(text) && !is_json(text), "{text}");
        }
    }

    #[test]
    fn any_depth_opens_and_closes_in_order() {
        for depth in [1, 63, 64, 65, 127, 128, 129, 1000] {
            let pairs = |swapped: bool| {
                let close: String = (0..depth)
                    .rev()
                    .map(|n| if (n % 3 == 0) == swapped { '}' } else { ']' })
                    .collect();
                let open: String = (0..depth).map(|n| if n % 3 == 0 { "[" } else { "{\"k\":" }).collect();
                format!("{open}1{close}")
            };
            assert!(accepts(&pairs(false)), "{depth}");
            assert!(!accepts(&pairs(true)), "{depth}");
        }
    }

    proptest! {
        /// It never accepts what is no JSON, and on text like JSON it accepts what is.
        #[test]
        fn it_agrees_with_serde(text in r#"[\[\]{}:,"\\u0-2eE+\-. atrufn\n]{0,12}"#) {
            prop_assert_eq!(accepts(&text), is_json(&text), "{}", text);
        }

        #[test]
        fn it_agrees_on_strings(inner in r#"([a-zé"\\\x00-\x20/]|\\u[0-9a-g]{4}|\\[nt"\\]){0,40}"#) {
            let text = format!("\"{inner}\"");
            prop_assert_eq!(accepts(&text), is_json(&text), "{}", text);
        }
    }
}
