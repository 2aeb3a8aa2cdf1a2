//! The one `subscriptions/listen` of a modern connection: list changes, and the resources that clients watch.

use std::sync::{Arc, Mutex, PoisonError};

use serde_json::json;

use super::{Connection, InFlight, listing::own_params};
use crate::mcp::{Era, method};

/// The listen request that is open. A new one replaces it when the watched resources change, as the specification has no
/// way to change one.
#[derive(Debug, Default)]
pub(super) struct Listening {
    open: Mutex<Option<InFlight>>,
}

impl Listening {
    /// Breaks the circle between the connection and its own request.
    pub(super) fn forget(&self) {
        drop(self.replace(None));
    }

    fn replace(&self, next: Option<InFlight>) -> Option<InFlight> {
        std::mem::replace(&mut *self.open.lock().unwrap_or_else(PoisonError::into_inner), next)
    }
}

impl Connection {
    /// Asks a modern server for list changes and for updates of `uris`; does nothing on a legacy connection or where the
    /// server offers neither.
    pub fn listen(self: &Arc<Self>, uris: &[String]) {
        let Some(introduction) = self.introduction().filter(|_| self.variant().era == Era::Modern) else {
            return;
        };
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
            if changes(capability) {
                wanted.insert(field.to_owned(), true.into());
            }
        }
        if !uris.is_empty() && introduction.can_subscribe() {
            wanted.insert("resourceSubscriptions".to_owned(), json!(uris));
        }
        if wanted.is_empty() {
            return;
        }
        let params = own_params(
            Era::Modern,
            &format!("\"notifications\":{}", serde_json::Value::Object(wanted)),
        );
        let opened = self.call(None, |number| {
            format!(
                "{{\"jsonrpc\":\"2.0\",\"id\":{number},\"method\":\"{}\",\"params\":{params}}}",
                method::LISTEN
            )
            .into()
        });
        match opened {
            // The old request ends only now, so that no change falls between the two.
            Ok(call) => drop(self.listening().replace(Some(call))),
            Err(error) => {
                tracing::warn!(service = %self.service(), error = error.0.message, "could not listen for changes");
            }
        }
    }
}
