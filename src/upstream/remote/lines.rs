//! The inner ends of the pipes to a connection: its lines in, the server's messages out.

use bytes::{Bytes, BytesMut};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::unix::pipe,
    sync::mpsc,
};

use crate::jsonrpc::{Line, LineSplitter};

/// The longest line of the connection: as long as the longest message a door takes.
const LONGEST: usize = 64 << 20;
/// Room made before a read.
const ROOM: usize = 4 << 10;
/// Messages on their way to the connection.
const QUEUE: usize = 64;

/// What the connection writes.
#[derive(Debug)]
pub(super) struct Lines {
    pipe: pipe::Receiver,
    splitter: LineSplitter,
}

impl Lines {
    pub(super) fn new(pipe: pipe::Receiver) -> Self {
        Self {
            pipe,
            splitter: LineSplitter::new(LONGEST),
        }
    }

    /// The next line; `None` once the connection has closed its end. May be dropped and asked again.
    pub(super) async fn next(&mut self) -> Option<Bytes> {
        loop {
            match self.splitter.next_line() {
                Some(Line::Whole(line)) => return Some(line),
                // The doors refuse what is longer.
                Some(Line::TooLong { .. }) => continue,
                None => {}
            }
            match self.pipe.read_buf(self.splitter.buffer(ROOM)).await {
                Ok(0) | Err(_) => return None,
                Ok(_) => {}
            }
        }
    }
}

/// The way of messages to the connection, for many tasks at once.
#[derive(Clone, Debug)]
pub(super) struct Inbox(mpsc::Sender<Bytes>);

impl Inbox {
    /// An inbox, and the task that empties it into `pipe`; it ends when all inboxes are gone, or the reader is.
    pub(super) fn new(pipe: pipe::Sender) -> (Self, impl Future<Output = ()> + Send + 'static) {
        let (sender, queue) = mpsc::channel(QUEUE);
        (Self(sender), write(pipe, queue))
    }

    /// Hands over one message of the server. One that nobody reads any more is lost.
    pub(super) async fn put(&self, message: Bytes) {
        drop(self.0.send(message).await);
    }
}

async fn write(mut pipe: pipe::Sender, mut queue: mpsc::Receiver<Bytes>) {
    while let Some(message) = queue.recv().await {
        let mut line = BytesMut::with_capacity(message.len() + 1);
        // Line ends between tokens would cut the message in two; within strings they can't occur.
        line.extend(
            message
                .iter()
                .map(|byte| if matches!(byte, b'\n' | b'\r') { b' ' } else { *byte }),
        );
        line.extend_from_slice(b"\n");
        if pipe.write_all(&line).await.is_err() {
            return;
        }
    }
}
