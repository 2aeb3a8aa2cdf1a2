//! Figures with a unit: measured, promised, and written into a table.

use std::{fmt, time::Duration};

use serde::{Deserialize, Serialize};

/// How much, of what.
#[derive(Clone, Copy, Debug, PartialEq, PartialOrd, Serialize, Deserialize)]
pub enum Amount {
    /// Milliseconds.
    Time(f64),
    /// Bytes.
    Bytes(f64),
    /// Things.
    Count(f64),
    /// So many times as much as without the fault.
    Ratio(f64),
    /// Percent.
    Percent(f64),
}

impl Amount {
    pub fn mib(mib: f64) -> Self {
        Self::Bytes(mib * 1024.0 * 1024.0)
    }

    pub fn value(self) -> f64 {
        match self {
            Self::Time(value) | Self::Bytes(value) | Self::Count(value) | Self::Ratio(value) | Self::Percent(value) => {
                value
            }
        }
    }

    /// Whether both have the same unit.
    pub fn compares(self, other: Self) -> bool {
        std::mem::discriminant(&self) == std::mem::discriminant(&other)
    }
}

impl From<Duration> for Amount {
    fn from(time: Duration) -> Self {
        Self::Time(time.as_secs_f64() * 1e3)
    }
}

impl From<usize> for Amount {
    #[expect(clippy::cast_precision_loss, reason = "counts of tests are small")]
    fn from(count: usize) -> Self {
        Self::Count(count as f64)
    }
}

impl fmt::Display for Amount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Time(ms) if *ms < 1.0 => write!(f, "{:.0} µs", ms * 1e3),
            Self::Time(ms) if *ms < 10.0 && ms.fract() > 0.05 => write!(f, "{ms:.1} ms"),
            Self::Time(ms) if *ms < 1000.0 => write!(f, "{ms:.0} ms"),
            Self::Time(ms) if (ms % 1000.0).abs() < 0.5 => write!(f, "{:.0} s", ms / 1e3),
            Self::Time(ms) => write!(f, "{:.2} s", ms / 1e3),
            Self::Bytes(bytes) => write!(f, "{:.1} MiB", bytes / 1024.0 / 1024.0),
            Self::Count(count) => write!(f, "{count:.0}"),
            Self::Ratio(ratio) => write!(f, "{ratio:.2} ×"),
            Self::Percent(percent) => write!(f, "{percent:.1} %"),
        }
    }
}

#[test]
fn amounts_read_well() {
    for (amount, text) in [
        (Amount::from(Duration::from_micros(400)), "400 µs"),
        (Amount::from(Duration::from_micros(8210)), "8.2 ms"),
        (Amount::from(Duration::from_millis(250)), "250 ms"),
        (Amount::from(Duration::from_secs(2)), "2 s"),
        (Amount::from(Duration::from_millis(1530)), "1.53 s"),
        (Amount::mib(24.0), "24.0 MiB"),
        (Amount::from(1000_usize), "1000"),
        (Amount::Ratio(1.1), "1.10 ×"),
    ] {
        assert_eq!(amount.to_string(), text);
    }
}
