//! One event stream to a client: a bounded queue of messages that remembers what it sent, so that it can be taken up again.

use std::{
    collections::VecDeque,
    sync::{Mutex, MutexGuard, PoisonError},
    task::{Context, Poll, Waker},
    time::Duration,
};

use bytes::Bytes;
use tokio::time::Instant;

use super::event;
use crate::{
    config::Limits,
    gateway::{Delivery, Outbox},
};

/// How long a reader may leave its stream full before it is disconnected.
const FULL_FOR: Duration = Duration::from_secs(10);

/// Bytes handed out at once, unless one message alone is larger: what a reader holds that does not read.
const HANDFUL: usize = 16 << 10;
/// Of the messages and bytes a stream may hold, the part kept free for notices that a list changed: what they say must not get lost.
const RESERVE: usize = 32;
/// Longest notice that something changed.
const NOTICE: usize = 512;

/// Most messages and bytes a stream holds.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bounds {
    pub(crate) messages: usize,
    pub(crate) bytes: usize,
}

impl Bounds {
    pub(crate) fn of(limits: &Limits) -> Self {
        Self {
            messages: limits.replay_messages,
            bytes: limits.replay_bytes,
        }
    }

    /// Without the reserve.
    fn ordinary(self) -> Self {
        let without = |most: usize| most.saturating_sub((most / RESERVE).max(1)).max(1);
        Self {
            messages: without(self.messages),
            bytes: without(self.bytes),
        }
    }
}

/// Identifies a reader; a newer one takes the stream over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ReaderId(u64);

/// What a reader finds.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Next {
    /// The next messages, each with its number where the stream has one.
    Messages(Vec<(Option<(u32, u64)>, Bytes)>),
    /// Everything was sent and nothing will follow.
    End,
    /// Another reader has taken over, or this one was too slow.
    Replaced,
}

#[derive(Debug, Default)]
struct State {
    kept: VecDeque<Bytes>,
    /// Number of the first message kept; numbers start at 1.
    first: u64,
    /// Number of the first message that was not handed to a reader.
    cursor: u64,
    kept_bytes: usize,
    unsent_bytes: usize,
    /// Number of the stream in its session, once it can be taken up again.
    number: Option<u32>,
    readers: u64,
    attached: bool,
    ended: Option<Instant>,
    full_since: Option<Instant>,
    waker: Option<Waker>,
}

/// A stream of messages to one client.
#[derive(Debug)]
pub(crate) struct EventStream {
    bounds: Bounds,
    state: Mutex<State>,
}

impl EventStream {
    pub(crate) fn new(bounds: Bounds) -> Self {
        let state = State {
            first: 1,
            cursor: 1,
            ..State::default()
        };
        Self {
            bounds,
            state: Mutex::new(state),
        }
    }

    /// From now on messages are numbered and what was sent is kept within the bounds.
    pub(crate) fn number(&self, number: u32) {
        self.lock().number = Some(number);
    }

    /// Ready as soon as there is a message that was not handed out.
    pub(crate) fn poll_message(&self, cx: &Context<'_>) -> Poll<()> {
        let mut state = self.lock();
        if state.unsent() > 0 {
            return Poll::Ready(());
        }
        state.wait(cx);
        Poll::Pending
    }

    /// Whether there is a message that was not handed out.
    pub(crate) fn has_message(&self) -> bool {
        self.lock().unsent() > 0
    }

    /// Adds the last message, whatever the bounds say, and ends the stream.
    pub(crate) fn finish(&self, last: Option<Bytes>) {
        let mut state = self.lock();
        if state.ended.is_some() {
            return;
        }
        if let Some(last) = last {
            state.push(last, self.bounds);
        }
        state.ended = Some(Instant::now());
        state.wake();
    }

    /// When it ended, and whether everything was handed out.
    pub(crate) fn ended(&self) -> Option<(Instant, bool)> {
        let state = self.lock();
        state.ended.map(|at| (at, state.unsent() == 0))
    }

    #[cfg(test)]
    fn is_read(&self) -> bool {
        self.lock().attached
    }

