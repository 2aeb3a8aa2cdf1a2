//! A thousand clients that ask for everything and read nothing, and a server that has much to say.

use std::time::{Duration, Instant};

use futures_util::{StreamExt as _, stream};
use serde_json::json;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    task::JoinHandle,
};

use crate::{
    amount::Amount,
    figures::Figures,
    fixture::{SOON, Session, service, services, text_in},
    http::Http,
    hub::Hub,
    invariant::{Invariant, descriptors},
    load::{Peak, callers, p99, undisturbed},
    tools::{optimised, turn},
};

const READERS: usize = 1000;
/// What is produced: more than a session may hold, at a pace that those who read can follow.
const MESSAGES: usize = 400;
const MESSAGE_BYTES: usize = 16 << 10;
const APART_MS: usize = 10;

/// A stream that is read by hand, or not at all.
struct Reader {
    stream: TcpStream,
    session: Session,
    begun: String,
}

impl Reader {
    /// A session that wants every log message, with its general stream opened as far as its head.
    async fn open(http: &Http) -> Self {
        let session = Session::open_on(http).await;
        let level = json!({"jsonrpc": "2.0", "id": 1, "method": "logging/setLevel", "params": {"level": "debug"}});
        assert_eq!(session.post(&level).await.len(), 1);
        let address = http.url("");
        let mut stream = TcpStream::connect(address.trim_start_matches("http://")).await.unwrap();
        let ask = format!(
            "GET /mcp HTTP/1.1\r\nHost: localhost\r\nAccept: text/event-stream\r\nMcp-Session-Id: {}\r\n\r\n",
            session.id()
        );
        stream.write_all(ask.as_bytes()).await.unwrap();
        let mut begun = vec![0; 4096];
        let length = stream.read(&mut begun).await.unwrap();
        begun.truncate(length);
        let begun = String::from_utf8(begun).unwrap();
        assert!(begun.starts_with("HTTP/1.1 200"), "{begun}");
        Self { stream, session, begun }
    }

    /// Reads as fast as it comes until `enough`; everything that came.
    async fn read_until(&mut self, enough: impl Fn(&str) -> bool) -> String {
        let mut text = std::mem::take(&mut self.begun);
        let mut chunk = vec![0; 256 << 10];
        while !enough(&text) {
            let read = tokio::time::timeout(SOON, self.stream.read(&mut chunk));
            match read.await.expect("more in time").unwrap() {
                0 => break,
                length => text.push_str(&String::from_utf8_lossy(&chunk[..length])),
            }
        }
        text
    }
}

async fn open(http: &Http, count: usize) -> Vec<Reader> {
    stream::iter(0..count)
        .map(|_| Reader::open(http))
        .buffer_unordered(16)
        .collect()
        .await
}

async fn leave(sessions: Vec<Session>) {
    stream::iter(sessions)
        .for_each_concurrent(16, async |session| session.end().await)
        .await;
}

fn sessions_of(readers: Vec<Reader>) -> Vec<Session> {
    readers.into_iter().map(|reader| reader.session).collect()
}

async fn produce(hub: &Hub) {
    let arguments = json!({"count": MESSAGES, "bytes": MESSAGE_BYTES, "ms": APART_MS});
    let answer = Session::open(hub).await.call("talker__produce", arguments).await;
    assert_eq!(text_in(&answer), "done");
}

/// A client that reads everything; how many messages it got.
fn fast_reader(mut reader: Reader) -> JoinHandle<(usize, Reader)> {
    tokio::spawn(async move {
        let last = format!("\"n\":{}", MESSAGES - 1);
        let text = reader
            .read_until(|text| text.len() > MESSAGES * MESSAGE_BYTES && text.contains(&last))
            .await;
        (text.matches("notifications/message").count(), reader)
    })
}

/// Reads a byte a second from each, until it is aborted.
fn read_slowly(streams: Vec<TcpStream>) -> JoinHandle<()> {
    tokio::spawn(async move {
        loop {
            tokio::time::sleep(Duration::from_secs(1)).await;
            for stream in &streams {
                // There may be nothing, or nothing more.
                let _read = stream.try_read(&mut [0; 1]);
            }
        }
    })
}

/// Memory that the kernel holds for all TCP sockets, in bytes.
fn kernel_memory() -> f64 {
    let text = std::fs::read_to_string("/proc/net/sockstat").unwrap();
    let line = text.lines().find(|line| line.starts_with("TCP:")).unwrap();
    let pages: f64 = line.rsplit_once("mem ").unwrap().1.trim().parse().unwrap();
    pages * 4096.0
}

