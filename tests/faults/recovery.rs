//! A service comes back, whatever took it away: its clients keep their sessions, and what they asked of it is asked again.

use std::{
    fs,
    time::{Duration, Instant},
};

use serde_json::{Value, json};

use crate::{
    figures::Figures,
    fixture::{CountFile, SOON, Session, expect, modern, service, services, stream_modern, text_in},
    http::PATIENCE,
    hub::Hub,
    repeat::kill_child,
    sse::EventStream,
    tools::turn,
};

const COUNTER: &str = "fixture://counter";
const STATIC: &str = "fixture://static";
const UPDATED: &str = "notifications/resources/updated";

/// A hub whose only service counts what it is asked.
struct World {
    hub: Hub,
    counted: CountFile,
    settings: &'static str,
}

fn yaml(counted: &CountFile, settings: &str, switches: &[&str]) -> String {
    let switches = [&["--count-file", counted.path()], switches].concat();
    services(&[service("fix", settings, &switches)])
}

impl World {
    async fn new(settings: &'static str, switches: &[&str]) -> Self {
        let builder = Hub::builder();
        let counted = CountFile::of(builder.folder());
        let hub = builder.config(&yaml(&counted, settings, switches)).start().await;
        hub.wait_until(SOON, "the first start", async || {
            let item = hub.service("fix").await;
            if item["counts"]["tools"].as_u64() > Some(0) {
                Ok(())
            } else {
                Err(item.to_string())
            }
        })
        .await;
        Self { hub, counted, settings }
    }

    /// Another generation takes over.
    fn replace(&self, switches: &[&str]) {
        let path = self.hub.folder().join("mcpvisor.yaml");
        fs::write(path, yaml(&self.counted, self.settings, switches)).unwrap();
    }

    /// What came in since the process started last.
    fn since_start(&self) -> Vec<String> {
        let lines = self.counted.lines();
        let start = lines.iter().rposition(|line| line.starts_with("start")).unwrap();
        lines[start..].to_vec()
    }

    /// Waits until the latest process has got all of these, and says that no call came before them.
    async fn told(&self, starts: usize, wanted: &[&str]) {
        self.counted.wait_for(&self.hub, "start", starts).await;
        self.hub
            .wait_until(SOON, &format!("{wanted:?} at the new process"), async || {
                let lines = self.since_start();
                let all = wanted
                    .iter()
                    .all(|wanted| lines.iter().any(|line| line.contains(wanted)));
                if all { Ok(()) } else { Err(format!("{lines:?}")) }
            })
            .await;
        let lines = self.since_start();
        assert!(!lines.iter().any(|line| line.starts_with("call")), "{lines:?}");
    }
}

async fn ask(session: &Session, method: &str, params: Value) {
    let message = json!({"jsonrpc": "2.0", "id": 1, "method": method, "params": params});
    let answer = session.post(&message).await;
    assert_eq!(answer[0]["result"], json!({}), "{answer:?}");
}

/// A legacy client that wants to know of changes, and its stream.
async fn legacy_watcher(hub: &Hub, uris: &[&str]) -> (Session, EventStream) {
    let session = Session::open(hub).await;
    for uri in uris {
        ask(&session, "resources/subscribe", json!({"uri": uri})).await;
    }
    let stream = session.listen(None).await;
    (session, stream)
}

async fn modern_watcher(hub: &Hub, uris: &[&str]) -> EventStream {
    let wanted = json!({"toolsListChanged": true, "resourceSubscriptions": uris});
    let ask =
        json!({"jsonrpc": "2.0", "id": "w", "method": "subscriptions/listen", "params": {"notifications": wanted}});
    let mut stream = stream_modern(hub, &modern(ask)).await;
    expect(&mut stream, "notifications/subscriptions/acknowledged").await;
    stream
}

