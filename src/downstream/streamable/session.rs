//! One legacy session: a client, its general stream, and the streams of its calls that can be taken up again.

use std::{
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    time::Duration,
};

use tokio::time::Instant;

use super::stream::{Bounds, EventStream};
use crate::{
    downstream::{endpoint::Endpoint, http::access::Caller},
    gateway::Client,
};

/// How long the answer of a call whose connection broke is kept.
const KEEP_UNREAD: Duration = Duration::from_mins(6);
/// How many streams are kept that were read to their end: the last bytes may still have been lost on the way.
const KEEP_READ: usize = 4;
/// How many streams of ended calls are kept at most.
const KEEP_ALL: usize = 128;

/// Number of the general stream.
pub(super) const GENERAL: u32 = 0;

/// A session's name: 128 random bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct SessionId(u128);

impl SessionId {
    /// A new one.
    pub(crate) fn random() -> Self {
        Self(rand::random())
    }

    /// Reads 32 hexadecimal digits.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let plain = text.len() == 32 && text.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b));
        plain.then(|| u128::from_str_radix(text, 16).ok().map(Self)).flatten()
    }
}

impl std::fmt::Display for SessionId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

#[derive(Debug, Default)]
struct Streams {
    last: u32,
    kept: Vec<(u32, Arc<EventStream>)>,
}

/// A legacy session.
#[derive(Debug)]
pub(crate) struct Session {
    pub(super) id: SessionId,
    pub(super) client: Arc<Client>,
    pub(super) general: Arc<EventStream>,
    caller: Caller,
    endpoint: Arc<Endpoint>,
    streams: Mutex<Streams>,
    busy: AtomicUsize,
    /// Milliseconds since `born` when it was last used.
    used: AtomicU64,
    born: Instant,
}

/// Somebody uses the session: it is not idle until this is dropped.
#[derive(Debug)]
pub(crate) struct InUse(Arc<Session>);

impl Drop for InUse {
    fn drop(&mut self) {
        self.0.touch();
        self.0.busy.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Session {
    pub(super) fn new(
        id: SessionId,
        client: Arc<Client>,
        general: Arc<EventStream>,
        caller: Caller,
        endpoint: Arc<Endpoint>,
    ) -> Self {
        general.number(GENERAL);
        Self {
            id,
            client,
            general,
            caller,
            endpoint,
            streams: Mutex::default(),
            busy: AtomicUsize::new(0),
            used: AtomicU64::new(0),
            born: Instant::now(),
        }
    }

    /// Whether `caller` may use it at `endpoint`. An id alone is no proof of anything.
    pub(super) fn belongs_to(&self, caller: Caller, endpoint: &Arc<Endpoint>) -> bool {
        self.caller == caller && Arc::ptr_eq(&self.endpoint, endpoint)
    }

    /// Notes that it is used now.
    pub(super) fn touch(&self) {
        let now = u64::try_from(self.born.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.used.store(now, Ordering::Relaxed);
    }

    /// Holds it in use.
    pub(super) fn in_use(self: &Arc<Self>) -> InUse {
        self.busy.fetch_add(1, Ordering::Relaxed);
        self.touch();
        InUse(Arc::clone(self))
    }

    /// When it was last used, unless it is in use.
    pub(super) fn idle_since(&self) -> Option<Instant> {
        let used = Duration::from_millis(self.used.load(Ordering::Relaxed));
        (self.busy.load(Ordering::Relaxed) == 0).then(|| self.born + used)
    }

    /// Numbers the stream of a call, so that it can be taken up again.
    pub(super) fn keep(&self, stream: &Arc<EventStream>) -> u32 {
        let mut streams = self.streams.lock().unwrap_or_else(PoisonError::into_inner);
        forget(&mut streams.kept);
        streams.last += 1;
        let number = streams.last;
        stream.number(number);
        streams.kept.push((number, Arc::clone(stream)));
        number
    }

    /// The stream of that number, if it is still kept.
    pub(super) fn stream(&self, number: u32) -> Option<Arc<EventStream>> {
        if number == GENERAL {
            return Some(Arc::clone(&self.general));
        }
        let streams = self.streams.lock().unwrap_or_else(PoisonError::into_inner);
        let found = streams.kept.iter().find(|(kept, _)| *kept == number);
        found.map(|(_, stream)| Arc::clone(stream))
    }

    /// Lets go of what nobody will ask for again.
    pub(super) fn sweep(&self) {
        forget(&mut self.streams.lock().unwrap_or_else(PoisonError::into_inner).kept);
    }

    /// Ends its streams.
    pub(super) fn end(&self) {
        self.general.finish(None);
        let mut streams = self.streams.lock().unwrap_or_else(PoisonError::into_inner);
        for (_, stream) in streams.kept.drain(..) {
            stream.finish(None);
        }
    }
}

/// Drops ended streams: those unread for long, all but the last few that were read to the end, and the oldest beyond the most.
fn forget(kept: &mut Vec<(u32, Arc<EventStream>)>) {
    let (mut read, mut ended) = (0, 0);
    let mut keep: Vec<bool> = kept
        .iter()
        .rev()
        .map(|(_, stream)| match stream.ended() {
            None => true,
            Some((at, was_read)) => {
                ended += 1;
                read += usize::from(was_read);
                at.elapsed() < KEEP_UNREAD && ended <= KEEP_ALL && !(was_read && read > KEEP_READ)
            }
        })
        .collect();
    kept.retain(|_| keep.pop().unwrap_or(false));
}

/// The bounds of a session's streams are those of replay.
pub(super) fn general(bounds: Bounds) -> Arc<EventStream> {
    Arc::new(EventStream::new(bounds))
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    #[test]
    fn ids_are_long_and_read_strictly() {
        let id = SessionId::random();
        assert_eq!(SessionId::parse(&id.to_string()), Some(id));
        assert_ne!(SessionId::random(), id);
        for bad in [
            "",
            "0",
            &"g".repeat(32),
            &"A".repeat(32),
            &"0".repeat(33),
            &format!("+{}", "0".repeat(31)),
        ] {
            assert_eq!(SessionId::parse(bad), None, "{bad}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn ended_streams_are_kept_for_those_who_come_back() {
        let bounds = Bounds {
            messages: 8,
            bytes: 100,
        };
        let stream = |ended: bool, read: bool| {
            let stream = Arc::new(EventStream::new(bounds));
            if ended {
                stream.finish((!read).then(|| Bytes::from_static(b"answer")));
            }
            stream
        };
        let mut kept: Vec<_> = (1..).zip((0..10).map(|_| stream(true, true))).collect();
        kept.push((11, stream(true, false)));
        kept.push((12, stream(false, false)));
        forget(&mut kept);
        let numbers: Vec<u32> = kept.iter().map(|(number, _)| *number).collect();
        assert_eq!(numbers, [7, 8, 9, 10, 11, 12]);
        // Five minutes are promised to a client that comes back for an answer.
        tokio::time::advance(Duration::from_mins(5)).await;
        forget(&mut kept);
        assert!(
            kept.iter().any(|(number, _)| *number == 11),
            "an answer that nobody has read"
        );
        tokio::time::advance(KEEP_UNREAD).await;
        forget(&mut kept);
        assert_eq!(kept.len(), 1, "the call that still runs");
    }
}
