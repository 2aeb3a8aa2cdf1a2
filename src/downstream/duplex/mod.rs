//! Doors whose connection carries everything both ways: stdio, WebSocket and HTTP+SSE. They share one client per connection, one
//! queue to it, and the rule that its end cancels what it had asked for.

mod connection;
mod events;
mod outbound;
mod pipes;
mod stdio;
mod web_socket;

pub(crate) use connection::Frame;
pub(crate) use events::{Connections, open_events, post_message};
pub(crate) use pipes::{Stdout, stdin_frames};
pub use stdio::{StdioEnd, stdio};
pub(crate) use web_socket::open_web_socket;
