//! Reads lines from a child's stdout.

use bytes::Bytes;
use tokio::{io::AsyncReadExt as _, net::unix::pipe::Receiver};

use crate::jsonrpc::{Line, LineSplitter};

/// Smallest and largest room made before a read.
const FIRST_READ: usize = 4 << 10;
const LARGEST_READ: usize = 256 << 10;

/// Hands each line to `take` until the pipe ends; a last line without a newline counts. `take` answers whether to go on.
pub(in crate::upstream) async fn read_lines(mut pipe: Receiver, limit: usize, mut take: impl FnMut(Line) -> bool) {
    let mut splitter = LineSplitter::new(limit);
    let mut room = FIRST_READ;
    loop {
        splitter.buffer().reserve(room);
        let count = match pipe.read_buf(splitter.buffer()).await {
            Ok(0) | Err(_) => break,
            Ok(count) => count,
        };
        // Grows for bulk and shrinks again, so that a quiet child holds little memory.
        room = if count >= room {
            (room * 2).min(LARGEST_READ)
        } else {
            (room / 2).max(FIRST_READ)
        };
        while let Some(line) = splitter.next_line() {
            if !take(line) {
                return;
            }
        }
    }
    if let Some(rest) = splitter.rest() {
        let rest: Bytes = rest;
        take(Line::Whole(rest));
    }
}
