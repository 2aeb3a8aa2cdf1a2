//! What waits to be written to a client on a connection that carries everything both ways: bounded, in order.

use std::{
    collections::VecDeque,
    sync::{Mutex, MutexGuard, PoisonError},
    task::{Context, Poll, Waker},
    time::Duration,
};

use bytes::Bytes;
use tokio::{sync::Notify, time::Instant};

use crate::{
    downstream::streamable::{Notice, notice},
    gateway::{Delivery, Outbox},
};

/// Messages that may wait.
const MESSAGES: usize = 256;
/// Bytes that may wait, unless one message alone is larger.
const BYTES: usize = 1 << 20;
/// How long the queue may stay full before the reader is taken for dead.
const FULL_FOR: Duration = Duration::from_secs(30);

#[derive(Debug, Default)]
struct State {
    queue: VecDeque<Bytes>,
    bytes: usize,
    full_since: Option<Instant>,
    /// No message is taken any more; what waits is still written.
    ended: bool,
    /// Nothing is written any more.
    gone: bool,
    waker: Option<Waker>,
}

/// The queue of one connection.
#[derive(Debug, Default)]
pub(super) struct Outbound {
    state: Mutex<State>,
    room: Notify,
    gone: Notify,
}

impl Outbound {
    /// Queues an answer. It is always taken: the door takes no requests while there is no room (see [`Self::room`]).
    pub(super) fn answer(&self, message: Bytes) {
        let mut state = self.lock();
        if !state.ended && !state.gone {
            state.push(message);
        }
    }

    /// Resolves when there is room, or it does not matter any more.
    pub(super) async fn room(&self) {
        loop {
            let room = self.room.notified();
            let mut room = std::pin::pin!(room);
            room.as_mut().enable();
            {
                let state = self.lock();
                if !state.is_full() || state.gone {
                    return;
                }
            }
            room.await;
        }
    }

    /// Whether the next answer has to wait for [`Self::room`].
    pub(super) fn is_full(&self) -> bool {
        let state = self.lock();
        state.is_full() && !state.gone
    }

    /// The next message to write; `None` when everything was written and nothing will follow.
    pub(super) async fn next(&self) -> Option<Bytes> {
        std::future::poll_fn(|cx| self.poll_next(cx)).await
    }

    /// See [`Self::next`].
    pub(super) fn poll_next(&self, cx: &Context<'_>) -> Poll<Option<Bytes>> {
        let mut state = self.lock();
        if state.gone {
            return Poll::Ready(None);
        }
        if let Some(message) = state.queue.pop_front() {
            state.bytes -= message.len();
            if !state.is_full() {
                state.full_since = None;
                drop(state);
                self.room.notify_waiters();
            }
            return Poll::Ready(Some(message));
        }
        if state.ended {
            return Poll::Ready(None);
        }
        state.waker = Some(cx.waker().clone());
        Poll::Pending
    }

    /// Takes nothing more; what waits is written first.
    pub(super) fn end(&self) {
        let mut state = self.lock();
        state.ended = true;
        state.wake();
    }

    /// The client is gone: drops what waits.
    pub(super) fn abandon(&self) {
        let mut state = self.lock();
        state.gone = true;
        state.queue.clear();
        state.bytes = 0;
        state.wake();
        drop(state);
        self.room.notify_waiters();
        self.gone.notify_waiters();
    }

    /// Resolves when the client is gone, or was given up.
    pub(super) async fn gone(&self) {
        let gone = self.gone.notified();
        let mut gone = std::pin::pin!(gone);
        gone.as_mut().enable();
        if !self.lock().gone {
            gone.await;
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn is_full(&self) -> bool {
        self.queue.len() >= MESSAGES || self.bytes >= BYTES
    }

    fn push(&mut self, message: Bytes) {
        self.bytes += message.len();
        self.queue.push_back(message);
        self.wake();
    }

    fn wake(&mut self) {
        if let Some(waker) = self.waker.take() {
            waker.wake();
        }
    }
}

impl Outbox for Outbound {
    fn send(&self, message: Bytes) -> Delivery {
        let mut state = self.lock();
        if state.ended || state.gone {
            return Delivery::Closed;
        }
        let notice = notice(&message);
        if notice.is_some() && state.queue.contains(&message) {
            return Delivery::Sent;
        }
        if state.is_full() {
            let since = *state.full_since.get_or_insert_with(Instant::now);
            if since.elapsed() > FULL_FOR {
                tracing::debug!("gave up a client that does not read");
                drop(state);
                self.abandon();
                return Delivery::Closed;
            }
            // That a list changed must not get lost. There are three lists, and each waits once.
            if notice == Some(Notice::List) {
                state.push(message);
                return Delivery::Sent;
            }
            return Delivery::Full;
        }
        state.push(message);
        Delivery::Sent
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn the_queue_is_bounded_and_says_so() {
        let queue = Outbound::default();
        for _ in 0..MESSAGES {
            assert_eq!(queue.send(Bytes::from_static(b"x")), Delivery::Sent);
        }
        assert_eq!(queue.send(Bytes::from_static(b"x")), Delivery::Full);
        queue.answer(Bytes::from_static(b"answer"));
        assert!(queue.is_full());
        assert_eq!(queue.next().await, Some(Bytes::from_static(b"x")));
        assert_eq!(queue.next().await, Some(Bytes::from_static(b"x")));
        tokio::time::timeout(Duration::from_secs(1), queue.room())
            .await
            .unwrap();
        tokio::time::advance(FULL_FOR).await;
        assert_eq!(
            queue.send(Bytes::from_static(b"x")),
            Delivery::Sent,
            "it had room in between"
        );
    }

    #[test]
    fn a_full_queue_takes_a_change_of_a_list_once() {
        let queue = Outbound::default();
        let changed = Bytes::from_static(br#"{"jsonrpc":"2.0","method":"notifications/tools/list_changed"}"#);
        while queue.send(Bytes::from_static(b"x")) == Delivery::Sent {}
        for _ in 0..10 {
            assert_eq!(queue.send(changed.clone()), Delivery::Sent);
        }
        assert_eq!(queue.lock().queue.len(), MESSAGES + 1);
    }

    #[tokio::test(start_paused = true)]
    async fn who_never_reads_is_given_up() {
        let queue = Outbound::default();
        let large = Bytes::from(vec![b'x'; BYTES]);
        assert_eq!(queue.send(large.clone()), Delivery::Sent);
        assert_eq!(queue.send(large.clone()), Delivery::Full);
        tokio::time::advance(FULL_FOR + Duration::from_secs(1)).await;
        assert_eq!(queue.send(large), Delivery::Closed);
        queue.gone().await;
        assert_eq!(queue.next().await, None);
    }

    #[tokio::test]
    async fn the_end_comes_after_what_waits() {
        let queue = Outbound::default();
        queue.answer(Bytes::from_static(b"last"));
        queue.end();
        assert_eq!(queue.send(Bytes::from_static(b"late")), Delivery::Closed);
        assert_eq!(queue.next().await, Some(Bytes::from_static(b"last")));
        assert_eq!(queue.next().await, None);
    }
}
