//! Writes lines to a child's stdin: straight into the pipe where it has room, through a bounded queue where it has not.

use std::{
    collections::VecDeque,
    io,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use bytes::{Buf as _, Bytes};
use tokio::{
    net::unix::pipe::Sender,
    sync::Notify,
    time::{Instant, timeout_at},
};

/// Bounds of the queue: more than this unread, and the child is not reading. Every waiting call also holds the request it was made
/// from, so that the hub holds twice as much.
const MAX_MESSAGES: usize = 1024;
const MAX_BYTES: usize = 3 << 20;
/// How long the pipe may stay full before the child counts as stalled. Callers are promised an answer within ten seconds.
const STALL: Duration = Duration::from_secs(9);

/// Why a line could not be taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::upstream) enum WriteError {
    /// The queue is at its bound.
    Full,
    /// stdin is closed.
    Closed,
}

/// How the writer ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::upstream) enum WriterEnd {
    /// The child or we closed the pipe.
    Closed,
    /// The child read nothing for [`STALL`] while lines waited.
    Stalled,
}

#[derive(Debug)]
struct Waiting {
    /// What is left of the line.
    line: Bytes,
    /// The call it makes, if any.
    call: Option<u64>,
    /// A part of it is in the pipe: the rest must follow.
    begun: bool,
}

#[derive(Debug)]
struct Queue {
    pipe: Option<Arc<Sender>>,
    lines: VecDeque<Waiting>,
    bytes: usize,
}

/// The writing end of a child's stdin.
#[derive(Debug)]
pub(in crate::upstream) struct Writer {
    queue: Mutex<Queue>,
    wake: Notify,
}

