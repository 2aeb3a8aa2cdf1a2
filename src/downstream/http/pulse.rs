//! Deadlines of a connection: for the head of a request, for an idle connection, for a peer that does not read.
//!
//! hyper's own header timeout counts from the end of the answer before, so that it would also close idle connections that
//! clients mean to use again. This one counts from the first byte of a head, and costs a timer only where a head
//! comes in pieces.

use std::{
    future::Future,
    io,
    mem::MaybeUninit,
    pin::Pin,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Poll},
    time::Duration,
};

use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    time::{Instant, Sleep},
};

/// How long a client may go on sending after the last answer.
const LINGER: Duration = Duration::from_secs(1);

/// What one connection may take.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    /// For the head of a request, from its first byte; for the first byte of a new connection.
    pub(crate) head: Duration,
    /// For the next request. May last up to twice as long.
    pub(crate) idle: Duration,
    /// For a peer that takes no byte of what it is sent.
    pub(crate) stall: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            head: Duration::from_secs(10),
            idle: Duration::from_secs(90),
            stall: Duration::from_secs(30),
        }
    }
}

/// What the requests of a connection tell its deadlines.
#[derive(Debug, Default)]
pub(crate) struct Pulse {
    busy: AtomicUsize,
    begun: AtomicUsize,
    /// One more than the requests begun when the door closed with none in hand; 0 before.
    idle_at_close: AtomicUsize,
    /// A timer that one request leaves to the next.
    timer: Mutex<Option<Pin<Box<Sleep>>>>,
}

/// Measures how long a request has been waiting. The timer of the request before is used as it runs: on a busy connection it is set
/// about once in that time, not once for each request.
#[derive(Debug)]
pub(crate) struct Patience {
    pulse: Arc<Pulse>,
    length: Duration,
    deadline: Option<Instant>,
    sleep: Option<Pin<Box<Sleep>>>,
}

impl Patience {
    /// Patience of that length, which begins when it is first polled.
    pub(crate) fn new(pulse: Arc<Pulse>, length: Duration) -> Self {
        Self {
            pulse,
            length,
            deadline: None,
            sleep: None,
        }
    }

    /// Ready when the patience is over.
    pub(crate) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let deadline = if let Some(deadline) = self.deadline {
            deadline
        } else {
            self.sleep = self.pulse.timer.lock().unwrap_or_else(PoisonError::into_inner).take();
            *self.deadline.insert(Instant::now() + self.length)
        };
        let sleep = self
            .sleep
            .get_or_insert_with(|| Box::pin(tokio::time::sleep_until(deadline)));
        if sleep.deadline() > deadline {
            sleep.as_mut().reset(deadline);
        }
        while sleep.as_mut().poll(cx).is_ready() {
            if sleep.deadline() >= deadline {
                return Poll::Ready(());
            }
            // Set by an earlier request, whose time has run out; ours has not.
            sleep.as_mut().reset(deadline);
        }
        Poll::Pending
    }
}

impl Drop for Patience {
    fn drop(&mut self) {
        if let Some(sleep) = self.sleep.take() {
            *self.pulse.timer.lock().unwrap_or_else(PoisonError::into_inner) = Some(sleep);
        }
    }
}

/// A request that is being answered; no deadline for reading runs meanwhile.
#[derive(Debug)]
pub(crate) struct Busy(Arc<Pulse>);

impl Pulse {
    /// The head of a request has arrived.
    pub(crate) fn begin(self: &Arc<Self>) -> Busy {
        self.busy.fetch_add(1, Ordering::Relaxed);
        self.begun.fetch_add(1, Ordering::Relaxed);
        Busy(Arc::clone(self))
    }

    /// The door closes. A client whose last answer is long out sends nothing that could take it back.
    pub(crate) fn closing(&self) {
        if self.busy.load(Ordering::Relaxed) == 0 {
            let begun = self.begun.load(Ordering::Relaxed);
            self.idle_at_close.store(begun + 1, Ordering::Relaxed);
        }
    }

