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

/// Bounds of the queue: more than this unread, and the child is not reading.
const MAX_MESSAGES: usize = 1024;
const MAX_BYTES: usize = 8 << 20;
/// How long the pipe may stay full before the child counts as stalled.
const STALL: Duration = Duration::from_secs(10);

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
    /// The child read nothing for ten seconds while lines waited.
    Stalled,
}

#[derive(Debug)]
struct Queue {
    pipe: Option<Arc<Sender>>,
    lines: VecDeque<Bytes>,
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

    /// Sends one line, its newline included. Without a queue this is one `write` on the caller's own thread: no task is
    /// woken between a request and the child.
    pub(in crate::upstream) fn send(&self, mut line: Bytes) -> Result<(), WriteError> {
        let mut queue = self.lock();
        let Some(pipe) = &queue.pipe else {
            return Err(WriteError::Closed);
        };
        if queue.lines.is_empty() {
            match pipe.try_write(&line) {
                Ok(written) if written == line.len() => return Ok(()),
                Ok(written) => line.advance(written),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(_) => {
                    queue.pipe = None;
                    drop(queue);
                    self.wake.notify_one();
                    return Err(WriteError::Closed);
                }
            }
        } else if queue.lines.len() >= MAX_MESSAGES || queue.bytes + line.len() > MAX_BYTES.max(line.len()) {
            return Err(WriteError::Full);
        }
        queue.bytes += line.len();
        queue.lines.push_back(line);
        drop(queue);
        self.wake.notify_one();
        Ok(())
    }

    /// Closes stdin; queued lines are dropped.
    pub(in crate::upstream) fn close(&self) {
        let mut queue = self.lock();
        queue.pipe = None;
        queue.lines.clear();
        queue.bytes = 0;
        drop(queue);
        self.wake.notify_one();
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
                    self.close();
                    return WriterEnd::Closed;
                }
                Ok(Ok(())) => {}
            }
            let mut queue = self.lock();
            while let Some(line) = queue.lines.front_mut() {
                match pipe.try_write(line) {
                    Ok(written) => {
                        progress = Instant::now();
                        line.advance(written);
                        let empty = line.is_empty();
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
