//! Children that do not want to end, and daemons that outlive them.

use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use serde_json::{Value, json};

use crate::{
    figures::Figures,
    fixture::{CountFile, SOON, Session, call, service, services, text_in},
    hub::Hub,
    invariant::Invariant,
    processes::{alive, below},
    tools::turn,
};

const DEAF: [&str; 2] = ["--ignore-sigterm", "--ignore-eof"];

/// Stops the hub and tells how long it took until nothing was left.
async fn stop(hub: Hub) -> Duration {
    let tree = below(hub.pid());
    let asked = Instant::now();
    hub.signal(Signal::SIGTERM);
    let ended = hub.ended(Duration::from_secs(35)).await;
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    assert!(tree.iter().all(|pid| !alive(*pid)), "{tree:?}");
    asked.elapsed()
}

#[tokio::test(flavor = "multi_thread")]
async fn f08_who_ignores_sigterm_and_the_end_of_stdin_is_killed_in_time() {
    let _turn = turn().await;
    let figures = Figures::of("F8", "a child ignores SIGTERM and the end of its stdin");
    // The default of a host, wherever this runs.
    let limits = "limits: { drain: 18s, stop_budget: 30s }\n";
    let yaml = format!("{limits}{}", services(&[service("fix", "", &DEAF)]));
    let hub = Hub::builder().config(&yaml).start().await;
    hub.wait_until_ready(SOON).await;
    let took = stop(hub).await;
    figures.at_most("until it is gone, on a host", took, Duration::from_secs(11));
}

#[tokio::test(flavor = "multi_thread")]
async fn f08_in_a_container_the_whole_stop_fits_its_budget() {
    let _turn = turn().await;
    let figures = Figures::of("F8", "a child ignores SIGTERM and the end of its stdin");
    // What a container is given by default, and a call that takes all of the drain.
    let limits = "limits: { drain: 4s, stop_budget: 8500ms }\n";
    let yaml = format!("{limits}{}", services(&[service("fix", "", &DEAF)]));
    let hub = Hub::builder().config(&yaml).start().await;
    hub.wait_until_ready(SOON).await;
    let session = Session::open(&hub).await;
    let asked = tokio::spawn(async move { session.post(&call(1, "fix__sleep", json!({"ms": 600_000}))).await });
    in_flight(&hub, 1).await;
    let took = stop(hub).await;
    let answer: Vec<Value> = asked.await.unwrap();
    assert_eq!(answer[0]["error"]["code"], -31005, "{answer:?}");
    figures.at_most(
        "until it is gone, within a container's budget",
        took,
        Duration::from_secs(9),
    );
}

/// Waits until so many calls are in flight.
async fn in_flight(hub: &Hub, calls: usize) {
    hub.wait_until(SOON, "calls in flight", async || {
        let text = hub.admin.get("/metrics").await.text();
        let lines = text
            .lines()
            .filter(|line| line.starts_with("mcpvisor_calls_in_flight{"));
        let now: f64 = lines
            .filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok())
            .sum();
        #[expect(clippy::cast_precision_loss, reason = "a handful of calls")]
        if now >= calls as f64 { Ok(()) } else { Err(text) }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn f09_a_daemon_that_holds_the_pipes_hides_no_exit_and_survives_no_stop() {
    let _turn = turn().await;
    let figures = Figures::of(
        "F9",
        "a child leaves a daemon with a session of its own that holds its pipes",
    );
    let builder = Hub::builder();
    let counted = CountFile::of(builder.folder());
    let yaml = services(&[service("fix", "", &["--setsid-daemon", "--count-file", counted.path()])]);
    let mut hub = builder.config(&yaml).start().await;
    hub.wait_until_ready(SOON).await;
    let daemons = || -> Vec<u32> {
        let lines = counted.lines();
        lines
            .iter()
            .filter_map(|line| line.strip_prefix("daemon ")?.parse().ok())
            .collect()
    };
    for measured in [false, true] {
        let before = Invariant::of(&mut hub).await;
        let session = Session::open(&hub).await;
        counted.wait_for(&hub, "daemon", daemons().len().max(1)).await;
        let daemon = *daemons().last().unwrap();
        assert!(alive(daemon));
        let asked = Instant::now();
        let answer = session.call("fix__exit", json!({"code": 7})).await;
        let detected = asked.elapsed();
        assert_eq!(answer["error"]["code"], -31001, "{answer}");
        let starts = daemons().len();
        let again = session.call("fix__echo", json!({"text": "x"})).await;
        assert_eq!(text_in(&again), "x");
        assert!(!alive(daemon), "the next process runs beside what the last one left");
        counted.wait_for(&hub, "daemon", starts + 1).await;
        drop(session);
        if measured {
            figures.at_most("until the exit is known", detected, Duration::from_millis(500));
            before.holds(&mut hub, &figures).await;
        }
    }
    let daemon = *daemons().last().unwrap();
    assert!(alive(daemon));
    stop(hub).await;
    let left = daemons().into_iter().filter(|pid| alive(*pid)).count();
    figures.exactly("daemons after the stop", left, 0_usize);
}
