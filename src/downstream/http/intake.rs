//! Takes in the body of a request, up to a size and a time.

use std::{task::Poll, time::Duration};

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, StatusCode, header::EXPECT};
use http_body::Body;
use http_body_util::BodyExt as _;

/// For a whole body.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);
/// A body up to this many times the limit is read and thrown away before it is refused, because clients that are still
/// sending do not see the answer.
const POLITENESS: u64 = 4;

/// From here on a body has room for the largest one.
const LARGE: usize = 1 << 20;
/// So much more, that the allocator gives the room back to the system at once.
const SLACK: usize = 256 << 10;

/// Why a body was not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Untaken {
    /// Longer than allowed.
    #[error("the body is larger than the {0} bytes allowed (limits.max_body_bytes)")]
    TooLarge(usize),
    /// It did not come within the time.
    #[error("the body did not arrive within {} s", PATIENCE.as_secs())]
    TooSlow,
    /// The connection broke.
    #[error("the body broke off")]
    Broken,
}

impl Untaken {
    /// The status that says so.
    pub(crate) fn status(self) -> StatusCode {
        match self {
            Self::TooLarge(_) => StatusCode::PAYLOAD_TOO_LARGE,
            Self::TooSlow => StatusCode::REQUEST_TIMEOUT,
            Self::Broken => StatusCode::BAD_REQUEST,
        }
    }
}

/// Reads `body`; a body that came in one piece is not copied.
pub(crate) async fn take<B>(body: B, headers: &HeaderMap, limit: usize) -> Result<Bytes, Untaken>
where
    B: Body<Data = Bytes> + Unpin,
{
    let mut taking = std::pin::pin!(take_all(body, headers, limit));
    // Mostly it came with the head, and no timer is needed.
    if let Poll::Ready(taken) = futures_util::poll!(taking.as_mut()) {
        return taken;
    }
    tokio::time::timeout(PATIENCE, taking)
        .await
        .unwrap_or(Err(Untaken::TooSlow))
}

async fn take_all<B>(mut body: B, headers: &HeaderMap, limit: usize) -> Result<Bytes, Untaken>
where
    B: Body<Data = Bytes> + Unpin,
{
    let limit_wide = u64::try_from(limit).unwrap_or(u64::MAX);
    let announced = body.size_hint().lower();
    if announced > limit_wide {
        if announced <= limit_wide.saturating_mul(POLITENESS) && !headers.contains_key(EXPECT) {
            while let Some(Ok(_)) = body.frame().await {}
        }
        return Err(Untaken::TooLarge(limit));
    }
    let mut first = Bytes::new();
    let mut whole = BytesMut::new();
    while let Some(frame) = body.frame().await {
        let Ok(frame) = frame else { return Err(Untaken::Broken) };
        let Ok(data) = frame.into_data() else { continue };
        if whole.len().max(first.len()) + data.len() > limit {
            return Err(Untaken::TooLarge(limit));
        }
        if first.is_empty() {
            first = data;
            continue;
        }
        if whole.is_empty() {
            // The announced length is believed only as far as it is plausible that it comes.
            whole.reserve(
                usize::try_from(announced)
                    .unwrap_or(0)
                    .min(LARGE)
                    .max(first.len() + data.len()),
            );
            whole.extend_from_slice(&first);
        }
        if whole.len() + data.len() > whole.capacity().max(LARGE) {
            // Once for all that may come: room that is not used costs nothing, while growing step by step holds the body twice.
            let mut large = BytesMut::with_capacity(limit + SLACK);
            large.extend_from_slice(&whole);
            whole = large;
        }
        whole.extend_from_slice(&data);
    }
    Ok(if whole.is_empty() { first } else { whole.freeze() })
}

#[cfg(test)]
mod tests {
    use futures_util::stream;
    use http_body::Frame;
    use http_body_util::StreamBody;

    use super::*;

    fn chunks(chunks: &[&'static [u8]]) -> impl Body<Data = Bytes> + Unpin {
        let frames: Vec<Result<_, std::convert::Infallible>> = chunks
            .iter()
            .map(|chunk| Ok(Frame::data(Bytes::from_static(chunk))))
            .collect();
        StreamBody::new(stream::iter(frames))
    }

    #[tokio::test]
    async fn pieces_are_joined_up_to_the_limit() {
        let none = HeaderMap::new();
        let whole = take(chunks(&[b"ab", b"", b"cd", b"e"]), &none, 5).await;
        assert_eq!(whole, Ok(Bytes::from_static(b"abcde")));
        assert_eq!(
            take(chunks(&[b"ab", b"cd", b"ef"]), &none, 5).await,
            Err(Untaken::TooLarge(5))
        );
        let full = http_body_util::Full::new(Bytes::from_static(b"abcdef"));
        assert_eq!(take(full, &none, 5).await, Err(Untaken::TooLarge(5)));
    }

    #[tokio::test(start_paused = true)]
    async fn a_body_that_never_comes_is_not_waited_for() {
        let never = StreamBody::new(stream::pending::<Result<Frame<Bytes>, std::convert::Infallible>>());
        assert_eq!(take(never, &HeaderMap::new(), 5).await, Err(Untaken::TooSlow));
    }
}
