//! One client on a connection that carries everything both ways, whatever the connection is made of.

use std::{sync::Arc, task::Poll, time::Duration};

use bytes::Bytes;
use futures_util::{Stream, StreamExt as _, stream::FuturesUnordered};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::outbound::Outbound;
use crate::{
    downstream::streamable::{Call, accept_batch},
    gateway::{Client, Gateway, OnDrop, Opening, Outbox, Principal, Reply, Scope},
    jsonrpc::{Invalid, Kind, Message, parse, parse_batch},
    mcp::{ErrorAnswer, code},
};

/// Most requests of one connection that may be in flight.
const IN_FLIGHT: usize = 4096;

/// What comes from the client.
#[derive(Debug)]
pub(crate) enum Frame {
    /// What should be one message.
    Message(Bytes),
    /// Something longer than allowed, with its id where that could be found.
    TooLong {
        /// Bytes.
        length: u64,
        /// Raw id.
        id: Option<String>,
    },
}

/// Why a connection ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    /// The client has nothing more to say; its calls were answered.
    Input,
    /// The client is gone.
    Gone,
    /// The door closed; calls in flight were answered.
    Closing,
}

/// What is to be done with calls in flight when the client has nothing more to say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum AtEnd {
    /// Answer them: the client may still read.
    Answer,
    /// Cancel them: the client is gone.
    Cancel,
}

/// One client and its connection.
#[derive(Debug)]
pub(super) struct Connection {
    gateway: Gateway,
    client: Arc<Client>,
    out: Arc<Outbound>,
    at_end: AtEnd,
}

impl Connection {
    /// Opens a client whose messages go to `out`.
    pub(super) fn open(
        gateway: Gateway,
        scope: Scope,
        principal: Principal,
        out: Arc<Outbound>,
        at_end: AtEnd,
    ) -> Self {
        let client = gateway.open(Opening {
            scope,
            principal,
            on_drop: OnDrop::Cancel,
            outbox: Arc::clone(&out) as _,
        });
        Self {
            gateway,
            client,
            out,
            at_end,
        }
    }

    /// Takes in `frames` and answers them until one side ends, and calls in flight within `drain`. Afterwards nothing more is
    /// queued, but what is queued may still be written.
    pub(super) async fn drive(
        self,
        frames: impl Stream<Item = Frame>,
        closing: &CancellationToken,
        drain: Duration,
    ) -> End {
        let mut frames = std::pin::pin!(frames.fuse());
        let mut calls: FuturesUnordered<Call> = FuturesUnordered::new();
        let mut leaving = None;
        let mut open = true;
        loop {
            if self.out.is_full() {
                // Whoever doesn't read its answers isn't listened to either.
                tokio::select! {
                    () = self.out.room() => {}
                    () = self.out.gone() => return self.end(End::Gone),
                }
            }
            if let Some((end, _)) = leaving
                && calls.is_empty()
            {
                return self.end(end);
            }
            let late = leaving.map(|(_, deadline)| deadline);
            tokio::select! {
                Some(reply) = calls.next(), if !calls.is_empty() => self.reply(reply),
                frame = frames.next(), if open => match frame {
                    Some(frame) => if let Some(mut call) = self.take(frame, calls.len()) {
                        // Begun at once, so that what the client sends next comes after it.
                        match futures_util::poll!(call.as_mut()) {
                            Poll::Ready(reply) => self.reply(reply),
                            Poll::Pending => calls.push(call),
                        }
                    },
                    None if self.at_end == AtEnd::Cancel => return self.end(End::Gone),
                    None => {
                        open = false;
                        leaving = leaving.or(Some((End::Input, Instant::now() + drain)));
                    }
                },
                () = closing.cancelled(), if leaving.is_none() => {
                    // Still listened to: calls in flight may wait for an answer of the client.
                    leaving = Some((End::Closing, Instant::now() + drain));
                }
                () = self.out.gone() => return self.end(End::Gone),
                () = until(late) => return self.end(End::Gone),
            }
        }
    }

    fn end(&self, end: End) -> End {
        if end == End::Gone {
            self.out.abandon();
        }
        end
    }

    fn reply(&self, reply: Reply) {
        if let Some(message) = reply.message {
            self.out.answer(message);
        }
    }

    fn refuse(&self, code: i32, message: impl Into<String>, id: Option<&str>) {
        self.out.answer(ErrorAnswer::new(code, message).to_message(id));
    }

    /// Takes in one frame; a call that has to be waited for comes back.
    fn take(&self, frame: Frame, in_flight: usize) -> Option<Call> {
        match frame {
            Frame::TooLong { length, id } => {
                let message = format!("the message is {length} bytes long, more than limits allow");
                self.refuse(code::INVALID_REQUEST, message, id.as_deref());
                None
            }
            Frame::Message(bytes) => match (parse(bytes.clone()), parse_batch(&bytes)) {
                (Ok(message), _) => self.take_message(message, in_flight),
                (Err(_), Some(items)) => self.take_batch(items),
                (Err(invalid), None) => {
                    self.refuse(invalid.code(), invalid.to_string(), invalid.id());
                    None
                }
            },
        }
    }

    fn take_message(&self, message: Message, in_flight: usize) -> Option<Call> {
        match message.kind() {
            Kind::Notification => {
                self.gateway.notify(&self.client, &message);
                None
            }
            Kind::Result | Kind::Error => {
                self.gateway.answer(&self.client, &message);
                None
            }
            Kind::Request if in_flight >= IN_FLIGHT => {
                let text = format!("{IN_FLIGHT} requests of this connection are in flight already");
                self.refuse(code::OVERLOADED, text, message.id());
                None
            }
            Kind::Request => {
                let (gateway, client) = (self.gateway.clone(), Arc::clone(&self.client));
                let related: Arc<dyn Outbox> = Arc::clone(&self.out) as _;
                Some(Box::pin(
                    async move { gateway.request(&client, message, related).await },
                ))
            }
        }
    }

    fn take_batch(&self, items: Result<Vec<Result<Message, Invalid>>, Invalid>) -> Option<Call> {
        let related: Arc<dyn Outbox> = Arc::clone(&self.out) as _;
        let items = match items {
            Ok(items) => items,
            Err(invalid) => {
                self.refuse(invalid.code(), invalid.to_string(), invalid.id());
                return None;
            }
        };
        accept_batch(&self.gateway, &self.client, items, &related).unwrap_or_else(|error| {
            self.out.answer(error.to_message(None));
            None
        })
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        // Also when the task that drives it is cut off.
        self.gateway.close(&self.client);
        self.out.end();
    }
}

async fn until(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => tokio::time::sleep_until(deadline).await,
        None => std::future::pending().await,
    }
}
