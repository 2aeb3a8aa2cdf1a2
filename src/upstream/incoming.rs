//! What a server writes: answers to whoever waits, messages to the gateway, and the rest, which hurts nobody but itself.

use std::sync::Arc;

use bytes::Bytes;

use super::{Connection, ListKind, faults, pending::Ended, stdio::Heard};
use crate::{
    jsonrpc::{IdScan, Kind, Line, Looks, Message, Splice, parse, parse_batch},
    mcp::{Era, ErrorAnswer, HubFault, code, field, method},
    supervisor::SessionEnd,
    telemetry::bad_line,
};

/// What some programs write before their first line; it is no part of it (RFC 8259 §8.1).
const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

impl Connection {
    /// Takes what the server wrote. `false` ends the reading: it writes garbage.
    pub(super) fn receive(self: &Arc<Self>, heard: Heard) -> bool {
        match heard {
            Heard::Line(Line::Whole(bytes)) => match parse(bytes.clone()) {
                Ok(message) => {
                    self.dispatch(message);
                    true
                }
                Err(invalid) => self.take_unusual(&bytes, &invalid.to_string()),
            },
            Heard::Line(Line::TooLong { length, id, looks }) => self.take_too_long(length, id.as_deref(), looks),
            Heard::Endless => {
                self.over(SessionEnd::Garbage("a line that does not end".to_owned()));
                false
            }
        }
    }

    /// A line that is no single message.
    fn take_unusual(self: &Arc<Self>, bytes: &Bytes, why: &str) -> bool {
        if bytes.starts_with(BYTE_ORDER_MARK)
            && let Ok(message) = parse(bytes.slice(BYTE_ORDER_MARK.len()..))
        {
            self.dispatch(message);
            return true;
        }
        if let Some(Ok(items)) = parse_batch(bytes) {
            let mut bad = None;
            for item in items {
                match item {
                    Ok(message) => self.dispatch(message),
                    Err(invalid) => bad = Some(invalid.to_string()),
                }
            }
            return bad.is_none_or(|why| self.bad_line(&why));
        }
        self.end_broken_answer(bytes, why);
        self.bad_line(why)
    }

    /// Whoever waits for an answer that came and can't be read need not wait for the limit of the call.
    fn end_broken_answer(&self, bytes: &[u8], why: &str) {
        // Text before it would be a log line that quotes the answer, which may still come.
        if !bytes.trim_ascii_start().starts_with(b"{") {
            return;
        }
        let mut scan = IdScan::default();
        scan.feed(bytes);
        if scan.looks() == Looks::Answering {
            self.end_call(scan.id(), faults::unreadable(self.service(), why));
        }
    }

    fn take_too_long(&self, length: u64, id: Option<&str>, looks: Looks) -> bool {
        let service = self.service();
        tracing::warn!(%service, length, "a line from the service is too long and is dropped");
        match (looks, id) {
            (Looks::Answering, Some(_)) => {
                bad_line(service);
                self.end_call(id, faults::too_long(service, length));
                true
            }
            (Looks::Asking, Some(_)) => {
                bad_line(service);
                let error = ErrorAnswer::new(
                    code::INVALID_REQUEST,
                    "the message is longer than limits.max_line_bytes allows",
                );
                self.respond(&error.to_message(id));
                true
            }
            (Looks::Answering | Looks::Asking, None) | (Looks::Unclear, _) => self.bad_line("a line that is too long"),
        }
    }

    fn end_call(&self, id: Option<&str>, fault: HubFault) {
        if let Some(number) = id.and_then(|id| id.parse().ok()) {
            self.pending().answer(number, Ended::Fault(Box::new(fault)));
        }
    }

    fn dispatch(self: &Arc<Self>, message: Message) {
        match message.kind() {
            Kind::Result | Kind::Error => {
                let number = message.id().and_then(|id| id.parse().ok());
                if !number.is_some_and(|number| self.pending().answer(number, Ended::Answer(message))) {
                    self.note_late();
                }
            }
            Kind::Notification => match message.method() {
                method::PROGRESS => self.progress(&message),
                method::TOOLS_CHANGED => self.mark_stale(&[ListKind::Tools]),
                method::PROMPTS_CHANGED => self.mark_stale(&[ListKind::Prompts]),
                method::RESOURCES_CHANGED => self.mark_stale(&[ListKind::Resources, ListKind::Templates]),
                method::LISTEN_ACKNOWLEDGED => self.note_acknowledged(&message),
                method::CANCELLED if self.ends_stream(&message) => {}
                _ => self.listener().notification(self, message),
            },
            Kind::Request if message.method() == method::PING => {
                let id = message.id().unwrap_or("null");
                self.respond(&Bytes::from(format!(
                    "{{\"jsonrpc\":\"2.0\",\"id\":{id},\"result\":{{}}}}"
                )));
            }
            Kind::Request => self.listener().request(self, message),
        }
    }

    /// A modern server may end a listen stream, which is a request of ours, in this way.
    fn ends_stream(&self, cancelled: &Message) -> bool {
        let id = cancelled.body_text().and_then(|params| field(params, "requestId"));
        let number = id.and_then(|id| id.get().parse().ok());
        self.variant().era == Era::Modern && number.is_some_and(|number| self.pending().end_own(number))
    }

    /// Our token is the call's number; the client gets its own back.
    fn progress(&self, message: &Message) {
        let Some(token) = message.body_text().and_then(|params| field(params, "progressToken")) else {
            return;
        };
        let origin = token
            .get()
            .parse()
            .ok()
            .and_then(|number| self.pending().origin(number));
        if let Some(origin) = origin
            && let Some(own) = &origin.progress_token
        {
            let range = message.span_of(token.get());
            let out = Splice::new(message.bytes(), own.len())
                .replace(&range, own.as_bytes())
                .finish();
            // A client that reads too slowly loses progress first.
            origin.related.send(out);
        }
    }

    /// `false` if there were too many of late.
    fn bad_line(&self, why: &str) -> bool {
        let service = self.service();
        bad_line(service);
        tracing::warn!(%service, why, "the service wrote a line that is no JSON-RPC message");
        let broken = self.note_bad_line();
        if broken {
            self.over(SessionEnd::Garbage(why.to_owned()));
        }
        !broken
    }
}
