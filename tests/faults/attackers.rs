//! Clients that mean harm: they send half of something, very slowly, or far too much.

use std::time::{Duration, Instant};

use futures_util::future::join_all;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    task::JoinHandle,
};

use crate::{
    figures::Figures,
    fixture::{Session, hub_with},
    http::Http,
    hub::Hub,
    invariant::Invariant,
    load::{callers, p99, undisturbed},
    tools::turn,
};

/// How a kind of attacker goes on after what it sends at first.
#[derive(Clone, Copy, Debug)]
enum GoesOn {
    /// With this, once a second.
    Slowly(&'static str),
    /// With as much as the socket takes.
    Endlessly,
}

struct Attack {
    what: &'static str,
    /// How many at the MCP door and at the admin door.
    attackers: [usize; 2],
    first: Vec<u8>,
    then: GoesOn,
    /// The status they get, if any.
    status: &'static str,
    /// After how long their connection is closed at most.
    within: Duration,
}

const HEAD: &str =
    "HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nAccept: application/json, text/event-stream\r\n";

fn attack(
    what: &'static str,
    attackers: [usize; 2],
    first: impl Into<Vec<u8>>,
    then: GoesOn,
    status: &'static str,
    seconds: u64,
) -> Attack {
    Attack {
        what,
        attackers,
        first: first.into(),
        then,
        status,
        within: Duration::from_secs(seconds),
    }
}

/// Those that never get to the end of a head.
fn heads() -> Vec<Attack> {
    let silent = GoesOn::Slowly("");
    let preface = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";
    // A byte of HEADERS without END_HEADERS on stream 1, and of CONTINUATION.
    let (half_head, more) = ("\0\0\x01\x01\0\0\0\0\x01\x02", "\0\0\x01\x09\0\0\0\0\x01\x02");
    let slow = format!("POST /mcp {HEAD}");
    let many = format!("POST /mcp {HEAD}{}\r\n", "a: b\r\n".repeat(100_000));
    vec![
        attack("nothing at all", [50, 50], "", silent, "", 12),
        attack(
            "a slow head",
            [250, 150],
            slow,
            GoesOn::Slowly("X-Slow: 1\r\n"),
            "408",
            12,
        ),
        attack("half a preface of HTTP/2", [50, 50], "PRI * HT", silent, "408|", 12),
        attack("a preface of HTTP/2", [30, 20], preface, silent, "", 12),
        attack(
            "a slow head of HTTP/2",
            [30, 20],
            format!("{preface}{half_head}"),
            GoesOn::Slowly(more),
            "",
            12,
        ),
        attack("100,000 headers", [10, 10], many, silent, "431", 12),
    ]
}

/// Those that never get to the end of a body.
fn bodies() -> Vec<Attack> {
    let long = |path: &str, length: u64| format!("POST {path} {HEAD}Content-Length: {length}\r\n\r\n{{");
    let chunked = format!("POST /mcp {HEAD}Transfer-Encoding: chunked\r\n\r\n");
    let admin = "/api/v1/services";
    vec![
        attack(
            "a slow body",
            [200, 0],
            long("/mcp", 1 << 20),
            GoesOn::Slowly(" "),
            "408",
            32,
        ),
        attack(
            "a slow body in chunks",
            [40, 0],
            chunked.clone(),
            GoesOn::Slowly("1\r\n{\r\n"),
            "408",
            32,
        ),
        attack(
            "a body of 1 GiB",
            [10, 0],
            long("/mcp", 1 << 30),
            GoesOn::Endlessly,
            "413",
            12,
        ),
        attack(
            "an endless body",
            [10, 0],
            format!("{chunked}40000000\r\n"),
            GoesOn::Endlessly,
            "413",
            32,
        ),
        attack(
            "a body of 1 GiB at the admin door",
            [0, 10],
            long(admin, 1 << 30),
            GoesOn::Endlessly,
            "405",
            12,
        ),
        attack(
            "a slow body at the admin door",
            [0, 10],
            long(admin, 1000),
            GoesOn::Slowly(" "),
            "405",
            12,
        ),
    ]
}

fn attacks() -> Vec<Attack> {
    heads().into_iter().chain(bodies()).collect()
}

/// Sends until the hub closes the connection; what came back, and after how long it was closed.
async fn attacker(address: String, first: Vec<u8>, then: GoesOn) -> (String, Duration) {
    let stream = TcpStream::connect(address).await.unwrap();
    let begun = Instant::now();
    let (mut read, mut write) = stream.into_split();
    let sending = tokio::spawn(async move {
        let chunk = vec![b' '; 64 << 10];
        if write.write_all(&first).await.is_err() {
            return;
        }
        loop {
            let sent = match then {
                GoesOn::Slowly(more) => {
                    tokio::time::sleep(Duration::from_secs(1)).await;
                    write.write_all(more.as_bytes()).await
                }
                GoesOn::Endlessly => write.write_all(&chunk).await,
            };
            if sent.is_err() {
                return;
            }
        }
    });
    let mut answer = Vec::new();
    // A reset is an end, too.
    let _reset = read.read_to_end(&mut answer).await;
    let after = begun.elapsed();
    sending.abort();
    (String::from_utf8_lossy(&answer).into_owned(), after)
}

type Attackers = Vec<(Attack, JoinHandle<Vec<(String, Duration)>>)>;

fn begin(hub: &Hub) -> Attackers {
    let address = |http: &Http| http.url("").trim_start_matches("http://").to_owned();
    let doors = [address(&hub.mcp), address(&hub.admin)];
    attacks()
        .into_iter()
        .map(|attack| {
            let addresses: Vec<_> = doors
                .iter()
                .zip(attack.attackers)
                .flat_map(|(door, count)| std::iter::repeat_n(door.clone(), count))
                .collect();
            let (first, then) = (attack.first.clone(), attack.then);
            let all = addresses
                .into_iter()
                .map(move |address| attacker(address, first.clone(), then));
            (attack, tokio::spawn(join_all(all)))
        })
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn f23_a_thousand_attackers_are_thrown_out_and_change_nothing() {
    let _turn = turn().await;
    let figures = Figures::of("F23", "1,000 clients send half of something, slowly, or far too much");
    let mut hub = hub_with("", &[]).await;
    let count: usize = attacks().iter().flat_map(|attack| attack.attackers).sum();
    assert!(count >= 1000, "{count}");
    // The same number of connections, none of which does anything, and a few large bodies.
    let session = Session::open(&hub).await;
    let body = "x".repeat(15 << 20);
    join_all((0..10).map(|_| session.post_text(&body))).await;
    drop(session);
    let address = hub.mcp.url("").trim_start_matches("http://").to_owned();
    drop(join_all((0..count).map(|_| TcpStream::connect(&address))).await);
    let p99_now = async || p99(callers(&hub, "fix__echo", 4, Duration::from_secs(2)).await);
    p99_now().await;
    let before = Invariant::of(&mut hub).await;

    let mut attackers = None;
    let ratio = undisturbed(
        async || p99(callers(&hub, "fix__echo", 4, Duration::from_secs(2)).await),
        async || {
            if attackers.is_none() {
                attackers = Some(begin(&hub));
                // The endless ones are thrown out within a moment; the slow ones are there.
                tokio::time::sleep(Duration::from_secs(1)).await;
            }
            p99(callers(&hub, "fix__echo", 4, Duration::from_secs(2)).await)
        },
        2.0,
    )
    .await;
    for (attack, attackers) in attackers.unwrap() {
        let mut longest = Duration::ZERO;
        for (answer, after) in attackers.await.unwrap() {
            longest = longest.max(after);
            let status = answer.split(' ').nth(1).unwrap_or_default();
            let good = attack.status.split('|').any(|wanted| wanted == status);
            // What is reset while it still sends may lose its answer.
            let lost = matches!(attack.then, GoesOn::Endlessly) && answer.is_empty();
            assert!(
                good || lost || attack.status.is_empty(),
                "{}: {status} ({answer})",
                attack.what
            );
        }
        figures.at_most(&format!("{}: closed after", attack.what), longest, attack.within);
    }
    figures.at_most(
        "p99 of others, to that before",
        ratio,
        crate::amount::Amount::Ratio(2.0),
    );
    // The allocator gives pages back when it is next at work.
    callers(&hub, "fix__echo", 4, Duration::from_secs(1)).await;
    before.holds(&mut hub, &figures).await;
}
