//! What this side knows of its session with the hub, and how to open another when the hub has forgotten it.

use std::sync::{Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue};

use crate::{mcp::field, upstream::remote::Annotations};

pub(super) const SESSION: HeaderName = HeaderName::from_static("mcp-session-id");
pub(super) const VERSION: HeaderName = HeaderName::from_static("mcp-protocol-version");

/// A session as its requests name it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Session {
    /// Goes up with each session opened; 0 before the first.
    pub(super) generation: u64,
    id: Option<HeaderValue>,
    version: Option<HeaderValue>,
}

impl Session {
    /// Whether the other side gave it a name, so that it can be forgotten.
    pub(super) fn is_named(&self) -> bool {
        self.id.is_some()
    }

    /// Adds the headers that name it.
    pub(super) fn put(&self, headers: &mut HeaderMap) {
        if let Some(id) = &self.id {
            headers.insert(SESSION, id.clone());
        }
        if let Some(version) = &self.version {
            headers.insert(VERSION, version.clone());
        }
    }
}

#[derive(Debug, Default)]
struct State {
    session: Session,
    initialize: Option<Bytes>,
    annotations: Annotations,
}

/// What is remembered from message to message.
#[derive(Debug, Default)]
pub(super) struct Memory(Mutex<State>);

impl Memory {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The session in force.
    pub(super) fn session(&self) -> Session {
        self.lock().session.clone()
    }

    /// Keeps the client's `initialize`, to say it again where needed.
    pub(super) fn keep_initialize(&self, message: Bytes) {
        self.lock().initialize = Some(message);
    }

    /// The client's `initialize`.
    pub(super) fn initialize(&self) -> Option<Bytes> {
        self.lock().initialize.clone()
    }

    /// A session was opened: `headers` of the response, and the answer to `initialize`.
    pub(super) fn opened(&self, headers: &HeaderMap, answer: &Bytes) {
        let result = std::str::from_utf8(answer).ok().and_then(|text| field(text, "result"));
        let version = result.and_then(|result| field(result.get(), "protocolVersion"));
        let version = version.and_then(crate::jsonrpc::text_of);
        let mut state = self.lock();
        state.session = Session {
            generation: state.session.generation + 1,
            id: headers.get(SESSION).cloned(),
            version: version.and_then(|version| HeaderValue::try_from(&*version).ok()),
        };
    }

    /// Learns from an answer that passes through.
    pub(super) fn learn(&self, answer: &Bytes) {
        self.lock().annotations.learn(answer);
    }

    /// Uses what was learned of annotated arguments.
    pub(super) fn with_annotations<T>(&self, use_them: impl FnOnce(&Annotations) -> T) -> T {
        use_them(&self.lock().annotations)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_session_is_named_by_what_the_hub_said() {
        let memory = Memory::default();
        let given = HeaderMap::from_iter([(SESSION, HeaderValue::from_static("abc"))]);
        let answer = Bytes::from_static(br#"{"jsonrpc":"2.0","id":1,"result":{"protocolVersion":"2025-06-18"}}"#);
        memory.opened(&given, &answer);
        let session = memory.session();
        let mut headers = HeaderMap::new();
        session.put(&mut headers);
        assert_eq!((session.generation, session.is_named()), (1, true));
        assert_eq!(
            (&headers[SESSION], &headers[VERSION]),
            (
                &HeaderValue::from_static("abc"),
                &HeaderValue::from_static("2025-06-18")
            )
        );
    }
}
