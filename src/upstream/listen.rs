//! The `subscriptions/listen` streams of a modern connection: list changes, and the resources that clients watch. One carries
//! everything, unless the server refuses that.

use std::{
    collections::{BTreeSet, HashMap},
    sync::Arc,
    time::Duration,
};

use futures_util::{StreamExt as _, future::BoxFuture, stream::FuturesUnordered};
use serde_json::json;
use tokio::time::Instant;

use super::{Connection, InFlight, ListKind, listing::own_params, pending::Ended};
use crate::{
    jsonrpc::{Kind, Message},
    mcp::{code, field, meta_key, method},
};

/// The wait before a stream is opened again that the server ended. Doubles up to [`LONGEST`].
const FIRST: Duration = Duration::from_millis(500);
const LONGEST: Duration = Duration::from_mins(1);
/// A stream that lasted so long was a good one: the waits begin anew.
const GOOD: Duration = Duration::from_mins(1);

/// What one stream is asked for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Part {
    /// Whether it carries changes of lists.
    lists: bool,
    uris: BTreeSet<String>,
}

impl Part {
    /// Changes of lists, and of these resources.
    pub(super) fn all(uris: BTreeSet<String>) -> Self {
        Self { lists: true, uris }
    }

    fn is_empty(&self) -> bool {
        !self.lists && self.uris.is_empty()
    }

    fn add(&mut self, other: Self) {
        self.lists |= other.lists;
        self.uris.extend(other.uris);
    }

    /// Two parts to ask for one by one; `None` if there is nothing to divide.
    fn halves(mut self) -> Option<[Self; 2]> {
        let middle = match (self.lists, self.uris.len()) {
            (_, 0) | (false, 1) => return None,
            (true, 1) => 0,
            (_, count) => count / 2,
        };
        let first = self.uris.iter().nth(middle)?.clone();
        let upper = self.uris.split_off(&first);
        Some([
            self,
            Self {
                lists: false,
                uris: upper,
            },
        ])
    }
}

impl Connection {
    /// Asks for `part`; `None` where the server offers nothing of it, or the connection is over.
    pub(super) fn open(self: &Arc<Self>, part: &Part) -> Option<InFlight> {
        let introduction = self.introduction()?;
        let changes = |capability: &str| {
            introduction
                .capabilities
                .pointer(&format!("/{capability}/listChanged"))
                .and_then(serde_json::Value::as_bool)
                .unwrap_or(false)
        };
        let mut wanted = serde_json::Map::new();
        for (capability, field) in [
            ("tools", "toolsListChanged"),
            ("prompts", "promptsListChanged"),
            ("resources", "resourcesListChanged"),
        ] {
            if part.lists && changes(capability) {
                wanted.insert(field.to_owned(), true.into());
            }
        }
        if !part.uris.is_empty() && introduction.can_subscribe() {
            wanted.insert("resourceSubscriptions".to_owned(), json!(part.uris));
        }
        if wanted.is_empty() {
            return None;
        }
        let notifications = format!("\"notifications\":{}", serde_json::Value::Object(wanted));
        self.send_own(method::LISTEN, &own_params(self.variant().era, &notifications))
    }
}

/// The streams of one connection.
pub(super) struct Streams {
    open: FuturesUnordered<BoxFuture<'static, (Part, Instant, Ended)>>,
    /// What is to be opened again, and when.
    closed: Part,
    open_at: Option<Instant>,
    wait: Duration,
    /// The resources asked for by streams that were not acknowledged yet.
    asked: HashMap<u64, BTreeSet<String>>,
    /// A refusal was logged: once is enough.
    warned: bool,
}

impl Default for Streams {
    fn default() -> Self {
        Self {
            open: FuturesUnordered::new(),
            closed: Part::default(),
            open_at: None,
            wait: FIRST,
            asked: HashMap::new(),
            warned: false,
        }
    }
}

impl Streams {
    /// One stream takes the place of all.
    pub(super) fn replace(&mut self, part: Part, call: InFlight) {
        *self = Self::default();
        self.add(part, call);
    }

    fn add(&mut self, part: Part, call: InFlight) {
        self.asked.insert(call.number(), part.uris.clone());
        let begun = Instant::now();
        self.open.push(Box::pin(async move { (part, begun, call.await) }));
    }

    /// The first message of a stream says what it carries; what it leaves out was refused.
    pub(super) fn acknowledged(&mut self, connection: &Connection, acknowledged: &Acknowledged) {
        let Some(mut refused) = self.asked.remove(&acknowledged.number) else {
            return;
        };
        refused.retain(|uri| !acknowledged.uris.contains(uri));
        if !refused.is_empty() {
            let service = connection.service();
            tracing::warn!(%service, ?refused, "the service refuses to say when these resources change");
        }
    }

