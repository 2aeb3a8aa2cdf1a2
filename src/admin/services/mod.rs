//! The services, one file per verb.

mod get;
mod list;

pub(super) use get::get;
pub(super) use list::list;
