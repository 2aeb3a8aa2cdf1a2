//! Replaces byte ranges of a message and copies everything else as it was.

use std::ops::Range;

use bytes::{BufMut, Bytes, BytesMut};

/// Edits to one message, applied in a single copy.
///
/// Ranges refer to the original bytes, must not overlap, and must be added in ascending order.
#[derive(Debug)]
pub struct Splice<'a> {
    source: &'a [u8],
    output: BytesMut,
    copied: usize,
}

impl<'a> Splice<'a> {
    /// Starts an edit of `source` that will grow by about `extra` bytes.
    pub fn new(source: &'a [u8], extra: usize) -> Self {
        Self {
            source,
            output: BytesMut::with_capacity(source.len() + extra),
            copied: 0,
        }
    }

    /// Puts `replacement` where `range` was; an empty range inserts.
    #[must_use]
    pub fn replace(mut self, range: &Range<usize>, replacement: &[u8]) -> Self {
        debug_assert!(range.start >= self.copied && range.end <= self.source.len());
        self.output
            .put_slice(self.source.get(self.copied..range.start).unwrap_or_default());
        self.output.put_slice(replacement);
        self.copied = range.end;
        self
    }

    /// The edited message.
    #[must_use]
    pub fn finish(mut self) -> Bytes {
        self.output
            .put_slice(self.source.get(self.copied..).unwrap_or_default());
        self.output.freeze()
    }
}

/// `text` as a JSON string with its quotes.
#[must_use]
pub fn json_string(text: &str) -> String {
    serde_json::to_string(text).unwrap_or_else(|_| String::from("\"\""))
}
