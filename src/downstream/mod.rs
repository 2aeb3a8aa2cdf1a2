//! The MCP server side: doors through which clients come in.
//!
//! `http` holds what all doors over HTTP share, `streamable` is Streamable HTTP of both eras, `duplex` the doors whose connection carries
//! everything both ways. Doors know transports and nothing of services: whole messages go to [`crate::gateway`], which knows services
//! and nothing of transports.

mod bound;
mod door;
mod duplex;
mod endpoint;
pub(crate) mod http;
mod streamable;

pub use bound::{Bound, Doors, bind};
pub(crate) use duplex::{Frame, Stdout, stdin_frames};
pub use duplex::{StdioEnd, stdio};

pub use self::http::listen::BindError;
