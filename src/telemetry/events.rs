//! What happens, in types: each writes its log line and moves its metrics, so that the two cannot disagree.

use std::{fmt, time::Duration};

use metrics::{Counter, Gauge, Histogram, counter, gauge, histogram};

use super::names;
use crate::config::ServiceName;

/// How a call ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CallOutcome {
    /// With a result.
    Ok,
    /// With an error of the service.
    Error,
    /// Without reaching the service, or it went away.
    Unavailable,
    /// Not in time.
    Timeout,
    /// The client no longer wanted it.
    Cancelled,
}

/// Counts the calls of one service. Handles are looked up once, here, so that counting a call costs a few atomic
/// additions and no allocation. Cheap to clone.
#[derive(Clone)]
pub struct CallMeter {
    ok: Counter,
    error: Counter,
    unavailable: Counter,
    timeout: Counter,
    cancelled: Counter,
    seconds: Histogram,
    in_flight: Gauge,
}

impl fmt::Debug for CallMeter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("CallMeter")
    }
}

impl CallMeter {
    /// The meter of `service`. To be made after the recorder was installed; before, it counts nothing.
    pub fn new(service: &ServiceName) -> Self {
        let count =
            |outcome: &'static str| counter!(names::CALLS, "service" => service.to_string(), "outcome" => outcome);
        Self {
            ok: count("ok"),
            error: count("error"),
            unavailable: count("unavailable"),
            timeout: count("timeout"),
            cancelled: count("cancelled"),
            seconds: histogram!(names::CALL_SECONDS, "service" => service.to_string()),
            in_flight: gauge!(names::CALLS_IN_FLIGHT, "service" => service.to_string()),
        }
    }

    /// A call goes out.
    pub fn sent(&self) {
        self.in_flight.increment(1.0);
    }

    /// A call that was [`sent`](Self::sent) is over, however.
    pub fn over(&self) {
        self.in_flight.decrement(1.0);
    }

    /// A call was answered `after` this long.
    pub fn answered(&self, outcome: CallOutcome, after: Duration) {
        match outcome {
            CallOutcome::Ok => &self.ok,
            CallOutcome::Error => &self.error,
            CallOutcome::Unavailable => &self.unavailable,
            CallOutcome::Timeout => &self.timeout,
            CallOutcome::Cancelled => &self.cancelled,
        }
        .increment(1);
        self.seconds.record(after);
    }
}

/// A service wrote a line that is no JSON-RPC message, or one that is too long.
pub fn bad_line(service: &ServiceName) {
    counter!(names::BAD_LINES, "service" => service.to_string()).increment(1);
}

/// A unit of a service entered a state.
#[derive(Clone, Copy, Debug)]
pub struct ServiceChanged<'a> {
    /// The service.
    pub service: &'a ServiceName,
    /// Which of its units.
    pub unit: &'a str,
    /// The state as operators know it: `ready`, `backoff`, …
    pub state: &'static str,
    /// Why, if there is more to say; already redacted.
    pub reason: Option<&'a str>,
    /// Whether this is a start after the first one.
    pub restart: bool,
    /// Whether calls go to its generation: another one says nothing of whether the service is ready.
    pub serving: bool,
}

/// Whether a unit of the generation that calls go to is ready.
pub fn note_ready(service: &ServiceName, unit: &str, ready: bool) {
    let gauge = gauge!(names::SERVICE_READY, "service" => service.to_string(), "unit" => unit.to_owned());
    gauge.set(f64::from(u8::from(ready)));
}

impl ServiceChanged<'_> {
    /// Writes the line and moves the metrics.
    pub fn emit(self) {
        let Self {
            service,
            unit,
            state,
            reason,
            restart,
            serving,
        } = self;
        counter!(names::SERVICE_CHANGES, "service" => service.to_string(), "state" => state).increment(1);
        if serving {
            note_ready(service, unit, state == "ready");
        }
        if restart {
            counter!(names::SERVICE_RESTARTS, "service" => service.to_string()).increment(1);
        }
        let reason = reason.map(tracing::field::display);
        match state {
            "backoff" | "degraded" | "crash_loop" | "misconfigured" => {
                tracing::warn!(service = %service, unit, reason, "service is {state}");
            }
            "ready" | "disabled" | "stopped" => tracing::info!(service = %service, unit, reason, "service is {state}"),
            _ => tracing::debug!(service = %service, unit, reason, "service is {state}"),
        }
    }
}
