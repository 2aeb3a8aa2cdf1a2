//! From a target to an instance: pipes as a process has them, and a task between them and the network.

use std::{fmt, io, sync::Arc};

use bytes::Bytes;
use tokio::{io::AsyncWriteExt as _, net::unix::pipe, sync::mpsc};
use tokio_util::sync::CancellationToken;

use super::{
    Target,
    lines::{Inbox, Lines},
    link::Link,
    sse, streamable, web_socket,
};
use crate::{
    config::RemoteTransport,
    lifecycle::Tasks,
    supervisor::{
        Attach, ChildIo, Control,
        process::{Exit, Process, ProcessEvent, SpawnError},
        state::ExitKind,
    },
};

/// How a relay ended.
#[derive(Debug)]
pub(super) enum End {
    /// The connection closed its end.
    Closed,
    /// The server is gone, or has forgotten us.
    Lost(String),
    /// The server speaks only the transport before Streamable HTTP; this was said and not heard.
    OlderTransport(Bytes),
}

/// Ends the task.
#[derive(Debug)]
struct Cut(CancellationToken);

impl Control for Cut {
    /// Closing the pipe came first; what is still under way then has had its time.
    fn terminate(&self) {
        self.0.cancel();
    }

    fn kill(&self) {
        self.0.cancel();
    }

    fn force(&self) {
        self.0.cancel();
    }
}

impl Drop for Cut {
    fn drop(&mut self) {
        self.0.cancel();
    }
}

impl Attach for Target {
    fn attach(&self, tasks: &Tasks) -> Result<Process, SpawnError> {
        let pipes = Pipes::new().map_err(|error| failure(&error, ExitKind::Failure))?;
        let client = self
            .client()
            .map_err(|error| failure(&error, ExitKind::Misconfigured))?;
        let (send, events) = mpsc::channel(8);
        let cut = CancellationToken::new();
        let task = Task {
            target: Arc::new(self.clone()),
            client,
            lines: Lines::new(pipes.said),
            reasons: pipes.reasons,
            events: send,
        };
        tasks.spawn("upstream.remote", task.run(pipes.heard, cut.clone()));
        Ok(Process {
            io: Some(ChildIo {
                stdin: pipes.stdin,
                stdout: pipes.stdout,
            }),
            stderr: Some(pipes.stderr),
            events,
            guard: None,
            control: Box::new(Cut(cut)),
        })
    }
}

fn failure(error: &dyn fmt::Display, kind: ExitKind) -> SpawnError {
    SpawnError {
        reason: format!("the way to the server could not be made: {error}"),
        kind,
    }
}

/// Three pipes, seen from both ends.
struct Pipes {
    stdin: pipe::Sender,
    said: pipe::Receiver,
    heard: pipe::Sender,
    stdout: pipe::Receiver,
    reasons: pipe::Sender,
    stderr: pipe::Receiver,
}

impl Pipes {
    fn new() -> io::Result<Self> {
        let (said, stdin) = pair()?;
        let (stdout, heard) = pair()?;
        let (stderr, reasons) = pair()?;
        Ok(Self {
            stdin,
            said,
            heard,
            stdout,
            reasons,
            stderr,
        })
    }
}

fn pair() -> io::Result<(pipe::Receiver, pipe::Sender)> {
    let (reader, writer) = io::pipe()?;
    Ok((
        pipe::Receiver::from_owned_fd(reader.into())?,
        pipe::Sender::from_owned_fd(writer.into())?,
    ))
}

struct Task {
    target: Arc<Target>,
    client: reqwest::Client,
    lines: Lines,
    /// What an operator should know goes where a process would write it.
    reasons: pipe::Sender,
    events: mpsc::Sender<ProcessEvent>,
}

impl Task {
    async fn run(mut self, heard: pipe::Sender, cut: CancellationToken) {
        self.tell(ProcessEvent::Attached).await;
        let (inbox, writing) = Inbox::new(heard);
        let (target, client) = (Arc::clone(&self.target), self.client.clone());
        let lines = &mut self.lines;
        // The inbox goes with the relay, and the writer ends once it has handed over the last message.
        let relaying = async move { relay(&target, client, inbox, lines).await };
        let end = cut
            .run_until_cancelled(async { tokio::join!(relaying, writing).0 })
            .await;
        let exit = match end {
            Some(End::Lost(why)) => {
                drop(self.reasons.write_all(format!("{why}\n").as_bytes()).await);
                Exit::Disconnected
            }
            Some(End::Closed | End::OlderTransport(_)) | None => Exit::Code(0),
        };
        self.tell(ProcessEvent::Exited(exit)).await;
        self.tell(ProcessEvent::Gone).await;
    }

    /// Whoever dropped the instance wants to know no more.
    async fn tell(&self, event: ProcessEvent) {
        drop(self.events.send(event).await);
    }
}

async fn relay(target: &Arc<Target>, client: reqwest::Client, inbox: Inbox, lines: &mut Lines) -> End {
    let link = Arc::new(Link::new(client, Arc::clone(target), inbox.clone()));
    match target.transport {
        RemoteTransport::Websocket => Box::pin(web_socket::relay(target, &inbox, lines)).await,
        RemoteTransport::Sse => Box::pin(sse::relay(link, None, lines)).await,
        RemoteTransport::StreamableHttp => Box::pin(streamable::relay(link, lines)).await,
        RemoteTransport::Auto => match Box::pin(streamable::relay(Arc::clone(&link), lines)).await {
            End::OlderTransport(said) => {
                tracing::info!(service = %target.service, "the server speaks HTTP+SSE, not Streamable HTTP");
                Box::pin(sse::relay(link, Some(said), lines)).await
            }
            end @ (End::Closed | End::Lost(_)) => end,
        },
    }
}
