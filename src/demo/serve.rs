//! Moves bytes: reads lines, lets the session answer them, writes what it said, once per read.

use std::{io, process::ExitCode};

use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _},
    net::unix::pipe,
    time::{Instant, sleep_until},
};

use super::session::Session;
use crate::jsonrpc::LineSplitter;

/// The longest line that is read, in bytes.
const MAX_LINE: usize = 16 * 1024 * 1024;
/// How many bytes are asked for at a time.
const READ_SIZE: usize = 64 * 1024;

/// Serves this process' stdin and stdout until stdin ends.
///
/// Success is the end of stdin; a broken stdout or stdin is failure.
pub async fn run() -> ExitCode {
    // Pipes are opened anew and read without threads: the flags of the ones that we share with our parent stay as they
    // are. Anything else (a terminal, a file, a socket) goes through tokio's blocking handles.
    let input = pipe::OpenOptions::new().open_receiver("/proc/self/fd/0");
    let output = pipe::OpenOptions::new().open_sender("/proc/self/fd/1");
    let served = match (input, output) {
        (Ok(input), Ok(output)) => serve(input, output).await,
        (input, output) => {
            drop((input, output));
            serve(tokio::io::stdin(), tokio::io::stdout()).await
        }
    };
    match served {
        Ok(()) => ExitCode::SUCCESS,
        Err(_) => ExitCode::FAILURE,
    }
}

/// Serves one client until `input` ends. What still runs then is dropped.
///
/// # Errors
/// When `input` cannot be read or `output` not be written.
pub async fn serve(mut input: impl AsyncRead + Unpin, mut output: impl AsyncWrite + Unpin) -> io::Result<()> {
    let mut lines = LineSplitter::new(MAX_LINE);
    let mut session = Session::new();
    let mut out = Vec::new();
    loop {
        let due = session.next_due();
        let ended = tokio::select! {
            biased;
            read = input.read_buf(lines.buffer(READ_SIZE)) => read? == 0,
            () = sleep_until(due.unwrap_or_else(Instant::now)), if due.is_some() => false,
        };
        while let Some(line) = lines.next_line() {
            session.line(line, &mut out);
        }
        if ended && let Some(rest) = lines.rest() {
            session.message(rest, &mut out);
        }
        session.tick(Instant::now(), &mut out);
        if !out.is_empty() {
            output.write_all(&out).await?;
            output.flush().await?;
            out.clear();
        }
        if ended {
            return Ok(());
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use serde_json::{Value, json};
    use tokio::io::{AsyncBufReadExt as _, BufReader, DuplexStream, Lines, ReadHalf, WriteHalf, split};

    use super::*;

    struct Client {
        input: WriteHalf<DuplexStream>,
        output: Lines<BufReader<ReadHalf<DuplexStream>>>,
    }

    impl Client {
        async fn send(&mut self, message: &Value) {
            self.input.write_all(format!("{message}\n").as_bytes()).await.unwrap();
        }

        async fn receive(&mut self) -> Value {
            let line = self.output.next_line().await.unwrap().expect("still open");
            serde_json::from_str(&line).unwrap()
        }
    }

    async fn with_client<F: Future<Output = ()>>(talk: impl FnOnce(Client) -> F) {
        let (ours, theirs) = tokio::io::duplex(1024);
        let (read, write) = split(theirs);
        let (output, input) = split(ours);
        let client = Client {
            input,
            output: BufReader::new(output).lines(),
        };
        let (served, ()) = tokio::join!(serve(read, write), talk(client));
        served.unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn a_countdown_reports_and_can_be_cancelled_while_others_are_answered() {
        with_client(async |mut client| {
            let countdown = |id: u32, from: u32| {
                json!({"jsonrpc": "2.0", "id": id, "method": "tools/call", "params": {"name": "countdown",
                "arguments": {"from": from, "interval_ms": 1000}, "_meta": {"progressToken": id}}})
            };
            client.send(&countdown(1, 50)).await;
            client.send(&countdown(2, 2)).await;
            client.send(&json!({"jsonrpc": "2.0", "id": 3, "method": "ping"})).await;
            assert_eq!(client.receive().await["id"], 3);
            client
                .send(&json!({"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": 1}}))
                .await;
            for progress in [1, 2] {
                let report = client.receive().await;
                assert_eq!(report["method"], "notifications/progress");
                assert_eq!(report["params"]["progressToken"], 2);
                assert_eq!(report["params"]["progress"], progress);
                assert_eq!(report["params"]["total"], 2);
            }
            let answer = client.receive().await;
            assert_eq!(answer["id"], 2);
            assert_eq!(answer["result"]["isError"], Value::Null);
            // The first is really gone: nothing comes for a long time, then this answer and no other.
            tokio::time::sleep(Duration::from_secs(100)).await;
            client.send(&json!({"jsonrpc": "2.0", "id": 4, "method": "ping"})).await;
            assert_eq!(client.receive().await["id"], 4);
        })
        .await;
    }

    #[tokio::test]
    async fn many_lines_at_once_and_the_last_without_an_end() {
        with_client(async |client| {
            let mut text = String::new();
            for id in 0..200 {
                text.push_str(
                    &json!({"jsonrpc": "2.0", "id": id, "method": "tools/call",
                    "params": {"name": "echo", "arguments": {"text": "x".repeat(id)}}})
                    .to_string(),
                );
                text.push('\n');
            }
            text.push_str(r#"{"jsonrpc":"2.0","id":"last","method":"ping"}"#);
            let Client { mut input, mut output } = client;
            let write = async {
                input.write_all(text.as_bytes()).await.unwrap();
                input.shutdown().await.unwrap();
            };
            let read = async {
                for id in 0..200 {
                    let line = output.next_line().await.unwrap().unwrap();
                    let answer: Value = serde_json::from_str(&line).unwrap();
                    assert_eq!(answer["id"], id);
                    assert_eq!(answer["result"]["content"][0]["text"], "x".repeat(id));
                }
                let line = output.next_line().await.unwrap().unwrap();
                assert_eq!(line, r#"{"jsonrpc":"2.0","id":"last","result":{}}"#);
            };
            tokio::join!(write, read);
        })
        .await;
    }
}
