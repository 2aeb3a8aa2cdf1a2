//! The hub beside the floor, beside its own child, and beside another proxy: in one run, by turns, as ratios.
//!
//! Run by `scripts/bench`, described in `docs/performance.md`. Every subject serves the same child (`mcpvisor
//! demo-server`) and is driven by the same client (`mcpvisor bench`). Rounds go there and back again, so that a machine
//! that slows down slows all; what is compared are ratios within a round, and of those the median.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stdout,
    clippy::disallowed_methods,
    reason = "a program for developers: it starts processes, prints what it finds and fails loudly"
)]

mod bars;
mod figures;
mod subjects;

use std::{path::PathBuf, process::ExitCode, time::Duration};

use clap::Parser;

use crate::{
    bars::Bars,
    figures::{Figures, Table},
    subjects::{Subject, ready_after},
};

/// Calls in flight.
const CONCURRENCIES: [usize; 2] = [1, 16];
/// Starts of the hub that are timed.
const STARTS: usize = 5;

#[derive(Debug, Parser)]
struct Args {
    /// Rounds; each measures every subject once
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// Seconds per subject, round and concurrency
    #[arg(long, default_value_t = 2.0)]
    seconds: f64,
    /// Also measure the proxy in tests/.tools/peer (see docs/performance.md)
    #[arg(long)]
    peer: bool,
    /// Exit with 1 if a bar is missed
    #[arg(long)]
    check: bool,
    /// What cargo passes to every benchmark
    #[arg(long, hide = true)]
    bench: bool,
}

fn main() -> ExitCode {
    let args = Args::parse();
    let mut bars = Bars::default();

    let starts: Vec<Duration> = (0..STARTS).map(|_| ready_after()).collect();
    bars.starts(&starts);

    let mut subjects = vec![Subject::child(), Subject::floor(), Subject::hub()];
    if args.peer {
        subjects.push(Subject::peer());
    }
    for subject in &subjects {
        subject.wait_until_it_answers();
    }
    // What was needed only for starting is given back within a second or two.
    std::thread::sleep(Duration::from_secs(3));
    let hub = subjects.iter().find(|subject| subject.name == "hub").unwrap();
    bars.idle(&hub.memory());

    let mut table = Table::default();
    for round in 0..args.rounds {
        let mut order: Vec<&Subject> = subjects.iter().collect();
        if round % 2 == 1 {
            order.reverse();
        }
        for subject in order {
            for way in &subject.ways {
                for figures in subject.measure(way, args.seconds, &CONCURRENCIES) {
                    table.add(way.name, round, figures);
                }
            }
        }
        println!("round {} of {}", round + 1, args.rounds);
    }
    println!("\n{table}");
    bars.after_load(&hub.memory());
    bars.compare(&table, args.peer);
    println!("{bars}");
    if args.check && bars.missed() {
        ExitCode::FAILURE
    } else {
        ExitCode::SUCCESS
    }
}

fn binary() -> PathBuf {
    PathBuf::from(env!("CARGO_BIN_EXE_mcpvisor"))
}
