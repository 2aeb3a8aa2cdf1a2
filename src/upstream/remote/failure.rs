//! Why a message got no answer from a remote server, and what the one who asked is told.

use bytes::Bytes;
use http::StatusCode;

use crate::{
    config::ServiceName,
    mcp::{ErrorAnswer, HubFault, Outcome, code},
};

/// Why a message got no answer.
#[derive(Debug, thiserror::Error)]
pub(super) enum Failure {
    /// It never arrived.
    #[error("the server can't be reached: {0}")]
    Unreachable(String),
    /// It was sent; what became of it is not known.
    #[error("the connection to the server broke: {0}")]
    Broken(String),
    /// The server no longer knows the session; it did not look at the message.
    #[error("the server has forgotten the session")]
    Forgotten,
    /// The server does not know this transport; it may know the one before.
    #[error("the server does not speak Streamable HTTP (HTTP status {0})")]
    OlderTransport(StatusCode),
    /// The server wants to know who asks.
    #[error("the server answered with HTTP status {0}: it wants other credentials than `headers` holds")]
    Unauthorized(StatusCode),
    /// The server refused it, with an error object or without.
    #[error("the server answered with HTTP status {0}")]
    Status(StatusCode, Option<Box<str>>),
    /// The answer is longer than a message may be.
    #[error("the server's answer is longer than {0} bytes, the limit of a message")]
    TooLong(usize),
    /// The answer is no MCP.
    #[error("the server answered with what is no MCP: {0}")]
    Nonsense(String),
}

impl Failure {
    /// Whether the session is over with it.
    pub(super) fn ends_session(&self) -> bool {
        match self {
            Self::Unreachable(_) | Self::Forgotten | Self::OlderTransport(_) => true,
            Self::Broken(_) | Self::Unauthorized(_) | Self::Status(..) | Self::TooLong(_) | Self::Nonsense(_) => false,
        }
    }

    /// The error that answers request `id` of `service`.
    pub(super) fn answer(&self, service: &ServiceName, id: Option<&str>) -> Bytes {
        let (code, reason, outcome) = match self {
            Self::Status(_, Some(error)) => {
                let id = id.unwrap_or("null");
                return Bytes::from(format!("{{\"jsonrpc\":\"2.0\",\"id\":{id},\"error\":{error}}}"));
            }
            Self::Unreachable(_) => (code::UNAVAILABLE, "unreachable", Outcome::NotSent),
            Self::OlderTransport(_) => (code::UNAVAILABLE, "http_status", Outcome::NotSent),
            Self::Forgotten => (code::UNAVAILABLE, "session_forgotten", Outcome::NotSent),
            Self::Unauthorized(_) => (code::UNAVAILABLE, "unauthorized", Outcome::NotSent),
            Self::Status(..) => (code::UNAVAILABLE, "http_status", Outcome::Unknown),
            Self::Broken(_) => (code::OUTCOME_UNKNOWN, "connection_broken", Outcome::Unknown),
            Self::TooLong(_) => (code::OVERLOADED, "answer_too_long", Outcome::Done),
            Self::Nonsense(_) => (code::OUTCOME_UNKNOWN, "no_mcp", Outcome::Unknown),
        };
        let advice = match outcome {
            Outcome::NotSent => "the call was not carried out",
            Outcome::Unknown => "whether the call took effect is not known",
            Outcome::Done => "the call ran, its answer was dropped",
        };
        let fault = HubFault {
            code,
            reason,
            service: service.to_string(),
            retryable: outcome == Outcome::NotSent && !matches!(self, Self::Unauthorized(_)),
            outcome,
            message: format!("service `{service}`: {self}; {advice}"),
            exit: None,
            stderr: Vec::new(),
        };
        ErrorAnswer::from(fault).to_message(id)
    }
}

/// An error with its causes, in one line. The URL stays out: it may hold a secret.
pub(super) fn chain(error: reqwest::Error) -> String {
    let error = error.without_url();
    let mut text = error.to_string();
    let mut cause = std::error::Error::source(&error);
    while let Some(inner) = cause {
        text = format!("{text}: {inner}");
        cause = inner.source();
    }
    text
}
