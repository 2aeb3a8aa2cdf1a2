//! Starts a server under its guard and reports what becomes of it.

use std::{
    ffi::OsString,
    io,
    os::{
        fd::{AsFd, AsRawFd, OwnedFd},
        unix::process::CommandExt,
    },
    path::{Path, PathBuf},
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use nix::{
    fcntl::{FcntlArg, FdFlag, fcntl},
    sys::{
        resource::{Resource, getrlimit, setrlimit},
        signal::Signal,
    },
};
use tokio::{
    io::{AsyncBufReadExt, BufReader},
    net::{
        UnixStream,
        unix::{OwnedReadHalf, OwnedWriteHalf, pipe},
    },
    process::Child,
    sync::mpsc,
};

use super::{
    Breach, Cgroups, Exit, TREE_MARK, cgroup,
    guards::Guards,
    inherited, program, strays,
    strays::{Quarry, Swept},
    tree,
    wire::{KILL, Report, TERMINATE},
};
use crate::{
    config::ServiceLimits,
    lifecycle::Tasks,
    supervisor::{ChildIo, Command, Control, state::ExitKind},
};

/// Why there will be no process. The text says which program and where it was searched.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{reason}")]
pub struct SpawnError {
    /// In words.
    pub reason: String,
    /// Whether it is a matter of configuration or of the moment.
    pub kind: ExitKind,
}

/// What becomes of a server that was started.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ProcessEvent {
    /// It runs as this process.
    Spawned(u32),
    /// The way to it is there; it is no process of ours.
    Attached,
    /// It could not be started; nothing of it is left, and nothing more follows.
    Failed(SpawnError),
    /// It went over this limit; its end follows.
    Breached(Breach),
    /// It ended; what it left is being killed.
    Exited(Exit),
    /// Nothing of it is left, and nothing more follows.
    Gone,
}

/// A server under its guard, or the way to one elsewhere. Dropping it kills the tree, or ends the way.
#[derive(Debug)]
pub struct Process {
    /// The pipes, until somebody takes them.
    pub io: Option<ChildIo>,
    /// The server's stderr, until somebody takes it; must be read, or the server stalls.
    pub stderr: Option<pipe::Receiver>,
    /// What happens to it, ending with [`ProcessEvent::Failed`] or [`ProcessEvent::Gone`].
    pub events: mpsc::Receiver<ProcessEvent>,
    /// The guard's process, if it has one.
    pub guard: Option<u32>,
    /// How it is told to go.
    pub control: Box<dyn Control>,
}

/// The guard of a process.
#[derive(Debug)]
struct Guarded {
    guard: u32,
    control: OwnedWriteHalf,
}

impl Control for Guarded {
    fn terminate(&self) {
        self.order(TERMINATE);
    }

    fn kill(&self) {
        self.order(KILL);
    }

    /// What a killed guard left is swept, [`ProcessEvent::Gone`] follows.
    fn force(&self) {
        if let Ok(guard) = i32::try_from(self.guard) {
            tree::send(guard, Signal::SIGKILL);
        }
    }
}

impl Guarded {
    fn order(&self, order: u8) {
        // One byte now and then never fills the socket; a guard that is gone needs no order.
        drop(self.control.try_write(&[order]));
    }
}

/// What a server may take, and what holds it to that.
#[derive(Clone, Copy, Debug, Default)]
pub struct Confinement<'a> {
    /// Its limits.
    pub limits: ServiceLimits,
    /// Where its control groups are made; without them its guard looks after the limits.
    pub cgroups: Option<&'a Cgroups>,
}

