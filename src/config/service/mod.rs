//! Section `services`: what each service is and how it is kept running.

mod checks;
mod limits;
mod raw;
mod remote;
mod types;

pub(super) use checks::{Context, check_services};
pub use limits::ServiceLimits;
pub(super) use raw::RawService;
pub use remote::{Remote, RemoteTransport};
pub use types::{
    Command, EraChoice, Placement, Prefix, Replace, Restart, RestartPolicy, Service, Sharing, Source, Start, Timeouts,
    ToolSettings, WhenDown,
};
