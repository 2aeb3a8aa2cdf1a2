//! Figures of all rounds, and what to take from them: medians, and ratios of what was measured in the same round.

use std::{collections::BTreeMap, fmt};

use serde::Deserialize;

/// What `mcpvisor bench --json` says of one concurrency.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Figures {
    pub(crate) concurrency: usize,
    pub(crate) calls_per_second: f64,
    pub(crate) p50_ms: f64,
    pub(crate) p99_ms: f64,
    pub(crate) max_ms: f64,
    pub(crate) errors: u64,
    pub(crate) process: Option<Used>,
}

/// What the subject's own process used, without its children.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Used {
    pub(crate) cpu_ms_per_call: f64,
    pub(crate) rss_mib: f64,
    pub(crate) private_mib: f64,
}

/// One figure of a measurement.
pub(crate) type Pick = fn(&Figures) -> f64;

pub(crate) const P50: Pick = |figures| figures.p50_ms;
pub(crate) const P99: Pick = |figures| figures.p99_ms;
pub(crate) const MAX: Pick = |figures| figures.max_ms;
pub(crate) const RATE: Pick = |figures| figures.calls_per_second;
pub(crate) const CPU: Pick = |figures| figures.process.as_ref().map_or(f64::NAN, |used| used.cpu_ms_per_call);
const RSS: Pick = |figures| figures.process.as_ref().map_or(f64::NAN, |used| used.rss_mib);
const PRIVATE: Pick = |figures| figures.process.as_ref().map_or(f64::NAN, |used| used.private_mib);

/// All measurements, by way and concurrency, in the order of the rounds.
#[derive(Debug, Default)]
pub(crate) struct Table {
    order: Vec<&'static str>,
    rows: BTreeMap<(&'static str, usize), Vec<(usize, Figures)>>,
}

impl Table {
    pub(crate) fn add(&mut self, way: &'static str, round: usize, figures: Figures) {
        assert_eq!(figures.errors, 0, "{way} failed calls: {figures:?}");
        if !self.order.contains(&way) {
            self.order.push(way);
        }
        self.rows
            .entry((way, figures.concurrency))
            .or_default()
            .push((round, figures));
    }

    fn row(&self, way: &'static str, concurrency: usize) -> &[(usize, Figures)] {
        self.rows.get(&(way, concurrency)).map_or(&[], Vec::as_slice)
    }

    /// Median over the rounds.
    pub(crate) fn median(&self, way: &'static str, concurrency: usize, pick: Pick) -> f64 {
        median(self.row(way, concurrency).iter().map(|(_, figures)| pick(figures)))
    }

    /// Median of the rounds' ratios.
    pub(crate) fn ratio(&self, way: &'static str, to: &'static str, concurrency: usize, pick: Pick) -> f64 {
        let other = self.row(to, concurrency);
        median(self.row(way, concurrency).iter().filter_map(|(round, figures)| {
            let (_, other) = other.iter().find(|(of, _)| of == round)?;
            Some(pick(figures) / pick(other))
        }))
    }
}

pub(crate) fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.collect();
    values.sort_unstable_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "{:<16}{:>10}{:>10}{:>10}{:>10}{:>10}{:>12}{:>10}{:>10}",
            "medians", "in flight", "calls/s", "p50 ms", "p99 ms", "max ms", "CPU ms/call", "RSS MiB", "private"
        )?;
        let mut concurrencies: Vec<usize> = self.rows.keys().map(|(_, concurrency)| *concurrency).collect();
        concurrencies.sort_unstable();
        concurrencies.dedup();
        for concurrency in concurrencies {
            for way in &self.order {
                let of = |pick| self.median(way, concurrency, pick);
                writeln!(
                    f,
                    "{way:<16}{concurrency:>10}{:>10.0}{:>10.3}{:>10.3}{:>10.2}{:>12.4}{:>10.1}{:>10.1}",
                    of(RATE),
                    of(P50),
                    of(P99),
                    of(MAX),
                    of(CPU),
                    of(RSS),
                    of(PRIVATE)
                )?;
            }
        }
        Ok(())
    }
}