    /// A new reader takes over. With `after` it starts behind that message, as far as it is still kept; else it starts with what
    /// nobody was handed. Returns the number of the message it starts behind, too.
    pub(crate) fn attach(&self, after: Option<u64>) -> (ReaderId, u64) {
        let mut state = self.lock();
        state.readers += 1;
        state.attached = true;
        state.full_since = None;
        if let Some(after) = after {
            let end = state.end();
            state.cursor = after.saturating_add(1).clamp(state.first, end);
            let unsent = usize::try_from(state.cursor - state.first).unwrap_or(usize::MAX);
            state.unsent_bytes = state.kept.iter().skip(unsent).map(Bytes::len).sum();
        }
        state.wake();
        (ReaderId(state.readers), state.cursor - 1)
    }

    /// The reader is gone.
    pub(crate) fn detach(&self, reader: ReaderId) {
        let mut state = self.lock();
        if state.readers == reader.0 {
            state.attached = false;
            state.waker = None;
        }
    }

    /// What `reader` should send next: up to 64 messages.
    pub(crate) fn poll_next(&self, reader: ReaderId, cx: &Context<'_>) -> Poll<Next> {
        let mut state = self.lock();
        if state.readers != reader.0 || !state.attached {
            return Poll::Ready(Next::Replaced);
        }
        if state.unsent() == 0 {
            if state.ended.is_some() {
                return Poll::Ready(Next::End);
            }
            state.wait(cx);
            return Poll::Pending;
        }
        Poll::Ready(Next::Messages(state.hand_out(self.bounds)))
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Outbox for EventStream {
    fn send(&self, message: Bytes) -> Delivery {
        let mut state = self.lock();
        if state.ended.is_some() {
            return Delivery::Closed;
        }
        let notice = notice(&message);
        if notice.is_some() && state.waits(&message) {
            return Delivery::Sent;
        }
        if state.is_full(&message, self.bounds.ordinary()) {
            let since = *state.full_since.get_or_insert_with(Instant::now);
            if state.attached && since.elapsed() > FULL_FOR {
                tracing::debug!("disconnected a reader that left its stream full");
                state.attached = false;
                state.wake();
            }
            if notice != Some(Notice::List) || state.unsent() >= self.bounds.messages {
                return Delivery::Full;
            }
        } else {
            state.full_since = None;
        }
        state.push(message, self.bounds);
        state.wake();
        Delivery::Sent
    }
}

/// What a short message says that is as good said once as often.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Notice {
    /// A list changed.
    List,
    /// A resource changed.
    Resource,
}

/// What `message` says, if it only says that something changed.
pub(crate) fn notice(message: &[u8]) -> Option<Notice> {
    let says = |what: &str| memchr::memmem::find(message, what.as_bytes()).is_some();
    if message.len() > NOTICE {
        None
    } else if says("/list_changed\"") {
        Some(Notice::List)
    } else if says("\"notifications/resources/updated\"") {
        Some(Notice::Resource)
    } else {
        None
    }
}

impl State {
    fn end(&self) -> u64 {
        self.first + self.kept.len() as u64
    }

    fn unsent(&self) -> usize {
        usize::try_from(self.end() - self.cursor).unwrap_or(usize::MAX)
    }

    fn wait(&mut self, cx: &Context<'_>) {
        match &mut self.waker {
            Some(waker) => waker.clone_from(cx.waker()),
            None => self.waker = Some(cx.waker().clone()),
        }
    }

    fn wake(&mut self) {
        if let Some(waker) = self.waker.take() {
            waker.wake();
        }
    }

    /// Whether the same message is still waiting to be sent.
    fn waits(&self, message: &Bytes) -> bool {
        self.kept
            .iter()
            .rev()
            .take(self.unsent())
            .any(|waiting| waiting == message)
    }

    fn is_full(&self, message: &Bytes, bounds: Bounds) -> bool {
        let unsent = self.unsent();
        unsent >= bounds.messages || (unsent > 0 && self.unsent_bytes + message.len() > bounds.bytes)
    }

