//! Server-sent events as bytes (WHATWG HTML §9.2).

use bytes::{Bytes, BytesMut};

/// A comment that keeps a connection alive.
pub(crate) const KEEP_ALIVE: Bytes = Bytes::from_static(b": keep-alive\n\n");
/// A comment that opens a stream, so that intermediaries pass its head on.
pub(crate) const OPENED: Bytes = Bytes::from_static(b": open\n\n");

/// The number of an event: of its stream in the session, and its own in the stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct EventId {
    pub(crate) stream: u32,
    pub(crate) sequence: u64,
}

impl EventId {
    /// Reads what [`append`] wrote.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let (stream, sequence) = text.split_once('-')?;
        let number = |text: &str| {
            text.bytes()
                .all(|b| b.is_ascii_digit())
                .then(|| text.parse::<u64>().ok())
                .flatten()
        };
        Some(Self {
            stream: u32::try_from(number(stream)?).ok()?,
            sequence: number(sequence)?,
        })
    }
}

/// Adds a message event. `message` must be one line (see [`one_line`]).
pub(crate) fn append(out: &mut BytesMut, id: Option<(u32, u64)>, message: &[u8]) {
    out.reserve(message.len() + 64);
    out.extend_from_slice(b"event: message\n");
    if let Some((stream, sequence)) = id {
        out.extend_from_slice(format!("id: {stream}-{sequence}\n").as_bytes());
    }
    out.extend_from_slice(b"data: ");
    out.extend_from_slice(message);
    out.extend_from_slice(b"\n\n");
}

/// An event without data at the head of a stream: it gives the client an id to come back with, should the connection break
/// before the first message (2025-11-25, "Streamable HTTP"). Clients of older revisions choke on it.
pub(crate) fn priming(stream: u32, sequence: u64) -> Bytes {
    Bytes::from(format!("id: {stream}-{sequence}\nretry: 1000\ndata: \n\n"))
}

/// The event that tells a 2024-11-05 client where to post.
pub(crate) fn endpoint(uri: &str) -> Bytes {
    Bytes::from(format!("event: endpoint\ndata: {uri}\n\n"))
}

/// `message` without line breaks. JSON has them only between its tokens, where a space means the same.
pub(crate) fn one_line(message: Bytes) -> Bytes {
    if memchr::memchr2(b'\n', b'\r', &message).is_none() {
        return message;
    }
    let spaced: Vec<u8> = message
        .iter()
        .map(|byte| if matches!(byte, b'\n' | b'\r') { b' ' } else { *byte })
        .collect();
    Bytes::from(spaced)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn events() {
        let mut out = BytesMut::new();
        append(&mut out, None, b"{}");
        append(&mut out, Some((2, 7)), b"[]");
        assert_eq!(
            &out[..],
            b"event: message\ndata: {}\n\nevent: message\nid: 2-7\ndata: []\n\n"
        );
        assert_eq!(&priming(2, 0)[..], b"id: 2-0\nretry: 1000\ndata: \n\n");
    }

    #[test]
    fn line_breaks_between_tokens_go() {
        assert_eq!(
            &one_line(Bytes::from_static(b"{\r\n\"a\":\n\"\\n\"}"))[..],
            b"{  \"a\": \"\\n\"}"
        );
    }

    proptest! {
        #[test]
        fn ids_survive(stream: u32, sequence: u64) {
            let text = format!("{stream}-{sequence}");
            prop_assert_eq!(EventId::parse(&text), Some(EventId { stream, sequence }));
        }

        #[test]
        fn other_ids_are_none(text in "\\PC{0,20}") {
            if let Some(id) = EventId::parse(&text) {
                prop_assert!(text.contains('-') && text.len() >= 3, "{:?}", id);
            }
        }

        /// A reader of events finds exactly the messages that were put in.
        #[test]
        fn what_goes_in_comes_out(messages in prop::collection::vec("\\PC{1,30}", 0..8)) {
            let mut out = BytesMut::new();
            for (n, message) in (0u64..).zip(&messages) {
                append(&mut out, Some((0, n)), &one_line(Bytes::from(message.clone())));
            }
            let text = String::from_utf8(out.to_vec()).unwrap();
            let found: Vec<_> = text.lines().filter_map(|line| line.strip_prefix("data: ")).collect();
            let wanted: Vec<_> = messages.iter().map(|m| m.replace(['\n', '\r'], " ")).collect();
            prop_assert_eq!(found, wanted);
        }
    }
}
