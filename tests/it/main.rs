//! Tests that run the real binary between real servers and real clients. One binary; a file per feature.
//!
//! The harness: [`hub`] starts a hub and stops it, [`http`] and [`sse`] speak to it in raw messages, [`client`] is a small
//! MCP client for every door and both eras, [`tools`] finds what `scripts/tools` installed. Wait for a state with a
//! bound, never for a time.
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

mod both_directions;
mod broken_services;
mod bytes;
mod catalog;
mod client;
mod commands;
mod conformance;
mod crash;
mod doors_bad_json;
mod doors_connect;
mod doors_corpus;
mod doors_duplex;
mod doors_headers;
mod doors_raw;
mod doors_sessions;
mod eras;
mod fixture;
mod http;
mod hub;
mod killing;
mod left_behind;
mod matrix;
mod mixing;
mod pid_one;
mod processes;
mod reload;
mod remote;
mod replacing;
mod servers;
mod smoke;
mod speed;
mod sse;
mod stopping;
mod tools;