    fn push(&mut self, message: Bytes, bounds: Bounds) {
        let message = event::one_line(message);
        self.kept_bytes += message.len();
        self.unsent_bytes += message.len();
        self.kept.push_back(message);
        self.forget(bounds);
    }

    /// Lets go of what was handed out and is over the bounds, or can't be asked for again.
    fn forget(&mut self, bounds: Bounds) {
        while self.cursor > self.first
            && (self.number.is_none() || self.kept.len() > bounds.messages || self.kept_bytes > bounds.bytes)
        {
            let Some(gone) = self.kept.pop_front() else { break };
            self.kept_bytes -= gone.len();
            self.first += 1;
        }
    }

    fn hand_out(&mut self, bounds: Bounds) -> Vec<(Option<(u32, u64)>, Bytes)> {
        let from = usize::try_from(self.cursor - self.first).unwrap_or(usize::MAX);
        let mut bytes = 0;
        let handful = self.kept.iter().skip(from).take(64).take_while(|message| {
            let first = bytes == 0;
            bytes += message.len();
            first || bytes <= HANDFUL
        });
        let messages: Vec<_> = (self.cursor..)
            .zip(handful)
            .map(|(sequence, message)| (self.number.map(|number| (number, sequence)), message.clone()))
            .collect();
        self.cursor += messages.len() as u64;
        self.unsent_bytes -= messages.iter().map(|(_, message)| message.len()).sum::<usize>();
        self.forget(bounds);
        messages
    }
}

#[cfg(test)]
mod tests {
    use std::task::Waker;

    use proptest::prelude::*;

    use super::*;

    const BOUNDS: Bounds = Bounds {
        messages: 8,
        bytes: 100,
    };

    fn next(stream: &EventStream, reader: ReaderId) -> Poll<Next> {
        stream.poll_next(reader, &Context::from_waker(Waker::noop()))
    }

    fn texts(next: Poll<Next>) -> Vec<(Option<(u32, u64)>, String)> {
        match next {
            Poll::Ready(Next::Messages(messages)) => messages
                .into_iter()
                .map(|(id, message)| (id, String::from_utf8(message.to_vec()).unwrap()))
                .collect(),
            Poll::Ready(Next::End | Next::Replaced) | Poll::Pending => Vec::new(),
        }
    }

    #[test]
    fn a_numbered_stream_is_taken_up_where_it_broke() {
        let stream = EventStream::new(BOUNDS);
        stream.number(3);
        let (first, _) = stream.attach(None);
        for text in ["a", "b", "c"] {
            assert_eq!(stream.send(Bytes::from_static(text.as_bytes())), Delivery::Sent);
        }
        assert_eq!(texts(next(&stream, first)).len(), 3);
        stream.detach(first);
        stream.finish(Some(Bytes::from_static(b"answer")));
        let (second, behind) = stream.attach(Some(1));
        assert_eq!(behind, 1);
        let seen = texts(next(&stream, second));
        assert_eq!(seen.first().unwrap(), &(Some((3, 2)), "b".to_owned()));
        assert_eq!(seen.last().unwrap(), &(Some((3, 4)), "answer".to_owned()));
        assert_eq!(next(&stream, second), Poll::Ready(Next::End));
        assert_eq!(next(&stream, first), Poll::Ready(Next::Replaced));
        assert_eq!(stream.send(Bytes::from_static(b"late")), Delivery::Closed);
    }

