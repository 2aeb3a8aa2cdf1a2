//! What the hub must reach, and whether it did.

use std::{fmt, time::Duration};

use crate::{
    CONCURRENCIES,
    figures::{CPU, P50, RATE, Table, median},
    subjects::Memory,
};

/// One bar: what was measured, and between what it must lie.
#[derive(Debug)]
struct Bar {
    what: String,
    measured: f64,
    /// `true`: at most this; `false`: at least.
    at_most: bool,
    limit: f64,
    unit: &'static str,
}

impl Bar {
    fn missed(&self) -> bool {
        // A figure that is not there misses, too.
        let held = if self.at_most {
            self.measured <= self.limit
        } else {
            self.measured >= self.limit
        };
        !held
    }
}

/// All of them.
#[derive(Debug, Default)]
pub(crate) struct Bars(Vec<Bar>);

impl Bars {
    fn at_most(&mut self, what: String, measured: f64, limit: f64, unit: &'static str) {
        self.0.push(Bar {
            what,
            measured,
            at_most: true,
            limit,
            unit,
        });
    }

    fn at_least(&mut self, what: String, measured: f64, limit: f64, unit: &'static str) {
        self.0.push(Bar {
            what,
            measured,
            at_most: false,
            limit,
            unit,
        });
    }

    /// Times from exec to the first answer of `/health`.
    pub(crate) fn starts(&mut self, starts: &[Duration]) {
        let middle = median(starts.iter().map(|start| start.as_secs_f64() * 1e3));
        self.at_most("ready to serve after its start".to_owned(), middle, 100.0, "ms");
    }

    /// The hub's memory before any call.
    pub(crate) fn idle(&mut self, memory: &Memory) {
        self.at_most("private memory, idle".to_owned(), memory.private_mib, 15.0, "MiB");
        self.at_most("resident memory, idle".to_owned(), memory.rss_mib, 40.0, "MiB");
    }

    /// The hub's memory after all calls.
    pub(crate) fn after_load(&mut self, memory: &Memory) {
        self.at_most("private memory, after load".to_owned(), memory.private_mib, 25.0, "MiB");
    }

    /// The hub beside the others.
    pub(crate) fn compare(&mut self, table: &Table, peer: bool) {
        for (hub, floor) in [("hub legacy", "floor legacy"), ("hub modern", "floor modern")] {
            for concurrency in CONCURRENCIES {
                let name = |what: &str| format!("{hub} at {concurrency}: {what}");
                let to = |other, pick| table.ratio(hub, other, concurrency, pick);
                self.at_most(name("p50 to the floor's"), to(floor, P50), 1.3, "x");
                self.at_least(name("calls/s to the floor's"), to(floor, RATE), 0.75, "x");
                if peer {
                    self.at_most(name("p50 to the peer's"), to("peer", P50), 1.0, "x");
                    self.at_least(name("calls/s to the peer's"), to("peer", RATE), 1.0, "x");
                    self.at_most(name("CPU per call to the peer's"), to("peer", CPU), 1.0, "x");
                }
            }
        }
    }

    pub(crate) fn missed(&self) -> bool {
        self.0.iter().any(Bar::missed)
    }
}

impl fmt::Display for Bars {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for bar in &self.0 {
            let (verdict, limit) = (
                if bar.missed() { "MISSED" } else { "ok" },
                if bar.at_most { "at most" } else { "at least" },
            );
            let (what, measured, unit) = (&bar.what, bar.measured, bar.unit);
            writeln!(
                f,
                "{verdict:<7} {what:<42} {measured:>8.2} {unit:<4} ({limit} {})",
                bar.limit
            )?;
        }
        Ok(())
    }
}
