//! Everything that is set from outside: raw → checked → immutable.

mod service_name;

pub use service_name::{InvalidServiceName, ServiceName};