    /// Waits for the next thing to do, and does it. May be dropped and called again at any time.
    pub(super) async fn look_after(&mut self, connection: &Arc<Connection>) {
        let open_at = self.open_at;
        let due = async {
            match open_at {
                Some(at) => tokio::time::sleep_until(at).await,
                None => std::future::pending().await,
            }
        };
        let none_open = self.open.is_empty();
        tokio::select! {
            Some((part, begun, ended)) = self.open.next(), if !none_open => self.ended(connection, part, begun, &ended),
            () = due => self.reopen(connection),
        }
    }

    fn ended(&mut self, connection: &Arc<Connection>, part: Part, begun: Instant, ended: &Ended) {
        let service = connection.service();
        match ended {
            Ended::Answer(answer) if answer.kind() == Kind::Error => {
                let error = answer.body_text().unwrap_or_default();
                if error_code(error) == Some(code::METHOD_NOT_FOUND) {
                    tracing::warn!(%service, "the service does not know `{}`; its changes go unnoticed", method::LISTEN);
                    return;
                }
                if let Some(halves) = part.clone().halves() {
                    // What it minds may be one of many.
                    for half in halves {
                        if let Some(call) = connection.open(&half) {
                            self.add(half, call);
                        }
                    }
                    return;
                }
                if !std::mem::replace(&mut self.warned, true) {
                    let uri = part.uris.first();
                    tracing::warn!(%service, uri, error, "the service refuses to say what changes; it is asked again later");
                }
            }
            Ended::Answer(_) | Ended::Cancelled => {
                tracing::debug!(%service, lasted = ?begun.elapsed(), "the service ended a listen stream");
            }
            // The connection is over.
            Ended::Fault(_) => return,
        }
        if begun.elapsed() >= GOOD {
            self.wait = FIRST;
        }
        self.closed.add(part);
        if self.open_at.is_none() {
            self.open_at = Some(Instant::now() + self.wait);
            self.wait = (self.wait * 2).min(LONGEST);
        }
    }

    fn reopen(&mut self, connection: &Arc<Connection>) {
        self.open_at = None;
        let part = std::mem::take(&mut self.closed);
        if part.is_empty() {
            return;
        }
        if let Some(call) = connection.open(&part) {
            if part.lists {
                // Nobody said what changed in between.
                connection.mark_stale(&ListKind::ALL);
            }
            self.add(part, call);
        }
    }
}

/// What a server says that a stream carries.
#[derive(Debug)]
pub(super) struct Acknowledged {
    number: u64,
    uris: BTreeSet<String>,
}

impl Acknowledged {
    /// Reads `notifications/subscriptions/acknowledged`; `None` if it does not name its stream.
    pub(super) fn read(message: &Message) -> Option<Self> {
        let params = message.body_text()?;
        let number = field(field(params, "_meta")?.get(), meta_key::SUBSCRIPTION_ID)?;
        let uris = field(params, "notifications")
            .and_then(|notifications| field(notifications.get(), "resourceSubscriptions"))
            .and_then(|uris| serde_json::from_str(uris.get()).ok());
        Some(Self {
            number: number.get().parse().ok()?,
            uris: uris.unwrap_or_default(),
        })
    }
}

fn error_code(error: &str) -> Option<i32> {
    field(error, "code").and_then(|code| code.get().parse().ok())
}