    /// Whether nothing has happened since the door closed on an idle connection.
    fn was_idle(&self) -> bool {
        self.idle_at_close.load(Ordering::Relaxed) == self.begun.load(Ordering::Relaxed) + 1
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        self.0.busy.fetch_sub(1, Ordering::Relaxed);
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Wait {
    Head,
    Idle,
}

#[derive(Debug)]
struct Timer {
    wait: Wait,
    /// Requests begun when it was set.
    begun: usize,
    sleep: Pin<Box<Sleep>>,
}

/// A socket with deadlines.
#[derive(Debug)]
pub(crate) struct Timed<T> {
    io: T,
    pulse: Arc<Pulse>,
    patience: Limits,
    fresh: bool,
    http2: bool,
    /// Requests begun when bytes last came while none was being answered.
    head: Option<usize>,
    reading: Option<Timer>,
    writing: Option<Pin<Box<Sleep>>>,
    lingering: Option<Pin<Box<Sleep>>>,
}

impl<T: AsyncRead + AsyncWrite + Unpin> Timed<T> {
    /// Watches `io`.
    pub(crate) fn new(io: T, pulse: Arc<Pulse>, patience: Limits) -> Self {
        Self {
            io,
            pulse,
            patience,
            fresh: true,
            http2: false,
            head: None,
            reading: None,
            writing: None,
            lingering: None,
        }
    }

    fn arrived(&mut self, bytes: &[u8]) {
        if self.fresh {
            self.fresh = false;
            self.http2 = bytes.starts_with(b"PRI ");
        }
        if self.pulse.busy.load(Ordering::Relaxed) == 0 {
            self.head = Some(self.pulse.begun.load(Ordering::Relaxed));
        }
    }

    /// Whether a deadline has passed while nothing came.
    fn poll_late(&mut self, cx: &mut Context<'_>) -> Poll<Wait> {
        if self.pulse.busy.load(Ordering::Relaxed) > 0 {
            return Poll::Pending;
        }
        let begun = self.pulse.begun.load(Ordering::Relaxed);
        // HTTP/2 has frames at any time, of which none but a request counts.
        let in_head = if self.http2 {
            begun == 0
        } else {
            self.head == Some(begun)
        };
        let wait = if self.fresh || in_head { Wait::Head } else { Wait::Idle };
        let length = match wait {
            Wait::Head => self.patience.head,
            Wait::Idle => self.patience.idle,
        };
        let timer = self.reading.get_or_insert_with(|| Timer {
            wait,
            begun,
            sleep: Box::pin(tokio::time::sleep(length)),
        });
        if timer.wait != wait || (wait == Wait::Head && timer.begun != begun) {
            timer.sleep.as_mut().reset(Instant::now() + length);
            (timer.wait, timer.begun) = (wait, begun);
        }
        while timer.sleep.as_mut().poll(cx).is_ready() {
            if timer.begun == begun {
                return Poll::Ready(wait);
            }
            // Requests came since it was set: an idle timer is moved only when it runs out.
            timer.sleep.as_mut().reset(Instant::now() + length);
            timer.begun = begun;
        }
        Poll::Pending
    }

    fn poll_stalled(&mut self, cx: &mut Context<'_>, answer: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        if answer.is_ready() {
            self.writing = None;
            return answer;
        }
        let stall = self.patience.stall;
        let sleep = self.writing.get_or_insert_with(|| Box::pin(tokio::time::sleep(stall)));
        sleep
            .as_mut()
            .poll(cx)
            .map(|()| Err(io::Error::new(io::ErrorKind::TimedOut, "the peer does not read")))
    }
}

impl<T: AsyncRead + AsyncWrite + Unpin> AsyncRead for Timed<T> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        match Pin::new(&mut self.io).poll_read(cx, buf) {
            Poll::Ready(answer) => {
                let bytes = buf.filled().get(before..).unwrap_or_default();
                if !bytes.is_empty() {
                    self.arrived(bytes);
                }
                Poll::Ready(answer)
            }
            Poll::Pending => self.poll_late(cx).map(|wait| {
                if wait == Wait::Head && !self.fresh && !self.http2 {
                    let late = b"HTTP/1.1 408 Request Timeout\r\nConnection: close\r\nContent-Length: 0\r\n\r\n";
                    // As much as the socket takes at once: whoever sends half a head may never read.
                    drop(Pin::new(&mut self.io).poll_write(cx, late));
                }
                Ok(())
            }),
        }
    }
}

