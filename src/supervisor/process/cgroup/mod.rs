//! Control groups: each server gets its own, which hold it to its limits and let the kernel end its tree in one go. Found
//! once by the hub, made and removed by the guards; what no group holds, the guard looks at itself.

mod cage;
mod find;
mod group;
mod places;
mod usage;
mod watch;

pub(super) use cage::{Cage, Order};
pub use find::Cgroups;
pub(super) use group::clear;
pub use watch::Breach;
