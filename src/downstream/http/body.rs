//! The body of an answer: one piece of bytes, or a stream of events.

use std::{
    pin::Pin,
    task::{Context, Poll},
};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};

use super::pulse::Busy;

/// Yields the chunks of a streamed answer.
pub(crate) trait Chunks: Send + 'static {
    /// The next chunk; `None` ends the answer.
    fn poll_chunk(&mut self, cx: &mut Context<'_>) -> Poll<Option<Bytes>>;
}

enum Content {
    Whole(Option<Bytes>),
    Streamed(Box<dyn Chunks>),
    Routed(axum::body::Body),
}

/// The body of an answer. Its connection counts as busy until it is dropped.
pub(crate) struct DoorBody {
    content: Content,
    busy: Option<Busy>,
}

impl DoorBody {
    /// No bytes.
    pub(crate) fn empty() -> Self {
        Self::whole(Bytes::new())
    }

    /// These bytes.
    pub(crate) fn whole(bytes: Bytes) -> Self {
        Self {
            content: Content::Whole((!bytes.is_empty()).then_some(bytes)),
            busy: None,
        }
    }

    /// Chunks as they come. Dropping the body drops them.
    pub(crate) fn streamed(chunks: impl Chunks) -> Self {
        Self {
            content: Content::Streamed(Box::new(chunks)),
            busy: None,
        }
    }

    /// What an axum router answered.
    pub(crate) fn routed(body: axum::body::Body) -> Self {
        Self {
            content: Content::Routed(body),
            busy: None,
        }
    }

    /// Keeps `busy` until the body has been sent.
    pub(crate) fn holding(mut self, busy: Busy) -> Self {
        self.busy = Some(busy);
        self
    }
}

impl Body for DoorBody {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        match &mut self.content {
            Content::Whole(bytes) => Poll::Ready(bytes.take().map(|bytes| Ok(Frame::data(bytes)))),
            Content::Routed(body) => Pin::new(body).poll_frame(cx),
            Content::Streamed(chunks) => chunks
                .poll_chunk(cx)
                .map(|chunk| chunk.map(|bytes| Ok(Frame::data(bytes)))),
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.content {
            Content::Whole(bytes) => bytes.is_none(),
            Content::Routed(body) => body.is_end_stream(),
            Content::Streamed(_) => false,
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.content {
            Content::Whole(bytes) => SizeHint::with_exact(bytes.as_ref().map_or(0, |bytes| bytes.len() as u64)),
            Content::Routed(body) => body.size_hint(),
            Content::Streamed(_) => SizeHint::default(),
        }
    }
}
