//! Routes a client's messages to the services and theirs back: resolve → policy → instance → answer.
//!
//! Doors open a [`Client`] per session or connection and hand in whole messages; they know transports and nothing of
//! services. The gateway knows services and nothing of transports.

mod client;
mod hub;

pub use client::{Client, ClientId, OnDrop, Opening, Principal, Reply, Scope};
pub use hub::Gateway;

pub use crate::mcp::{Delivery, Outbox};
