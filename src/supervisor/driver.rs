//! The task behind a unit: feeds what happens into the state machine and carries out what it says.
//! Its `select!` only decides what happened; nothing in it waits for a peer.

use std::{sync::Arc, time::Duration};

use futures_util::future::BoxFuture;
use tokio::{
    sync::watch,
    time::{Instant, timeout},
};

use super::{
    LastExit, Reason, Start, State, Status, UnitContext, UnitSpec,
    contract::{Control, Handshake, HandshakeError, Session, SessionEnd},
    health::{Health, Verdict, at, ready},
    machine::Machine,
    orders::Orders,
    permits::{Permit, Place},
    policy::Policy,
    process::{Breach, Exit, Process, ProcessEvent},
    state::{Action, At, Input, Phase, Rest},
    stderr::Tail,
};

/// A start permit is given back after this long, so that a hung start holds nobody up.
const PERMIT_LIMIT: Duration = Duration::from_secs(2);
/// How often calls in flight are counted while draining.
const DRAIN_POLL: Duration = Duration::from_millis(20);
/// How long the ends of stdout and stderr are waited for after an exit.
const LAST_WORDS: Duration = Duration::from_millis(50);

/// Starts the task of a unit.
pub(super) fn start<H: Handshake>(
    spec: Arc<UnitSpec>,
    handshake: H,
    context: UnitContext,
    orders: Arc<Orders>,
    stderr: Tail,
) -> watch::Receiver<Status<H::Session>> {
    let (rest, lazy) = match spec.start {
        Start::Eager | Start::Lazy => (Rest::Stopped, spec.start == Start::Lazy),
        Start::Disabled => (Rest::Disabled, false),
    };
    let machine = Machine::new(rest, lazy);
    let mut status = Status::new(machine.state());
    status.wakeable = machine.wakeable();
    let (publish, follow) = watch::channel(status);
    let tasks = context.tasks.clone();
    let mut driver = Driver {
        policy: spec.policy(context.stop_budget),
        health: Health::new(spec.idle_timeout),
        spec,
        handshake,
        context,
        orders,
        stderr,
        machine,
        publish,
        process: None,
        session: None,
        happening: Happening::default(),
        place: None,
        permit: None,
        cause: None,
        eof: false,
        last_exit: None,
        serving: None,
        settled: 0,
        spawns: 0,
        retiring: false,
        hurried: false,
    };
    if driver.spec.start == Start::Eager {
        // Not left to the task: whoever looks at the unit next must not take it for one at rest.
        driver.step(Input::Start);
    }
    tasks.spawn("unit", driver.run());
    follow
}

/// What the unit waits for that comes as a future.
pub(super) struct Happening<S> {
    pub(super) handshake: Option<BoxFuture<'static, Result<Arc<S>, HandshakeError>>>,
    pub(super) session_end: Option<BoxFuture<'static, SessionEnd>>,
}

impl<S> Default for Happening<S> {
    fn default() -> Self {
        Self {
            handshake: None,
            session_end: None,
        }
    }
}

pub(super) struct Driver<H: Handshake> {
    pub(super) spec: Arc<UnitSpec>,
    pub(super) policy: Policy,
    pub(super) handshake: H,
    pub(super) context: UnitContext,
    pub(super) orders: Arc<Orders>,
    pub(super) machine: Machine,
    pub(super) health: Health<H::Session>,
    pub(super) publish: watch::Sender<Status<H::Session>>,
    /// The process at hand, from spawn until nothing of it is left.
    pub(super) process: Option<Running>,
    /// From the end of the handshake until [`Action::EndSession`].
    pub(super) session: Option<Arc<H::Session>>,
    pub(super) happening: Happening<H::Session>,
    pub(super) place: Option<Place>,
    /// With the time at which it is given back.
    pub(super) permit: Option<(Permit, Instant)>,
    /// Why the process is going down, if not by itself.
    pub(super) cause: Option<Cause>,
    /// Whether that is the end of its output.
    pub(super) eof: bool,
    pub(super) last_exit: Option<Arc<LastExit>>,
    /// The number of the order being carried out, and of the last that was.
    pub(super) serving: Option<u64>,
    pub(super) settled: u64,
    pub(super) stderr: Tail,
    pub(super) spawns: u64,
    pub(super) retiring: bool,
    pub(super) hurried: bool,
}

