//! One client: which era a request is of, which method answers it, what it subscribed to.

use bytes::Bytes;
use serde_json::{Value, json};
use tokio::time::Instant;

use super::{
    answer::{Answer, Object, implementation, modernise, object, write_error, write_notification, write_result},
    prompts, resources,
    tools::{self, Countdowns, Log},
};
use crate::{
    jsonrpc::{Invalid, Kind, Line, Message, parse, parse_batch},
    mcp::{ErrorAnswer, LogLevel, ModernClaim, RequestMeta, Revision, code, field, meta_key, method},
};

/// How many items a page of a list has at most.
const PAGE_SIZE: usize = 50;

/// How many listen streams may be open at a time.
const MAX_LISTENING: usize = 1000;

const INSTRUCTIONS: &str = "Small tools to try an MCP client with. Nothing here changes anything outside this process.";

/// Everything that is known of the client.
pub(super) struct Session {
    revision: Revision,
    /// The legacy era's level; a modern request brings its own.
    level: LogLevel,
    page_size: usize,
    countdowns: Countdowns,
    statistics: resources::Statistics,
    /// The raw ids of the listen streams, and whether each watches the statistics.
    listening: Vec<(String, bool)>,
    /// Whether a legacy client subscribed to the statistics.
    subscribed: bool,
}

/// One request on its way to its answer.
pub(super) struct Request<'a> {
    /// Raw, as it came.
    pub(super) id: &'a str,
    /// Empty if there were none.
    pub(super) params: Object,
    /// Of a modern request.
    pub(super) claim: Option<ModernClaim>,
    /// Where the client wants to hear of progress.
    pub(super) progress_token: Option<Value>,
}

impl Request<'_> {
    pub(super) fn text(&self, name: &str) -> Result<&str, ErrorAnswer> {
        let value = self.params.get(name).and_then(Value::as_str);
        value.ok_or_else(|| ErrorAnswer::invalid_params(format!("`{name}` must be a string")))
    }

    fn page<T>(&self, items: Vec<T>, size: usize) -> Result<(Vec<T>, Option<String>), ErrorAnswer> {
        let start = match self.params.get("cursor") {
            None | Some(Value::Null) => 0,
            Some(cursor) => cursor
                .as_str()
                .and_then(|cursor| cursor.parse().ok())
                .filter(|start| *start > 0 && *start < items.len())
                .ok_or_else(|| ErrorAnswer::invalid_params("`cursor` is none of this list"))?,
        };
        let end = start + size;
        let next = (end < items.len()).then(|| end.to_string());
        Ok((items.into_iter().skip(start).take(size).collect(), next))
    }
}

impl Session {
    pub(super) fn new() -> Self {
        Self::with_page_size(PAGE_SIZE)
    }

    pub(super) fn with_page_size(page_size: usize) -> Self {
        Self {
            revision: Revision::NEWEST_LEGACY,
            level: LogLevel::Info,
            page_size,
            countdowns: Countdowns::default(),
            statistics: resources::Statistics::default(),
            listening: Vec::new(),
            subscribed: false,
        }
    }

    /// When [`Self::tick`] has something to do next.
    pub(super) fn next_due(&self) -> Option<Instant> {
        self.countdowns.next_due()
    }

    /// Does what is due at `now`, and tells subscribers what changed since the last time.
    pub(super) fn tick(&mut self, now: Instant, out: &mut Vec<u8>) {
        self.countdowns.tick(now, out);
        if self.statistics.take_changed() {
            self.tell_subscribers(out);
        }
    }

    fn tell_subscribers(&self, out: &mut Vec<u8>) {
        if self.subscribed {
            let params = object(json!({"uri": resources::STATISTICS}));
            write_notification(out, method::RESOURCE_UPDATED, &params);
        }
        for (id, _) in self.listening.iter().filter(|(_, watching)| *watching) {
            let params = object(json!({"uri": resources::STATISTICS, "_meta": subscription(id)}));
            write_notification(out, method::RESOURCE_UPDATED, &params);
        }
    }

    /// Takes one line.
    pub(super) fn line(&mut self, line: Line, out: &mut Vec<u8>) {
        match line {
            Line::Whole(bytes) => self.message(bytes, out),
            Line::TooLong { length, id, .. } => {
                let error = ErrorAnswer::new(
                    code::INVALID_REQUEST,
                    format!("{length} bytes in one line are too many"),
                );
                write_error(out, id.as_deref(), &error);
            }
        }
    }

