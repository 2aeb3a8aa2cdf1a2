//! MCP over the pipes of a child, with a bounded number of calls in flight.

use std::{
    cell::{Cell, RefCell},
    collections::HashMap,
    process::Stdio,
    time::Instant,
};

use anyhow::{Context as _, bail};
use bytes::Bytes;
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    process::{Child, ChildStdin, ChildStdout, Command},
    sync::{Notify, Semaphore},
};

use super::{
    args::Until,
    call::{self, Call},
    measure::{Figures, Tally},
};
use crate::{
    jsonrpc::{Kind, Line, LineSplitter, Message, parse},
    mcp::{Era, method},
};

/// Longest line taken from the child.
const LONGEST_LINE: usize = 64 << 20;

/// A child that has been greeted.
#[derive(Debug)]
pub(super) struct Pipes {
    child: Child,
    input: ChildStdin,
    output: ChildStdout,
    lines: LineSplitter,
    era: Era,
    last_id: u64,
    serial: u64,
}

impl Pipes {
    pub(super) async fn start(command: &[String], era: Era) -> anyhow::Result<Self> {
        let [program, arguments @ ..] = command else {
            bail!("--stdio needs a command");
        };
        #[expect(clippy::disallowed_methods, reason = "no hub runs here that could supervise it")]
        let mut child = Command::new(program)
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .with_context(|| format!("could not start `{program}`"))?;
        let (Some(input), Some(output)) = (child.stdin.take(), child.stdout.take()) else {
            bail!("the child has no pipes");
        };
        let mut pipes = Self {
            child,
            input,
            output,
            lines: LineSplitter::new(LONGEST_LINE),
            era,
            last_id: 0,
            serial: 0,
        };
        if era == Era::Legacy {
            pipes.send(&call::initialize()).await?;
            call::result_of(&pipes.answer("0").await?)?;
            pipes.send(&call::initialized()).await?;
        }
        Ok(pipes)
    }

    pub(super) fn pid(&self) -> Option<u32> {
        self.child.id()
    }

    async fn send(&mut self, message: &str) -> anyhow::Result<()> {
        Ok(self.input.write_all(format!("{message}\n").as_bytes()).await?)
    }

    async fn answer(&mut self, id: &str) -> anyhow::Result<Message> {
        loop {
            let message = next_message(&mut self.output, &mut self.lines).await?;
            if matches!(message.kind(), Kind::Result | Kind::Error) && message.id() == Some(id) {
                return Ok(message);
            }
        }
    }

    /// All pages of the tools.
    pub(super) async fn tools(&mut self) -> anyhow::Result<Vec<Value>> {
        let (mut tools, mut params) = (Vec::new(), json!({}));
        loop {
            self.last_id += 1;
            let id = self.last_id;
            self.send(&call::request(self.era, id, method::TOOLS_LIST, params))
                .await?;
            let mut page = call::result_of(&self.answer(&id.to_string()).await?)?;
            match page.get_mut("tools").map(Value::take) {
                Some(Value::Array(items)) => tools.extend(items),
                _ => bail!("tools/list answered without tools: {page}"),
            }
            match page.get("nextCursor") {
                None | Some(Value::Null) => return Ok(tools),
                Some(cursor) => params = json!({ "cursor": cursor }),
            }
        }
    }

    /// Calls until `until`, `concurrency` at a time.
    pub(super) async fn measure(&mut self, call: &Call, concurrency: usize, until: Until) -> anyhow::Result<Figures> {
        let Self {
            input,
            output,
            lines,
            last_id,
            serial,
            ..
        } = self;
        let begun = Instant::now();
        let permits = Semaphore::new(concurrency);
        let waiting: RefCell<HashMap<u64, (Instant, u64)>> = RefCell::default();
        let (all_sent, last_sent) = (Cell::new(false), Notify::new());
        let write = async {
            let mut sent = 0;
            while until.allows(begun, sent) {
                permits.acquire().await?.forget();
                *last_id += 1;
                *serial += 1;
                sent += 1;
                waiting.borrow_mut().insert(*last_id, (Instant::now(), *serial));
                input.write_all(&call.message(*last_id, *serial, "\n")).await?;
            }
            all_sent.set(true);
            last_sent.notify_one();
            anyhow::Ok(())
        };
        let read = async {
            let mut tally = Tally::default();
            while !(all_sent.get() && waiting.borrow().is_empty()) {
                let message = tokio::select! {
                    message = next_message(output, lines) => message?,
                    () = last_sent.notified() => continue,
                };
                let came = Instant::now();
                let id = message.id().and_then(|id| id.parse().ok());
                let asked = id.and_then(|id| waiting.borrow_mut().remove(&id).map(|asked| (id, asked)));
                if let Some((id, (begun, serial))) = asked {
                    tally.record(call.check(&message, id, serial).map(|()| came - begun));
                    permits.add_permits(1);
                }
            }
            anyhow::Ok(tally)
        };
        let ((), tally) = tokio::try_join!(write, read)?;
        Ok(tally.finish(begun.elapsed()))
    }

    /// Closes stdin and gives the child two seconds to end.
    pub(super) async fn close(self) {
        let Self { mut child, input, .. } = self;
        drop(input);
        let ended = tokio::time::timeout(std::time::Duration::from_secs(2), child.wait()).await;
        if ended.is_err() {
            // It may end at this very moment.
            let _gone = child.start_kill();
        }
    }
}

/// The next line that is a message; servers may write other things while they start.
async fn next_message(output: &mut ChildStdout, lines: &mut LineSplitter) -> anyhow::Result<Message> {
    loop {
        while let Some(line) = lines.next_line() {
            let bytes: Bytes = match line {
                Line::Whole(bytes) => bytes,
                Line::TooLong { length, .. } => bail!("the child wrote a line of {length} bytes"),
            };
            if let Ok(message) = parse(bytes) {
                return Ok(message);
            }
        }
        if output.read_buf(lines.buffer(16 << 10)).await? == 0 {
            bail!("the child ended its output");
        }
    }
}
