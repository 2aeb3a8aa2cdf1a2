//! The time of day is set while the hub runs, by an hour and by a day, forwards and back: nothing fires early or late.
//!
//! The hub runs under libfaketime, which gives it the time of day from a file and leaves the monotonic clock alone. The children and
//! these tests see the real one.

use std::{
    fs,
    path::PathBuf,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use serde_json::json;

use crate::{
    figures::Figures,
    fixture::{CountFile, SOON, Session, service, services, text_in},
    hub::Hub,
    invariant::Invariant,
    load::metric,
    tools::turn,
};

/// Where the clock goes, one after the other; each against the real time.
const JUMPS: [(&str, &str); 4] = [
    ("+3600", "an hour forwards"),
    ("+0", "an hour back"),
    ("+86400", "a day forwards"),
    ("-86400", "two days back"),
];
const CALL: Duration = Duration::from_secs(2);
const IDLE: Duration = Duration::from_secs(3);
const SESSION: Duration = Duration::from_secs(4);
/// How often the hub looks for idle services and sessions, with these limits.
const LOOK: Duration = Duration::from_secs(1);
/// Between two probes of an idle service.
const PROBE: Duration = Duration::from_secs(30);
/// What the machine may add.
const SLACK: Duration = Duration::from_millis(500);

fn library() -> String {
    let found = fs::read_dir("/usr/lib").unwrap().flatten().find_map(|folder| {
        let path = folder.path().join("faketime/libfaketimeMT.so.1");
        path.exists().then(|| path.display().to_string())
    });
    found.expect("libfaketime is missing: run scripts/tools once")
}

struct World {
    hub: Hub,
    time: PathBuf,
    /// Of the service that is probed, the one that idles, and the one that cannot start.
    counted: [CountFile; 3],
}

async fn world() -> World {
    let builder = Hub::builder();
    let time = builder.folder().join("time");
    fs::write(&time, "+0\n").unwrap();
    let counted = ["probed", "idle", "broken"].map(|name| {
        let folder = builder.folder().join(name);
        fs::create_dir(&folder).unwrap();
        CountFile::of(&folder)
    });
    let [probed, idle, broken] = counted.each_ref().map(CountFile::path);
    let yaml = [
        "limits: { session_ttl: 4s }\n".to_owned(),
        services(&[
            service("fix", "timeouts: { call: 2s }", &[]),
            service("probed", "", &["--count-file", probed]),
            service("idle", "start: lazy, idle_timeout: 3s", &["--count-file", idle]),
            service("broken", "", &["--exit-at-once", "3", "--count-file", broken]),
        ]),
    ]
    .concat();
    let hub = builder
        .config(&yaml)
        .env("LD_PRELOAD", &library())
        .env("FAKETIME_TIMESTAMP_FILE", time.to_str().unwrap())
        .env("FAKETIME_NO_CACHE", "1")
        .env("FAKETIME_DONT_FAKE_MONOTONIC", "1")
        .start()
        .await;
    World { hub, time, counted }
}

/// Notes when a number of lines is reached, for as long as the test runs.
fn watch(counted: &CountFile, start: &'static str) -> (tokio::task::JoinHandle<()>, Arc<Mutex<Vec<Instant>>>) {
    let (counted, seen) = (CountFile::at(counted.path()), Arc::new(Mutex::new(Vec::new())));
    let times = Arc::clone(&seen);
    let watching = tokio::spawn(async move {
        loop {
            times.lock().unwrap().resize_with(counted.count(start), Instant::now);
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    });
    (watching, seen)
}

/// Waits until something holds that must not hold before `early`, and must soon after.
async fn between(figures: &Figures, what: &str, begun: Instant, early: Duration, mut holds: impl AsyncFnMut() -> bool) {
    while !holds().await {
        assert!(begun.elapsed() < early + SOON, "{what} never happens");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let at = begun.elapsed();
    assert!(
        at + Duration::from_millis(20) >= early,
        "{what} after {at:?}, not {early:?}"
    );
    figures.at_most(&format!("{what}, late by"), at.saturating_sub(early), LOOK + SLACK);
}

/// Days and hours that the hub's own log lines lie apart.
fn log_spans(hub: &Hub) -> Duration {
    let seconds = |line: &str| -> Option<u64> {
        // 2026-11-21T11:25:59.528999Z; months do not matter over two days, unless one ends: then the span is larger.
        let field = |from, to| line.get(from..to)?.parse::<u64>().ok();
        let (month, day) = (field(5, 7)?, field(8, 10)?);
        Some((month * 31 + day) * 86_400 + field(11, 13)? * 3600 + field(14, 16)? * 60 + field(17, 19)?)
    };
    let log = hub.log();
    let times: Vec<u64> = log.lines().filter_map(seconds).collect();
    let span = times.iter().max().unwrap_or(&0) - times.iter().min().unwrap_or(&0);
    Duration::from_secs(span)
}

/// Half to the whole of 0.5 s, 1 s, 2 s and 4 s; then the crash loop.
fn check_waits(figures: &Figures, starts: &[Instant]) {
    assert_eq!(starts.len(), 5, "starts before the crash loop");
    for (gap, most) in starts
        .windows(2)
        .zip([500, 1000, 2000, 4000].map(Duration::from_millis))
    {
        let waited = gap[1].duration_since(gap[0]);
        assert!(waited >= most / 2, "{waited:?} of {most:?}");
        figures.at_most("a wait before a restart, late by", waited.saturating_sub(most), SLACK);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn f20_no_timer_minds_a_clock_that_is_set() {
    let _turn = turn().await;
    let figures = Figures::of("F20", "the time of day is set by an hour and a day, there and back");
    let mut world = world().await;
    let [probed, idle, broken] = &world.counted;
    let (_starting, starts) = watch(broken, "start");
    let (_probing, probes) = watch(probed, "got ping");
    world.hub.wait_for("probed", "ready", SOON).await;
    let ready = Instant::now();
    world.hub.wait_for("idle", "stopped", SOON).await;
    idle.wait_for(&world.hub, "start", 1).await;
    let warm = Session::open(&world.hub).await;
    assert_eq!(text_in(&warm.call("fix__echo", json!({"text": "warm"})).await), "warm");
    let before = Invariant::of(&mut world.hub).await;
    let hub = &world.hub;
    for (to, _) in JUMPS {
        hub.wait_until(SOON, "no client", async || {
            let clients = metric(hub, "mcpvisor_clients").await;
            if clients < 0.5 {
                Ok(())
            } else {
                Err(clients.to_string())
            }
        })
        .await;
        hub.wait_for("idle", "stopped", SOON).await;
        let session = Session::open(hub).await;
        let opened = Instant::now();
        assert_eq!(text_in(&session.call("idle__echo", json!({"text": "up"})).await), "up");
        let called = Instant::now();
        // The clock is set while all of these run.
        let calling = async {
            let asked = Instant::now();
            let answer = Session::open(hub)
                .await
                .call("fix__sleep", json!({"ms": 600_000}))
                .await;
            (answer, asked.elapsed())
        };
        let setting = async {
            tokio::time::sleep_until((called + Duration::from_millis(500)).into()).await;
            fs::write(&world.time, format!("{to}\n")).unwrap();
        };
        let resting = between(&figures, "an idle service stops", called, IDLE, async || {
            hub.service("idle").await["state"] == "stopped"
        });
        // Two sessions: the one of the slow call is used for two seconds longer.
        let leaving = async {
            tokio::time::sleep_until((called + Duration::from_secs(1)).into()).await;
            let what = "an idle session ends";
            between(&figures, what, opened.max(called), SESSION, async || {
                metric(hub, "mcpvisor_clients").await < 1.5
            })
            .await;
        };
        let ((answer, took), (), (), ()) = tokio::join!(calling, setting, resting, leaving);
        assert_eq!(answer["error"]["code"], -31003, "{answer}");
        let late = took.abs_diff(CALL);
        figures.at_most("between a call's limit and its end", late, Duration::from_millis(250));
    }
    hub.wait_until(PROBE + SOON, "a probe", async || {
        if probes.lock().unwrap().is_empty() {
            Err("none".to_owned())
        } else {
            Ok(())
        }
    })
    .await;
    let probe = probes.lock().unwrap()[0].duration_since(ready);
    figures.at_most("the first probe, early or late by", probe.abs_diff(PROBE), LOOK + SLACK);
    check_waits(&figures, &starts.lock().unwrap());
    assert_eq!(hub.service("broken").await["state"], "crash_loop");
    // The hub did see the clock go.
    let span = log_spans(hub);
    assert!(span > Duration::from_hours(24 + 23), "{span:?}\n{}", hub.log());
    before.holds(&mut world.hub, &figures).await;
}
