//! Newline-delimited messages out of a stream of bytes, with a limit on a line's length.

use bytes::{Buf as _, Bytes, BytesMut};

use super::id_scan::IdScan;

/// What came between two newlines.
#[derive(Debug, PartialEq, Eq)]
pub enum Line {
    /// A line without its end (`\n` or `\r\n`); never empty.
    Whole(Bytes),
    /// A line longer than the limit; its bytes are gone, its top-level `id` (raw) was found on the way where it had one.
    TooLong {
        /// Length in bytes.
        length: u64,
        /// The raw id.
        id: Option<String>,
    },
}

#[derive(Debug)]
struct Overflow {
    length: u64,
    scan: IdScan,
}

/// Splits a byte stream at newlines. Memory is bounded by the limit plus one read.
#[derive(Debug)]
pub struct LineSplitter {
    buffer: BytesMut,
    searched: usize,
    limit: usize,
    overflow: Option<Overflow>,
}

impl LineSplitter {
    /// A splitter for lines of at most `limit` bytes.
    #[must_use]
    pub fn new(limit: usize) -> Self {
        Self {
            buffer: BytesMut::new(),
            searched: 0,
            limit,
            overflow: None,
        }
    }

    /// The buffer to read into; follow each read by calls of [`Self::next_line`] until it is `None`.
    pub fn buffer(&mut self) -> &mut BytesMut {
        &mut self.buffer
    }

    /// The next line, if its end has arrived. Empty lines are skipped.
    pub fn next_line(&mut self) -> Option<Line> {
        loop {
            let unseen = self.buffer.get(self.searched..).unwrap_or_default();
            let Some(offset) = memchr::memchr(b'\n', unseen) else {
                self.searched = self.buffer.len();
                self.give_up_if_too_long();
                return None;
            };
            let line = self.buffer.split_to(self.searched + offset);
            self.buffer.advance(1);
            self.searched = 0;
            if let Some(mut overflow) = self.overflow.take() {
                overflow.scan.feed(&line);
                return Some(Line::TooLong {
                    length: overflow.length + line.len() as u64,
                    id: overflow.scan.id().map(str::to_owned),
                });
            }
            let mut line = line.freeze();
            if line.last() == Some(&b'\r') {
                line.truncate(line.len() - 1);
            }
            if line.len() > self.limit {
                let mut scan = IdScan::new();
                scan.feed(&line);
                return Some(Line::TooLong {
                    length: line.len() as u64,
                    id: scan.id().map(str::to_owned),
                });
            }
            if !line.is_empty() {
                return Some(Line::Whole(line));
            }
        }
    }

    /// What is left at the end of the stream: a last line without its newline.
    pub fn rest(&mut self) -> Option<Bytes> {
        let rest = self.buffer.split().freeze();
        self.searched = 0;
        (self.overflow.take().is_none() && !rest.is_empty()).then_some(rest)
    }

    fn give_up_if_too_long(&mut self) {
        if self.overflow.is_none() && self.buffer.len() <= self.limit {
            return;
        }
        let overflow = self.overflow.get_or_insert_with(|| Overflow {
            length: 0,
            scan: IdScan::new(),
        });
        overflow.length += self.buffer.len() as u64;
        overflow.scan.feed(&self.buffer);
        self.buffer.clear();
        self.searched = 0;
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn split(limit: usize, chunks: &[&[u8]]) -> Vec<Line> {
        let mut splitter = LineSplitter::new(limit);
        let mut lines = Vec::new();
        for chunk in chunks {
            splitter.buffer().extend_from_slice(chunk);
            while let Some(line) = splitter.next_line() {
                lines.push(line);
            }
        }
        lines
    }

    #[test]
    fn a_long_line_costs_only_itself() {
        let long = format!("{{\"result\":\"{}\",\"id\":41}}\r\nnext\n", "x".repeat(500));
        for size in [1, 7, 64, 1000] {
            let chunks: Vec<_> = long.as_bytes().chunks(size).collect();
            let lines = split(64, &chunks);
            assert!(
                matches!(&lines[0], Line::TooLong { id: Some(id), .. } if id == "41"),
                "{size}: {lines:?}"
            );
            assert_eq!(lines[1], Line::Whole(Bytes::from_static(b"next")));
        }
    }

    proptest! {
        /// However the stream is cut into reads, the same lines come out.
        #[test]
        fn cuts_do_not_matter(text in "[a-z\r\n]{0,200}", size in 1usize..50) {
            let chunks: Vec<_> = text.as_bytes().chunks(size).collect();
            let expected: Vec<_> = text
                .split_inclusive('\n')
                .filter(|line| line.ends_with('\n'))
                .map(|line| { let line = line.strip_suffix('\n').unwrap_or(line); line.strip_suffix('\r').unwrap_or(line) })
                .filter(|line| !line.is_empty())
                .map(|line| Line::Whole(Bytes::copy_from_slice(line.as_bytes())))
                .collect();
            prop_assert_eq!(split(1000, &chunks), expected);
        }
    }
}
