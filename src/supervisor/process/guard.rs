//! The guard: a tiny process between the hub and one server, which owns the server's whole tree. It
//! touches no data (the server has the pipes themselves), sleeps in one `poll`, and ends the tree
//! when the server ends, when told to, and when the hub is gone in whatever way.
//!
//! It runs in the hub's own program before any runtime or thread exists, as `__guard FD [LIMIT…] -- PROGRAM ARG…`.

use std::{
    collections::BTreeSet,
    ffi::OsString,
    fs::File,
    io::{self, Read, Write},
    os::{
        fd::{AsFd, AsRawFd, FromRawFd, OwnedFd, RawFd},
        unix::{net::UnixStream, process::CommandExt},
    },
    process::{Child, Command, ExitCode},
    sync::{Arc, atomic::AtomicBool},
    time::{Duration, Instant},
};

use nix::{
    errno::Errno,
    fcntl::{FcntlArg, FdFlag, fcntl},
    poll::{PollFd, PollFlags, PollTimeout, poll},
    sys::{
        resource::{Resource, getrlimit, setrlimit},
        signal::{Signal, killpg},
        wait::{WaitPidFlag, WaitStatus, waitpid},
    },
    unistd::{Pid, close, dup2_stderr, dup2_stdin, dup2_stdout, getpid, getppid, setsid},
};
use signal_hook::consts::{SIGCHLD, SIGHUP, SIGINT, SIGTERM};

use super::{
    Exit,
    cgroup::{Cage, Order},
    tree,
    wire::{KILL, Report, TERMINATE},
};

/// How long a tree is killed again and again before what is left is given up.
const KILL_LIMIT: Duration = Duration::from_secs(15);
/// The soft limit of open files that servers expect; some walk through every number up to it.
const SERVER_FILES: u64 = 1024;
/// How long the kernel is given to kill a tree by its control group before we look for what is left.
const GROUP_KILL: Duration = Duration::from_millis(50);
/// Added to the number of an error that came of entering a control group, between fork and exec, where there is no other way
/// to tell it from one of the program's.
const ENTERING: i32 = 1 << 16;
/// Exit code of a guard that could not do its work.
const BROKEN: u8 = 125;

/// Runs as the guard; `args` is what follows `__guard` on the command line. Returns when nothing of
/// the server is left.
pub fn run(args: &[OsString]) -> ExitCode {
    let Some((control, order, command)) = parse(args) else {
        return ExitCode::from(64);
    };
    let Ok(mut guard) = Guard::set_up(control, order) else {
        return ExitCode::from(BROKEN);
    };
    match guard.spawn(command) {
        Ok(()) => guard.watch(),
        Err(error) => {
            let errno = error.raw_os_error().unwrap_or(Errno::UnknownErrno as i32);
            guard.cage.remove();
            guard.report(Report::Failed(errno));
            ExitCode::from(BROKEN)
        }
    }
}

#[expect(unsafe_code, reason = "the number is all that a process can be given of a file")]
fn parse(args: &[OsString]) -> Option<(UnixStream, Order, &[OsString])> {
    let (fd, rest) = args.split_first()?;
    let dashes = rest.iter().position(|arg| arg == "--")?;
    let (order, rest) = rest.split_at_checked(dashes)?;
    let (_dashes, command) = rest.split_first()?;
    let (fd, order): (i32, _) = (fd.to_str()?.parse().ok()?, Order::from_args(order)?);
    if command.is_empty() || fd < 3 {
        return None;
    }
    // SAFETY: the hub left exactly this file open for us, nothing in this process has taken it yet, and `fcntl` refuses
    // a number that is not open.
    let control = unsafe { OwnedFd::from_raw_fd(fd) };
    fcntl(&control, FcntlArg::F_SETFD(FdFlag::FD_CLOEXEC)).ok()?;
    Some((UnixStream::from(control), order, command))
}

struct Guard {
    /// To the hub.
    control: UnixStream,
    /// Readable after a child of ours has ended.
    child_ended: UnixStream,
    /// What holds the server to its limits.
    cage: Cage,
    server: Option<Pid>,
    /// How the server ended, once it has.
    exit: Option<Exit>,
}

impl Guard {
    fn set_up(control: UnixStream, order: Order) -> io::Result<Self> {
        close_leaked(control.as_raw_fd());
        control.set_nonblocking(true)?;
        // A session of our own: signals from the hub's terminal are the hub's business. Fails only for a
        // group leader, which then has what it needs.
        let _already_leader = setsid();
        #[cfg(target_os = "linux")]
        nix::sys::prctl::set_child_subreaper(true)?;
        // A handler that does nothing, unlike "ignore", is not inherited by the server.
        for signal in [SIGTERM, SIGINT, SIGHUP] {
            signal_hook::flag::register(signal, Arc::new(AtomicBool::new(false)))?;
        }
        let (child_ended, wake) = UnixStream::pair()?;
        child_ended.set_nonblocking(true)?;
        signal_hook::low_level::pipe::register(SIGCHLD, wake)?;
        limit_resources();
        let (cage, trouble) = Cage::build(order);
        let guard = Self {
            control,
            child_ended,
            cage,
            server: None,
            exit: None,
        };
        if let Some(errno) = trouble.and_then(|error| error.raw_os_error()) {
            guard.report(Report::Loose(errno));
        }
        Ok(guard)
    }

