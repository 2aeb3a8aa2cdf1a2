//! One connection to one instance: many calls at once, answers matched by our own numbers.

use std::sync::{
    Arc, Mutex, PoisonError, Weak,
    atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering},
};

use arc_swap::ArcSwapOption;
use bytes::{BufMut as _, Bytes, BytesMut};
use tokio::{
    net::unix::pipe,
    sync::{Notify, watch},
    time::Instant,
};

use super::{
    InFlight, Introduction, ListKind, Origin, Variant,
    bad_lines::BadLines,
    faults,
    pending::{Ended, PendingCalls},
    stdio::{WriteError, Writer},
    wishes::Told,
};
use crate::{
    config::ServiceName,
    jsonrpc::Message,
    mcp::{HubFault, LogLevel, Outcome},
    supervisor::SessionEnd,
};

/// Takes what a service sends that is no answer to a call of ours. Called from the reading task: must not block.
pub trait Listener: Send + Sync + 'static {
    /// A notification, except progress and list changes.
    fn notification(&self, from: &Arc<Connection>, message: Message);
    /// A request, except `ping`; answered by [`Connection::respond`].
    fn request(&self, from: &Arc<Connection>, message: Message);
}

/// Why a call was not sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SendError(pub Box<HubFault>);

/// A connection over the pipes of a child.
pub struct Connection {
    me: Weak<Self>,
    service: ServiceName,
    variant: Variant,
    writer: Writer,
    pending: PendingCalls,
    listener: Arc<dyn Listener>,
    introduction: ArcSwapOption<Introduction>,
    end: watch::Sender<Option<SessionEnd>>,
    stale_lists: AtomicU8,
    stale: Notify,
    told: Told,
    /// The least severe level asked of a legacy server, plus one; 0 while none was.
    log_level: AtomicU8,
    /// Nothing can be sent any more.
    unusable: AtomicBool,
    late: AtomicU64,
    bad_lines: Mutex<BadLines>,
}

impl std::fmt::Debug for Connection {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Connection")
            .field("service", &self.service)
            .field("variant", &self.variant)
            .finish_non_exhaustive()
    }
}

impl Connection {
    pub(super) fn new(
        service: ServiceName,
        variant: Variant,
        stdin: pipe::Sender,
        listener: Arc<dyn Listener>,
    ) -> Arc<Self> {
        Arc::new_cyclic(|me| Self {
            me: Weak::clone(me),
            service,
            variant,
            writer: Writer::new(stdin),
            pending: PendingCalls::default(),
            listener,
            introduction: ArcSwapOption::empty(),
            end: watch::Sender::new(None),
            stale_lists: AtomicU8::new(0),
            stale: Notify::new(),
            told: Told::default(),
            log_level: AtomicU8::new(0),
            unusable: AtomicBool::new(false),
            late: AtomicU64::new(0),
            bad_lines: Mutex::default(),
        })
    }

    /// The service it belongs to.
    #[must_use]
    pub fn service(&self) -> &ServiceName {
        &self.service
    }

    /// Another handle to it, while it is in use.
    pub(super) fn handle(&self) -> Option<Arc<Self>> {
        self.me.upgrade()
    }

    /// Its key among the service's connections.
    #[must_use]
    pub fn variant(&self) -> Variant {
        self.variant
    }

    /// What the server said of itself; `None` until the handshake is over.
    #[must_use]
    pub fn introduction(&self) -> Option<Arc<Introduction>> {
        self.introduction.load_full()
    }

    pub(super) fn introduce(&self, introduction: Introduction) {
        self.introduction.store(Some(Arc::new(introduction)));
    }

    /// Answers that came when nobody waited any more.
    #[must_use]
    pub fn late_answers(&self) -> u64 {
        self.late.load(Ordering::Relaxed)
    }

    /// How many calls of clients are in flight.
    #[must_use]
    pub fn calls_in_flight(&self) -> usize {
        self.pending.of_clients()
    }

    /// How many calls were ever begun.
    pub(super) fn calls_begun(&self) -> u64 {
        self.pending.begun()
    }

    /// See [`PendingCalls::only_client`].
    ///
    /// # Errors
    /// Calls of several clients are in flight, so that a message of the server can't be attributed.
    #[expect(clippy::result_unit_err, reason = "there is one way to fail")]
    pub fn only_client(&self) -> Result<Option<Origin>, ()> {
        self.pending.only_client()
    }

    /// Sends a request. `build` makes it from the number it gets; a newline is added here.
    ///
    /// # Errors
    /// [`SendError`] with the fault to answer: the connection is over, or the child does not read.
    pub fn call(
        self: &Arc<Self>,
        origin: Option<Origin>,
        build: impl FnOnce(&str) -> Bytes,
    ) -> Result<InFlight, SendError> {
        let (number, answer) = self.pending.begin(origin).map_err(SendError)?;
        let mut digits = [0_u8; 20];
        let message = build(decimal(number, &mut digits));
        let in_flight = InFlight::new(number, answer, Arc::clone(self));
        match self.write(&message, Some(number)) {
            Ok(()) => Ok(in_flight),
            Err(error) => {
                self.pending.forget(number);
                Err(SendError(Box::new(match error {
                    WriteError::Full => faults::queue_full(&self.service),
                    WriteError::Closed => faults::gone(&self.service),
                })))
            }
        }
    }

    /// Sends a notification; lost if the child is gone or does not read.
    pub fn notify(&self, message: &Bytes) {
        if self.write(message, None).is_err() {
            tracing::debug!(service = %self.service, "a notification could not be delivered");
        }
    }

    /// Answers a request of the server.
    pub fn respond(&self, message: &Bytes) {
        self.notify(message);
    }

