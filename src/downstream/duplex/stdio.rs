//! stdin and stdout as one client. Nothing else is ever written to stdout.

use std::{
    io::{Read as _, Write as _},
    sync::Arc,
    thread,
};

use bytes::Bytes;
use futures_util::{Stream, stream};
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;

use super::{
    connection::{AtEnd, Connection, End, Frame},
    outbound::Outbound,
};
use crate::{
    config::Limits,
    downstream::streamable::one_line,
    gateway::{Gateway, Principal, Scope},
    jsonrpc::{Line, LineSplitter},
};

/// Bytes read from stdin at once.
const CHUNK: usize = 64 << 10;

/// Why the stdio door closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StdioEnd {
    /// stdin ended, and its last calls were answered: with `--transport stdio` the hub has nothing left to do.
    Input,
    /// Nobody reads stdout any more.
    Gone,
    /// The hub stops.
    Stopping,
}

/// Serves the client on stdin and stdout until one of them ends or `stopping` is cancelled.
///
/// Both are read and written by threads: they may be anything (a pipe, a socket, a terminal, a file), and switching them to non-blocking
/// would do so for every other process that has them, too.
pub async fn stdio(gateway: Gateway, limits: &Limits, stopping: &CancellationToken) -> StdioEnd {
    let out = Arc::new(Outbound::default());
    let principal = Principal {
        name: Arc::from("stdio"),
    };
    let client = Connection::open(gateway, Scope::All, principal, Arc::clone(&out), AtEnd::Answer);
    let frames = frames(read_stdin(), limits.max_line_bytes);
    let (end, ()) = tokio::join!(client.drive(frames, stopping, limits.drain), write_stdout(&out));
    match end {
        End::Input => StdioEnd::Input,
        End::Gone => StdioEnd::Gone,
        End::Closing => StdioEnd::Stopping,
    }
}

/// The lines of a stream of chunks.
fn frames(chunks: mpsc::Receiver<Vec<u8>>, limit: usize) -> impl Stream<Item = Frame> {
    let state = (chunks, LineSplitter::new(limit), false);
    stream::unfold(state, |(mut chunks, mut splitter, mut ended)| async move {
        loop {
            if let Some(line) = splitter.next_line() {
                let frame = match line {
                    Line::Whole(bytes) => Frame::Message(bytes),
                    Line::TooLong { length, id } => Frame::TooLong { length, id },
                };
                return Some((frame, (chunks, splitter, ended)));
            }
            if ended {
                return None;
            }
            if let Some(chunk) = chunks.recv().await {
                splitter.buffer().extend_from_slice(&chunk);
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

/// Writes what is queued until nothing follows or nobody reads.
async fn write_stdout(out: &Outbound) {
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
    if let Err(error) = thread::Builder::new().name("stdout".to_owned()).spawn(writer) {
        tracing::error!(%error, "could not write stdout");
        out.abandon();
        return;
    }
    while let Some(message) = out.next().await {
        tokio::select! {
            sent = lines.send(one_line(message)) => if sent.is_err() {
                out.abandon();
                return;
            },
            () = out.gone() => return,
        }
    }
    drop(lines);
    // What was queued last is on its way; a reader that is stuck is not waited for.
    tokio::select! {
        _ = written => {}
        () = out.gone() => {}
        () = tokio::time::sleep(std::time::Duration::from_secs(5)) => {}
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
