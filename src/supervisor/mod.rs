//! Keeps the units that the configuration asks for running. A unit is one process slot of a service:
//! what it does next is decided by a pure state machine ([`machine`]), one task carries it out.
//! See `README.md` beside this file for states, events and pitfalls.

mod account;
mod contract;
mod decline;
#[cfg(test)]
mod diagram_tests;
mod driver;
mod health;
mod last_exit;
pub mod machine;
#[cfg(test)]
mod machine_tests;
#[cfg(test)]
mod machine_world;
mod orders;
mod permits;
mod policy;
pub mod process;
pub mod replacement;
mod spec;
pub mod state;
mod status;
mod stderr;
mod unit;
#[cfg(test)]
mod unit_tests;

pub use contract::{Attach, ChildIo, Control, Event, Handshake, HandshakeError, LineSink, Session, SessionEnd};
pub use last_exit::{LastExit, Reason};
pub use permits::{Permit, Permits};
pub use policy::{Policy, RestartPolicy};
pub use spec::{Command, Runs, Start, Timeouts, UnitContext, UnitSpec};
pub use state::State;
pub use status::Status;
pub use unit::{Ticket, Unit};