/// What happens while a thousand do not read.
struct Slow {
    peak: Peak,
    kernel: f64,
    /// Those that read nothing.
    silent: Vec<Reader>,
    /// The sessions of those that read a byte a second.
    sessions: Vec<Session>,
    reading: JoinHandle<()>,
    /// When the talk began.
    since: Instant,
}

impl Slow {
    async fn begin(hub: &Hub) -> Self {
        let kernel = kernel_memory();
        let mut silent = open(&hub.mcp, READERS).await;
        let slow = silent.split_off(READERS / 2);
        let (streams, sessions) = slow.into_iter().map(|reader| (reader.stream, reader.session)).unzip();
        let reading = read_slowly(streams);
        let peak = Peak::begin(hub.pid());
        Self {
            peak,
            kernel,
            silent,
            sessions,
            reading,
            since: Instant::now(),
        }
    }
}

/// What changes while a stream is full is told when it is read again, once. The last that one of them reads.
async fn changes_are_told(hub: &Hub, silent: &mut [Reader]) {
    let session = Session::open(hub).await;
    for _ in 0..20 {
        let changed = session.call("talker__change_tools", json!({})).await;
        assert!(changed["result"].is_object(), "{changed}");
    }
    for reader in silent.iter_mut().take(10) {
        let text = reader.read_until(|text| text.contains("tools/list_changed")).await;
        let told = text.matches("tools/list_changed").count();
        assert!((1..=20).contains(&told), "{told}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn f22_clients_that_do_not_read_cost_little_and_nobody_else() {
    let _turn = turn().await;
    let figures = Figures::of(
        "F22",
        "1,000 clients do not read, or a byte a second, while a server talks",
    );
    let yaml = services(&[service("talker", "", &[]), service("good", "", &[])]);
    let mut hub = Hub::builder().config(&yaml).start().await;
    hub.wait_until_ready(SOON).await;
    // The same number of sessions and streams, without the talk.
    leave(sessions_of(open(&hub.mcp, READERS).await)).await;
    callers(&hub, "good__echo", 4, Duration::from_secs(1)).await;
    let before = Invariant::of(&mut hub).await;
    let open_before = descriptors(hub.pid());

    let mut there: Option<Slow> = None;
    // The same talk and the same calls, first while one client listens that reads, then while a thousand do not.
    let load = async || {
        let listener = fast_reader(Reader::open(&hub.mcp).await);
        produce(&hub).await;
        let waits = callers(&hub, "good__echo", 4, Duration::from_secs(3)).await;
        let (heard, reader) = listener.await.unwrap();
        // A debug build of the reader may itself fall behind by a queue's length.
        let least = if optimised() { MESSAGES } else { MESSAGES * 9 / 10 };
        assert!(
            (least..=MESSAGES).contains(&heard),
            "who reads gets everything, not {heard}"
        );
        leave(vec![reader.session]).await;
        p99(waits)
    };
    let ratio = undisturbed(
        load,
        async || {
            if there.is_none() {
                there = Some(Slow::begin(&hub).await);
                // Until they are full, they are clients like others, who cost what is sent to them.
                println!("p99 {:?} while their buffers fill", load().await);
            }
            load().await
        },
        2.0,
    )
    .await;
    let mut there = there.unwrap();
    println!(
        "the kernel holds {} more for sockets",
        Amount::Bytes(kernel_memory() - there.kernel)
    );
    let held = Amount::Bytes((kernel_memory() - there.kernel) / 1000.0);
    figures.at_most("held by the kernel for each of them", held, Amount::mib(1.0));
    figures.at_most(
        "growth of memory",
        Amount::Bytes(there.peak.growth()),
        Amount::mib(300.0),
    );
    figures.at_most(
        "p99 of others once they are full, to that before",
        ratio,
        Amount::Ratio(2.0),
    );
    changes_are_told(&hub, &mut there.silent).await;

    // Whoever leaves its stream full for ten seconds is let go with the next message, and its connection after thirty.
    let once = json!({"count": 1, "bytes": 1, "ms": 0});
    let closed = hub.wait_until(Duration::from_mins(1), "the connections to be closed", async || {
        Session::open(&hub).await.call("talker__produce", once.clone()).await;
        let open = descriptors(hub.pid());
        tokio::time::sleep(Duration::from_millis(500)).await;
        // Those that read meanwhile stay.
        if open <= open_before + 40 {
            Ok(there.since.elapsed())
        } else {
            Err(format!("{open} descriptors"))
        }
    });
    figures.at_most(
        "their connections are closed after",
        closed.await,
        Duration::from_mins(1),
    );
    there.reading.abort();
    leave([sessions_of(there.silent), there.sessions].concat()).await;
    callers(&hub, "good__echo", 4, Duration::from_secs(1)).await;
    before.holds(&mut hub, &figures).await;
}
