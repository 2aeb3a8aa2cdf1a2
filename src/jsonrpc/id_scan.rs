//! Finds the top-level `id` of a message that is too long to keep, while its bytes stream past.

/// Longest id kept; a longer one is as good as none.
const MAX_ID: usize = 256;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Wait {
    /// For the next key at depth 1.
    Key,
    /// For the value of a key that is not `id`.
    OtherValue,
    /// For the value of `id`.
    IdValue,
}

/// A streaming scanner over one JSON object: no stack, 256 bytes of memory at most.
#[derive(Debug)]
pub(super) struct IdScan {
    depth: usize,
    in_string: bool,
    escaped: bool,
    wait: Wait,
    token: Vec<u8>,
    id: Option<String>,
}

impl IdScan {
    pub(super) fn new() -> Self {
        Self {
            depth: 0,
            in_string: false,
            escaped: false,
            wait: Wait::Key,
            token: Vec::new(),
            id: None,
        }
    }

    /// Looks at the next bytes of the message.
    pub(super) fn feed(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            self.step(byte);
        }
    }

    /// The raw id, once its value has been passed.
    pub(super) fn id(&self) -> Option<&str> {
        self.id.as_deref()
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
                self.wait = if self.token == b"\"id\"" {
                    Wait::IdValue
                } else {
                    Wait::OtherValue
                };
                self.token.clear();
            }
            b',' if self.depth == 1 => self.end_value(),
            b' ' | b'\t' | b'\r' | b'\n' => {}
            _ => self.keep(byte),
        }
    }

    fn keep(&mut self, byte: u8) {
        if self.depth == 1 && self.wait != Wait::OtherValue && self.token.len() < MAX_ID {
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
    use super::*;

    fn id_of(text: &str) -> Option<String> {
        let mut scan = IdScan::new();
        for chunk in text.as_bytes().chunks(3) {
            scan.feed(chunk);
        }
        scan.id().map(str::to_owned)
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
}
