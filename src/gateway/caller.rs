//! One request's sender, as the request itself and the client's handshake tell.

use std::sync::Arc;

use super::{Client, OnDrop};
use crate::{
    catalog::Audience,
    mcp::{CallParams, Era, ErrorAnswer, Features, LogLevel, Outbox, Revision},
    upstream::{Origin, Wanted},
};

/// Who sent a request, with what abilities, and where its side messages go.
#[derive(Clone)]
pub(super) struct Caller {
    pub(super) client: Arc<Client>,
    pub(super) revision: Revision,
    pub(super) features: Features,
    log_from: Option<LogLevel>,
    asked_level: Option<LogLevel>,
    pub(super) related: Arc<dyn Outbox>,
}

impl std::fmt::Debug for Caller {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Caller")
            .field("client", &self.client.id())
            .field("revision", &self.revision)
            .finish_non_exhaustive()
    }
}

impl Caller {
    /// A modern claim in the request decides; without one it is the client's handshake; `Ok(None)` if there was none.
    pub(super) fn identify(
        client: &Arc<Client>,
        params: &CallParams<'_>,
        related: &Arc<dyn Outbox>,
    ) -> Result<Option<Self>, ErrorAnswer> {
        let caller = |revision, features, log_from, asked_level| Self {
            client: Arc::clone(client),
            revision,
            features,
            log_from,
            asked_level,
            related: Arc::clone(related),
        };
        if params.meta.claims_modern() {
            let claim = params.meta.claim()?;
            return Ok(Some(caller(
                claim.revision,
                claim.features,
                claim.log_level,
                claim.log_level,
            )));
        }
        Ok(client.handshake().map(|(revision, features, level)| {
            // A legacy server decides by itself what to log until it is told a level.
            caller(revision, features, Some(level.unwrap_or(LogLevel::Debug)), level)
        }))
    }

    pub(super) fn era(&self) -> Era {
        self.revision.era()
    }

    pub(super) fn audience(&self) -> Audience {
        Audience {
            scope: self.client.scope().clone(),
            era: self.era(),
            features: match self.era() {
                Era::Legacy => self.features.without(Features::ROOTS),
                Era::Modern => Features::NONE,
            },
        }
    }

    pub(super) fn wanted(&self) -> Wanted {
        Wanted {
            era: self.era(),
            features: self.features,
            // Modern callers share one client per door; they have no session that a process could belong to.
            client: (self.era() == Era::Legacy).then_some(self.client.id().0),
        }
    }

    pub(super) fn log_from(&self) -> Option<LogLevel> {
        self.log_from
    }

    /// The level the client asked for in so many words.
    pub(super) fn asked_level(&self) -> Option<LogLevel> {
        self.asked_level
    }

    pub(super) fn origin(&self, params: &CallParams<'_>) -> Origin {
        Origin {
            client: self.client.id().0,
            session: self.era() == Era::Legacy,
            related: Arc::clone(&self.related),
            progress_token: params.meta.progress_token.map(|token| token.get().into()),
            log_from: self.log_from,
        }
    }

    /// Whether a dropped request tells the service to stop.
    pub(super) fn cancels_on_drop(&self) -> bool {
        self.era() == Era::Modern || self.client.on_drop() == OnDrop::Cancel
    }

    /// The error for a resource that nobody has.
    pub(super) fn resource_not_found(&self, uri: &str) -> ErrorAnswer {
        let code = match self.era() {
            Era::Legacy => crate::mcp::code::RESOURCE_NOT_FOUND,
            Era::Modern => crate::mcp::code::INVALID_PARAMS,
        };
        ErrorAnswer::new(code, format!("no service has the resource `{uri}`"))
            .with_data(serde_json::json!({ "uri": uri }))
    }
}
