//! The fault suite: what happens to the hub's promises when its parts are killed, hang, lie or eat everything.
//!
//! Each test injects one fault (F1, F2, …) into a real hub with real processes, waits for states with a bound, and
//! asserts figures through [`figures::Figures`], which also keeps them for the table in `docs/RELIABILITY.md`
//! (`scripts/faults --record` writes it). [`invariant::Invariant`] holds after every fault. The harness is that of
//! `tests/it`. Faults run one at a time: each test takes its turn first.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::disallowed_methods,
    clippy::print_stdout,
    reason = "tests fail loudly, start processes and read the environment"
)]
#![expect(
    dead_code,
    unreachable_pub,
    reason = "the harness offers more than its tests use, to nobody outside"
)]

#[path = "../it/client.rs"]
mod client;
#[path = "../it/doors_corpus.rs"]
mod corpus;
#[path = "../it/fixture.rs"]
mod fixture;
#[path = "../it/http.rs"]
mod http;
#[path = "../it/hub.rs"]
mod hub;
#[path = "../it/killing.rs"]
mod killing;
#[path = "../it/processes.rs"]
mod processes;
#[path = "../it/sse.rs"]
mod sse;
#[path = "../it/tools.rs"]
mod tools;

mod amount;
mod figures;
mod invariant;
mod load;
mod table;

mod attackers;
mod bystanders;
mod deaf;
mod descriptors;
mod drain;
mod exits;
mod garbage;
mod groups;
mod guard_killed;
mod hub_killed;
mod idle_streams;
mod kill;
mod leaving;
mod limits;
mod locked_database;
mod long_lines;
mod ports;
mod recovery;
mod registry;
mod repeat;
mod silence;
mod slow_readers;
mod spawning;
mod stampede;
mod unread;
mod virtual_machine;
mod wall_clock;
