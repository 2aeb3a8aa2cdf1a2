//! Load and what it costs: peaks of memory, processor time, and how long callers wait.

use std::{
    fs,
    time::{Duration, Instant},
};

use serde_json::json;

use crate::{
    amount::Amount,
    fixture::{Session, text_in},
    hub::Hub,
};

/// The highest resident memory of a process since [`Peak::begin`], as the kernel keeps it.
#[derive(Debug)]
pub struct Peak {
    pid: u32,
    before: f64,
}

impl Peak {
    /// Forgets the peak so far; growth counts from here.
    pub fn begin(pid: u32) -> Self {
        let peak = Self {
            pid,
            before: memory(pid, "VmRSS:"),
        };
        peak.again();
        peak
    }

    /// Forgets the peak so far; growth counts from where it did.
    pub fn again(&self) {
        fs::write(format!("/proc/{}/clear_refs", self.pid), "5").unwrap();
    }

    /// How much more than at the beginning it was at most, in bytes.
    pub fn growth(&self) -> f64 {
        (memory(self.pid, "VmHWM:") - self.before).max(0.0)
    }
}

fn memory(pid: u32, field: &str) -> f64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find(|line| line.starts_with(field)).unwrap();
    let kib: f64 = line.split_whitespace().nth(1).unwrap().parse().unwrap();
    kib * 1024.0
}

/// Processor time that a process has used.
pub fn processor_time(pid: u32) -> Duration {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let (_, fields) = stat.rsplit_once(") ").unwrap();
    // The fields behind the name count from 3; user and system time are 14 and 15, in hundredths of a second.
    let ticks: u64 = fields
        .split(' ')
        .skip(14 - 3)
        .take(2)
        .map(|field| field.parse::<u64>().unwrap())
        .sum();
    Duration::from_millis(ticks * 10)
}

/// A metric of the hub, summed over its labels.
pub async fn metric(hub: &Hub, name: &str) -> f64 {
    let page = hub.admin.get("/metrics").await.text();
    page.lines()
        .filter(|line| line.starts_with(name))
        .filter_map(|line| line.rsplit_once(' ')?.1.parse::<f64>().ok())
        .sum()
}

/// The slowest but one percent.
pub fn p99(mut times: Vec<Duration>) -> Duration {
    times.sort_unstable();
    times[(times.len() * 99 / 100).min(times.len() - 1)]
}

/// One client after the other for a while, each with one call at a time: what they waited.
pub async fn callers(hub: &Hub, tool: &str, clients: usize, time: Duration) -> Vec<Duration> {
    let calling = (0..clients).map(async |_| {
        let session = Session::open(hub).await;
        let (begun, mut waits) = (Instant::now(), Vec::new());
        while begun.elapsed() < time {
            let asked = Instant::now();
            let answer = session.call(tool, json!({"text": "good"})).await;
            waits.push(asked.elapsed());
            assert_eq!(text_in(&answer), "good", "{answer}");
        }
        waits
    });
    futures_util::future::join_all(calling).await.concat()
}

/// How many times as much `during` takes as `before` (p99 of the same load, without and with the fault).
///
/// The machine has other things to do, too. A pair that is worse than `bound` is measured again, twice at most, and the best counts:
/// a disturbance does not last, the effect of a fault does.
pub async fn undisturbed(
    mut before: impl AsyncFnMut() -> Duration,
    mut during: impl AsyncFnMut() -> Duration,
    bound: f64,
) -> Amount {
    let quiet = before().await;
    let mut best = f64::INFINITY;
    for _ in 0..3 {
        let loaded = during().await;
        println!("p99 {loaded:?}, {quiet:?} before");
        best = best.min(loaded.as_secs_f64() / quiet.as_secs_f64());
        if best <= bound {
            break;
        }
    }
    Amount::Ratio(best)
}
