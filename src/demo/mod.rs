//! The built-in demo service: a small MCP server on stdin and stdout, so that a hub without any configuration has
//! something to serve. It runs as a child process like every other service and knows nothing of the hub.
//!
//! It speaks both eras on one connection: a request with the modern `_meta` claim is answered as 2026-07-28 asks, every
//! other as the revision that `initialize` agreed on.

mod answer;
mod prompts;
mod resources;
mod serve;
mod session;
#[cfg(test)]
mod tests;
mod tools;

pub use serve::{run, serve};