/// What belongs to one process.
pub(super) struct Running {
    pub(super) process: Process,
    pub(super) pid: Option<u32>,
    pub(super) exit: Option<Exit>,
    /// The limit it went over.
    pub(super) breach: Option<Breach>,
    pub(super) stderr_mark: u64,
    pub(super) stderr_ended: watch::Receiver<bool>,
}

/// Why a process is going down.
pub(super) struct Cause {
    pub(super) reason: Reason,
    pub(super) text: String,
}

/// Something that happened, with what came along.
enum Happened<S> {
    Order(Input, Option<u64>),
    Retire,
    Hurry,
    Turn(Permit),
    PermitOver,
    Process(ProcessEvent),
    Handshake(Result<Arc<S>, HandshakeError>),
    SessionEnd(SessionEnd),
    Health(Verdict),
    Looked,
    Tick,
}

impl<H: Handshake> Driver<H> {
    async fn run(mut self) {
        while self.machine.phase() != Phase::Resting(Rest::Retired) {
            let happened = self.next().await;
            self.take(happened).await;
        }
    }

    /// Waits for the next thing to happen.
    async fn next(&mut self) -> Happened<H::Session> {
        let may_hurry = self.retiring && !self.hurried;
        let draining = self.machine.state() == State::Draining;
        let drain_poll = draining.then(|| Instant::now() + DRAIN_POLL);
        let deadline = self.machine.deadline();
        let permit_over = self.permit.as_ref().map(|(_, until)| *until);
        tokio::select! {
            biased;
            (input, number) = self.orders.next() => Happened::Order(input, number),
            () = self.context.stop.cancelled(), if !self.retiring => Happened::Retire,
            () = self.context.tasks.hurrying(), if may_hurry => Happened::Hurry,
            event = event_of(&mut self.process) => Happened::Process(event),
            done = ready(&mut self.happening.handshake) => Happened::Handshake(done),
            end = ready(&mut self.happening.session_end) => Happened::SessionEnd(end),
            permit = turn_of(&mut self.place) => Happened::Turn(permit),
            verdict = self.health.next() => Happened::Health(verdict),
            () = at(drain_poll) => Happened::Looked,
            () = at(permit_over) => Happened::PermitOver,
            () = at(deadline) => Happened::Tick,
        }
    }

    async fn take(&mut self, happened: Happened<H::Session>) {
        match happened {
            Happened::Order(input, number) => {
                self.blame_order(input);
                self.serving = number.or(self.serving);
                self.step(input);
            }
            Happened::Retire => {
                self.retiring = true;
                self.blame(Reason::Stopped, "the hub is stopping");
                self.step(Input::Stop(Rest::Retired));
            }
            Happened::Hurry => {
                self.hurried = true;
                self.step(Input::Hurry);
            }
            Happened::Turn(permit) => {
                self.place = None;
                self.permit = Some((permit, Instant::now() + PERMIT_LIMIT));
                self.step(Input::Permit);
            }
            Happened::PermitOver => self.permit = None,
            Happened::Process(event) => self.take_process_event(event).await,
            Happened::Handshake(Ok(session)) => {
                self.begin_session(session);
                self.step(Input::HandshakeDone);
            }
            Happened::Handshake(Err(error)) => {
                self.eof = error.ended;
                self.blame(Reason::Handshake, &format!("the handshake failed: {error}"));
                self.step(Input::HandshakeFailed);
            }
            Happened::SessionEnd(end) => {
                self.eof = end == SessionEnd::Eof;
                self.blame(end.reason(), &end.to_string());
                self.step(Input::SessionEnded);
            }
            Happened::Health(verdict) => self.take_verdict(verdict),
            Happened::Looked => {
                if self.session.as_ref().is_none_or(|s| s.in_flight() == 0) {
                    self.step(Input::Drained);
                }
            }
            Happened::Tick => {
                self.blame_lateness();
                self.step(Input::Tick);
            }
        }
    }