/// Starts `command` under the guard program `guard`, marked as part of `tree` (`hub/service/unit`).
/// Takes about a millisecond, in which the calling thread is blocked.
///
/// # Errors
/// When not even the guard could be started. What happens to the server itself comes as an event.
pub fn spawn(
    command: &Command,
    guard: &Path,
    tree: &str,
    confinement: Confinement<'_>,
    tasks: &Tasks,
) -> Result<Process, SpawnError> {
    if let Some(reason) = program::missing_folder(command) {
        let kind = ExitKind::Misconfigured;
        return Err(SpawnError { reason, kind });
    }
    let started = start_guard(command, guard, tree, confinement).map_err(|error| SpawnError {
        reason: format!("the guard process could not be started: {error}"),
        kind: ExitKind::Failure,
    })?;
    let (send, events) = mpsc::channel(8);
    let id = started.guard.id().unwrap_or_default();
    let (reports, control) = started.control.into_split();
    let watch = Watch {
        reports: BufReader::new(reports),
        guard: started.guard,
        guard_id: id,
        events: send,
        path: started.path,
        command: command.clone(),
        mark: started.mark,
        groups: started.groups,
    };
    tasks.spawn("unit.process", watch.run());
    Ok(Process {
        io: Some(started.io),
        stderr: Some(started.stderr),
        events,
        guard: Some(id),
        control: Box::new(Guarded { guard: id, control }),
    })
}

struct Started {
    guard: Child,
    control: UnixStream,
    io: ChildIo,
    stderr: pipe::Receiver,
    path: Option<String>,
    mark: String,
    groups: Vec<PathBuf>,
}

fn start_guard(command: &Command, guard: &Path, tree: &str, confinement: Confinement<'_>) -> io::Result<Started> {
    /// Tells the trees of one unit's processes apart.
    static NUMBER: AtomicU64 = AtomicU64::new(0);
    let mark = format!("{tree}/{}/", NUMBER.fetch_add(1, Ordering::Relaxed));
    let order = Cgroups::order(confinement.cgroups, &confinement.limits, &mark);
    let (stdin_read, stdin) = io::pipe()?;
    let (stdout, stdout_write) = io::pipe()?;
    let (stderr, stderr_write) = io::pipe()?;
    let (control, guards_end) = std::os::unix::net::UnixStream::pair()?;
    control.set_nonblocking(true)?;
    let mut environment = inherited();
    let configured = command.env.iter().map(|(k, v)| (k.into(), v.into()));
    environment.extend(configured);
    environment.insert(TREE_MARK.into(), mark.clone().into());
    let path = environment
        .get(&OsString::from("PATH"))
        .and_then(|path| path.to_str().map(str::to_owned));

    #[expect(clippy::disallowed_methods, reason = "this is where children are spawned")]
    let mut process = std::process::Command::new(guard);
    process
        .arg0("mcpvisor")
        .arg("__guard")
        .arg(guards_end.as_raw_fd().to_string())
        .args(order.to_args())
        .arg("--")
        .arg(&command.program)
        .args(&command.args)
        .env_clear()
        .envs(environment)
        .stdin(OwnedFd::from(stdin_read))
        .stdout(OwnedFd::from(stdout_write))
        .stderr(OwnedFd::from(stderr_write));
    if let Some(cwd) = &command.cwd {
        process.current_dir(cwd);
    }
    let guard = spawn_with(process, guards_end.as_fd(), &mark)?;
    Ok(Started {
        guard,
        control: UnixStream::from_std(control)?,
        io: ChildIo {
            stdin: pipe::Sender::from_owned_fd(stdin.into())?,
            stdout: pipe::Receiver::from_owned_fd(stdout.into())?,
        },
        stderr: pipe::Receiver::from_owned_fd(stderr.into())?,
        path,
        mark,
        groups: order.paths(),
    })
}

/// The guards that run, by process number. Also the lock under which they are spawned: while a guard's socket is inheritable
/// nobody else may spawn, and whoever looks for strays must not take a guard that is just being born for one.
pub(super) static GUARDS: Mutex<Guards> = Mutex::new(Guards::new());

/// Spawns `process` with one more open file. No `pre_exec`: without it the standard library need not copy our page tables
/// for a fork.
fn spawn_with(process: std::process::Command, file: impl AsFd, mark: &str) -> io::Result<Child> {
    let mut process = tokio::process::Command::from(process);
    let mut guards = GUARDS.lock().unwrap_or_else(PoisonError::into_inner);
    fcntl(&file, FcntlArg::F_SETFD(FdFlag::empty()))?;
    let spawned = process.spawn();
    fcntl(&file, FcntlArg::F_SETFD(FdFlag::FD_CLOEXEC))?;
    if let Some(pid) = spawned.as_ref().ok().and_then(Child::id) {
        guards.born(pid, mark);
    }
    spawned
}

