//! The names of all metrics, with what they count. Labels are named in the description.

/// One metric.
#[derive(Clone, Copy, Debug)]
pub struct Metric {
    /// Its name in Prometheus.
    pub name: &'static str,
    /// Counter, gauge or histogram.
    pub kind: Kind,
    /// What it counts.
    pub help: &'static str,
}

/// How a metric behaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Only grows.
    Counter,
    /// Goes up and down.
    Gauge,
    /// Counts values into buckets.
    Histogram,
}

/// Declares the metrics and the list of them.
macro_rules! metrics {
    ($($constant:ident = $kind:ident $name:literal: $help:literal;)*) => {
        $(
            #[doc = $help]
            pub const $constant: &str = $name;
        )*

        /// Every metric.
        pub const ALL: &[Metric] = &[$(Metric { name: $name, kind: Kind::$kind, help: $help }),*];
    };
}

metrics! {
    BUILD_INFO = Gauge "mcpvisor_build_info": "Always 1; `version` is the hub's version.";
    CALLS = Counter "mcpvisor_calls_total": "Calls answered, by `service` and `outcome` (ok, error, unavailable, timeout, cancelled).";
    CALL_SECONDS = Histogram "mcpvisor_call_duration_seconds": "Time from a call to its answer, by `service`.";
    CALLS_IN_FLIGHT = Gauge "mcpvisor_calls_in_flight": "Calls that wait for an answer, by `service`.";
    SERVICE_READY = Gauge "mcpvisor_service_ready": "1 while a unit of the service is ready, else 0, by `service` and `unit`.";
    SERVICE_CHANGES = Counter "mcpvisor_service_state_changes_total": "States entered, by `service` and `state`.";
    SERVICE_RESTARTS = Counter "mcpvisor_service_restarts_total": "Starts after the first one, by `service`.";
    BAD_LINES = Counter "mcpvisor_bad_lines_total": "Lines of a service that were no JSON-RPC message, or too long, by `service`.";
    CLIENTS = Gauge "mcpvisor_clients": "Clients open: legacy sessions, connections, and one for the modern callers of each endpoint.";
    RELOADS = Counter "mcpvisor_config_reloads_total": "New configurations taken over since the start.";
    LOG_LINES_DROPPED = Counter "mcpvisor_log_lines_dropped_total": "Log lines dropped because nobody took them in time, by `log`.";
    RESIDENT_BYTES = Gauge "process_resident_memory_bytes": "Resident memory of the hub itself.";
    CPU_SECONDS = Counter "process_cpu_seconds_total": "Processor time of the hub itself, in whole seconds.";
    OPEN_FDS = Gauge "process_open_fds": "Open file descriptors of the hub itself.";
    THREADS = Gauge "process_threads": "Threads of the hub itself.";
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn names_are_unique_and_well_formed() {
        let names: BTreeSet<_> = ALL.iter().map(|metric| metric.name).collect();
        assert_eq!(names.len(), ALL.len());
        for metric in ALL {
            let ours = metric.name.starts_with("mcpvisor_") || metric.name.starts_with("process_");
            assert!(ours && metric.help.ends_with('.'), "{}", metric.name);
            assert_eq!(
                metric.name.ends_with("_total"),
                metric.kind == Kind::Counter,
                "{}",
                metric.name
            );
        }
    }
}