    /// Takes one message, or a batch of them where the revision has batches.
    pub(super) fn message(&mut self, bytes: Bytes, out: &mut Vec<u8>) {
        if self.revision.has_batches()
            && let Some(batch) = parse_batch(&bytes)
        {
            self.batch(batch, out);
            return;
        }
        self.single(parse(bytes), out);
    }

    fn batch(&mut self, batch: Result<Vec<Result<Message, Invalid>>, Invalid>, out: &mut Vec<u8>) {
        let messages = match batch {
            Ok(messages) => messages,
            Err(invalid) => return self.single(Err(invalid), out),
        };
        let mut answers = Vec::new();
        for message in messages {
            self.single(message, &mut answers);
        }
        // Answers are lines; in a batch they are the items of one array.
        let items: Vec<_> = answers
            .split(|byte| *byte == b'\n')
            .filter(|line| !line.is_empty())
            .collect();
        if !items.is_empty() {
            out.push(b'[');
            out.extend_from_slice(&items.join(&b','));
            out.extend_from_slice(b"]\n");
        }
    }

    fn single(&mut self, message: Result<Message, Invalid>, out: &mut Vec<u8>) {
        match message {
            Err(invalid) => {
                write_error(
                    out,
                    invalid.id(),
                    &ErrorAnswer::new(invalid.code(), invalid.to_string()),
                );
            }
            Ok(message) => match message.kind() {
                Kind::Request => self.request(&message, out),
                Kind::Notification => self.notification(&message),
                // We ask nothing, so there is nothing to be answered.
                Kind::Result | Kind::Error => {}
            },
        }
    }

    fn notification(&mut self, message: &Message) {
        if message.method() != method::CANCELLED {
            return;
        }
        if let Some(id) = message.body_text().and_then(|params| field(params, "requestId")) {
            self.countdowns.cancel(id.get());
            self.listening.retain(|(listening, _)| listening != id.get());
        }
    }

    fn request(&mut self, message: &Message, out: &mut Vec<u8>) {
        let id = message.id().unwrap_or("null");
        let answer = read(message, id).and_then(|request| {
            let modern = request.claim.is_some();
            self.dispatch(message.method(), &request, out)
                .map(|answer| (answer, modern))
        });
        match answer {
            Ok((Answer::Result(mut result, cache), modern)) => {
                if modern {
                    modernise(&mut result, cache);
                }
                write_result(out, id, &result);
            }
            Ok((Answer::Later, _)) => {}
            Err(error) => write_error(out, Some(id), &error),
        }
    }

    fn dispatch(&mut self, method: &str, request: &Request<'_>, out: &mut Vec<u8>) -> Result<Answer, ErrorAnswer> {
        if request.claim.is_some() {
            match method {
                method::DISCOVER => return Ok(discover()),
                method::LISTEN => return self.listen(request, out),
                _ => {}
            }
        } else {
            match method {
                method::INITIALIZE => return self.initialize(request),
                method::PING => return Ok(Answer::once(json!({}))),
                method::SET_LEVEL => return self.set_level(request),
                method::RESOURCES_SUBSCRIBE => return self.subscribe(request, true),
                method::RESOURCES_UNSUBSCRIBE => return self.subscribe(request, false),
                _ => {}
            }
        }
        match method {
            method::TOOLS_LIST => self.list(request, "tools", tools::list()),
            method::TOOLS_CALL => {
                let log = Log {
                    level: match &request.claim {
                        Some(claim) => claim.log_level,
                        None => Some(self.level),
                    },
                };
                let answer = tools::call(request, log, &mut self.countdowns, out)?;
                self.statistics.count(request.text("name")?);
                Ok(answer)
            }
            method::RESOURCES_LIST => self.list(request, "resources", resources::list()),
            method::TEMPLATES_LIST => self.list(request, "resourceTemplates", resources::templates()),
            method::RESOURCES_READ => resources::read(request.text("uri")?, &self.statistics, request.claim.is_some()),
            method::PROMPTS_LIST => self.list(request, "prompts", prompts::list()),
            method::PROMPTS_GET => prompts::get(request),
            method::COMPLETE => prompts::complete(request),
            _ => Err(ErrorAnswer::method_not_found(method)),
        }
    }