impl Writer {
    pub(in crate::upstream) fn new(pipe: Sender) -> Self {
        Self {
            queue: Mutex::new(Queue {
                pipe: Some(Arc::new(pipe)),
                lines: VecDeque::new(),
                bytes: 0,
            }),
            wake: Notify::new(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sends one line, its newline included, which makes the call of that number if there is one. Without a queue this is one
    /// `write` on the caller's own thread: no task is woken between a request and the child.
    pub(in crate::upstream) fn send(&self, mut line: Bytes, call: Option<u64>) -> Result<(), WriteError> {
        let mut queue = self.lock();
        let mut begun = false;
        let Some(pipe) = &queue.pipe else {
            return Err(WriteError::Closed);
        };
        if queue.lines.is_empty() {
            match pipe.try_write(&line) {
                Ok(written) if written == line.len() => return Ok(()),
                Ok(written) => {
                    line.advance(written);
                    begun = written > 0;
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(_) => {
                    queue.pipe = None;
                    drop(queue);
                    self.wake.notify_one();
                    return Err(WriteError::Closed);
                }
            }
        } else if queue.lines.len() >= MAX_MESSAGES || queue.bytes >= MAX_BYTES {
            return Err(WriteError::Full);
        }
        queue.bytes += line.len();
        queue.lines.push_back(Waiting { line, call, begun });
        drop(queue);
        self.wake.notify_one();
        Ok(())
    }

    /// Takes a call's line out of the queue; `false` if the child may have seen a part of it.
    pub(in crate::upstream) fn withdraw(&self, call: u64) -> bool {
        let mut queue = self.lock();
        let waits = |waiting: &Waiting| waiting.call == Some(call) && !waiting.begun;
        let Some(at) = queue.lines.iter().position(waits) else {
            return false;
        };
        let withdrawn = queue.lines.remove(at);
        queue.bytes -= withdrawn.map_or(0, |waiting| waiting.line.len());
        true
    }

    /// Closes stdin and drops queued lines; answers the calls of which the child has certainly seen nothing.
    pub(in crate::upstream) fn close(&self) -> Vec<u64> {
        let mut queue = self.lock();
        queue.pipe = None;
        queue.bytes = 0;
        let unsent = queue
            .lines
            .drain(..)
            .filter(|waiting| !waiting.begun)
            .filter_map(|waiting| waiting.call)
            .collect();
        drop(queue);
        self.wake.notify_one();
        unsent
    }

    /// Empties the queue as the child reads, until the pipe is closed or the child stalls.
    pub(in crate::upstream) async fn flush(&self) -> WriterEnd {
        let mut progress = Instant::now();
        loop {
            let pipe = {
                let queue = self.lock();
                match &queue.pipe {
                    None => return WriterEnd::Closed,
                    Some(_) if queue.lines.is_empty() => None,
                    Some(pipe) => Some(Arc::clone(pipe)),
                }
            };
            let Some(pipe) = pipe else {
                self.wake.notified().await;
                progress = Instant::now();
                continue;
            };
            let writable = tokio::select! {
                writable = timeout_at(progress + STALL, pipe.writable()) => writable,
                // Closed meanwhile, or more to write: the loop looks which.
                () = self.wake.notified() => continue,
            };
            match writable {
                Err(_) => return WriterEnd::Stalled,
                Ok(Err(_)) => {
                    // What waits is told by `close`.
                    self.lock().pipe = None;
                    return WriterEnd::Closed;
                }
                Ok(Ok(())) => {}
            }
            let mut queue = self.lock();
            while let Some(waiting) = queue.lines.front_mut() {
                match pipe.try_write(&waiting.line) {
                    Ok(written) => {
                        progress = Instant::now();
                        waiting.line.advance(written);
                        waiting.begun |= written > 0;
                        let empty = waiting.line.is_empty();
                        queue.bytes -= written;
                        if empty {
                            queue.lines.pop_front();
                        }
                    }
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                    Err(_) => {
                        queue.pipe = None;
                        return WriterEnd::Closed;
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::{io::AsyncReadExt as _, net::unix::pipe};

    use super::*;

    /// A writer whose pipe is full, with the first line begun: call 0. Calls 1 and 2 wait behind it, and a notification.
    async fn full() -> (Writer, pipe::Receiver) {
        let (sender, receiver) = pipe::pipe().unwrap();
        sender.writable().await.unwrap();
        let writer = Writer::new(sender);
        writer.send(Bytes::from(vec![b'0'; 1 << 20]), Some(0)).unwrap();
        for call in 1..3 {
            writer.send(Bytes::from_static(b"12345678\n"), Some(call)).unwrap();
        }
        writer.send(Bytes::from_static(b"notify\n"), None).unwrap();
        (writer, receiver)
    }

    #[tokio::test]
    async fn what_was_not_begun_was_not_sent() {
        let (writer, _receiver) = full().await;
        assert_eq!(writer.close(), [1, 2]);
        assert_eq!(
            writer.send(Bytes::from_static(b"late\n"), Some(3)),
            Err(WriteError::Closed)
        );
        assert_eq!(writer.close(), [0_u64; 0]);
    }

    #[tokio::test]
    async fn a_call_is_withdrawn_while_the_child_has_seen_nothing_of_it() {
        let (writer, mut receiver) = full().await;
        assert!(!writer.withdraw(0), "the pipe holds its beginning");
        assert!(writer.withdraw(1) && !writer.withdraw(1) && !writer.withdraw(7));
        let reading = async {
            let mut all = Vec::new();
            while !all.ends_with(b"notify\n") {
                receiver.read_buf(&mut all).await.unwrap();
            }
            all
        };
        tokio::select! {
            end = writer.flush() => panic!("{end:?}"),
            all = reading => assert_eq!(all.len(), (1 << 20) + 9 + 7),
        }
        assert_eq!(writer.lock().bytes, 0);
    }

    #[tokio::test(start_paused = true)]
    async fn a_child_that_reads_nothing_is_stalled_and_one_that_reads_a_little_is_not() {
        let (writer, mut receiver) = full().await;
        let begun = Instant::now();
        assert_eq!(writer.flush().await, WriterEnd::Stalled);
        assert_eq!(begun.elapsed(), STALL);
        // Read a little, again and again: each time it counts from anew.
        let (writer, reader) = (&writer, &mut receiver);
        let begun = Instant::now();
        let sips = async {
            for _ in 0..5 {
                tokio::time::sleep(STALL / 2).await;
                reader.read_exact(&mut vec![0; 64 << 10]).await.unwrap();
            }
            std::future::pending::<()>().await;
        };
        tokio::select! {
            end = writer.flush() => assert_eq!(end, WriterEnd::Stalled),
            () = sips => {}
        }
        assert!(begun.elapsed() >= STALL / 2 * 5 + STALL, "{:?}", begun.elapsed());
    }
}
