//! Streamable HTTP: one endpoint for both eras. Legacy revisions have sessions and streams that can be taken up again; modern
//! requests stand alone, and closing their stream cancels them.

mod batch;
mod call;
mod classify;
mod event;
mod mirror;
mod post;
mod session;
mod sessions;
mod stay;
mod stream;

pub(crate) use batch::accept as accept_batch;
pub(crate) use call::Call;
pub(crate) use event::{KEEP_ALIVE, append as append_event, endpoint as endpoint_event, one_line};
pub(crate) use post::{post, refused_media};
pub(crate) use session::SessionId;
pub(crate) use sessions::Sessions;
pub(crate) use stay::{delete, get};
pub(crate) use stream::{Bounds, Notice, notice};