    fn spawn(&mut self, command: &[OsString]) -> io::Result<()> {
        let mut server = self.start(command);
        if let Err(error) = &server
            && let Some(errno) = error.raw_os_error().and_then(|errno| errno.checked_sub(ENTERING))
            && errno >= 0
        {
            // Rather watched than not at all.
            self.cage.dissolve();
            self.report(Report::Loose(errno));
            server = self.start(command);
        }
        let pid = server?.id();
        self.server = i32::try_from(pid).ok().map(Pid::from_raw);
        // Our copies of the pipes would keep them open after the server closed its own.
        let null = File::options().read(true).write(true).open("/dev/null")?;
        dup2_stdin(&null)?;
        dup2_stdout(&null)?;
        dup2_stderr(&null)?;
        self.report(Report::Spawned(pid));
        Ok(())
    }

    #[expect(
        unsafe_code,
        clippy::disallowed_methods,
        reason = "the server has to ask for its own death signal between fork and exec; this is where servers are spawned"
    )]
    fn start(&self, command: &[OsString]) -> io::Result<Child> {
        let (program, args) = command
            .split_first()
            .ok_or_else(|| io::Error::from(io::ErrorKind::InvalidInput))?;
        let mut server = Command::new(program);
        server.args(args).process_group(0);
        let doors = self.cage.doors().map_err(|error| entering(&error))?;
        let (guard, files) = (getpid(), self.cage.open_files());
        // SAFETY: these are plain system calls on what exists already, allowed between fork and exec.
        unsafe {
            server.pre_exec(move || {
                die_with(guard)?;
                enter(&doors).map_err(|error| entering(&error))?;
                limit_files(files)
            });
        }
        server.spawn()
    }

    /// Sleeps until something happens; returns when nothing of the server is left.
    fn watch(mut self) -> ExitCode {
        // A guard that can't sleep is blind; the tree must not outlive its sight.
        while let Ok(alarmed) = self.sleep() {
            self.reap();
            if self.exit.is_some() || !self.obey() {
                break;
            }
            if let Some(breach) = self.cage.look(alarmed, descendants_by_children) {
                self.report(Report::Breached(breach));
                break;
            }
        }
        self.kill_tree();
        self.end()
    }

    /// Until there is something to do; whether the kernel refused the server a process.
    fn sleep(&self) -> io::Result<bool> {
        let mut ready = vec![
            PollFd::new(self.control.as_fd(), PollFlags::POLLIN),
            PollFd::new(self.child_ended.as_fd(), PollFlags::POLLIN),
        ];
        let alarm = self.cage.alarm().map(|alarm| PollFd::new(alarm, PollFlags::POLLPRI));
        ready.extend(alarm);
        let until_look = self.cage.until_look();
        let limit = until_look.map_or(PollTimeout::NONE, |wait| {
            // Not a millisecond too early, or we would spin.
            PollTimeout::try_from(wait.as_millis() + 1).unwrap_or(PollTimeout::MAX)
        });
        match poll(&mut ready, limit) {
            Ok(_) | Err(Errno::EINTR) => {}
            Err(error) => return Err(error.into()),
        }
        let alarmed = ready.get(2).and_then(PollFd::any);
        Ok(alarmed.unwrap_or_default())
    }

    /// Does what the hub says; `false` when that is to kill, or when it is gone.
    fn obey(&mut self) -> bool {
        let mut orders = [0; 16];
        match self.control.read(&mut orders) {
            Ok(0) => false,
            Ok(n) => orders.iter().take(n).all(|order| match *order {
                TERMINATE => {
                    self.terminate();
                    true
                }
                KILL => false,
                _ => true,
            }),
            Err(error) => matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted),
        }
    }

    /// SIGTERM, and SIGCONT so that a stopped process hears it.
    fn terminate(&self) {
        let Some(server) = self.server.filter(|_| self.exit.is_none()) else {
            return;
        };
        for signal in [Signal::SIGTERM, Signal::SIGCONT] {
            if killpg(server, signal).is_err() {
                // It has left the group that we gave it.
                tree::send(server.as_raw(), signal);
            }
        }
    }

    /// Takes the statuses of all children that ended; `false` once there are no children at all.
    fn reap(&mut self) -> bool {
        let mut drained = [0; 64];
        while matches!(self.child_ended.read(&mut drained), Ok(1..)) {}
        loop {
            let (pid, exit) = match waitpid(None, Some(WaitPidFlag::WNOHANG)) {
                Ok(WaitStatus::Exited(pid, code)) => (pid, Exit::Code(code)),
                Ok(WaitStatus::Signaled(pid, signal, _)) => (pid, Exit::Signal(signal as i32)),
                Ok(WaitStatus::StillAlive) => return true,
                Ok(_) | Err(Errno::EINTR) => continue,
                Err(_) => return false,
            };
            if Some(pid) == self.server {
                self.exit = Some(exit);
                if let Some(breach) = self.cage.verdict(exit) {
                    self.report(Report::Breached(breach));
                }
                // At once: what the server left may take a while.
                self.report(Report::Exited(exit));
            }
        }
    }

    /// Kills everything below us until nothing is left. As subreaper we inherit every orphan, so that "no children" means
    /// "no descendants".
    fn kill_tree(&mut self) {
        let begun = Instant::now();
        let mut pause = 1;
        let by_group = self.cage.kill();
        // Before the first look: the server may be buried already, and what it left in its group not.
        self.kill_group();
        while self.reap() {
            if begun.elapsed() > KILL_LIMIT {
                let left = descendants().len();
                self.report(Report::Left(u32::try_from(left).unwrap_or(u32::MAX)));
                break;
            }
            if !by_group || begun.elapsed() > GROUP_KILL {
                tree::freeze_and_kill(descendants);
            }
            self.kill_group();
            let mut ended = [PollFd::new(self.child_ended.as_fd(), PollFlags::POLLIN)];
            // Interrupted or not: the next round looks again.
            let _interrupted = poll(&mut ended, PollTimeout::from(pause));
            pause = (pause * 2).min(50_u8);
        }
        self.cage.remove();
    }

    /// Where a guard inherits no orphans and there is no list of processes, the process group is all it knows of the tree.
    fn kill_group(&self) {
        if !cfg!(target_os = "linux")
            && let Some(server) = self.server
        {
            let _gone = killpg(server, Signal::SIGKILL);
        }
    }

    /// Ends as the server did, for whoever looks at us.
    fn end(self) -> ExitCode {
        match self.exit {
            Some(Exit::Code(code)) => ExitCode::from(u8::try_from(code).unwrap_or(BROKEN)),
            Some(Exit::Signal(signal)) => {
                drop(signal_hook::low_level::emulate_default_handler(signal));
                ExitCode::from(u8::try_from(128 + signal).unwrap_or(BROKEN))
            }
            Some(Exit::GuardLost | Exit::Disconnected) | None => ExitCode::from(BROKEN),
        }
    }

    /// Tells the hub. If it is gone, the next `poll` says so.
    fn report(&self, report: Report) {
        drop((&self.control).write_all(report.to_line().as_bytes()));
    }
}

