//! `mcpvisor bench` and what it finds: answers that belong to their calls, however alike the ids are, and streams that hear of
//! a change in time. The client is a process of its own. Times are only judged in release builds.

use std::{process::Output, time::Duration};

use serde_json::Value;

use crate::{
    hub::Hub,
    tools::{fixture, turn},
};

const READY: Duration = Duration::from_secs(20);

/// Runs `mcpvisor bench ARGS --json --strict`.
async fn bench(args: &[&str]) -> Output {
    let run = tokio::process::Command::new(env!("CARGO_BIN_EXE_mcpvisor"))
        .arg("bench")
        .args(["--json", "--strict"])
        .args(args)
        .kill_on_drop(true)
        .output();
    let bound = Duration::from_mins(5);
    tokio::time::timeout(bound, run).await.expect("bench ends").unwrap()
}

/// The report of a run in which every call was answered right.
async fn good(args: &[&str]) -> Value {
    let output = bench(args).await;
    let (out, err) = (
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr),
    );
    assert!(output.status.success(), "bench {args:?}: {}\n{out}{err}", output.status);
    serde_json::from_str(&out).unwrap_or_else(|error| panic!("{error}: {out}"))
}

#[tokio::test]
async fn it_measures_both_eras_and_says_what_the_process_used() {
    let hub = Hub::builder().start().await;
    hub.wait_until_ready(READY).await;
    let (url, pid) = (hub.mcp.url("/mcp"), hub.pid().to_string());
    for era in ["legacy", "modern"] {
        let report = good(&[
            "--era",
            era,
            "--calls",
            "100",
            "--warm-up",
            "0",
            "-c",
            "1,8",
            "--pid",
            &pid,
            &url,
        ])
        .await;
        assert_eq!(report["tool"], "demo__echo");
        let runs = report["runs"].as_array().unwrap();
        assert_eq!(runs.len(), 2);
        for run in runs {
            assert_eq!((&run["calls"], &run["errors"]), (&100.into(), &0.into()), "{run}");
            let (middle, most) = (run["p50_ms"].as_f64().unwrap(), run["max_ms"].as_f64().unwrap());
            assert!(middle > 0.0 && middle <= most, "{run}");
            assert!(run["process"]["rss_mib"].as_f64().unwrap() > 1.0, "{run}");
            assert!(run["children"]["processes"].as_u64().unwrap() >= 1, "{run}");
        }
    }
}

#[tokio::test]
async fn it_measures_a_child_over_its_pipes() {
    let program = env!("CARGO_BIN_EXE_mcpvisor");
    for era in ["legacy", "modern"] {
        let args = ["--era", era, "--calls", "300", "--warm-up", "0", "-c", "1,16"];
        let report = good(&[&args[..], &["--stdio", program, "demo-server"]].concat()).await;
        assert_eq!(report["tool"], "echo");
        assert_eq!(report["runs"][1]["calls"], 300);
    }
}

#[tokio::test]
async fn failing_calls_are_counted_and_strict_tells() {
    let hub = Hub::builder().start().await;
    hub.wait_until_ready(READY).await;
    let url = hub.mcp.url("/mcp");
    // Without its argument the tool refuses every call.
    let args = [
        "--tool",
        "demo__echo",
        "--arguments",
        "{}",
        "--calls",
        "10",
        "--warm-up",
        "0",
        "-c",
        "1",
        &url,
    ];
    let output = bench(&args).await;
    assert_eq!(output.status.code(), Some(1));
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(report["runs"][0]["errors"], 10, "{report}");
}

/// Every client numbers its calls from 0 and wants its own text back; `mixing.rs` has the long version.
async fn clients_with_equal_ids(clients: &str, calls: &str) {
    let config = "limits:\n  max_sessions: 2000\n";
    let hub = Hub::builder().config(config).start().await;
    hub.wait_until_ready(READY).await;
    let url = hub.mcp.url("/mcp");
    let report = good(&[
        "--sessions",
        clients,
        "--concurrency",
        clients,
        "--ids",
        "100",
        "--calls",
        calls,
        "--warm-up",
        "0",
        &url,
    ])
    .await;
    assert_eq!(report["runs"][0]["calls"].to_string(), calls, "{report}");
}

#[tokio::test]
async fn a_thousand_clients_at_once_with_equal_ids_get_their_own_answers() {
    let _turn = turn().await;
    clients_with_equal_ids("1000", "10000").await;
}

/// Streams that hear of changed tools, and the memory of the hub that holds them.
async fn streams_hear_of_a_change(count: usize, most_mib: f64) {
    let yaml = format!(
        "services:\n  fixture:\n    command: {}\n    prefix: none\nlimits:\n  max_sessions: {}\n",
        fixture("fixture-child"),
        count + 100
    );
    let hub = Hub::builder().config(&yaml).start().await;
    hub.wait_until_ready(READY).await;
    let (url, pid, streams) = (hub.mcp.url("/mcp"), hub.pid().to_string(), count.to_string());
    let report = good(&[
        "--streams",
        &streams,
        "--trigger",
        "change_tools",
        "--seconds",
        "2",
        "--pid",
        &pid,
        &url,
    ])
    .await;
    let (held, heard) = (&report["holding"], &report["heard"]);
    println!("{count} streams: {report}");
    assert_eq!(heard["calls"], count, "{report}");
    if !cfg!(debug_assertions) {
        assert!(held["rss_mib"].as_f64().unwrap() < most_mib, "{report}");
        assert!(heard["p99_ms"].as_f64().unwrap() < 500.0, "{report}");
        assert!(report["idle_cpu_percent"].as_f64().unwrap() <= 5.0, "{report}");
    }
}

#[tokio::test]
async fn a_thousand_streams_hear_of_a_change() {
    let _turn = turn().await;
    // The bound of ten thousand, for each stream, and what a hub holds without any.
    streams_hear_of_a_change(1000, 40.0 + 40.0).await;
}

#[tokio::test]
#[ignore = "minutes on an otherwise idle machine: scripts/test --full"]
async fn the_hub_keeps_its_bars() {
    let _turn = turn().await;
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/scripts/bench");
    let status = tokio::process::Command::new(script)
        .arg("--check")
        .status()
        .await
        .unwrap();
    assert!(status.success());
}