#[cfg(test)]
mod tests {
    use tokio::{
        io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader},
        net::unix::pipe,
    };

    use super::*;
    use crate::{
        config::ServiceName,
        upstream::{Introduction, Listener, Variant, Wishes, stdio::read_lines},
    };

    struct Nobody;

    impl Listener for Nobody {
        fn notification(&self, _: &Arc<Connection>, _: Message) {}
        fn request(&self, _: &Arc<Connection>, _: Message) {}
    }

    /// A modern server at the other end of the pipes.
    struct Server {
        input: BufReader<pipe::Receiver>,
        output: pipe::Sender,
    }

    impl Server {
        /// The number and the resources of the next listen request; cancellations are passed over.
        async fn asked(&mut self) -> (u64, Vec<String>) {
            loop {
                let mut line = String::new();
                self.input.read_line(&mut line).await.unwrap();
                let message: serde_json::Value = serde_json::from_str(&line).unwrap();
                if message["method"] == "subscriptions/listen" {
                    let uris = &message["params"]["notifications"]["resourceSubscriptions"];
                    let uris = serde_json::from_value(uris.clone()).unwrap_or_default();
                    return (message["id"].as_u64().unwrap(), uris);
                }
            }
        }

        async fn say(&mut self, message: serde_json::Value) {
            self.output.write_all(format!("{message}\n").as_bytes()).await.unwrap();
        }

        async fn end(&mut self, id: u64) {
            self.say(json!({"jsonrpc": "2.0", "id": id, "result": {"resultType": "complete"}}))
                .await;
        }

        async fn refuse(&mut self, id: u64, code: i32) {
            self.say(json!({"jsonrpc": "2.0", "id": id, "error": {"code": code, "message": "no"}}))
                .await;
        }
    }

    /// Runs `script` as the server of a connection on which these resources are watched.
    async fn against(uris: &[&str], script: impl AsyncFnOnce(&mut Server, &Arc<Connection>)) {
        let (stdin, input) = pipe::pipe().unwrap();
        let (output, stdout) = pipe::pipe().unwrap();
        let name = ServiceName::new("test").unwrap();
        let connection = Connection::new(name, Variant::MODERN, stdin, Arc::new(Nobody));
        connection.introduce(Introduction {
            revision: "2026-07-28".to_owned(),
            server_info: json!({}),
            capabilities: json!({"tools": {"listChanged": true}, "resources": {"subscribe": true}}),
            instructions: None,
        });
        let told = connection.tell(Wishes {
            log_from: None,
            uris: uris.iter().map(|uri| (*uri).to_owned()).collect(),
        });
        let mut server = Server {
            input: BufReader::new(input),
            output,
        };
        tokio::select! {
            () = told => panic!("ended"),
            () = connection.flush() => panic!("closed"),
            () = read_lines(stdout, 1 << 20, |heard| connection.receive(heard)) => panic!("closed"),
            () = script(&mut server, &connection) => {}
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_stream_that_the_server_ends_is_opened_again_ever_later() {
        against(&["x://1"], async |server, _| {
            let mut wait = FIRST;
            let (mut id, _) = server.asked().await;
            for _ in 0..10 {
                // In both ways that a server may end it.
                if id % 2 == 0 {
                    server.end(id).await;
                } else {
                    let params = json!({"requestId": id});
                    server
                        .say(json!({"jsonrpc": "2.0", "method": "notifications/cancelled", "params": params}))
                        .await;
                }
                let ended = Instant::now();
                let (next, uris) = server.asked().await;
                assert_eq!((ended.elapsed(), uris), (wait, vec!["x://1".to_owned()]));
                (id, wait) = (next, (wait * 2).min(LONGEST));
            }
            // One that lasted is forgiven.
            tokio::time::sleep(GOOD).await;
            server.end(id).await;
            let ended = Instant::now();
            server.asked().await;
            assert_eq!(ended.elapsed(), FIRST);
        })
        .await;
    }

    #[tokio::test(start_paused = true)]
    async fn one_refused_resource_breaks_no_other() {
        against(&["x://1", "x://2", "x://3", "x://bad"], async |server, _| {
            let mut open = BTreeSet::new();
            let begun = Instant::now();
            // Whoever asks for the bad one is refused whole.
            while open.len() < 3 {
                let (id, uris) = server.asked().await;
                if uris.iter().any(|uri| uri == "x://bad") {
                    server.refuse(id, code::INVALID_PARAMS).await;
                } else {
                    open.extend(uris);
                }
            }
            assert_eq!(begun.elapsed(), Duration::ZERO);
            // The bad one is asked for again later, alone.
            let (_, uris) = server.asked().await;
            assert_eq!(uris, ["x://bad"]);
        })
        .await;
    }

    #[tokio::test(start_paused = true)]
    async fn who_does_not_know_the_method_is_not_asked_again_until_the_wishes_change() {
        against(&["x://1"], async |server, connection| {
            let (id, _) = server.asked().await;
            server.refuse(id, code::METHOD_NOT_FOUND).await;
            let quiet = tokio::time::timeout(Duration::from_hours(1), server.asked()).await;
            assert!(quiet.is_err());
            connection.watch(|| BTreeSet::from(["x://2".to_owned()]));
            assert_eq!(server.asked().await.1, ["x://2"]);
            // Nothing new: nothing is sent.
            connection.watch(|| BTreeSet::from(["x://2".to_owned()]));
            let quiet = tokio::time::timeout(Duration::from_hours(1), server.asked()).await;
            assert!(quiet.is_err());
        })
        .await;
    }
}
