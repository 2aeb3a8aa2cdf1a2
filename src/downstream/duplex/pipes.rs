//! stdin and stdout of this process, read and written by threads.
//!
//! They may be anything (a pipe, a socket, a terminal, a file), and switching them to non-blocking would do so for every other process
//! that has them, too.

use std::{
    io::{Read as _, Write as _},
    thread,
};

use bytes::Bytes;
use futures_util::{Stream, stream};
use tokio::sync::{mpsc, oneshot};

use super::connection::Frame;
use crate::{
    downstream::streamable::one_line,
    jsonrpc::{Line, LineSplitter, Looks},
};

/// Bytes read from stdin at once.
const CHUNK: usize = 64 << 10;

/// The lines of stdin, up to `limit` bytes each.
pub(crate) fn stdin_frames(limit: usize) -> impl Stream<Item = Frame> {
    frames(read_stdin(), limit)
}

/// The lines of a stream of chunks.
fn frames(chunks: mpsc::Receiver<Vec<u8>>, limit: usize) -> impl Stream<Item = Frame> {
    let state = (chunks, LineSplitter::new(limit), false);
    stream::unfold(state, |(mut chunks, mut splitter, mut ended)| async move {
        loop {
            if let Some(line) = splitter.next_line() {
                let frame = match line {
                    Line::Whole(bytes) => Frame::Message(bytes),
                    Line::TooLong { length, id, looks } => Frame::TooLong {
                        length,
                        // An answer's id is one of ours: no error can be sent for it.
                        id: id.filter(|_| looks != Looks::Answering),
                    },
                };
                return Some((frame, (chunks, splitter, ended)));
            }
            if ended {
                return None;
            }
            if let Some(chunk) = chunks.recv().await {
                splitter.buffer(chunk.len()).extend_from_slice(&chunk);
                continue;
            }
            ended = true;
            if let Some(rest) = splitter.rest() {
                return Some((Frame::Message(rest), (chunks, splitter, ended)));
            }
        }
    })
}

fn read_stdin() -> mpsc::Receiver<Vec<u8>> {
    let (sender, chunks) = mpsc::channel(8);
    let reader = move || {
        let mut stdin = std::io::stdin().lock();
        let mut buffer = vec![0; CHUNK];
        loop {
            match stdin.read(&mut buffer) {
                Ok(0) => return,
                Ok(length) => {
                    let chunk = buffer.get(..length).unwrap_or_default().to_vec();
                    if sender.blocking_send(chunk).is_err() {
                        return;
                    }
                }
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                Err(error) => {
                    tracing::warn!(%error, "could not read stdin");
                    return;
                }
            }
        }
    };
    // Never joined: it may wait for input for ever, and ends with the process.
    if let Err(error) = thread::Builder::new().name("stdin".to_owned()).spawn(reader) {
        tracing::error!(%error, "could not read stdin");
    }
    chunks
}

/// A thread that writes lines to stdout. Dropping it lets the thread end once everything is written.
#[derive(Debug)]
pub(crate) struct Stdout {
    lines: mpsc::Sender<Bytes>,
    written: oneshot::Receiver<()>,
}

impl Stdout {
    /// Starts the thread.
    pub(crate) fn start() -> std::io::Result<Self> {
        let (lines, mut queue) = mpsc::channel::<Bytes>(1);
        let (done, written) = oneshot::channel::<()>();
        let writer = move || {
            let mut stdout = std::io::stdout().lock();
            while let Some(line) = queue.blocking_recv() {
                let mut whole = Vec::with_capacity(line.len() + 1);
                whole.extend_from_slice(&line);
                whole.push(b'\n');
                if let Err(error) = stdout.write_all(&whole).and_then(|()| stdout.flush()) {
                    tracing::warn!(%error, "could not write stdout");
                    return;
                }
            }
            if done.send(()).is_err() {
                tracing::trace!("nobody waits for the last line");
            }
        };
        thread::Builder::new().name("stdout".to_owned()).spawn(writer)?;
        Ok(Self { lines, written })
    }

    /// Writes `message` as one line; false if nobody reads any more.
    pub(crate) async fn write(&self, message: Bytes) -> bool {
        self.lines.send(one_line(message)).await.is_ok()
    }

    /// Resolves when everything was written, or can't be.
    pub(crate) async fn finish(self) {
        drop(self.lines);
        // An error means that the thread is gone, which comes to the same.
        drop(self.written.await);
    }
}

#[cfg(test)]
mod tests {
    use futures_util::StreamExt as _;

    use super::*;

    #[tokio::test]
    async fn lines_long_lines_and_a_last_one_without_its_end() {
        let (sender, chunks) = mpsc::channel(8);
        for chunk in [
            "{\"a\":1}\r\n\n{\"b\"",
            ":2}\n{\"id\":7,\"x\":\"",
            "yyyyyyyyyyyyyyyyyyyyyyyy\"}\n",
            "last",
        ] {
            sender.send(chunk.as_bytes().to_vec()).await.unwrap();
        }
        drop(sender);
        let seen: Vec<_> = frames(chunks, 16)
            .map(|frame| match frame {
                Frame::Message(bytes) => String::from_utf8(bytes.to_vec()).unwrap(),
                Frame::TooLong { id, .. } => format!("too long: {id:?}"),
            })
            .collect()
            .await;
        assert_eq!(seen, ["{\"a\":1}", "{\"b\":2}", "too long: Some(\"7\")", "last"]);
    }
}
