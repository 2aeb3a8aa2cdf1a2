//! The words of MCP shared by both sides of the hub: revisions, methods, capabilities, errors on the wire, and views into
//! params and results. It translates nothing and routes nothing.

mod capabilities;
mod error;
mod meta;
pub mod method;
mod outbox;
mod revision;
mod view;

pub use capabilities::Features;
pub use error::{Answered, ErrorAnswer, HubFault, Outcome, ProcessEnd, code};
pub use meta::{LogLevel, ModernClaim, RequestMeta, meta_key};
pub use outbox::{Delivery, Nowhere, Outbox};
pub use revision::{Era, Revision};
pub use view::{CallParams, call_params, field};
