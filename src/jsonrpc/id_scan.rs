//! Finds the top-level `id` of a message that can't be parsed, too long to keep or broken, while its bytes stream past.

use std::ops::ControlFlow;

use memchr::memchr2;

/// Longest id kept; a longer one is as good as none.
const MAX_ID: usize = 256;

/// What a message looks like by its top-level names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Looks {
    /// It has a `method`.
    Asking,
    /// It has a `result` or an `error`, and no `method` so far.
    Answering,
    /// None of them was seen.
    Unclear,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Wait {
    /// For the next key at depth 1.
    Key,
    /// For the value of a key that is not `id`.
    OtherValue,
    /// For the value of `id`.
    IdValue,
}

/// A streaming scanner over one JSON object: no stack, 256 bytes of memory at most. What it does not need it passes over in
/// strides, so that it keeps up with a pipe.
#[derive(Debug)]
pub struct IdScan {
    depth: usize,
    in_string: bool,
    escaped: bool,
    wait: Wait,
    token: Vec<u8>,
    id: Option<String>,
    looks: Looks,
}

impl Default for IdScan {
    fn default() -> Self {
        Self {
            depth: 0,
            in_string: false,
            escaped: false,
            wait: Wait::Key,
            token: Vec::new(),
            id: None,
            looks: Looks::Unclear,
        }
    }
}

impl IdScan {
    /// Looks at the next bytes of the message.
    pub fn feed(&mut self, mut bytes: &[u8]) {
        while let Some((&byte, rest)) = bytes.split_first() {
            bytes = match self.stride(bytes) {
                ControlFlow::Break(()) => return,
                ControlFlow::Continue(0) => {
                    self.step(byte);
                    rest
                }
                ControlFlow::Continue(passed) => bytes.get(passed..).unwrap_or_default(),
            };
        }
    }

    /// The raw id, once its value has been passed.
    #[must_use]
    pub fn id(&self) -> Option<&str> {
        self.id.as_deref()
    }

    /// What the message looks like so far.
    #[must_use]
    pub fn looks(&self) -> Looks {
        self.looks
    }

    /// Whether more of the message would hardly tell more.
    pub(super) fn is_settled(&self) -> bool {
        self.id.is_some() && self.looks != Looks::Unclear
    }

    /// How many bytes from here on change nothing; `Break` if none of them does.
    fn stride(&self, bytes: &[u8]) -> ControlFlow<(), usize> {
        let found = if self.keeps() || self.escaped {
            Some(0)
        } else if self.in_string {
            memchr2(b'"', b'\\', bytes)
        } else {
            bytes
                .iter()
                .position(|byte| matches!(byte, b'"' | b'{' | b'[' | b'}' | b']' | b',' | b':'))
        };
        found.map_or(ControlFlow::Break(()), ControlFlow::Continue)
    }

    fn keeps(&self) -> bool {
        self.depth == 1 && self.wait != Wait::OtherValue && self.token.len() < MAX_ID
    }

    fn step(&mut self, byte: u8) {
        if self.in_string {
            self.keep(byte);
            if self.escaped {
                self.escaped = false;
            } else if byte == b'\\' {
                self.escaped = true;
            } else if byte == b'"' {
                self.in_string = false;
            }
            return;
        }
        match byte {
            b'"' => {
                self.in_string = true;
                self.keep(byte);
            }
            b'{' | b'[' => self.depth += 1,
            b'}' | b']' => {
                if self.depth == 1 {
                    self.end_value();
                }
                self.depth = self.depth.saturating_sub(1);
            }
            b':' if self.depth == 1 && self.wait == Wait::Key => {
                self.wait = match self.token.as_slice() {
                    b"\"id\"" => Wait::IdValue,
                    _ => Wait::OtherValue,
                };
                match self.token.as_slice() {
                    b"\"method\"" => self.looks = Looks::Asking,
                    b"\"result\"" | b"\"error\"" if self.looks == Looks::Unclear => self.looks = Looks::Answering,
                    _ => {}
                }
                self.token.clear();
            }
            b',' if self.depth == 1 => self.end_value(),
            b' ' | b'\t' | b'\r' | b'\n' => {}
            _ => self.keep(byte),
        }
    }

    fn keep(&mut self, byte: u8) {
        if self.keeps() {
            self.token.push(byte);
        }
    }

    fn end_value(&mut self) {
        if self.wait == Wait::IdValue && self.id.is_none() && self.token.len() < MAX_ID {
            self.id = String::from_utf8(std::mem::take(&mut self.token))
                .ok()
                .filter(|id| !id.is_empty());
        }
        self.token.clear();
        self.wait = Wait::Key;
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn scanned(text: &str, size: usize) -> (Option<String>, Looks) {
        let mut scan = IdScan::default();
        for chunk in text.as_bytes().chunks(size) {
            scan.feed(chunk);
        }
        (scan.id().map(str::to_owned), scan.looks())
    }

    fn id_of(text: &str) -> Option<String> {
        scanned(text, 3).0
    }

    #[test]
    fn finds_the_id_wherever_it_stands() {
        assert_eq!(id_of(r#"{"id":7,"result":{}}"#).as_deref(), Some("7"));
        assert_eq!(
            id_of(r#"{"result":{"id":1,"x":["id",{"id":2}]},"jsonrpc":"2.0","id": "a\"b" }"#).as_deref(),
            Some(r#""a\"b""#)
        );
        assert_eq!(id_of(r#"{"result":"\"id\":9","id":12}"#).as_deref(), Some("12"));
        assert_eq!(id_of(r#"{"result":{"id":1}}"#), None);
        assert_eq!(id_of("garbage"), None);
    }

    #[test]
    fn an_answer_and_a_question_look_different() {
        for (text, looks) in [
            (r#"{"id":1,"result":{"method":1}}"#, Looks::Answering),
            (r#"{"id":1,"error":{}"#, Looks::Answering),
            (r#"{"id":1,"method":"x","params":{"result":1}}"#, Looks::Asking),
            (r#"{"result":1,"id":1,"method":"x"}"#, Looks::Asking),
            (r#"{"id":1,"x":{"result":1}}"#, Looks::Unclear),
        ] {
            assert_eq!(scanned(text, 2).1, looks, "{text}");
        }
    }

    proptest! {
        /// However the message is cut, the same is found, and it is what a parser finds.
        #[test]
        fn cuts_do_not_matter(text in "[a-z\"\\\\{}:, ]{0,40}", id in 0u64..1000, size in 1usize..60) {
            let message = serde_json::json!({"result": {"id": text.as_str(), "more": [text.as_str()]}, "id": id, "last": text}).to_string();
            prop_assert_eq!(scanned(&message, size), (Some(id.to_string()), Looks::Answering));
        }
    }
}
