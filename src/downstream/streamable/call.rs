//! A request on its way: first a plain future, later, if it takes long or says something before it answers, an event stream.

use std::{
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use bytes::{Bytes, BytesMut};
use tokio::time::{Instant, Sleep};

use super::{
    event,
    session::InUse,
    stream::{EventStream, Next, ReaderId},
};
use crate::{
    downstream::http::{body::Chunks, pulse::Patience},
    gateway::Reply,
};

/// How often a silent stream says that it is alive.
const KEEP_ALIVE: Duration = Duration::from_secs(15);

/// A request that is being answered.
pub(crate) type Call = Pin<Box<dyn Future<Output = Reply> + Send>>;

/// What a request came to first.
pub(super) enum First {
    /// Its answer, with nothing before it.
    Answer(Reply),
    /// Its answer, after other messages that are still in the stream.
    Complete(Reply),
    /// Other messages, or nothing for as long as the door is patient.
    Stream,
}

/// Waits for whatever comes first.
pub(super) async fn first(call: &mut Call, stream: &EventStream, mut patience: Patience) -> First {
    std::future::poll_fn(|cx| {
        if let Poll::Ready(reply) = call.as_mut().poll(cx) {
            return Poll::Ready(if stream.has_message() {
                First::Complete(reply)
            } else {
                First::Answer(reply)
            });
        }
        if stream.poll_message(cx).is_ready() || patience.poll(cx).is_ready() {
            return Poll::Ready(First::Stream);
        }
        Poll::Pending
    })
    .await
}

/// Says when a silent stream should say that it is alive.
struct Silence {
    length: Duration,
    sleep: Option<Pin<Box<Sleep>>>,
}

impl Silence {
    fn new(length: Duration) -> Self {
        Self { length, sleep: None }
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let length = self.length;
        self.sleep
            .get_or_insert_with(|| Box::pin(tokio::time::sleep(length)))
            .as_mut()
            .poll(cx)
    }

    fn again(&mut self) {
        let next = Instant::now() + self.length;
        if let Some(sleep) = &mut self.sleep {
            sleep.as_mut().reset(next);
        }
    }
}

/// Sends a stream's messages as events.
pub(super) struct Reader {
    stream: Arc<EventStream>,
    id: ReaderId,
    /// Number of the message it starts behind.
    behind: u64,
    head: Option<Bytes>,
    /// The call whose answer ends the stream, where the stream dies with its connection (2026-07-28).
    call: Option<Call>,
    keep_alive: Silence,
    ended: bool,
    in_use: Option<InUse>,
}

impl Reader {
    /// Reads `stream` from what nobody was handed, or from behind `after`.
    pub(super) fn new(stream: Arc<EventStream>, after: Option<u64>) -> Self {
        let (id, behind) = stream.attach(after);
        Self {
            stream,
            id,
            behind,
            head: None,
            call: None,
            keep_alive: Silence::new(KEEP_ALIVE),
            ended: false,
            in_use: None,
        }
    }

    /// Sends first what `head` makes of the number of the message it starts behind.
    pub(super) fn headed(mut self, head: impl FnOnce(u64) -> Bytes) -> Self {
        self.head = Some(head(self.behind));
        self
    }

    /// Goes on with `call` as long as it is read.
    pub(super) fn driving(mut self, call: Call) -> Self {
        self.call = Some(call);
        self
    }

    /// Keeps its session in use.
    pub(super) fn holding(mut self, in_use: InUse) -> Self {
        self.in_use = Some(in_use);
        self
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        self.stream.detach(self.id);
        // After the stream, so that the session is idle only when nobody reads.
        drop(self.in_use.take());
    }
}

impl Chunks for Reader {
    fn poll_chunk(&mut self, cx: &mut Context<'_>) -> Poll<Option<Bytes>> {
        if let Some(head) = self.head.take() {
            return Poll::Ready(Some(head));
        }
        if self.ended {
            return Poll::Ready(None);
        }
        if let Some(call) = &mut self.call
            && let Poll::Ready(reply) = call.as_mut().poll(cx)
        {
            self.call = None;
            self.stream.finish(reply.message);
        }
        match self.stream.poll_next(self.id, cx) {
            Poll::Ready(Next::Messages(messages)) => {
                let mut chunk = BytesMut::new();
                for (id, message) in messages {
                    event::append(&mut chunk, id, &message);
                }
                self.keep_alive.again();
                Poll::Ready(Some(chunk.freeze()))
            }
            Poll::Ready(Next::End | Next::Replaced) => {
                self.ended = true;
                Poll::Ready(None)
            }
            Poll::Pending => self.keep_alive.poll(cx).map(|()| {
                self.keep_alive.again();
                Some(event::KEEP_ALIVE)
            }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{downstream::streamable::stream::Bounds, gateway::Outbox as _};

    fn stream() -> Arc<EventStream> {
        Arc::new(EventStream::new(Bounds {
            messages: 8,
            bytes: 1000,
        }))
    }

    fn second() -> Patience {
        Patience::new(Arc::default(), Duration::from_secs(1))
    }

    fn reply(text: &'static str) -> Reply {
        Reply {
            message: Some(Bytes::from_static(text.as_bytes())),
            error: None,
        }
    }

    async fn read(mut reader: Reader) -> String {
        let mut all = Vec::new();
        while let Some(chunk) = std::future::poll_fn(|cx| reader.poll_chunk(cx)).await {
            all.extend_from_slice(&chunk);
        }
        String::from_utf8(all).unwrap()
    }

    #[tokio::test(start_paused = true)]
    async fn an_answer_alone_is_no_stream() {
        let mut call: Call = Box::pin(async {
            tokio::time::sleep(Duration::from_millis(900)).await;
            reply("answer")
        });
        let first = first(&mut call, &stream(), second()).await;
        assert!(matches!(first, First::Answer(_)));
    }

    #[tokio::test(start_paused = true)]
    async fn what_comes_before_the_answer_stays_before_it() {
        let stream = stream();
        let sender = Arc::clone(&stream);
        let mut call: Call = Box::pin(async move {
            let _ = sender.send(Bytes::from_static(b"progress"));
            reply("answer")
        });
        let First::Complete(reply) = first(&mut call, &stream, second()).await else {
            panic!()
        };
        stream.finish(reply.message);
        let text = read(Reader::new(stream, None)).await;
        assert_eq!(
            text,
            "event: message\ndata: progress\n\nevent: message\ndata: answer\n\n"
        );
    }

    #[tokio::test(start_paused = true)]
    async fn a_long_call_is_kept_alive_and_answered() {
        let stream = stream();
        let mut call: Call = Box::pin(async {
            tokio::time::sleep(Duration::from_secs(40)).await;
            reply("answer")
        });
        assert!(matches!(first(&mut call, &stream, second()).await, First::Stream));
        let text = read(Reader::new(stream, None).headed(|_| event::OPENED).driving(call)).await;
        assert_eq!(
            text,
            ": open\n\n: keep-alive\n\n: keep-alive\n\nevent: message\ndata: answer\n\n"
        );
    }

    #[tokio::test(start_paused = true)]
    async fn dropping_the_reader_drops_the_call() {
        let (guard, dropped) = tokio::sync::oneshot::channel::<()>();
        let call: Call = Box::pin(async move {
            let _guard = guard;
            std::future::pending().await
        });
        drop(Reader::new(stream(), None).driving(call));
        assert!(dropped.await.is_err());
    }
}