/// Turns what the guard says, and its own end, into events.
struct Watch {
    reports: BufReader<OwnedReadHalf>,
    guard: Child,
    guard_id: u32,
    events: mpsc::Sender<ProcessEvent>,
    path: Option<String>,
    command: Command,
    mark: String,
    groups: Vec<PathBuf>,
}

impl Watch {
    async fn run(mut self) {
        let (mut failed, mut exited, mut server) = (None, false, None);
        while let Some(report) = self.next_report().await {
            match report {
                Report::Spawned(pid) => {
                    server = Some(pid);
                    self.tell(ProcessEvent::Spawned(pid)).await;
                }
                Report::Failed(errno) => failed = Some(errno),
                Report::Breached(breach) => self.tell(ProcessEvent::Breached(breach)).await,
                Report::Loose(errno) => {
                    let error = io::Error::from_raw_os_error(errno);
                    tracing::warn!(
                        %error, program = %self.command.program,
                        "could not be put into control groups; its limits are looked after twice a second"
                    );
                }
                Report::Exited(exit) => {
                    exited = true;
                    self.tell(ProcessEvent::Exited(exit)).await;
                }
                Report::Left(count) => {
                    tracing::error!(count, program = %self.command.program, "processes could not be killed");
                }
            }
        }
        if let Err(error) = self.guard.wait().await {
            tracing::warn!(%error, "could not wait for a guard");
        }
        GUARDS
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .gone(self.guard_id);
        if let Some(errno) = failed {
            let (reason, kind) = program::explain(&self.command, self.path.as_deref(), errno);
            let error = SpawnError { reason, kind };
            self.tell(ProcessEvent::Failed(error)).await;
            return;
        }
        if !exited {
            self.tell(ProcessEvent::Exited(Exit::GuardLost)).await;
            tree::kill_orphaned_group(server);
            self.sweep().await;
        }
        self.tell(ProcessEvent::Gone).await;
    }

    /// The next report; `None` once the guard has closed its end or is gone.
    async fn next_report(&mut self) -> Option<Report> {
        let mut line = String::new();
        loop {
            line.clear();
            match self.reports.read_line(&mut line).await {
                Ok(0) | Err(_) => return None,
                Ok(_) => {}
            }
            if let Some(report) = Report::from_line(&line) {
                return Some(report);
            }
        }
    }

    /// The guard was killed: what the kernel did not kill with it is ours to find.
    async fn sweep(&self) {
        let (mark, guard, groups) = (self.mark.clone(), self.guard_id, self.groups.clone());
        let swept = tokio::task::spawn_blocking(move || {
            // What is in its groups is its own beyond doubt, and goes in one go where the kernel can do that.
            let in_groups = cgroup::clear(&groups);
            let swept = strays::sweep(Quarry::Lost { mark: &mark, guard });
            Swept {
                killed: in_groups + swept.killed,
                ..swept
            }
        });
        let swept = swept.await;
        let Swept { killed, left } = swept.unwrap_or_default();
        if killed > 0 {
            tracing::warn!(killed, left, program = %self.command.program, "killed what a lost guard left");
        }
    }

    /// Whoever dropped the process wants to know no more; the tree is dying of it.
    async fn tell(&self, event: ProcessEvent) {
        drop(self.events.send(event).await);
    }
}

/// `OPEN_MAX` of macOS.
const OPEN_MAX: u64 = 10_240;

/// Raises the soft limit of open files to the hard one: a hub needs about six per child and one per
/// client. Guards lower it again for their servers. Returns the limit.
///
/// # Errors
/// When the system does not tell or change it.
pub fn raise_file_limit() -> io::Result<u64> {
    let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE)?;
    // macOS says "unlimited" and refuses it: there, `OPEN_MAX` is the most that one may ask for (setrlimit(2)).
    let most = if cfg!(target_os = "macos") {
        hard.min(OPEN_MAX)
    } else {
        hard
    };
    setrlimit(Resource::RLIMIT_NOFILE, most, hard)?;
    Ok(most)
}
