//! What the hub says about itself: log lines on stderr and in rotated files, metrics for Prometheus.
//!
//! Standard output belongs to the stdio door and is never written to. Everything that is written goes through
//! [`Redactor`], so that no known secret leaves, and through bounded queues, so that nobody waits for a slow disk or for
//! somebody who does not read our stderr: lines are dropped and counted instead.

mod child_log;
mod events;
mod logs;
pub mod metrics;
pub mod names;
mod redact;
mod rotate;

pub use child_log::ChildLog;
pub use events::{CallMeter, CallOutcome, ServiceChanged, bad_line, note_ready};
pub use logs::{TelemetryError, TelemetryGuard, start};
pub use redact::Redactor;
