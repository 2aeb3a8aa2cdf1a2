//! The client side of MCP: connections to the services' instances.
//!
//! A [`Connection`] carries many calls at once, renumbers them, and matches answers by its own ids. A [`Service`] holds the
//! connections of one service, keyed by era and by what the clients behind them can do. Nothing here knows which client may
//! see which tool, and nothing spawns a process: that is the supervisor's.

mod bad_lines;
mod connection;
mod faults;
mod generation;
mod handshake;
mod incoming;
mod introduction;
mod listen;
mod listing;
mod pending;
pub mod remote;
mod service;
mod slots;
mod stdio;
mod variant;
mod waiting;
mod wishes;

pub use connection::{Connection, Listener, SendError};
pub use introduction::{Introduction, ListKind, Offer, Offers};
pub use pending::{Ended, InFlight, Origin};
pub use remote::Target;
pub use service::{Describe, Service, ServiceEvents, Unavailable, Wanted};
pub use variant::{EraVerdict, Variant};
pub use waiting::Patience;
pub use wishes::Wishes;
