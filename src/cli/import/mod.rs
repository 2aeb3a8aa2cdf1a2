//! `mcpvisor import FILE`: the configuration of a desktop client as ours.

mod command;
mod entry;
mod form;
mod secrets;

pub(super) use command::run;
