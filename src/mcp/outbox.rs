//! Where messages to a client go, as everything but the doors sees it.

use bytes::Bytes;

/// What became of a message handed to an [`Outbox`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Delivery {
    /// Queued in order.
    Sent,
    /// The queue is at its bound; the message was not taken.
    Full,
    /// The client is gone.
    Closed,
}

/// Where messages to a client go. Implemented by the doors.
pub trait Outbox: Send + Sync + 'static {
    /// Queues a whole message; never blocks.
    fn send(&self, message: Bytes) -> Delivery;
}

/// Takes nothing: for requests whose side messages nobody can receive.
#[derive(Clone, Copy, Debug)]
pub struct Nowhere;

impl Outbox for Nowhere {
    fn send(&self, _: Bytes) -> Delivery {
        Delivery::Closed
    }
}