impl<T: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Timed<T> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let answer = Pin::new(&mut self.io).poll_write(cx, buf);
        self.poll_stalled(cx, answer)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let answer = Pin::new(&mut self.io).poll_write_vectored(cx, bufs);
        self.poll_stalled(cx, answer)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    /// Closes our side first and throws away what still comes, for a moment: a socket closed with bytes unread would take the last
    /// answer back from a client that is still sending.
    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.lingering.is_none() {
            std::task::ready!(Pin::new(&mut self.io).poll_shutdown(cx))?;
            self.lingering = Some(Box::pin(tokio::time::sleep(LINGER)));
        }
        let mut waste = [MaybeUninit::uninit(); 4096];
        loop {
            let mut waste = ReadBuf::uninit(&mut waste);
            match Pin::new(&mut self.io).poll_read(cx, &mut waste) {
                Poll::Ready(Ok(())) if !waste.filled().is_empty() => {}
                Poll::Ready(Ok(()) | Err(_)) => return Poll::Ready(Ok(())),
                Poll::Pending => break,
            }
        }
        if self.pulse.was_idle() {
            return Poll::Ready(Ok(()));
        }
        match &mut self.lingering {
            Some(sleep) => sleep.as_mut().poll(cx).map(Ok),
            None => Poll::Ready(Ok(())),
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};

    use super::*;

    fn pair() -> (Timed<DuplexStream>, DuplexStream, Arc<Pulse>) {
        let (near, far) = tokio::io::duplex(64);
        let pulse = Arc::new(Pulse::default());
        (Timed::new(near, Arc::clone(&pulse), Limits::default()), far, pulse)
    }

    #[tokio::test(start_paused = true)]
    async fn half_a_head_is_waited_for_ten_seconds() {
        let (mut near, mut far, _) = pair();
        let begun = Instant::now();
        far.write_all(b"GET / HT").await.unwrap();
        let mut seen = Vec::new();
        near.read_to_end(&mut seen).await.unwrap();
        assert_eq!((seen.as_slice(), begun.elapsed().as_secs()), (&b"GET / HT"[..], 10));
        drop(near);
        let mut answer = String::new();
        far.read_to_string(&mut answer).await.unwrap();
        assert!(answer.starts_with("HTTP/1.1 408 "), "{answer}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_long_call_has_no_deadline_and_an_idle_connection_a_long_one() {
        let (mut near, mut far, pulse) = pair();
        let begun = Instant::now();
        far.write_all(b"GET /").await.unwrap();
        let mut buffer = [0; 5];
        near.read_exact(&mut buffer).await.unwrap();
        let busy = pulse.begin();
        let long = tokio::time::timeout(Duration::from_secs(1000), near.read_u8()).await;
        assert!(long.is_err(), "still open");
        drop(busy);
        assert!(near.read_u8().await.is_err(), "closed when idle");
        let idle = begun.elapsed().as_secs() - 1000;
        assert!((89..=181).contains(&idle), "{idle}");
        assert!(far.write_all(b"x").await.is_ok());
    }

    #[tokio::test(start_paused = true)]
    async fn an_idle_connection_is_closed_at_once_and_a_used_one_is_read_on() {
        for (idle, lingers) in [(true, 0), (false, 1000)] {
            let (mut near, mut far, pulse) = pair();
            far.write_all(b"GET /").await.unwrap();
            near.read_exact(&mut [0; 5]).await.unwrap();
            let busy = pulse.begin();
            if idle {
                drop(busy);
                pulse.closing();
            } else {
                pulse.closing();
                drop(busy);
            }
            let begun = Instant::now();
            near.shutdown().await.unwrap();
            assert_eq!(begun.elapsed().as_millis().next_multiple_of(1000), lingers, "{idle}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn whoever_only_claims_to_speak_http2_is_not_waited_for() {
        let (mut near, mut far, pulse) = pair();
        let begun = Instant::now();
        far.write_all(b"PRI * HTTP/2").await.unwrap();
        let mut seen = Vec::new();
        near.read_to_end(&mut seen).await.unwrap();
        assert_eq!(begun.elapsed().as_secs(), 10);
        // One whose request was answered may stay for a while, whatever else it sends.
        let (mut near, mut far, served) = pair();
        far.write_all(b"PRI * HTTP/2.0").await.unwrap();
        near.read_exact(&mut [0; 14]).await.unwrap();
        drop(served.begin());
        let begun = Instant::now();
        let ping = async {
            loop {
                tokio::time::sleep(Duration::from_secs(5)).await;
                far.write_all(b"ping").await.unwrap();
            }
        };
        let read = near.read_to_end(&mut seen);
        tokio::select! {
            read = read => drop(read.unwrap()),
            () = ping => {}
        }
        let idle = begun.elapsed().as_secs();
        assert!((89..=181).contains(&idle), "{idle}");
        drop(pulse);
    }

    #[tokio::test(start_paused = true)]
    async fn patience_is_the_same_for_each_request() {
        let pulse = Arc::new(Pulse::default());
        let wait = async |limit: Duration| {
            let (mut patience, begun) = (
                Patience::new(Arc::clone(&pulse), Duration::from_secs(1)),
                Instant::now(),
            );
            let over = tokio::time::timeout(limit, std::future::poll_fn(|cx| patience.poll(cx)))
                .await
                .is_ok();
            (over, begun.elapsed())
        };
        for _ in 0..5 {
            assert_eq!(
                wait(Duration::from_millis(700)).await,
                (false, Duration::from_millis(700))
            );
        }
        let (over, after) = wait(Duration::from_secs(5)).await;
        assert!(over && after.as_millis().abs_diff(1000) <= 2, "{after:?}");
        let (over, after) = wait(Duration::from_secs(5)).await;
        assert!(over && after.as_millis().abs_diff(1000) <= 2, "{after:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn who_does_not_read_is_given_up() {
        let (mut near, _far, _) = pair();
        let error = near.write_all(&[0; 100]).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
    }
}
