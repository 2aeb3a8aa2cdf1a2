//! The admin door: what runs, what broke, and how much of everything, for people and programs. It reads and changes nothing of
//! the hub by itself; what it tells comes through [`ServiceDirectory`].

mod access;
mod bound;
mod home;
mod metrics;
mod problem;
mod report;
mod router;
mod services;

pub use bound::{Bound, Doors, bind};
pub use report::{CollisionReport, Counts, Exit, InstanceReport, ServiceDirectory, ServiceReport};
