//! The only code that knows two eras: how a request and its answer look on the other side.
//!
//! Same era on both sides: nothing but the id, the progress token and a prefixed name change. Different eras: plain requests
//! and notifications are translated; what needs a conversation across eras is refused in clear words.

mod answer;
mod request;

pub(super) use answer::answer;
pub(super) use request::{renumbered, request_edits};
