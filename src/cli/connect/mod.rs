//! `mcpvisor connect`: one stdio client on this side, a hub that runs already on the other, so that many clients share one.
//!
//! Messages pass as they are, in both eras. What HTTP adds is done here: sessions (opened again where the hub has forgotten
//! them), streams (taken up again where they broke), and the headers that repeat parts of a modern request.

mod args;
mod link;
mod post;
mod run;
mod session;
mod socket;

pub(super) use args::Args;
pub(super) use run::run;
