//! Reads lines from a child's stdout.

use std::time::Duration;

use tokio::{io::AsyncReadExt as _, net::unix::pipe::Receiver, time::Instant};

use crate::jsonrpc::{Line, LineSplitter};

/// Smallest and largest room made before a read.
const FIRST_READ: usize = 4 << 10;
const LARGEST_READ: usize = 256 << 10;

/// How long a line may go on once it is too long, if it is known whose it is: the others wait behind it.
const NAMED: Duration = Duration::from_secs(10);
/// The same where it is not known: whoever waits for it can only be told with everybody else.
const NAMELESS: Duration = Duration::from_millis(1500);

/// What comes out of a child.
#[derive(Debug)]
pub(in crate::upstream) enum Heard {
    /// A line.
    Line(Line),
    /// A line that is too long, and still has not ended. Nothing more is read.
    Endless,
}

/// Hands what comes to `take` until the pipe ends; a last line without a newline counts. `take` answers whether to go on.
pub(in crate::upstream) async fn read_lines(mut pipe: Receiver, limit: usize, mut take: impl FnMut(Heard) -> bool) {
    let mut splitter = LineSplitter::new(limit);
    let mut room = FIRST_READ;
    let mut too_long: Option<Instant> = None;
    loop {
        let count = match pipe.read_buf(splitter.buffer(room)).await {
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
            if !take(Heard::Line(line)) {
                return;
            }
        }
        let Some(named) = splitter.overflowing() else {
            too_long = None;
            continue;
        };
        let patience = if named { NAMED } else { NAMELESS };
        if too_long.get_or_insert_with(Instant::now).elapsed() > patience {
            take(Heard::Endless);
            return;
        }
    }
    if let Some(rest) = splitter.rest() {
        take(Heard::Line(Line::Whole(rest)));
    }
}