    fn write(&self, message: &Bytes, call: Option<u64>) -> Result<(), WriteError> {
        let mut line = BytesMut::with_capacity(message.len() + 1);
        line.put_slice(message);
        // Newlines between tokens are allowed in JSON and would end the line; within strings they can't occur.
        if memchr::memchr2(b'\n', b'\r', &line).is_some() {
            for byte in line.iter_mut() {
                if matches!(byte, b'\n' | b'\r') {
                    *byte = b' ';
                }
            }
        }
        line.put_u8(b'\n');
        let sent = self.writer.send(line.freeze(), call);
        if sent == Err(WriteError::Closed) {
            self.unusable.store(true, Ordering::Release);
        }
        sent
    }

    pub(super) fn forget(&self, number: u64) -> bool {
        self.pending.forget(number)
    }

    /// Ends call `number` as taken back by the client, and tells the service.
    pub fn cancel(&self, number: u64) {
        if self.pending.answer(number, Ended::Cancelled) {
            self.send_cancelled(number);
        }
    }

    /// Takes call `number` back before the service has seen anything of it; `false` if it may have.
    pub(super) fn withdraw(&self, number: u64) -> bool {
        self.writer.withdraw(number)
    }

    /// Tells the service that nobody waits for call `number`, if it knows of it.
    pub(super) fn send_cancelled(&self, number: u64) {
        if self.withdraw(number) {
            return;
        }
        self.notify(&Bytes::from(format!(
            "{{\"jsonrpc\":\"2.0\",\"method\":\"notifications/cancelled\",\"params\":{{\"requestId\":{number}}}}}"
        )));
    }

    pub(super) async fn flush(&self) {
        if self.writer.flush().await == super::stdio::WriterEnd::Stalled {
            self.over(SessionEnd::Stalled);
            // Callers are told at once; the process is put down meanwhile.
            self.close_with(&faults::stalled(&self.service, Outcome::NotSent));
            self.end_calls(&faults::stalled(&self.service, Outcome::Unknown));
        }
    }

    /// Whether no call can go out any more.
    pub(super) fn is_over(&self) -> bool {
        self.unusable.load(Ordering::Acquire)
    }

    pub(super) fn over(&self, end: SessionEnd) {
        self.unusable.store(true, Ordering::Release);
        self.end.send_if_modified(|ended| {
            let first = ended.is_none();
            ended.get_or_insert(end);
            first
        });
    }

    pub(super) fn ended(&self) -> watch::Receiver<Option<SessionEnd>> {
        self.end.subscribe()
    }

    pub(super) fn close_writer(&self) {
        self.close_with(&faults::gone(&self.service));
    }

    /// Closes stdin. Calls of which the service has seen nothing end with `unsent`.
    fn close_with(&self, unsent: &HubFault) {
        self.unusable.store(true, Ordering::Release);
        for number in self.writer.close() {
            self.pending.answer(number, Ended::Fault(Box::new(unsent.clone())));
        }
    }

    /// The hub stops: ends every call, as the service can't be waited for.
    pub fn cut_off(&self) {
        self.pending.end(&faults::draining(&self.service));
    }

    pub(super) fn end_calls(&self, fault: &HubFault) {
        self.pending.end(fault);
    }

    /// Waits until a list has changed upstream; answers which.
    pub(super) async fn stale_lists(&self) -> Vec<ListKind> {
        loop {
            let bits = self.stale_lists.swap(0, Ordering::AcqRel);
            if bits != 0 {
                return ListKind::ALL
                    .into_iter()
                    .enumerate()
                    .filter(|(bit, _)| bits & (1 << bit) != 0)
                    .map(|(_, kind)| kind)
                    .collect();
            }
            self.stale.notified().await;
        }
    }

    /// Notes that log messages from `level` on are wanted; `true` if the server has to be told.
    #[must_use]
    pub(super) fn lower_log_level(&self, level: LogLevel) -> bool {
        let wanted = level as u8 + 1;
        let told = self
            .log_level
            .fetch_update(Ordering::AcqRel, Ordering::Acquire, |known| {
                (known == 0 || wanted < known).then_some(wanted)
            });
        told.is_ok()
    }

    pub(super) fn told(&self) -> &Told {
        &self.told
    }

    /// Notes a bad line; `true` if there were too many of late.
    pub(super) fn note_bad_line(&self) -> bool {
        let mut bad = self.bad_lines.lock().unwrap_or_else(PoisonError::into_inner);
        bad.note(Instant::now())
    }

    /// Notes an answer that came when nobody waited any more, or that nobody asked for.
    pub(super) fn note_late(&self) {
        self.late.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn pending(&self) -> &PendingCalls {
        &self.pending
    }

    pub(super) fn listener(&self) -> &dyn Listener {
        &*self.listener
    }

    pub(super) fn mark_stale(&self, kinds: &[ListKind]) {
        for (bit, kind) in ListKind::ALL.into_iter().enumerate() {
            if kinds.contains(&kind) {
                self.stale_lists.fetch_or(1 << bit, Ordering::AcqRel);
            }
        }
        self.stale.notify_one();
    }
}

/// `number` in digits, without an allocation.
fn decimal(number: u64, digits: &mut [u8; 20]) -> &str {
    let mut at = digits.len();
    let mut rest = number;
    loop {
        at -= 1;
        if let Some(slot) = digits.get_mut(at) {
            *slot = b'0' + u8::try_from(rest % 10).unwrap_or_default();
        }
        rest /= 10;
        if rest == 0 {
            break;
        }
    }
    digits
        .get(at..)
        .and_then(|used| std::str::from_utf8(used).ok())
        .unwrap_or("0")
}
