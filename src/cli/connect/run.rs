//! `mcpvisor connect` from its arguments to its exit code.

use std::{collections::HashMap, process::ExitCode, sync::Arc, time::Duration};

use anyhow::Context as _;
use bytes::Bytes;
use futures_util::{
    StreamExt as _,
    future::{BoxFuture, FutureExt as _},
    stream::FuturesUnordered,
};
use tokio::{sync::mpsc, time::timeout};
use tokio_util::sync::CancellationToken;

use super::{
    args::{Args, Target},
    link::Link,
    post::{claims_modern, deliver, listen},
    socket,
};
use crate::{
    cli::{exit::Exit, output},
    downstream::{Frame, Stdout, stdin_frames},
    jsonrpc::{Kind, Message, parse, parse_batch},
    mcp::{ErrorAnswer, code, field, method},
};

/// The longest line taken, from either side.
const LIMIT: usize = 64 << 20;
/// How long calls in flight are waited for once stdin has ended.
const LAST_CALLS: Duration = Duration::from_secs(30);
/// How long the session's end may take.
const GOODBYE: Duration = Duration::from_secs(2);
/// How long a notification may hold up what comes after it.
const NOTIFICATION: Duration = Duration::from_secs(12);

/// Serves stdin and stdout until stdin ends.
pub(crate) fn run(args: &Args) -> ExitCode {
    match serve(args) {
        Ok(()) => Exit::Clean.into(),
        Err(error) => {
            output::note(&format_args!("{error:#}"));
            Exit::Failed.into()
        }
    }
}

fn serve(args: &Args) -> anyhow::Result<()> {
    let target = args.target()?;
    // Another provider may be there already, in tests; any will do.
    drop(rustls::crypto::ring::default_provider().install_default());
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("could not start a runtime")?;
    let ended = runtime.block_on(connect(target));
    // A thread may still wait for stdin.
    runtime.shutdown_background();
    ended
}

async fn connect(target: Target) -> anyhow::Result<()> {
    let stdout = Stdout::start().context("could not write stdout")?;
    let frames = stdin_frames(LIMIT);
    if matches!(target.uri.scheme_str(), Some("ws" | "wss")) {
        let ended = Box::pin(socket::relay(target, frames, &stdout, LIMIT)).await;
        stdout.finish().await;
        return ended;
    }
    let mut builder = reqwest::Client::builder()
        .connect_timeout(Duration::from_secs(10))
        .redirect(reqwest::redirect::Policy::none())
        .tcp_nodelay(true)
        .user_agent(concat!("mcpvisor/", env!("CARGO_PKG_VERSION")));
    let host = target.uri.host().unwrap_or_default().trim_matches(['[', ']']);
    if host == "localhost"
        || host
            .parse::<std::net::IpAddr>()
            .is_ok_and(|address| address.is_loopback())
    {
        builder = builder.no_proxy();
    }
    let client = builder.build().context("could not set up HTTP")?;
    let (sender, messages) = mpsc::channel(64);
    let link = Arc::new(Link::new(client, target, sender));
    Relay::new(link, stdout).run(frames, messages).await
}

/// What is under way.
struct Relay {
    link: Arc<Link>,
    stdout: Stdout,
    calls: FuturesUnordered<BoxFuture<'static, Option<String>>>,
    /// Modern requests that a notification of the client can cancel.
    cancels: HashMap<String, CancellationToken>,
    listener: BoxFuture<'static, ()>,
}

impl Relay {
    fn new(link: Arc<Link>, stdout: Stdout) -> Self {
        Self {
            link,
            stdout,
            calls: FuturesUnordered::new(),
            cancels: HashMap::new(),
            listener: std::future::pending().boxed(),
        }
    }

    async fn run(
        mut self,
        frames: impl futures_util::Stream<Item = Frame>,
        mut messages: mpsc::Receiver<Bytes>,
    ) -> anyhow::Result<()> {
        let mut frames = std::pin::pin!(frames.fuse());
        let mut open = true;
        let mut last_calls = std::pin::pin!(tokio::time::sleep(Duration::MAX));
        while open || !self.calls.is_empty() {
            tokio::select! {
                biased;
                Some(message) = messages.recv() => if !self.stdout.write(message).await {
                    anyhow::bail!("nobody reads stdout any more");
                },
                Some(done) = self.calls.next(), if !self.calls.is_empty() => {
                    if let Some(id) = done {
                        self.cancels.remove(&id);
                    }
                }
                () = &mut self.listener => self.listener = std::future::pending().boxed(),
                frame = frames.next(), if open => if let Some(frame) = frame {
                    self.take(frame).await;
                } else {
                    open = false;
                    last_calls.as_mut().reset(tokio::time::Instant::now() + LAST_CALLS);
                },
                () = &mut last_calls => break,
            }
        }
        while let Ok(message) = messages.try_recv() {
            self.stdout.write(message).await;
        }
        drop(timeout(GOODBYE, self.link.delete()).await);
        self.stdout.finish().await;
        Ok(())
    }

    async fn refuse(&self, code: i32, message: impl Into<String>, id: Option<&str>) {
        self.stdout.write(ErrorAnswer::new(code, message).to_message(id)).await;
    }

    async fn take(&mut self, frame: Frame) {
        match frame {
            Frame::TooLong { id, .. } => {
                self.refuse(code::INVALID_REQUEST, "the line is too long", id.as_deref())
                    .await;
            }
            Frame::Message(bytes) => match (parse(bytes.clone()), parse_batch(&bytes)) {
                (Ok(message), _) => self.take_message(message).await,
                (Err(_), Some(Ok(_))) => {
                    self.refuse(
                        code::INVALID_REQUEST,
                        "batches are not passed on; send the messages one by one",
                        None,
                    )
                    .await;
                }
                (Err(invalid), _) => self.refuse(invalid.code(), invalid.to_string(), invalid.id()).await,
            },
        }
    }

    async fn take_message(&mut self, message: Message) {
        if message.kind() == Kind::Request {
            return self.begin(message);
        }
        if message.method() == method::CANCELLED
            && let Some(cancel) = request_id(&message).and_then(|id| self.cancels.get(&id))
        {
            // A modern request is cancelled by closing its stream.
            return cancel.cancel();
        }
        let initialized = message.method() == method::INITIALIZED;
        // What the client says next comes after it.
        drop(timeout(NOTIFICATION, deliver(Arc::clone(&self.link), message)).await);
        if initialized {
            self.listener = listen(Arc::clone(&self.link)).boxed();
        }
    }

    fn begin(&mut self, message: Message) {
        let link = Arc::clone(&self.link);
        if !claims_modern(&message) {
            self.calls.push(deliver(link, message).map(|()| None).boxed());
            return;
        }
        let id = message.id().unwrap_or_default().to_owned();
        let cancel = CancellationToken::new();
        self.cancels.insert(id.clone(), cancel.clone());
        let call = async move {
            cancel.run_until_cancelled_owned(deliver(link, message)).await;
            Some(id)
        };
        self.calls.push(call.boxed());
    }
}

fn request_id(message: &Message) -> Option<String> {
    message
        .body_text()
        .and_then(|body| field(body, "requestId"))
        .map(|id| id.get().to_owned())
}
