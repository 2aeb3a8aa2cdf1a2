//! Reads server-sent events out of bytes, however they are cut (WHATWG HTML §9.2.6).

use std::time::Duration;

use bytes::Bytes;

/// One event.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Event {
    /// Its type; `None` is `message`.
    pub kind: Option<String>,
    /// Its data; `None` where it had none, or only empty lines of it.
    pub data: Option<Bytes>,
    /// The id to come back with, if it set one.
    pub id: Option<String>,
    /// How long to wait before coming back, if it said.
    pub retry: Option<Duration>,
}

/// Splits a stream into events.
#[derive(Debug, Default)]
pub struct EventReader {
    line: Vec<u8>,
    kind: Option<String>,
    after_return: bool,
    data: Vec<u8>,
    has_data: bool,
    id: Option<String>,
    retry: Option<Duration>,
}

impl EventReader {
    /// How many bytes of an unfinished event are held: for whoever wants to bound it.
    pub fn held(&self) -> usize {
        self.line.len() + self.data.len()
    }

    /// Takes in the next bytes and gives the events they complete.
    pub fn feed(&mut self, bytes: &[u8]) -> Vec<Event> {
        let mut events = Vec::new();
        let mut rest = bytes;
        while let Some(end) = memchr::memchr2(b'\n', b'\r', rest) {
            let (line, tail) = rest.split_at(end);
            let (ending, tail) = tail
                .split_first()
                .map_or((b'\n', tail), |(ending, tail)| (*ending, tail));
            let second_half = ending == b'\n' && self.after_return && line.is_empty() && self.line.is_empty();
            self.after_return = ending == b'\r';
            if !second_half {
                self.line.extend_from_slice(line);
                let line = std::mem::take(&mut self.line);
                events.extend(self.take_line(&line));
            }
            rest = tail;
        }
        if !rest.is_empty() {
            self.after_return = false;
            self.line.extend_from_slice(rest);
        }
        events
    }

    fn take_line(&mut self, line: &[u8]) -> Option<Event> {
        if line.is_empty() {
            return self.dispatch();
        }
        let colon = memchr::memchr(b':', line).unwrap_or(line.len());
        let (name, value) = line.split_at(colon);
        let value = value.strip_prefix(b":").unwrap_or(value);
        let value = value.strip_prefix(b" ").unwrap_or(value);
        match name {
            b"data" => {
                if self.has_data {
                    self.data.push(b'\n');
                }
                self.has_data = true;
                self.data.extend_from_slice(value);
            }
            b"event" => self.kind = String::from_utf8(value.to_vec()).ok(),
            b"id" if !value.contains(&0) => self.id = String::from_utf8(value.to_vec()).ok(),
            b"retry" => {
                let digits = std::str::from_utf8(value)
                    .ok()
                    .filter(|text| text.bytes().all(|b| b.is_ascii_digit()));
                self.retry = digits.and_then(|text| text.parse().ok()).map(Duration::from_millis);
            }
            _ => {}
        }
        None
    }

    fn dispatch(&mut self) -> Option<Event> {
        self.has_data = false;
        let data = std::mem::take(&mut self.data);
        let event = Event {
            kind: self.kind.take(),
            data: (!data.is_empty()).then(|| Bytes::from(data)),
            id: self.id.take(),
            retry: self.retry.take(),
        };
        (event != Event::default()).then_some(event)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn read(chunks: &[&[u8]]) -> Vec<Event> {
        let mut reader = EventReader::default();
        chunks.iter().flat_map(|chunk| reader.feed(chunk)).collect()
    }

    #[test]
    fn events_of_all_kinds() {
        let text = b": open\n\nid: 1-0\nretry: 250\ndata: \n\nevent: message\r\nid: 1-1\r\ndata: {\"a\":\r\ndata: 1}\r\n\r\ndata:x\r\rdata: lost";
        let events = read(&[text]);
        let primed = Event {
            kind: None,
            data: None,
            id: Some("1-0".to_owned()),
            retry: Some(Duration::from_millis(250)),
        };
        assert_eq!(events[0], primed);
        assert_eq!(events[1].kind.as_deref(), Some("message"));
        assert_eq!(events[1].data.as_deref(), Some(&b"{\"a\":\n1}"[..]));
        assert_eq!(events[2].data.as_deref(), Some(&b"x"[..]));
        assert_eq!(events.len(), 3);
    }

    proptest! {
        /// However the stream is cut, the same events come out.
        #[test]
        fn cuts_do_not_matter(text in "(data: [a-z]{0,3}|id: [0-9]|: c|\n|\r\n|\r){0,30}", size in 1usize..9) {
            let whole = read(&[text.as_bytes()]);
            let chunks: Vec<_> = text.as_bytes().chunks(size).collect();
            prop_assert_eq!(read(&chunks), whole);
        }
    }
}
