//! Streamable HTTP, both eras: every line is a POST of its own, answered by a message or a stream of them.

use std::{collections::HashMap, sync::Arc, time::Duration};

use bytes::Bytes;
use futures_util::{
    StreamExt as _,
    future::{BoxFuture, FutureExt as _},
    stream::FuturesUnordered,
};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::{
    attach::End,
    exchange::{claims_modern, deliver, listen},
    failure::Failure,
    lines::Lines,
    link::Link,
};
use crate::{
    jsonrpc::{Kind, Message, parse},
    mcp::{field, method},
};

/// How long the end of the session may take.
const GOODBYE: Duration = Duration::from_secs(2);
/// How long the notification that opens a session may hold up what comes after it.
const NOTIFICATION: Duration = Duration::from_secs(12);

/// What is under way.
struct Relay {
    link: Arc<Link>,
    under_way: FuturesUnordered<BoxFuture<'static, Done>>,
    /// By the raw id of the request: how it is given up.
    cancels: HashMap<String, CancellationToken>,
    listener: BoxFuture<'static, Result<(), Failure>>,
}

/// A message that was delivered, or given up.
struct Done {
    /// The raw id of a request.
    id: Option<String>,
    /// The message itself, in case another transport has to say it again.
    opening: Bytes,
    ended: Result<(), Failure>,
}

/// Passes everything both ways until the connection closes its end or the server is gone.
pub(super) async fn relay(link: Arc<Link>, lines: &mut Lines) -> End {
    let mut relay = Relay {
        link,
        under_way: FuturesUnordered::new(),
        cancels: HashMap::new(),
        listener: std::future::pending().boxed(),
    };
    let end = relay.run(lines).await;
    drop(timeout(GOODBYE, relay.link.delete()).await);
    end
}

impl Relay {
    async fn run(&mut self, lines: &mut Lines) -> End {
        loop {
            tokio::select! {
                Some(done) = self.under_way.next(), if !self.under_way.is_empty() => {
                    if let Some(id) = done.id {
                        self.cancels.remove(&id);
                    }
                    match done.ended {
                        Ok(()) => {}
                        Err(Failure::OlderTransport(_)) => return End::OlderTransport(done.opening),
                        Err(failure) => return End::Lost(failure.to_string()),
                    }
                }
                ended = &mut self.listener => match ended {
                    Ok(()) => self.listener = std::future::pending().boxed(),
                    Err(failure) => return End::Lost(failure.to_string()),
                },
                line = lines.next() => {
                    let Some(line) = line else { return End::Closed };
                    self.take(line).await;
                }
            }
        }
    }

    async fn take(&mut self, line: Bytes) {
        // The connection writes nothing else.
        let Ok(message) = parse(line) else { return };
        match message.kind() {
            Kind::Request => self.begin(message),
            Kind::Notification if message.method() == method::INITIALIZED => {
                // What is said next comes after it.
                drop(timeout(NOTIFICATION, deliver(&self.link, message)).await);
                let link = Arc::clone(&self.link);
                self.listener = async move { listen(&link).await }.boxed();
            }
            Kind::Notification if message.method() == method::CANCELLED => self.cancel(message),
            Kind::Notification | Kind::Result | Kind::Error => self.pass_on(message, None),
        }
    }

    fn begin(&mut self, message: Message) {
        let Some(id) = message.id().map(str::to_owned) else {
            return;
        };
        let cancel = CancellationToken::new();
        self.cancels.insert(id, cancel.clone());
        self.pass_on(message, Some(cancel));
    }

    fn pass_on(&self, message: Message, cancel: Option<CancellationToken>) {
        let link = Arc::clone(&self.link);
        let id = cancel.as_ref().and_then(|_| message.id().map(str::to_owned));
        let cancel = cancel.unwrap_or_default();
        let opening = message.bytes().clone();
        let passing = async move {
            let ended = cancel
                .run_until_cancelled_owned(Box::pin(deliver(&link, message)))
                .await;
            Done {
                id,
                opening,
                ended: ended.unwrap_or(Ok(())),
            }
        };
        self.under_way.push(passing.boxed());
    }

    /// A modern request is taken back by closing its stream; a legacy server has to be told, and nobody reads on.
    fn cancel(&mut self, message: Message) {
        let id = message.body_text().and_then(|body| field(body, "requestId"));
        let cancel = id.and_then(|id| self.cancels.get(id.get()));
        if let Some(cancel) = cancel {
            cancel.cancel();
        }
        if !claims_modern(&message) && self.link.session().is_open() {
            self.pass_on(message, None);
        }
    }
}