/// The counter changes, and the next that each of these hears is that: nothing of lists, which did not change.
async fn all_hear(hub: &Hub, streams: &mut [&mut EventStream]) {
    let other = Session::open(hub).await;
    other.call("fix__touch", json!({})).await;
    for stream in streams {
        let update = expect(stream, UPDATED).await;
        assert_eq!(update["params"]["uri"], COUNTER, "{update}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn f01_a_legacy_service_gets_its_level_and_subscriptions_back_after_a_kill() {
    let _turn = turn().await;
    let figures = Figures::of("F1", "kill -9 of a legacy server with subscribers");
    let world = World::new("", &["--legacy-only"]).await;
    let hub = &world.hub;
    let (session, mut stream) = legacy_watcher(hub, &[COUNTER, STATIC]).await;
    ask(&session, "logging/setLevel", json!({"level": "warning"})).await;
    let mut watcher = modern_watcher(hub, &[COUNTER]).await;
    all_hear(hub, &mut [&mut stream, &mut watcher]).await;

    kill_child(hub, "fix").await;
    let killed = Instant::now();
    world
        .told(
            2,
            &[
                r#"got logging/setLevel {"level":"warning"}"#,
                r#"got resources/subscribe {"uri":"fixture://counter"}"#,
                r#"got resources/subscribe {"uri":"fixture://static"}"#,
            ],
        )
        .await;
    figures.at_most(
        "until level and subscriptions are set again",
        killed.elapsed(),
        Duration::from_secs(2),
    );
    hub.wait_until_ready(SOON).await;
    all_hear(hub, &mut [&mut stream, &mut watcher]).await;
    // The same session, with the level it asked for.
    let log = |level: &str| crate::fixture::call(1, "fix__emit_log", json!({"level": level, "message": "x"}));
    assert_eq!(session.post(&log("info")).await.len(), 1);
    assert_eq!(session.post(&log("error")).await.len(), 2);
    // Who leaves is forgotten by the new process, too.
    ask(&session, "resources/unsubscribe", json!({"uri": STATIC})).await;
    world.counted.wait_for(hub, "got resources/unsubscribe", 1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn f01_a_modern_service_gets_its_listen_stream_back_after_a_kill() {
    let _turn = turn().await;
    let figures = Figures::of("F1", "kill -9 of a modern server with subscribers");
    let world = World::new("", &["--modern-only"]).await;
    let hub = &world.hub;
    let (_session, mut stream) = legacy_watcher(hub, &[COUNTER]).await;
    let mut watcher = modern_watcher(hub, &[COUNTER]).await;
    all_hear(hub, &mut [&mut stream, &mut watcher]).await;
    let starts = world.counted.count("start");
    kill_child(hub, "fix").await;
    let killed = Instant::now();
    world
        .told(starts + 1, &[r#""resourceSubscriptions":["fixture://counter"]"#])
        .await;
    figures.at_most("until it listens again", killed.elapsed(), Duration::from_secs(2));
    hub.wait_until_ready(SOON).await;
    all_hear(hub, &mut [&mut stream, &mut watcher]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn f01_a_listen_stream_that_the_server_ends_is_opened_again() {
    let _turn = turn().await;
    let world = World::new("", &["--modern-only"]).await;
    let hub = &world.hub;
    let mut watcher = modern_watcher(hub, &[COUNTER]).await;
    let other = Session::open(hub).await;
    let listens = world.counted.count("got subscriptions/listen");
    assert_eq!(text_in(&other.call("fix__end_listen", json!({})).await), "ended");
    // Nobody tells of this one: the lists are read again when the stream is back.
    other.call("fix__change_tools", json!({})).await;
    world
        .counted
        .wait_for(hub, "got subscriptions/listen", listens + 1)
        .await;
    expect(&mut watcher, "notifications/tools/list_changed").await;
    all_hear(hub, &mut [&mut watcher]).await;
}

/// A new generation refuses what the old one took.
#[tokio::test(flavor = "multi_thread")]
async fn f01_a_refused_subscription_is_logged_and_breaks_no_other() {
    let _turn = turn().await;
    for era in ["--legacy-only", "--modern-only"] {
        let world = World::new("", &[era]).await;
        let hub = &world.hub;
        let (_session, mut stream) = legacy_watcher(hub, &[STATIC, COUNTER]).await;
        world.replace(&[era, "--refuse-uri", STATIC]);
        hub.wait_until(SOON, "the refusal in the log", async || {
            let log = hub.log();
            let told = log
                .lines()
                .any(|line| line.contains("refuses to say when") && line.contains(STATIC));
            if told { Ok(()) } else { Err(log) }
        })
        .await;
        hub.wait_until(SOON, "the new generation alone", async || {
            let item = hub.service("fix").await;
            let running = hub
                .processes()
                .iter()
                .filter(|pid| crate::processes::command_line(**pid).contains("fixture-child"))
                .count();
            // The child and its guard.
            if item["state"] == "ready" && running == 2 {
                Ok(())
            } else {
                Err(format!("{item} {running}"))
            }
        })
        .await;
        hub.wait_until(PATIENCE, "news of the counter alone", async || {
            let other = Session::open(hub).await;
            other.call("fix__touch", json!({})).await;
            let message = stream.next_message(PATIENCE).await.unwrap();
            if message["method"] == UPDATED {
                Ok(())
            } else {
                Err(message.to_string())
            }
        })
        .await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn f01_a_service_that_slept_is_told_again_when_it_wakes() {
    let _turn = turn().await;
    let world = World::new("start: lazy, idle_timeout: 1s", &["--legacy-only"]).await;
    let hub = &world.hub;
    let (_session, mut stream) = legacy_watcher(hub, &[COUNTER]).await;
    hub.wait_for("fix", "stopped", SOON).await;
    let starts = world.counted.count("start");
    // The call that wakes it is the one that changes the counter: the subscription came first.
    all_hear(hub, &mut [&mut stream]).await;
    assert_eq!(world.counted.count("start"), starts + 1);
}