    #[test]
    fn list_changes_are_said_once() {
        let stream = EventStream::new(BOUNDS);
        let changed = Bytes::from_static(br#"{"jsonrpc":"2.0","method":"notifications/tools/list_changed"}"#);
        for _ in 0..1000 {
            assert_eq!(stream.send(changed.clone()), Delivery::Sent);
        }
        let (reader, _) = stream.attach(None);
        assert_eq!(texts(next(&stream, reader)).len(), 1);
        assert_eq!(stream.send(changed), Delivery::Sent);
        assert_eq!(texts(next(&stream, reader)).len(), 1);
    }

    #[test]
    fn a_full_stream_has_room_for_a_change_of_a_list() {
        let stream = EventStream::new(BOUNDS);
        let changed = Bytes::from_static(br#"{"jsonrpc":"2.0","method":"notifications/tools/list_changed"}"#);
        while stream.send(Bytes::from_static(b"xxxxxxxx")) == Delivery::Sent {}
        for _ in 0..10 {
            assert_eq!(stream.send(changed.clone()), Delivery::Sent);
        }
        assert_eq!(stream.send(Bytes::from_static(b"x")), Delivery::Full);
        let (reader, _) = stream.attach(None);
        let seen = texts(next(&stream, reader));
        assert!(seen.len() <= BOUNDS.messages, "{seen:?}");
        assert_eq!(seen.iter().filter(|(_, text)| text.contains("list_changed")).count(), 1);
    }

    #[test]
    fn a_reader_gets_a_handful_at_a_time() {
        let stream = EventStream::new(Bounds {
            messages: 256,
            bytes: 1 << 20,
        });
        let (reader, _) = stream.attach(None);
        for size in [40_000, 10_000, 5_000, 5_000] {
            assert_eq!(stream.send(Bytes::from(vec![b'x'; size])), Delivery::Sent);
        }
        let handed: Vec<_> = (0..3).map(|_| texts(next(&stream, reader)).len()).collect();
        assert_eq!(handed, [1, 2, 1]);
    }

    #[tokio::test(start_paused = true)]
    async fn who_leaves_the_stream_full_is_disconnected() {
        let stream = EventStream::new(BOUNDS);
        let (reader, _) = stream.attach(None);
        for _ in 0..7 {
            assert_eq!(stream.send(Bytes::from_static(b"x")), Delivery::Sent);
        }
        assert_eq!(stream.send(Bytes::from_static(b"x")), Delivery::Full);
        assert!(stream.is_read());
        tokio::time::advance(Duration::from_secs(11)).await;
        assert_eq!(stream.send(Bytes::from_static(b"x")), Delivery::Full);
        assert_eq!(next(&stream, reader), Poll::Ready(Next::Replaced));
        stream.finish(Some(Bytes::from_static(b"answer")));
        let (again, _) = stream.attach(None);
        assert_eq!(texts(next(&stream, again)).last().unwrap().1, "answer");
    }

    proptest! {
        /// Whatever breaks and comes back: a reader that says what it saw last gets the next message, in order, without a gap as
        /// long as the bounds were not reached; and memory stays within them.
        #[test]
        fn no_message_is_lost_or_doubled(script in prop::collection::vec(0u8..4, 0..60)) {
            let stream = EventStream::new(Bounds { messages: 1000, bytes: 1 << 20 });
            stream.number(1);
            let (mut sent, mut seen, mut reader) = (0u64, 0u64, stream.attach(None).0);
            for step in script {
                match step {
                    0 | 1 => {
                        sent += 1;
                        prop_assert_eq!(stream.send(Bytes::from(sent.to_string())), Delivery::Sent);
                    }
                    2 => for (id, text) in texts(next(&stream, reader)) {
                        seen += 1;
                        prop_assert_eq!(id, Some((1, seen)));
                        prop_assert_eq!(text, seen.to_string());
                    },
                    _ => {
                        stream.detach(reader);
                        reader = stream.attach((seen > 0).then_some(seen)).0;
                    }
                }
            }
            while seen < sent {
                let more = texts(next(&stream, reader));
                prop_assert!(!more.is_empty());
                seen += more.len() as u64;
            }
        }

        #[test]
        fn memory_is_bounded(sizes in prop::collection::vec(1usize..60, 1..60), read in any::<bool>()) {
            let stream = EventStream::new(BOUNDS);
            stream.number(1);
            let (reader, _) = stream.attach(None);
            for size in sizes {
                let _ = stream.send(Bytes::from(vec![b'x'; size])) == Delivery::Sent;
                if read { drop(next(&stream, reader)); }
                let state = stream.lock();
                prop_assert!(state.kept.len() <= 8 && (state.kept_bytes <= 160));
                prop_assert_eq!(state.kept_bytes, state.kept.iter().map(Bytes::len).sum::<usize>());
            }
        }
    }
}
