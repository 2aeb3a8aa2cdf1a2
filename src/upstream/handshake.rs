//! From fresh pipes to a connection that knows what its server offers, in one era.

use std::{sync::Arc, time::Duration};

use futures_util::future::BoxFuture;
use serde_json::{Value, value::RawValue};
use tokio::time::timeout;

use super::{
    Connection, Introduction, ListKind, Listener, Variant, faults,
    listing::{AskError, ask, initialize_params, own_params, read_all, read_list},
    service::Learned,
    stdio::read_lines,
};
use crate::{
    config::ServiceName,
    lifecycle::Tasks,
    mcp::{Era, Features, Revision, code, meta_key, method},
    supervisor::{ChildIo, Handshake, HandshakeError, LastExit, Session, SessionEnd},
};

/// How long a server may be silent after `server/discover` before it is asked in the other era too.
const SILENCE: Duration = Duration::from_secs(2);

/// How one variant of a service greets its processes.
pub(super) struct Greeting {
    pub(super) service: ServiceName,
    pub(super) variant: Variant,
    pub(super) listener: Arc<dyn Listener>,
    pub(super) learned: Arc<dyn Learned>,
    pub(super) line_limit: usize,
    pub(super) tasks: Tasks,
}

impl Handshake for Greeting {
    type Session = Connection;

    fn begin(&self, io: ChildIo) -> BoxFuture<'static, Result<Arc<Connection>, HandshakeError>> {
        let connection = Connection::new(self.service.clone(), self.variant, io.stdin, Arc::clone(&self.listener));
        let reading = Arc::clone(&connection);
        let limit = self.line_limit;
        self.tasks.spawn("upstream.read", async move {
            read_lines(io.stdout, limit, |heard| reading.receive(heard)).await;
            reading.over(SessionEnd::Eof);
        });
        let writing = Arc::clone(&connection);
        self.tasks.spawn("upstream.write", async move { writing.flush().await });
        let learned = Arc::clone(&self.learned);
        let tasks = self.tasks.clone();
        // Made here, for the future may be given up before it is looked at for the first time.
        let unfinished = Unfinished(Some(Arc::clone(&connection)));
        Box::pin(async move {
            let introduction = match connection.variant().era {
                Era::Legacy => initialize(&connection, &*learned).await?,
                Era::Modern => discover(&connection, &*learned).await?,
            };
            let offers = read_all(&connection, &introduction)
                .await
                .map_err(|error| HandshakeError::new(error.to_string()))?;
            connection.introduce(introduction.clone());
            // Written before anybody can call: what clients want beyond calls survives the process that had it.
            tasks.spawn("upstream.wishes", connection.tell(learned.wishes(connection.variant())));
            learned.learned(&connection, Arc::new(introduction), Arc::new(offers.clone()));
            let watching = Arc::clone(&connection);
            tasks.spawn("upstream.refresh", async move {
                keep_fresh(watching, offers, learned).await;
            });
            unfinished.done();
            Ok(connection)
        })
    }
}

/// Closes a connection whose handshake failed or was given up: nobody else knows it yet.
struct Unfinished(Option<Arc<Connection>>);

impl Unfinished {
    fn done(mut self) {
        self.0 = None;
    }
}

impl Drop for Unfinished {
    fn drop(&mut self) {
        if let Some(connection) = self.0.take() {
            connection.over(SessionEnd::Eof);
            connection.close_writer();
            connection.end_calls(&faults::gone(connection.service()));
        }
    }
}

