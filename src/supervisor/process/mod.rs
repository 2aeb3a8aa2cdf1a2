//! Processes: every server runs under a guard of its own (`mcpvisor __guard …`), which kills the
//! whole tree when the server ends, when it is told to, and when the hub is gone.

mod census;
mod cgroup;
mod environment;
mod exit;
pub mod guard;
mod guards;
mod program;
mod reaper;
mod spawn;
mod strays;
mod tree;
mod wire;

pub use census::{Known, Member, census};
pub use cgroup::{Breach, Cgroups};
pub use environment::{TREE_MARK, inherited};
pub use exit::Exit;
pub use reaper::reap;
pub use spawn::{Confinement, Process, ProcessEvent, SpawnError, raise_file_limit, spawn};
pub use strays::{Quarry, Swept, become_subreaper, sweep};

#[cfg(test)]
pub(in crate::supervisor) mod tests;
