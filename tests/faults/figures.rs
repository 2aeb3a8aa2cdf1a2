//! What a fault promised and what was measured: asserted at once, and kept for the table.

use std::{
    fs::{self, File},
    io::Write as _,
    path::PathBuf,
};

use serde::{Deserialize, Serialize};

use crate::{amount::Amount, tools::optimised};

/// Which side of the bound is good.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Side {
    AtMost,
    AtLeast,
    Exactly,
}

/// One figure of one run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Figure {
    /// Such as `F1`.
    pub fault: String,
    /// The fault in words.
    pub what: String,
    /// What was measured, in words.
    pub name: String,
    /// Whether it holds after every fault.
    pub always: bool,
    pub side: Side,
    pub bound: Amount,
    pub measured: Amount,
}

/// The figures of one fault.
#[derive(Clone, Copy, Debug)]
pub struct Figures {
    fault: &'static str,
    what: &'static str,
    always: bool,
}

impl Figures {
    /// `fault` is its number in `docs/RELIABILITY.md`, such as `F1`.
    pub fn of(fault: &'static str, what: &'static str) -> Self {
        Self {
            fault,
            what,
            always: false,
        }
    }

    /// The same fault, for what holds after every fault.
    pub fn after(&self) -> Self {
        Self { always: true, ..*self }
    }

    /// Fails the test unless `measured` is at most `bound`.
    pub fn at_most(&self, figure: &str, measured: impl Into<Amount>, bound: impl Into<Amount>) {
        self.check(Side::AtMost, figure, measured.into(), bound.into());
    }

    /// Fails the test unless `measured` is at least `bound`.
    pub fn at_least(&self, figure: &str, measured: impl Into<Amount>, bound: impl Into<Amount>) {
        self.check(Side::AtLeast, figure, measured.into(), bound.into());
    }

    /// Fails the test unless `measured` is `wanted`.
    pub fn exactly(&self, figure: &str, measured: impl Into<Amount>, wanted: impl Into<Amount>) {
        self.check(Side::Exactly, figure, measured.into(), wanted.into());
    }

    fn check(&self, side: Side, figure: &str, measured: Amount, bound: Amount) {
        assert!(
            measured.compares(bound),
            "{figure}: {measured} and {bound} have two units"
        );
        let good = match side {
            Side::AtMost => measured.value() <= bound.value() * slack(bound),
            Side::AtLeast => measured >= bound,
            Side::Exactly => (measured.value() - bound.value()).abs() < 1e-9,
        };
        let row = Figure {
            fault: self.fault.to_owned(),
            what: self.what.to_owned(),
            name: figure.to_owned(),
            always: self.always,
            side,
            bound,
            measured,
        };
        println!("{}: {figure}: {measured} ({side:?} {bound})", self.fault);
        keep(&row);
        assert!(
            good,
            "{} ({}): {figure}: {measured}, not {side:?} {bound}",
            self.fault, self.what
        );
    }
}

/// The bounds are promised for a release build (`scripts/faults`). In a debug build hub, fixtures and callers are several times slower
/// and share the same cores: what is measured in time or memory may be twice as much there. What is counted never.
fn slack(bound: Amount) -> f64 {
    match bound {
        Amount::Time(_) | Amount::Bytes(_) | Amount::Ratio(_) | Amount::Percent(_) if !optimised() => 2.0,
        Amount::Time(_) | Amount::Bytes(_) | Amount::Ratio(_) | Amount::Percent(_) | Amount::Count(_) => 1.0,
    }
}

/// Where the figures of all runs lie until they are made into a table; `scripts/faults` empties it.
pub fn kept() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("target/faults/figures.jsonl")
}

fn keep(row: &Figure) {
    let path = kept();
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    let mut file = File::options().append(true).create(true).open(path).unwrap();
    // One write, so that lines stay whole.
    file.write_all(format!("{}\n", serde_json::to_string(row).unwrap()).as_bytes())
        .unwrap();
}