fn descendants() -> BTreeSet<i32> {
    tree::below(getpid().as_raw(), &tree::processes())
}

/// The same, read in a way that costs little where the tree is small.
fn descendants_by_children() -> BTreeSet<i32> {
    tree::children_below(getpid().as_raw()).unwrap_or_else(descendants)
}

/// Between fork and exec: becomes a member of every group.
fn enter(doors: &[File]) -> io::Result<()> {
    doors.iter().try_for_each(|mut door| door.write_all(b"0"))
}

fn entering(error: &io::Error) -> io::Error {
    io::Error::from_raw_os_error(ENTERING + error.raw_os_error().unwrap_or_default())
}

/// Between fork and exec: the configured limit of open files, which a program without the rights of root can't raise.
fn limit_files(limit: Option<u64>) -> io::Result<()> {
    let Some(limit) = limit else { return Ok(()) };
    let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE)?;
    let limit = limit.min(hard);
    Ok(setrlimit(Resource::RLIMIT_NOFILE, limit, limit)?)
}

/// Between fork and exec: the kernel kills the server when its guard dies. Another reason to be single-threaded: the death
/// signal follows the thread that forked.
fn die_with(guard: Pid) -> io::Result<()> {
    #[cfg(target_os = "linux")]
    nix::sys::prctl::set_pdeathsig(Signal::SIGKILL)?;
    if getppid() == guard {
        Ok(())
    } else {
        // The guard died before the kernel was told.
        Err(io::Error::from_raw_os_error(Errno::ESRCH as i32))
    }
}

/// Closes what whoever started the hub left open in it: neither we nor the server should hold a stranger's pipe.
fn close_leaked(control: RawFd) {
    let folder = if cfg!(target_os = "linux") {
        "/proc/self/fd"
    } else {
        "/dev/fd"
    };
    let Ok(entries) = std::fs::read_dir(folder) else {
        return;
    };
    let open: Vec<RawFd> = entries
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .collect();
    for fd in open {
        if fd > 2 && fd != control {
            // The listing itself is among them, and closed by now.
            let _closed = close(fd);
        }
    }
}

/// The server inherits both: no core dumps (they hold secrets), and the number of open files that programs expect. Neither is
/// worth failing for.
fn limit_resources() {
    let _refused = setrlimit(Resource::RLIMIT_CORE, 0, 0);
    if let Ok((_, hard)) = getrlimit(Resource::RLIMIT_NOFILE) {
        let _refused = setrlimit(Resource::RLIMIT_NOFILE, SERVER_FILES.min(hard), hard);
    }
}
