//! Owns every task of the process: starts them, stops them in order, and says how it all ended.

mod ending;
mod readiness;
pub mod signals;
mod tasks;

pub use ending::Ending;
pub use readiness::{NotReady, Readiness};
pub use tasks::Tasks;
