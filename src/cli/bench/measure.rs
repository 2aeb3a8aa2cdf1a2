//! What happened during one measurement: latencies, errors, duration.

use std::{collections::BTreeMap, time::Duration};

use serde::Serialize;

/// Latencies and failures as they happen.
#[derive(Debug, Default)]
pub(super) struct Tally {
    /// Nanoseconds, up to 4.29 s each: a slower call counts as that.
    latencies: Vec<u32>,
    slowest: Duration,
    failures: BTreeMap<String, u64>,
}

/// Kinds of failure told apart; more are counted together.
const MOST_KINDS: usize = 20;

impl Tally {
    pub(super) fn record(&mut self, outcome: Result<Duration, String>) {
        match outcome {
            Ok(latency) => {
                self.latencies
                    .push(u32::try_from(latency.as_nanos()).unwrap_or(u32::MAX));
                self.slowest = self.slowest.max(latency);
            }
            Err(failure) => {
                let known = self.failures.len() < MOST_KINDS || self.failures.contains_key(&failure);
                let kind = if known { failure } else { "others".to_owned() };
                *self.failures.entry(kind).or_default() += 1;
            }
        }
    }

    pub(super) fn finish(mut self, took: Duration) -> Figures {
        self.latencies.sort_unstable();
        let calls = self.latencies.len();
        let at = |permille: usize| {
            let index = (calls * permille / 1000).min(calls.saturating_sub(1));
            self.latencies.get(index).map_or(0.0, |nanos| f64::from(*nanos) / 1e6)
        };
        Figures {
            calls: calls as u64,
            errors: self.failures.values().sum(),
            failures: self.failures.clone(),
            seconds: took.as_secs_f64(),
            calls_per_second: ratio(calls as u64, took.as_secs_f64()),
            p50_ms: at(500),
            p99_ms: at(990),
            max_ms: self.slowest.as_secs_f64() * 1e3,
        }
    }
}

#[expect(clippy::cast_precision_loss, reason = "counts of calls are far below 2^52")]
pub(super) fn ratio(count: u64, by: f64) -> f64 {
    if by > 0.0 { count as f64 / by } else { 0.0 }
}

/// The result of one measurement. Milliseconds are fractions: 0.153.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Figures {
    /// Answered right.
    pub(super) calls: u64,
    /// Everything else.
    pub(super) errors: u64,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub(super) failures: BTreeMap<String, u64>,
    pub(super) seconds: f64,
    pub(super) calls_per_second: f64,
    pub(super) p50_ms: f64,
    pub(super) p99_ms: f64,
    pub(super) max_ms: f64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_of_a_thousand() {
        let mut tally = Tally::default();
        for micros in (1..=1000).rev() {
            tally.record(Ok(Duration::from_micros(micros)));
        }
        tally.record(Err("HTTP 500".to_owned()));
        tally.record(Err("HTTP 500".to_owned()));
        let figures = tally.finish(Duration::from_secs(2));
        assert_eq!((figures.calls, figures.errors), (1000, 2));
        assert_eq!(figures.failures["HTTP 500"], 2);
        assert!((figures.p50_ms - 0.501).abs() < 1e-9, "{figures:?}");
        assert!((figures.p99_ms - 0.991).abs() < 1e-9, "{figures:?}");
        assert!((figures.max_ms - 1.0).abs() < 1e-9, "{figures:?}");
        assert!((figures.calls_per_second - 500.0).abs() < 1e-9, "{figures:?}");
    }

    #[test]
    fn nothing_measured_is_no_division() {
        let figures = Tally::default().finish(Duration::ZERO);
        assert_eq!((figures.calls, figures.errors), (0, 0));
        assert!(figures.calls_per_second.abs() < f64::EPSILON);
    }

    #[test]
    fn kinds_of_failure_are_bounded() {
        let mut tally = Tally::default();
        for number in 0..100 {
            tally.record(Err(format!("failure {number}")));
        }
        let figures = tally.finish(Duration::from_secs(1));
        assert_eq!(figures.errors, 100);
        assert_eq!(figures.failures.len(), MOST_KINDS + 1);
        assert_eq!(figures.failures["others"], 80);
    }
}
