//! What holds after every fault: no zombie after a second, no descriptor leaked, memory given back.

use std::{
    fs,
    time::{Duration, Instant},
};

use crate::{amount::Amount, figures::Figures, hub::Hub};

/// How long an ended process may stay unreaped.
const ZOMBIE: Duration = Duration::from_secs(1);
/// How far the number of open descriptors may be from that before the fault.
const DESCRIPTORS: usize = 4;
/// How much of the resident memory may be there more than before.
const MEMORY: f64 = 1.10;
/// How long it may take until memory and descriptors are given back.
const BACK: Duration = Duration::from_mins(1);

/// The hub before the fault. Take it after a warm-up: the same load without the fault.
#[derive(Debug)]
pub struct Invariant {
    descriptors: usize,
    resident: f64,
}

impl Invariant {
    /// Connections that the harness keeps open are closed first, here and in [`Self::holds`].
    pub async fn of(hub: &mut Hub) -> Self {
        close_idle(hub).await;
        Self {
            descriptors: descriptors(hub.pid()),
            resident: resident(hub.pid()),
        }
    }

    /// Waits, each with its bound, until the hub is as it was; records the figures.
    pub async fn holds(&self, hub: &mut Hub, figures: &Figures) {
        let figures = figures.after();
        let pid = hub.pid();
        let begun = Instant::now();
        let left = hub_until(ZOMBIE, || zombies_of(pid), |left| *left == 0).await;
        figures.exactly("zombies after 1 s", left, 0_usize);
        close_idle(hub).await;
        let most = self.descriptors + DESCRIPTORS;
        let now = hub_until(BACK, || descriptors(pid), |now| *now <= most).await;
        figures.at_most(
            "descriptors more than before",
            now.saturating_sub(self.descriptors),
            DESCRIPTORS,
        );
        let bound = self.resident * MEMORY;
        let left = BACK.saturating_sub(begun.elapsed());
        let now = hub_until(left, || resident(pid), |now| *now <= bound).await;
        println!(
            "resident: {} before, {} after",
            Amount::Bytes(self.resident),
            Amount::Bytes(now)
        );
        figures.at_most(
            "memory after, to before",
            Amount::Ratio(now / self.resident),
            Amount::Ratio(MEMORY),
        );
    }
}

/// Looks until it is `good` or the bound passes; what was seen last.
async fn hub_until<T>(bound: Duration, look: impl Fn() -> T, good: impl Fn(&T) -> bool) -> T {
    let begun = Instant::now();
    loop {
        let seen = look();
        if good(&seen) || begun.elapsed() >= bound {
            return seen;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Lets go of the harness's own idle connections and waits until the hub has noticed.
async fn close_idle(hub: &mut Hub) {
    (hub.mcp, hub.admin) = (hub.mcp.fresh(), hub.admin.fresh());
    let pid = hub.pid();
    let (mut fewest, mut since) = (usize::MAX, Instant::now());
    // Quiet for a moment, or two seconds at most: what stays open is what the caller wants to count.
    let begun = Instant::now();
    while since.elapsed() < Duration::from_millis(200) && begun.elapsed() < Duration::from_secs(2) {
        let now = descriptors(pid);
        if now != fewest {
            (fewest, since) = (now, Instant::now());
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Open descriptors of a process.
pub fn descriptors(pid: u32) -> usize {
    fs::read_dir(format!("/proc/{pid}/fd")).unwrap().count()
}

/// Resident memory of a process, in bytes.
pub fn resident(pid: u32) -> f64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
    let kib: f64 = line.split_whitespace().nth(1).unwrap().parse().unwrap();
    kib * 1024.0
}

/// Ended children of a process that it has not waited for.
pub fn zombies_of(parent: u32) -> usize {
    let processes = fs::read_dir("/proc").unwrap().flatten();
    let stats = processes.filter_map(|entry| fs::read_to_string(entry.path().join("stat")).ok());
    stats
        .filter(|stat| {
            // The name is in parentheses and may hold anything.
            let (_, fields) = stat.rsplit_once(") ").unwrap_or_default();
            let mut fields = fields.split(' ');
            fields.next() == Some("Z") && fields.next() == Some(parent.to_string().as_str())
        })
        .count()
}
