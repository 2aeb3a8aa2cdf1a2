//! GET opens or takes up a stream of a session, DELETE ends the session. Both exist only in the legacy era.

use std::sync::Arc;

use http::{HeaderMap, HeaderName, StatusCode};

use super::{
    call::Reader,
    classify::{Named, named, single},
    event::EventId,
    post::{opening, session_of},
    session::{GENERAL, Session},
};
use crate::{
    downstream::{
        door::Visit,
        http::{
            media,
            reply::{self, Answer},
        },
    },
    mcp::{Era, ErrorAnswer, code},
};

const LAST_EVENT: HeaderName = HeaderName::from_static("last-event-id");

/// Answers a GET.
pub(crate) fn get(visit: &Visit, headers: &HeaderMap) -> Answer {
    if !media::takes_events(headers) {
        return refused(StatusCode::NOT_ACCEPTABLE, "Accept must list text/event-stream");
    }
    let session = match legacy_session(visit, headers) {
        Ok(session) => session,
        Err(answer) => return *answer,
    };
    let (number, after) = match single(headers, &LAST_EVENT) {
        Err(error) => return refused(StatusCode::BAD_REQUEST, error.to_string()),
        Ok(None | Some("")) => (GENERAL, None),
        Ok(Some(text)) => match EventId::parse(text) {
            Some(id) => (id.stream, Some(id.sequence)),
            None => return refused(StatusCode::BAD_REQUEST, "Last-Event-ID is none of this session's"),
        },
    };
    let Some(stream) = session.stream(number) else {
        return refused(
            StatusCode::BAD_REQUEST,
            "the stream of this Last-Event-ID is no longer kept",
        );
    };
    if visit.door.closing.is_cancelled() && number == GENERAL {
        return refused(StatusCode::SERVICE_UNAVAILABLE, "the hub is stopping");
    }
    let revision = session.client.revision();
    let reader = Reader::new(stream, after).headed(|behind| opening(revision, number, behind));
    reply::events(reader.holding(session.in_use()))
}

/// Answers a DELETE.
pub(crate) fn delete(visit: &Visit, headers: &HeaderMap) -> Answer {
    match legacy_session(visit, headers) {
        Err(answer) => *answer,
        Ok(session) => {
            visit.door.sessions.remove(&session, &visit.door.gateway);
            reply::empty(StatusCode::NO_CONTENT)
        }
    }
}

fn legacy_session(visit: &Visit, headers: &HeaderMap) -> Result<Arc<Session>, Box<Answer>> {
    match named(headers) {
        Err(error) => return Err(Box::new(refused(StatusCode::BAD_REQUEST, error.to_string()))),
        Ok(Named::Unknown(text)) => {
            let error = ErrorAnswer::unsupported_version(text);
            return Err(Box::new(reply::error(
                StatusCode::BAD_REQUEST,
                &error,
                None,
                Era::Legacy,
            )));
        }
        Ok(Named::Known(revision)) if revision.era() == Era::Modern => {
            return Err(Box::new(reply::not_allowed("POST")));
        }
        Ok(Named::Known(_) | Named::Absent) => {}
    }
    session_of(visit, headers).map_err(|missing| Box::new(missing.answer(None)))
}

fn refused(status: StatusCode, message: impl Into<String>) -> Answer {
    let error = ErrorAnswer::new(code::INVALID_REQUEST, message);
    reply::error(status, &error, None, Era::Legacy)
}