async fn initialize(connection: &Arc<Connection>, learned: &dyn Learned) -> Result<Introduction, HandshakeError> {
    let params = initialize_params(connection.variant().features);
    let result = match ask(connection, method::INITIALIZE, &params).await {
        Ok(result) => result,
        Err(error) => {
            if let AskError::Refused(body) = &error
                && speaks_modern_only(body)
            {
                learned.speaks(connection.service(), Era::Legacy, false);
            }
            return Err(unanswered(method::INITIALIZE, &error));
        }
    };
    let introduction = read_introduction(&result, "protocolVersion")
        .filter(|introduction| {
            introduction
                .known_revision()
                .is_some_and(|revision| revision.era() == Era::Legacy)
        })
        .ok_or_else(|| HandshakeError::new(format!("`initialize` was answered with {}", shortened(&result))))?;
    learned.speaks(connection.service(), Era::Legacy, true);
    connection.notify(&r#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#.into());
    Ok(introduction)
}

async fn discover(connection: &Arc<Connection>, learned: &dyn Learned) -> Result<Introduction, HandshakeError> {
    let result = match ask_modern(connection).await {
        Ok(result) => result,
        Err(error) => {
            learned.speaks(connection.service(), Era::Modern, false);
            return Err(error);
        }
    };
    let value: Value = serde_json::from_str(result.get()).unwrap_or_default();
    // Modern means: names a modern revision. Which else it names, or that it answers at all, says nothing.
    let modern = value
        .get("supportedVersions")
        .and_then(Value::as_array)
        .is_some_and(|versions| versions.iter().any(|version| version == Revision::NEWEST.as_str()));
    learned.speaks(connection.service(), Era::Modern, modern);
    if !modern {
        return Err(HandshakeError::new(format!(
            "`server/discover` was answered with {}",
            shortened(&result)
        )));
    }
    Ok(Introduction {
        revision: Revision::NEWEST.to_string(),
        server_info: value
            .get("_meta")
            .and_then(|meta| meta.get(meta_key::SERVER_INFO))
            .cloned()
            .unwrap_or_default(),
        capabilities: value.get("capabilities").cloned().unwrap_or_default(),
        instructions: value.get("instructions").and_then(Value::as_str).map(str::to_owned),
    })
}

/// Asks `server/discover`. A legacy server may refuse it, or may not answer what it does not know: then `initialize` tells whether
/// it is there. A modern one that is slow to start answers the two in order, so `server/discover` wins.
async fn ask_modern(connection: &Arc<Connection>) -> Result<Box<RawValue>, HandshakeError> {
    let params = own_params(Era::Modern, "");
    let mut asked = std::pin::pin!(ask(connection, method::DISCOVER, &params));
    let refused = |error: AskError| unanswered(method::DISCOVER, &error);
    if let Ok(answer) = timeout(SILENCE, asked.as_mut()).await {
        return answer.map_err(refused);
    }
    let legacy = initialize_params(Features::NONE);
    let mut greeted = std::pin::pin!(ask(connection, method::INITIALIZE, &legacy));
    tokio::select! {
        biased;
        answer = asked.as_mut() => answer.map_err(refused),
        greeting = greeted.as_mut() => match greeting {
            Ok(_) => Err(HandshakeError::new("it answers `initialize` and not `server/discover`")),
            // A modern server refuses `initialize`; its answer to the first question is on its way.
            Err(_) => asked.await.map_err(refused),
        },
    }
}

fn unanswered(method: &str, error: &AskError) -> HandshakeError {
    let text = format!("`{method}`: {error}");
    match error {
        AskError::Refused(_) => HandshakeError::new(text),
        AskError::Fault(_) => HandshakeError::ended(text),
    }
}

fn read_introduction(result: &RawValue, version_field: &str) -> Option<Introduction> {
    let value: Value = serde_json::from_str(result.get()).ok()?;
    Some(Introduction {
        revision: value.get(version_field)?.as_str()?.to_owned(),
        server_info: value.get("serverInfo").cloned().unwrap_or_default(),
        capabilities: value.get("capabilities").cloned().unwrap_or_default(),
        instructions: value.get("instructions").and_then(Value::as_str).map(str::to_owned),
    })
}

/// Whether an error to `initialize` is one that only a modern server gives.
fn speaks_modern_only(error: &str) -> bool {
    let code = serde_json::from_str::<Value>(error)
        .ok()
        .and_then(|error| error.get("code").and_then(Value::as_i64));
    code.is_some_and(|code| {
        [
            code::METHOD_NOT_FOUND,
            code::HEADER_MISMATCH,
            code::MISSING_CLIENT_CAPABILITY,
            code::UNSUPPORTED_VERSION,
        ]
        .map(i64::from)
        .contains(&code)
    })
}

fn shortened(result: &RawValue) -> String {
    result.get().chars().take(200).collect()
}

/// Reads lists again when the server says that they changed, for the life of the connection.
async fn keep_fresh(connection: Arc<Connection>, mut offers: super::Offers, learned: Arc<dyn Learned>) {
    let mut ended = connection.ended();
    loop {
        let stale: Vec<ListKind> = tokio::select! {
            stale = connection.stale_lists() => stale,
            _ = ended.wait_for(Option::is_some) => return,
        };
        let mut changed = false;
        for kind in stale {
            match read_list(&connection, kind).await {
                Ok(list) if list != offers.list(kind) => {
                    *offers.list_mut(kind) = list;
                    changed = true;
                }
                Ok(_) => {}
                Err(error) => {
                    tracing::warn!(service = %connection.service(), %error, "a changed list could not be read; the last good one stays");
                }
            }
        }
        if changed && let Some(introduction) = connection.introduction() {
            learned.learned(&connection, introduction, Arc::new(offers.clone()));
        }
    }
}

impl Session for Connection {
    fn in_flight(&self) -> usize {
        self.calls_in_flight()
    }

    fn calls(&self) -> u64 {
        self.calls_begun()
    }

    fn closed(&self) -> BoxFuture<'_, SessionEnd> {
        let mut ended = self.ended();
        Box::pin(async move {
            match ended.wait_for(Option::is_some).await {
                Ok(end) => end.clone().unwrap_or(SessionEnd::Eof),
                Err(_closed) => SessionEnd::Eof,
            }
        })
    }

    fn close_stdin(&self) {
        self.close_writer();
    }

    fn probe(&self) -> Option<BoxFuture<'static, bool>> {
        let connection = self.handle()?;
        Some(Box::pin(async move {
            // `ping` is gone from the modern era; `server/discover` is what every server there answers.
            let (method, params) = match connection.variant().era {
                Era::Legacy => (method::PING, "{}".to_owned()),
                Era::Modern => (method::DISCOVER, own_params(Era::Modern, "")),
            };
            match ask(&connection, method, &params).await {
                // An error is a sign of life, too.
                Ok(_) | Err(AskError::Refused(_)) => true,
                Err(AskError::Fault(_)) => false,
            }
        }))
    }

    fn fail(&self, exit: &LastExit) {
        self.over(SessionEnd::Eof);
        self.close_writer();
        self.end_calls(&faults::exited(self.service(), exit));
    }
}
