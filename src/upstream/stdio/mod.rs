//! MCP over the pipes of a child process: lines in, lines out.

mod reader;
mod writer;

pub(super) use reader::{Heard, read_lines};
pub(super) use writer::{WriteError, Writer, WriterEnd};