    async fn take_process_event(&mut self, event: ProcessEvent) {
        match event {
            ProcessEvent::Spawned(pid) => {
                if let Some(running) = &mut self.process {
                    running.pid = Some(pid);
                }
                self.step(Input::Spawned);
            }
            ProcessEvent::Attached => self.step(Input::Spawned),
            ProcessEvent::Failed(error) => {
                self.process = None;
                self.note_spawn_error(&error);
                self.step(Input::SpawnFailed(error.kind));
            }
            ProcessEvent::Breached(breach) => {
                if let Some(running) = &mut self.process {
                    running.breach = running.breach.or(Some(breach));
                }
            }
            ProcessEvent::Exited(exit) => {
                self.hear_out(exit).await;
                if self.eof && self.exited_by_itself() {
                    // The end of its output was the end of it; how it ended says more.
                    self.cause = None;
                }
                self.note_exit();
                self.step(Input::Exited(exit.kind()));
            }
            ProcessEvent::Gone => {
                if self.process.as_ref().is_some_and(|p| p.exit.is_none()) {
                    // Its watcher was lost; whatever it was, it is no more.
                    self.step(Input::Exited(Exit::GuardLost.kind()));
                }
                self.process = None;
                self.step(Input::Gone);
            }
        }
    }

    /// What the process said last usually lies in the pipes by now: answers for the session, reasons for the operator.
    /// What it left may hold the pipes open, so that their end is not waited for long.
    async fn hear_out(&mut self, exit: Exit) {
        let Some(running) = &mut self.process else {
            return;
        };
        running.exit = Some(exit);
        let stderr_ended = &mut running.stderr_ended;
        let reasons = async { stderr_ended.wait_for(|ended| *ended).await.is_ok() };
        let session_end = &mut self.happening.session_end;
        let answers = async {
            if session_end.is_some() {
                ready(session_end).await;
            }
        };
        drop(timeout(LAST_WORDS, async { tokio::join!(reasons, answers) }).await);
    }

    fn take_verdict(&mut self, verdict: Verdict) {
        match verdict {
            Verdict::Idle => {
                self.blame(Reason::Stopped, "stopped because nobody called it for its idle time");
                self.step(Input::Idle);
            }
            Verdict::Troubled => {
                if self.machine.state() == State::Degraded {
                    self.blame(Reason::Unresponsive, "answered no probes");
                }
                self.step(Input::Troubled);
            }
            Verdict::Recovered => self.step(Input::Recovered),
        }
    }

    /// Feeds `input` to the machine, does what it says, and tells the world.
    fn step(&mut self, input: Input) {
        let mut next = Some(input);
        while let Some(input) = next.take() {
            let at = At {
                now: Instant::now(),
                luck: rand::random(),
            };
            for action in self.machine.step(input, &self.policy, at) {
                if let Some(follow_up) = self.act(action) {
                    next = Some(follow_up);
                }
            }
            self.tell();
        }
    }

    /// Carries `action` out; what it leads to at once is the next input.
    fn act(&mut self, action: Action) -> Option<Input> {
        match action {
            Action::AskPermit { urgent } => {
                self.place = Some(self.context.permits.queue(urgent));
            }
            Action::Hasten => {
                if let Some(place) = &self.place {
                    place.hasten();
                }
            }
            Action::ReleasePermit => (self.place, self.permit) = (None, None),
            Action::Spawn => return self.spawn(),
            Action::Handshake => {
                let io = self.process.as_mut().and_then(|p| p.process.io.take());
                self.happening.handshake = io.map(|io| self.handshake.begin(io));
            }
            // Looked at after the first interval: by then whoever had the session in hand has used it.
            Action::Drain => {}
            Action::CloseStdin => {
                if let Some(session) = &self.session {
                    session.close_stdin();
                }
                if let Some(running) = &mut self.process {
                    running.process.io = None;
                }
            }
            Action::Terminate => self.with_process(|control| control.terminate()),
            Action::KillTree => self.with_process(|control| control.kill()),
            Action::KillGuard => self.with_process(|control| control.force()),
            Action::EndSession => self.end_session(),
        }
        None
    }

    fn with_process(&self, act: impl FnOnce(&dyn Control)) {
        if let Some(running) = &self.process {
            act(&*running.process.control);
        }
    }
}

/// The next event of the process; never if there is none.
async fn event_of(process: &mut Option<Running>) -> ProcessEvent {
    match process {
        Some(running) => running.process.events.recv().await.unwrap_or(ProcessEvent::Gone),
        None => std::future::pending().await,
    }
}

/// Our turn to start; never if we are not in line.
async fn turn_of(place: &mut Option<Place>) -> Permit {
    match place {
        Some(place) => place.turn().await,
        None => std::future::pending().await,
    }
}
