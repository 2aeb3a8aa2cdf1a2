//! The tools of the demo service.

mod calculate;
mod call;
mod countdown;
mod definitions;
mod time;

pub(super) use call::{Log, call};
pub(super) use countdown::Countdowns;
pub(super) use definitions::list;
