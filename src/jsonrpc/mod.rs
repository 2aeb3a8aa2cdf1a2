//! JSON-RPC 2.0 envelopes over borrowed raw JSON: what a message is, without what it means.
//!
//! A message stays the bytes it arrived as. One pass finds where `id`, `method`, `params`, `result` and `error` lie, and
//! edits replace byte ranges, so that unknown fields, number spellings and key order pass through untouched.
//! Nothing here knows MCP.

mod envelope;
mod fields;
mod framing;
mod id_scan;
mod scan;
mod splice;

pub use envelope::{Invalid, Kind, Message, parse, parse_batch};
pub use fields::{Fields, ShapeError, text_of};
pub use framing::{Line, LineSplitter};
pub use id_scan::{IdScan, Looks};
pub use splice::{Splice, json_string};
