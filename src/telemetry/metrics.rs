//! The recorder behind the `metrics` macros, and its page for Prometheus.

use std::{convert::Infallible, fs, sync::OnceLock, time::Duration};

use metrics::{SetRecorderError, counter, describe_counter, describe_gauge, describe_histogram, gauge};
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle, PrometheusRecorder};
use nix::unistd::{SysconfVar, sysconf};

use super::names::{self, Kind};

static PAGE: OnceLock<PrometheusHandle> = OnceLock::new();

/// Upper bounds of the buckets of durations, in seconds: from a fast local call to the default timeout.
const BUCKETS: [f64; 15] = [
    0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0, 15.0, 60.0, 300.0,
];

/// How often histograms are put together; between two times they grow with each call.
const UPKEEP: Duration = Duration::from_secs(5);

/// Why metrics cannot be recorded.
#[derive(Debug, thiserror::Error)]
pub enum InstallError {
    /// Somebody else records already.
    #[error("another recorder of metrics is installed")]
    Taken(#[source] SetRecorderError<PrometheusRecorder>),
}

/// Installs the recorder and describes every metric. A second call does nothing.
///
/// # Errors
/// If somebody else's recorder is installed.
pub fn install() -> Result<(), InstallError> {
    if PAGE.get().is_some() {
        return Ok(());
    }
    let builder = PrometheusBuilder::new()
        .set_buckets_for_metric(Matcher::Suffix("_seconds".to_owned()), &BUCKETS)
        .expect("there are buckets");
    let recorder = builder.build_recorder();
    let page = recorder.handle();
    metrics::set_global_recorder(recorder).map_err(InstallError::Taken)?;
    for metric in names::ALL {
        match metric.kind {
            Kind::Counter => describe_counter!(metric.name, metric.help),
            Kind::Gauge => describe_gauge!(metric.name, metric.help),
            Kind::Histogram => describe_histogram!(metric.name, metric.help),
        }
    }
    gauge!(names::BUILD_INFO, "version" => env!("CARGO_PKG_VERSION")).set(1.0);
    // Only the first caller comes here: the recorder can be set once.
    PAGE.get_or_init(|| page);
    Ok(())
}

/// The page for Prometheus, with fresh figures of the process; empty if nothing is installed.
pub fn render() -> String {
    let Some(page) = PAGE.get() else { return String::new() };
    measure_process();
    page.render()
}

/// Keeps histograms small for as long as it is polled.
#[expect(clippy::infinite_loop, reason = "it ends when its caller does, which drops it")]
pub async fn upkeep() -> Infallible {
    let mut tick = tokio::time::interval(UPKEEP);
    loop {
        tick.tick().await;
        if let Some(page) = PAGE.get() {
            page.run_upkeep();
        }
    }
}

/// The hub's own memory, time, descriptors and threads, as Linux tells them; what it does not tell is left out.
#[expect(
    clippy::cast_precision_loss,
    reason = "gauges are floating point; these numbers are far below 2^53"
)]
fn measure_process() {
    let unit = |variable| {
        sysconf(variable)
            .ok()
            .flatten()
            .and_then(|value| u64::try_from(value).ok())
    };
    let stat = fs::read_to_string("/proc/self/stat").unwrap_or_default();
    // The name of the program, in parentheses, may contain anything; fields are counted behind it, from 3.
    let fields: Vec<&str> = stat
        .rsplit_once(") ")
        .map(|(_, rest)| rest.split(' ').collect())
        .unwrap_or_default();
    let field = |number: usize| fields.get(number - 3).and_then(|text| text.parse::<u64>().ok());
    if let (Some(user), Some(system), Some(per_second)) = (field(14), field(15), unit(SysconfVar::CLK_TCK)) {
        counter!(names::CPU_SECONDS).absolute((user + system) / per_second.max(1));
    }
    if let Some(threads) = field(20) {
        gauge!(names::THREADS).set(threads as f64);
    }
    if let (Some(pages), Some(size)) = (field(24), unit(SysconfVar::PAGE_SIZE)) {
        gauge!(names::RESIDENT_BYTES).set((pages * size) as f64);
    }
    if let Ok(open) = fs::read_dir("/proc/self/fd") {
        // One of them is the folder just opened.
        gauge!(names::OPEN_FDS).set(open.count().saturating_sub(1) as f64);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{
        super::{CallMeter, CallOutcome},
        *,
    };
    use crate::config::ServiceName;

    #[test]
    fn the_page_shows_what_was_recorded() {
        install().unwrap();
        install().unwrap();
        let meter = CallMeter::new(&ServiceName::new("page-test").unwrap());
        meter.answered(CallOutcome::Ok, Duration::from_millis(3));
        meter.answered(CallOutcome::Timeout, Duration::from_secs(2));
        let page = render();
        for line in [
            r#"mcpvisor_calls_total{service="page-test",outcome="ok"} 1"#,
            r#"mcpvisor_calls_total{service="page-test",outcome="timeout"} 1"#,
            r#"mcpvisor_call_duration_seconds_bucket{service="page-test",le="0.005"} 1"#,
            r#"mcpvisor_call_duration_seconds_count{service="page-test"} 2"#,
            "mcpvisor_build_info{version=",
        ] {
            assert!(page.contains(line), "no `{line}` in\n{page}");
        }
        let value = |name: &str| {
            let line = page.lines().find(|line| line.starts_with(&format!("{name} "))).unwrap();
            line.split_once(' ').unwrap().1.parse::<f64>().unwrap()
        };
        assert!(value("process_resident_memory_bytes") > 1e6);
        assert!(value("process_open_fds") >= 3.0 && value("process_threads") >= 1.0);
    }
}
