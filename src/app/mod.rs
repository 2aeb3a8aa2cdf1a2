//! Puts the hub together: the only module that knows all others, and the order in which they begin and end.

mod banner;
mod describe;
mod directory;
mod groups;
mod keep;
mod reload;
mod replacing;
mod services;
mod start;
mod stop;
mod strays;

pub use start::{RunError, run};
