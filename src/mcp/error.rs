//! Errors as clients see them: codes, and who was at fault.

use bytes::Bytes;
use serde_json::{Value, json};

use crate::jsonrpc::json_string;

/// Error codes of JSON-RPC, of MCP, and the hub's own, which lie outside every reserved range.
pub mod code {
    /// Not JSON.
    pub const PARSE: i32 = -32700;
    /// No JSON-RPC message.
    pub const INVALID_REQUEST: i32 = -32600;
    /// No such method.
    pub const METHOD_NOT_FOUND: i32 = -32601;
    /// Parameters don't fit.
    pub const INVALID_PARAMS: i32 = -32602;
    /// The hub's own fault.
    pub const INTERNAL: i32 = -32603;
    /// Resource not found, legacy revisions.
    pub const RESOURCE_NOT_FOUND: i32 = -32002;
    /// 2026-07-28: headers and body disagree.
    pub const HEADER_MISMATCH: i32 = -32020;
    /// 2026-07-28: the server needs a capability the client did not declare.
    pub const MISSING_CLIENT_CAPABILITY: i32 = -32021;
    /// 2026-07-28: unknown revision.
    pub const UNSUPPORTED_VERSION: i32 = -32022;

    /// The service's process ended during the call.
    pub const CHILD_EXITED: i32 = -31001;
    /// The call may or may not have run.
    pub const OUTCOME_UNKNOWN: i32 = -31002;
    /// No answer within the deadline.
    pub const TIMEOUT: i32 = -31003;
    /// A queue or limit is full.
    pub const OVERLOADED: i32 = -31004;
    /// The hub is stopping.
    pub const DRAINING: i32 = -31005;
    /// The service is not up.
    pub const UNAVAILABLE: i32 = -31006;
    /// The tool's definition changed since it was approved.
    pub const TOOL_CHANGED: i32 = -31007;
    /// The service does not read what it is sent.
    pub const CHILD_STALLED: i32 = -31008;
}

/// What became of the work a failed call asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The service never saw it: safe to repeat.
    NotSent,
    /// It was sent; whether it ran is not known.
    Unknown,
    /// It ran to its end.
    Done,
}

impl Outcome {
    /// Its name in `data.mcpvisor.outcome`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::NotSent => "not_sent",
            Self::Unknown => "unknown",
            Self::Done => "done",
        }
    }
}

/// How a process ended: `error.data.mcpvisor.exit`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProcessEnd {
    /// A word, as in `last_exit.reason` of `/api/v1/services`: `exit 3`, `oom`, …
    pub reason: String,
    /// Exit code, if it ended by itself.
    pub code: Option<i32>,
    /// Signal, if it was killed.
    pub signal: Option<i32>,
}

/// A failure the hub reports in its own name: `error.data.mcpvisor`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HubFault {
    /// One of the codes -31001 to -31008.
    pub code: i32,
    /// A stable word: `child_exited`, `timeout`, `unavailable`, …
    pub reason: &'static str,
    /// The service concerned.
    pub service: String,
    /// Whether the same call may succeed if sent again.
    pub retryable: bool,
    /// What became of the work.
    pub outcome: Outcome,
    /// A sentence for a person: what happened, whose fault, what to do.
    pub message: String,
    /// The last lines of the service's stderr, where they explain it.
    pub stderr: Vec<String>,
    /// How the process ended that had the call.
    pub exit: Option<ProcessEnd>,
}

/// An error answer without its id.
#[derive(Clone, Debug, PartialEq)]
pub struct ErrorAnswer {
    /// JSON-RPC code.
    pub code: i32,
    /// For a person.
    pub message: String,
    /// `error.data`.
    pub data: Option<Value>,
}

/// Where an error arose, which decides the HTTP status of a modern answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answered {
    /// By a server, or by the hub in a server's place: HTTP 200.
    InBand,
    /// Before the request was dispatched: the status belongs to the code.
    BeforeDispatch,
}

impl ErrorAnswer {
    /// An error without data.
    #[must_use]
    pub fn new(code: i32, message: impl Into<String>) -> Self {
        Self {
            code,
            message: message.into(),
            data: None,
        }
    }

    /// The same with `error.data`.
    #[must_use]
    pub fn with_data(mut self, data: Value) -> Self {
        self.data = Some(data);
        self
    }

    /// The same with another field in `data.mcpvisor`, where there is one.
    #[must_use]
    pub fn noting(mut self, name: &str, value: impl Into<Value>) -> Self {
        let about = self.data.as_mut().and_then(|data| data.get_mut("mcpvisor"));
        if let Some(about) = about.and_then(Value::as_object_mut) {
            about.insert(name.to_owned(), value.into());
        }
        self
    }

    /// -32601 for `method`.
    #[must_use]
    pub fn method_not_found(method: &str) -> Self {
        Self::new(code::METHOD_NOT_FOUND, format!("method `{method}` is not known here"))
    }

    /// -32602.
    #[must_use]
    pub fn invalid_params(message: impl Into<String>) -> Self {
        Self::new(code::INVALID_PARAMS, message)
    }

    /// -32022 with the revisions that can be named in a request: the same that `server/discover` lists.
    #[must_use]
    pub fn unsupported_version(requested: &str) -> Self {
        Self::new(
            code::UNSUPPORTED_VERSION,
            format!("protocol version `{requested}` is not supported"),
        )
        .with_data(json!({"supported": [super::Revision::NEWEST.as_str()], "requested": requested}))
    }

    /// The whole message; `id` is raw JSON, `null` where the request's could not be read.
    #[must_use]
    pub fn to_message(&self, id: Option<&str>) -> Bytes {
        let mut text = format!(
            "{{\"jsonrpc\":\"2.0\",\"id\":{},\"error\":{{\"code\":{},\"message\":{}",
            id.unwrap_or("null"),
            self.code,
            json_string(&self.message)
        );
        if let Some(data) = &self.data {
            text.push_str(",\"data\":");
            text.push_str(&data.to_string());
        }
        text.push_str("}}");
        Bytes::from(text)
    }
}

impl From<HubFault> for ErrorAnswer {
    fn from(fault: HubFault) -> Self {
        let mut about = json!({
            "reason": fault.reason,
            "service": fault.service,
            "retryable": fault.retryable,
            "outcome": fault.outcome.as_str(),
        });
        if let Some(about) = about.as_object_mut() {
            if !fault.stderr.is_empty() {
                about.insert("stderr".to_owned(), fault.stderr.into());
            }
            if let Some(ProcessEnd { reason, code, signal }) = fault.exit {
                let exit = json!({"reason": reason, "code": code, "signal": signal});
                about.insert("exit".to_owned(), exit);
            }
        }
        Self::new(fault.code, fault.message).with_data(json!({ "mcpvisor": about }))
    }
}
