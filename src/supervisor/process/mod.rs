//! Processes: every server runs under a guard of its own (`mcpvisor __guard …`), which kills the
//! whole tree when the server ends, when it is told to, and when the hub is gone.

mod environment;
mod exit;
pub mod guard;
mod program;
mod spawn;
mod strays;
mod tree;
mod wire;

pub use environment::{TREE_MARK, inherited};
pub use exit::Exit;
pub use spawn::{Process, ProcessEvent, SpawnError, raise_file_limit, spawn};
pub use strays::{become_subreaper, sweep};

#[cfg(test)]
pub(in crate::supervisor) mod tests;