    fn list(&self, request: &Request<'_>, key: &str, items: Vec<Value>) -> Result<Answer, ErrorAnswer> {
        let (items, next) = request.page(items, self.page_size)?;
        let mut result = json!({key: items});
        if let Some(next) = next {
            result["nextCursor"] = next.into();
        }
        Ok(Answer::lasting(result))
    }

    fn initialize(&mut self, request: &Request<'_>) -> Result<Answer, ErrorAnswer> {
        self.revision = Revision::negotiate(request.text("protocolVersion")?);
        let mut capabilities = capabilities();
        // Older revisions have no such capability.
        if self.revision == Revision::V2024_11_05 {
            capabilities.remove("completions");
        }
        Ok(Answer::once(json!({
            "protocolVersion": self.revision.as_str(),
            "capabilities": capabilities,
            "serverInfo": implementation(),
            "instructions": INSTRUCTIONS,
        })))
    }

    fn set_level(&mut self, request: &Request<'_>) -> Result<Answer, ErrorAnswer> {
        self.level = LogLevel::from_wire(request.text("level")?)
            .ok_or_else(|| ErrorAnswer::invalid_params("`level` is no log level"))?;
        Ok(Answer::once(json!({})))
    }

    fn subscribe(&mut self, request: &Request<'_>, subscribe: bool) -> Result<Answer, ErrorAnswer> {
        let uri = request.text("uri")?;
        resources::read(uri, &self.statistics, false)?;
        if uri == resources::STATISTICS {
            self.subscribed = subscribe;
        }
        Ok(Answer::once(json!({})))
    }

    /// Only the statistics ever change here, so nothing else is promised.
    fn listen(&mut self, request: &Request<'_>, out: &mut Vec<u8>) -> Result<Answer, ErrorAnswer> {
        let Some(Value::Object(wanted)) = request.params.get("notifications") else {
            return Err(ErrorAnswer::invalid_params("`notifications` must be an object"));
        };
        if self.listening.len() >= MAX_LISTENING {
            let message = format!("{MAX_LISTENING} listen streams are open already");
            return Err(ErrorAnswer::new(code::INTERNAL, message));
        }
        let uris = wanted.get("resourceSubscriptions").and_then(Value::as_array);
        let watching = uris.is_some_and(|uris| uris.iter().any(|uri| uri == resources::STATISTICS));
        let honoured = if watching {
            json!({"resourceSubscriptions": [resources::STATISTICS]})
        } else {
            json!({})
        };
        let params = object(json!({"notifications": honoured, "_meta": subscription(request.id)}));
        write_notification(out, method::LISTEN_ACKNOWLEDGED, &params);
        self.listening.push((request.id.to_owned(), watching));
        Ok(Answer::Later)
    }
}

/// Reads the params and decides the era.
fn read<'a>(message: &Message, id: &'a str) -> Result<Request<'a>, ErrorAnswer> {
    let params: Object = match message.body_text() {
        None => Object::new(),
        Some(text) => serde_json::from_str(text).map_err(|error| ErrorAnswer::invalid_params(error.to_string()))?,
    };
    let has_meta = params.contains_key("_meta");
    let meta = match message
        .body_text()
        .filter(|_| has_meta)
        .and_then(|params| field(params, "_meta"))
    {
        None => RequestMeta::default(),
        Some(meta) => RequestMeta::read(meta)?,
    };
    // Only the modern era has these two, so a request without a claim is a broken modern one.
    let modern = meta.claims_modern() || matches!(message.method(), method::DISCOVER | method::LISTEN);
    Ok(Request {
        id,
        params,
        claim: if modern { Some(meta.claim()?) } else { None },
        progress_token: meta
            .progress_token
            .and_then(|token| serde_json::from_str(token.get()).ok()),
    })
}

fn discover() -> Answer {
    Answer::lasting(json!({
        "supportedVersions": Revision::ALL.map(Revision::as_str),
        "capabilities": capabilities(),
        "instructions": INSTRUCTIONS,
    }))
}

fn capabilities() -> Object {
    object(json!({"tools": {}, "resources": {"subscribe": true}, "prompts": {}, "completions": {}, "logging": {}}))
}

/// The `_meta` of a notification on the listen stream with the raw id `id`.
fn subscription(id: &str) -> Value {
    let id: Value = serde_json::from_str(id).unwrap_or_default();
    json!({meta_key::SUBSCRIPTION_ID: id})
}
