//! Servers that run elsewhere, behind a URL. A task stands between a connection and the network and turns lines into what the
//! transport wants: requests and streams of Streamable HTTP, the stream and posts of HTTP+SSE, frames of a WebSocket.
//!
//! To everything above, a remote server is a process with pipes like any other: it starts, breaks, and is started again. What
//! can go wrong on the way is answered here, as an error to the one request it happened to.

mod attach;
mod events;
mod exchange;
mod failure;
mod lines;
mod link;
mod mirror;
mod sse;
mod streamable;
mod target;
mod web_socket;

pub use events::{Event, EventReader};
pub use mirror::{Annotations, headers as mirrored_headers};
pub use target::Target;
