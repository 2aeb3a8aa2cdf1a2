//! Newline-delimited messages out of a stream of bytes, with a limit on a line's length.

use bytes::{Buf as _, Bytes, BytesMut};

use super::id_scan::{IdScan, Looks};

/// A line longer than this gets room for the longest one at once: pages that nobody writes to cost nothing, while a buffer that grows
/// step by step holds a line twice at each step.
const LARGE: usize = 1 << 20;
/// Room beyond the limit, so that a line is found too long before there is no room left for it.
const SLACK: usize = 256 << 10;

/// What came between two newlines.
#[derive(Debug, PartialEq, Eq)]
pub enum Line {
    /// A line without its end (`\n` or `\r\n`); never empty.
    Whole(Bytes),
    /// A line longer than the limit; its bytes are gone. Told as soon as it is known whose it is, at its end at the latest.
    TooLong {
        /// Length in bytes, so far.
        length: u64,
        /// The raw top-level id, if there was one.
        id: Option<String>,
        /// Which kind of message it seems to be.
        looks: Looks,
    },
}

#[derive(Debug, Default)]
struct Overflow {
    length: u64,
    scan: IdScan,
    told: bool,
}

/// Splits a byte stream at newlines. Memory is bounded by the limit plus one read.
#[derive(Debug)]
pub struct LineSplitter {
    buffer: BytesMut,
    searched: usize,
    limit: usize,
    /// Whether the buffer has room for the longest line.
    large: bool,
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
            large: false,
            overflow: None,
        }
    }

    /// The buffer, with room for a read of `room` bytes; follow each read by calls of [`Self::next_line`] until it is `None`.
    pub fn buffer(&mut self, room: usize) -> &mut BytesMut {
        let length = self.buffer.len();
        if length + room > LARGE && !self.large {
            self.move_to(self.limit.max(length) + room.max(SLACK));
            self.large = true;
        } else if self.large && length + room <= LARGE / 2 {
            // The long line is gone; its room is given back.
            self.move_to(length + room);
            self.large = false;
        }
        self.buffer.reserve(room);
        &mut self.buffer
    }

    /// Whether a line that is too long still goes on: `Some(true)` once it has been told whose it is.
    #[must_use]
    pub fn overflowing(&self) -> Option<bool> {
        self.overflow.as_ref().map(|overflow| overflow.told)
    }

    /// The next line, if its end has arrived or enough is known. Empty lines are skipped.
    pub fn next_line(&mut self) -> Option<Line> {
        loop {
            let unseen = self.buffer.get(self.searched..).unwrap_or_default();
            let Some(offset) = memchr::memchr(b'\n', unseen) else {
                self.searched = self.buffer.len();
                return self.give_up_if_too_long();
            };
            let line = self.buffer.split_to(self.searched + offset);
            self.buffer.advance(1);
            self.searched = 0;
            if let Some(mut overflow) = self.overflow.take() {
                if overflow.told {
                    continue;
                }
                return Some(overflow.look(&line));
            }
            let mut line = line.freeze();
            if line.last() == Some(&b'\r') {
                line.truncate(line.len() - 1);
            }
            if line.len() > self.limit {
                return Some(Overflow::default().look(&line));
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

    fn give_up_if_too_long(&mut self) -> Option<Line> {
        if self.overflow.is_none() && self.buffer.len() <= self.limit {
            return None;
        }
        let overflow = self.overflow.get_or_insert_default();
        let told = if overflow.told {
            None
        } else {
            let line = overflow.look(&self.buffer);
            overflow.told = overflow.scan.is_settled();
            overflow.told.then_some(line)
        };
        self.buffer.clear();
        self.searched = 0;
        told
    }

    fn move_to(&mut self, room: usize) {
        let mut moved = BytesMut::with_capacity(room);
        moved.extend_from_slice(&self.buffer);
        self.buffer = moved;
    }
}

impl Overflow {
    /// Takes more of the line in; what there is to tell of it by now.
    fn look(&mut self, more: &[u8]) -> Line {
        self.length += more.len() as u64;
        self.scan.feed(more);
        Line::TooLong {
            length: self.length,
            id: self.scan.id().map(str::to_owned),
            looks: self.scan.looks(),
        }
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
            splitter.buffer(chunk.len()).extend_from_slice(chunk);
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

    #[test]
    fn whose_line_it_is_may_be_known_before_its_end() {
        let mut splitter = LineSplitter::new(64);
        let begun = format!("{{\"id\":41,\"result\":\"{}", "x".repeat(100));
        splitter.buffer(200).extend_from_slice(begun.as_bytes());
        let told = Line::TooLong {
            length: begun.len() as u64,
            id: Some("41".to_owned()),
            looks: Looks::Answering,
        };
        assert_eq!((splitter.next_line(), splitter.overflowing()), (Some(told), Some(true)));
        for _ in 0..100 {
            splitter.buffer(200).extend_from_slice(&[b'x'; 100]);
            assert_eq!(splitter.next_line(), None, "told once");
        }
        splitter.buffer(200).extend_from_slice(b"\"}\nnext\n");
        assert_eq!(splitter.next_line(), Some(Line::Whole(Bytes::from_static(b"next"))));
        assert_eq!(splitter.overflowing(), None);
    }

    #[test]
    fn a_long_line_holds_its_room_only_while_it_is_read() {
        let mut splitter = LineSplitter::new(16 << 20);
        let chunk = vec![b'x'; 256 << 10];
        for _ in 0..60 {
            let room = splitter.buffer(chunk.len());
            room.extend_from_slice(&chunk);
            assert!(room.capacity() <= (16 << 20) + SLACK, "{}", room.capacity());
            assert_eq!(splitter.next_line(), None);
        }
        splitter.buffer(10).extend_from_slice(b"\nnext");
        assert!(matches!(splitter.next_line(), Some(Line::Whole(line)) if line.len() == 60 << 18));
        assert!(splitter.buffer(4096).capacity() < 64 << 10);
        splitter.buffer(10).extend_from_slice(b" one\n");
        assert_eq!(splitter.next_line(), Some(Line::Whole(Bytes::from_static(b"next one"))));
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
