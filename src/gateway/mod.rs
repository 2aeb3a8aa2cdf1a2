//! Routes a client's messages to the services and theirs back: resolve → policy → instance → answer.
//!
//! Doors open a [`Client`] per session or connection and hand in whole messages; they know transports and nothing of
//! services. The gateway knows services and nothing of transports. Only [`bridge`] knows two eras at once.

mod answered;
pub mod bridge;
mod call;
mod caller;
mod client;
mod complete;
mod events;
mod fanout;
mod forward;
mod greet;
mod hub;
mod listen;
mod lists;
mod logging;
mod repeat;
mod server_requests;
mod services;
mod subscriptions;
mod target;
mod watch;

pub use client::{Client, ClientId, OnDrop, Opening, Principal, Reply};
pub use events::{GatewayEvents, Keeper};
pub use hub::Gateway;

pub use crate::{
    catalog::Scope,
    mcp::{Delivery, Outbox},
};
