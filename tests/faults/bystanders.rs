//! What callers of one service notice when a child of another is killed under a crowd.

use std::time::{Duration, Instant};

use futures_util::{SinkExt as _, StreamExt as _, future::join_all};
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, tungstenite::Message};

use crate::{
    amount::Amount,
    client::LEGACY,
    figures::Figures,
    fixture::{CountFile, SOON, Session, call, service, services, text_in},
    hub::Hub,
    load::p99,
    repeat::kill_child,
    tools::{optimised, turn},
};

/// In flight when a child is killed.
pub(crate) const CROWD: usize = 1000;
/// How often the other service is called in a round.
const PACE: Duration = Duration::from_millis(5);

/// How many rounds with a kill, and as many without, by turns; and how long each lasts. Each kills a service of its own, so that none gets
/// into a crash loop. A thousand error answers take a debug build a tenth of a second of both cores: its rounds are so long that this
/// is less than one percent of them, as it is with the others.
fn rounds() -> (usize, Duration) {
    if optimised() {
        (5, Duration::from_secs(6))
    } else {
        (3, Duration::from_secs(12))
    }
}

/// Many calls on one WebSocket: the callers are on the same two cores and should cost little.
pub(crate) struct Crowd(WebSocketStream<MaybeTlsStream<TcpStream>>);

impl Crowd {
    pub(crate) async fn connect(hub: &Hub) -> Self {
        let url = hub.mcp.url("/ws").replacen("http", "ws", 1);
        let (socket, _) = Box::pin(tokio_tungstenite::connect_async(url)).await.unwrap();
        let mut crowd = Self(socket);
        let params =
            json!({"protocolVersion": LEGACY, "capabilities": {}, "clientInfo": {"name": "crowd", "version": "1"}});
        let hello = json!({"jsonrpc": "2.0", "id": "hello", "method": "initialize", "params": params});
        crowd.0.send(Message::text(hello.to_string())).await.unwrap();
        crowd.next().await;
        crowd
    }

    async fn next(&mut self) -> Value {
        loop {
            let message = tokio::time::timeout(SOON, self.0.next())
                .await
                .expect("a message in time");
            if let Message::Text(text) = message.unwrap().unwrap() {
                return serde_json::from_str(&text).unwrap();
            }
        }
    }

    /// All of them call; nobody is answered for `ms`.
    pub(crate) async fn call(&mut self, tool: &str, ms: u64) {
        for n in 0..CROWD {
            self.0
                .feed(Message::text(call(n, tool, json!({"ms": ms})).to_string()))
                .await
                .unwrap();
        }
        self.0.flush().await.unwrap();
    }

    /// Every answer, with the moment it came.
    pub(crate) async fn answers(&mut self) -> Vec<(Value, Instant)> {
        let (mut seen, mut answers) = (vec![false; CROWD], Vec::new());
        for _ in 0..CROWD {
            let answer = self.next().await;
            let id = usize::try_from(answer["id"].as_u64().expect("an answer")).unwrap();
            assert!(!std::mem::replace(&mut seen[id], true), "two answers: {answer}");
            answers.push((answer, Instant::now()));
        }
        answers
    }
}

/// Calls the other service at a steady pace, however long the answers take; what each waited from the moment it was due.
async fn steady(session: &Session, time: Duration) -> Vec<Duration> {
    let begun = Instant::now();
    let count = u32::try_from(time.as_millis() / PACE.as_millis()).unwrap();
    let calls = (0..count).map(async |n| {
        let due = begun + PACE * n;
        tokio::time::sleep_until(due.into()).await;
        let answer = session.call("good__echo", json!({"text": "good"})).await;
        assert_eq!(text_in(&answer), "good", "{answer}");
        due.elapsed()
    });
    join_all(calls).await
}

/// The machine has two cores, and the callers are on them, too: a single round tells little. Noise only ever adds, and a kill adds in every
/// round that has one: so the quietest round with a kill is compared with the quietest without.
#[tokio::test(flavor = "multi_thread")]
async fn f01_other_services_hardly_notice_a_killed_child() {
    let _turn = turn().await;
    let figures = Figures::of(
        "F1",
        "kill -9 of a child with 1,000 calls in flight, seen from another service",
    );
    let builder = Hub::builder();
    let counted = CountFile::of(builder.folder());
    let (rounds, round) = rounds();
    let mut entries: Vec<String> = (0..rounds)
        .map(|n| service(&format!("fix{n}"), "", &["--count-file", counted.path()]))
        .collect();
    entries.push(service("good", "", &[]));
    let hub = builder.config(&services(&entries)).start().await;
    hub.wait_until_ready(SOON).await;
    let (mut crowd, other) = (Crowd::connect(&hub).await, Session::open(&hub).await);
    let (mut quiet, mut killing) = (Vec::new(), Vec::new());
    let mut called = 0;
    for n in 0..rounds {
        let (name, tool) = (format!("fix{n}"), format!("fix{n}__sleep"));
        // The same crowd, answered in the middle of the round as well, but in peace.
        for kill in [false, true] {
            let half = u64::try_from(round.as_millis() / 2).unwrap();
            crowd.call(&tool, if kill { 600_000 } else { half }).await;
            called += CROWD;
            counted.wait_for(&hub, "call sleep", called).await;
            let middle = async {
                if kill {
                    tokio::time::sleep(round / 2).await;
                    kill_child(&hub, &name).await;
                }
                let answers = crowd.answers().await;
                let errors = answers.iter().filter(|(answer, _)| answer["error"]["code"] == -31001);
                errors.count()
            };
            let (waited, errors) = tokio::join!(steady(&other, round), middle);
            assert_eq!(errors, if kill { CROWD } else { 0 });
            println!("round {n}, kill: {kill}: 99 % within {:?}", p99(waited.clone()));
            if kill { &mut killing } else { &mut quiet }.push(p99(waited));
        }
        hub.wait_for(&name, "ready", SOON).await;
    }
    let quietest = |rounds: &[Duration]| rounds.iter().min().unwrap().as_secs_f64();
    let ratio = quietest(&killing) / quietest(&quiet);
    println!("quietest rounds: {ratio:.2} times as long with a kill");
    figures.at_most(
        "99th percentile of its calls, to rounds without a kill",
        Amount::Ratio(ratio),
        Amount::Ratio(1.10),
    );
}
