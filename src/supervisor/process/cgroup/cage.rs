//! What holds one server to its limits, in its guard: the groups, and a look now and then at what no group holds.

use std::{
    collections::BTreeSet,
    ffi::OsString,
    fs::{self, File},
    io::{self, Read, Seek},
    os::fd::{AsFd, BorrowedFd},
    path::PathBuf,
    time::{Duration, Instant},
};

use nix::sys::signal::Signal;

use super::{
    super::{Exit, tree},
    group::{Group, Kind, clear},
    places::Controller,
    usage,
    watch::{Breach, Refusals},
};
use crate::config::ServiceLimits;

/// How often a tree is looked at, where that is needed.
const LOOK: Duration = Duration::from_millis(500);
/// How often one number is read that the kernel does not call us for.
const GLANCE: Duration = Duration::from_secs(1);

/// What a guard is told: limits, and the groups it is to make for them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(in super::super) struct Order {
    pub(super) limits: ServiceLimits,
    pub(super) groups: Vec<Group>,
}

impl Order {
    /// The words of the guard's command line.
    pub(in super::super) fn to_args(&self) -> Vec<String> {
        let limits = &self.limits;
        let number = |key: &str, value: Option<u64>| value.map(|value| format!("max-{key}={value}"));
        let numbers = [
            number("memory", limits.memory),
            number("pids", limits.pids),
            number("files", limits.open_files),
            number("cpus", limits.cpus.map(u64::from)),
        ];
        let groups = self.groups.iter().map(Group::to_arg);
        numbers.into_iter().flatten().chain(groups).collect()
    }

    /// The reverse; `None` for what [`Self::to_args`] would not write.
    pub(in super::super) fn from_args(args: &[OsString]) -> Option<Self> {
        let mut order = Self::default();
        for arg in args {
            let arg = arg.to_str()?;
            let Some((key, value)) = arg.strip_prefix("max-").and_then(|arg| arg.split_once('=')) else {
                order.groups.push(Group::from_arg(arg)?);
                continue;
            };
            let limits = &mut order.limits;
            match key {
                "memory" => limits.memory = Some(value.parse().ok()?),
                "pids" => limits.pids = Some(value.parse().ok()?),
                "files" => limits.open_files = Some(value.parse().ok()?),
                "cpus" => limits.cpus = Some(value.parse().ok()?),
                _ => return None,
            }
        }
        Some(order)
    }

    /// Where the groups are, once they are made.
    pub(in super::super) fn paths(&self) -> Vec<PathBuf> {
        self.groups.iter().map(|group| group.path.clone()).collect()
    }
}

/// The limits of one server, being enforced.
#[derive(Debug)]
pub(in super::super) struct Cage {
    limits: ServiceLimits,
    groups: Vec<Group>,
    held: BTreeSet<Controller>,
    refusals: Refusals,
    /// `pids.events` of the group that holds them.
    events: Option<File>,
    /// Whether that becomes ready for `POLLPRI` when the kernel refuses one; in version 1 it does not.
    alarms: bool,
    next_look: Option<Instant>,
}

impl Cage {
    /// Makes the groups. Those that can't be made are done without, which is the error beside it: what they were to hold is
    /// looked at instead.
    pub(in super::super) fn build(order: Order) -> (Self, Option<io::Error>) {
        let (mut groups, mut held, mut trouble) = (Vec::new(), BTreeSet::new(), None);
        for group in order.groups {
            match group.make(&order.limits) {
                Ok(holds) => {
                    held.extend(holds);
                    groups.push(group);
                }
                Err(error) => trouble = Some(error),
            }
        }
        let mut cage = Self {
            limits: order.limits,
            groups,
            held,
            refusals: Refusals::default(),
            events: None,
            alarms: false,
            next_look: None,
        };
        if let Some(group) = cage.find(Controller::Pids, "pids.events") {
            let alarms = group.kind == Kind::Unified;
            cage.events = File::open(group.path.join("pids.events")).ok();
            cage.alarms = alarms;
        }
        cage.refused();
        cage.plan(Instant::now());
        if cage.unheld().1.is_some() {
            // A bomb makes thousands that want the processor as we do: be ahead of them where sessions count as one. Only root
            // may ask for that.
            drop(fs::write("/proc/self/autogroup", "-19"));
        }
        (cage, trouble)
    }

    /// Gives the groups up, because nobody gets into them: everything is looked at from now on.
    pub(in super::super) fn dissolve(&mut self) {
        self.remove();
        self.groups.clear();
        self.held.clear();
        self.events = None;
        self.plan(Instant::now());
    }

    /// The limit of open files, which no group holds.
    pub(in super::super) fn open_files(&self) -> Option<u64> {
        self.limits.open_files
    }

    /// Files to which the server writes `0` to become a member.
    pub(in super::super) fn doors(&self) -> io::Result<Vec<File>> {
        self.groups.iter().map(Group::door).collect()
    }

    /// How long until the next look; `None` if the kernel watches alone.
    pub(in super::super) fn until_look(&self) -> Option<Duration> {
        let next = self.next_look?;
        Some(next.saturating_duration_since(Instant::now()))
    }

    /// To be polled for `POLLPRI`; only while no look is due anyway, or a bomb would keep us awake.
    pub(in super::super) fn alarm(&self) -> Option<BorrowedFd<'_>> {
        let quiet = self.alarms && !self.refusals.are_growing();
        self.events.as_ref().filter(|_| quiet).map(AsFd::as_fd)
    }

    /// Looks, if it is time or the alarm went off: is it over one of its limits? `find` finds its processes.
    pub(in super::super) fn look(&mut self, alarmed: bool, find: impl FnOnce() -> BTreeSet<i32>) -> Option<Breach> {
        let now = Instant::now();
        if !alarmed && self.next_look.is_none_or(|next| now < next) {
            return None;
        }
        let was_squeezed = self.refusals.are_a_bomb();
        self.note_refusals(now);
        if self.refusals.are_a_bomb() != was_squeezed {
            for group in &self.groups {
                group.squeeze(!was_squeezed, &self.limits);
            }
        }
        self.plan(now);
        if self.oom_kills() > 0 {
            return Some(Breach::Oom);
        }
        if self.refusals.are_hopeless(now) {
            return Some(Breach::Pids);
        }
        let (memory, pids) = self.unheld();
        if memory.is_none() && pids.is_none() {
            return None;
        }
        let found = find();
        let usage = usage::of(found.iter().copied());
        if pids.is_some_and(|most| usage.tasks > most) {
            // At once: a bomb leaves us little time.
            for pid in found {
                tree::send(pid, Signal::SIGSTOP);
            }
            return Some(Breach::Pids);
        }
        if memory.is_some_and(|most| usage.memory > most && usage::fair_memory(found.iter().copied()) > most) {
            return Some(Breach::Oom);
        }
        None
    }

    /// Whether the server ended of a limit.
    pub(in super::super) fn verdict(&mut self, exit: Exit) -> Option<Breach> {
        if exit == Exit::Code(0) {
            return None;
        }
        if self.oom_kills() > 0 {
            return Some(Breach::Oom);
        }
        let now = Instant::now();
        self.note_refusals(now);
        self.refusals.explain(now).then_some(Breach::Pids)
    }

    /// Lets the kernel kill the tree; `false` if it can't.
    pub(in super::super) fn kill(&self) -> bool {
        // Dying takes processor time, too.
        for group in &self.groups {
            group.squeeze(false, &ServiceLimits::default());
        }
        self.groups.iter().any(Group::kill)
    }

    /// Removes the groups, with whatever is still in them.
    pub(in super::super) fn remove(&self) {
        let paths: Vec<_> = self.groups.iter().map(|group| group.path.clone()).collect();
        clear(&paths);
    }

    /// The limits that we have to see to ourselves.
    fn unheld(&self) -> (Option<u64>, Option<u64>) {
        let unheld = |controller, limit: Option<u64>| limit.filter(|_| !self.held.contains(&controller));
        (
            unheld(Controller::Memory, self.limits.memory),
            unheld(Controller::Pids, self.limits.pids),
        )
    }

    fn plan(&mut self, now: Instant) {
        let (memory, pids) = self.unheld();
        // Version 1 kills one process and leaves the rest, which nobody but us notices.
        let kills_one = self.held.contains(&Controller::Memory) && !self.kills_all();
        let needed = memory.is_some() || pids.is_some() || kills_one || self.refusals.are_growing();
        let glance = self.events.is_some() && !self.alarms;
        self.next_look = match (needed, glance) {
            (true, _) => Some(now + LOOK),
            (false, true) => Some(now + GLANCE),
            (false, false) => None,
        };
    }

    fn kills_all(&self) -> bool {
        self.groups.iter().any(|group| group.has("memory.oom.group"))
    }

    /// How many processes the kernel killed for want of memory.
    fn oom_kills(&self) -> u64 {
        if !self.held.contains(&Controller::Memory) {
            return 0;
        }
        let file = self
            .find(Controller::Memory, "memory.events")
            .map(|group| group.path.join("memory.events"));
        let file = file.or_else(|| {
            let group = self.find(Controller::Memory, "memory.oom_control")?;
            Some(group.path.join("memory.oom_control"))
        });
        let text = file.and_then(|file| fs::read_to_string(file).ok()).unwrap_or_default();
        field(&text, "oom_kill")
    }

    fn note_refusals(&mut self, now: Instant) {
        let Some(count) = self.refused() else { return };
        if !self.refusals.has_more(count) && !self.refusals.are_growing() {
            self.refusals.note(count, false, now);
            return;
        }
        let limit = self.limits.pids.unwrap_or(u64::MAX);
        let current = self
            .find(Controller::Pids, "pids.current")
            .map(|group| group.path.join("pids.current"));
        let current = current.and_then(|file| fs::read_to_string(file).ok());
        let current: u64 = current.and_then(|text| text.trim().parse().ok()).unwrap_or_default();
        // Processes come and go also where none can be added.
        let at_limit = current >= limit - limit / 10;
        self.refusals.note(count, at_limit, now);
    }

    /// How many processes and threads the kernel refused; reading it also sets the alarm again.
    fn refused(&mut self) -> Option<u64> {
        let events = self.events.as_mut()?;
        let mut text = String::new();
        events.rewind().ok()?;
        events.read_to_string(&mut text).ok()?;
        Some(field(&text, "max"))
    }

    /// The group that holds `controller` and has this file.
    fn find(&self, controller: Controller, file: &str) -> Option<&Group> {
        let of = |group: &&Group| match group.kind {
            Kind::Unified => self.held.contains(&controller),
            Kind::Legacy(own) => own == controller,
        };
        self.groups.iter().filter(of).find(|group| group.has(file))
    }
}

/// The number behind `key` in lines of `key number`.
fn field(text: &str, key: &str) -> u64 {
    let value = text
        .lines()
        .find_map(|line| line.split_once(' ').filter(|(name, _)| *name == key));
    value
        .and_then(|(_, value)| value.trim().parse().ok())
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn args(words: &[&str]) -> Vec<OsString> {
        words.iter().map(OsString::from).collect()
    }

    #[test]
    fn an_order_survives_the_command_line() {
        let words = [
            "max-memory=1048576",
            "max-pids=9",
            "max-files=64",
            "max-cpus=500",
            "unified=/a b",
            "memory=/c",
        ];
        let order = Order::from_args(&args(&words)).unwrap();
        assert_eq!(order.to_args(), words);
        assert_eq!(order.limits.cpus, Some(500));
        assert_eq!(order.paths(), [PathBuf::from("/a b"), PathBuf::from("/c")]);
        assert_eq!(Order::from_args(&args(&[])), Some(Order::default()));
        for wrong in ["max-memory=lots", "max-more=1", "elsewhere=/a", ""] {
            assert_eq!(Order::from_args(&args(&[wrong])), None, "{wrong}");
        }
    }

    #[test]
    fn counts_are_found_by_their_names() {
        assert_eq!(field("low 0\noom 3\noom_kill 2\noom_group_kill 1\n", "oom_kill"), 2);
        assert_eq!(field("oom_kill_disable 0\nunder_oom 0\noom_kill 7\n", "oom_kill"), 7);
        assert_eq!(field("max 12\n", "max"), 12);
        assert_eq!(field("", "max"), 0);
    }

    #[test]
    fn what_no_group_holds_is_looked_at() {
        let limits = ServiceLimits {
            memory: Some(1),
            ..ServiceLimits::default()
        };
        let (mut cage, trouble) = Cage::build(Order { limits, groups: vec![] });
        assert!(trouble.is_none() && cage.alarm().is_none());
        assert!(cage.until_look().is_some_and(|wait| wait <= LOOK));
        assert_eq!(cage.look(false, BTreeSet::new), None);
        let own = i32::try_from(std::process::id()).unwrap();
        if cfg!(target_os = "linux") {
            assert_eq!(cage.look(true, || BTreeSet::from([own])), Some(Breach::Oom));
        }
        let (mut free, _) = Cage::build(Order::default());
        assert_eq!(free.until_look(), None);
        assert_eq!(free.look(true, || BTreeSet::from([own])), None);
        assert_eq!(free.verdict(Exit::Signal(9)), None);
    }

    #[test]
    fn a_group_that_cannot_be_made_is_done_without() {
        let group = Group::from_arg("memory=/no/such/folder/group").unwrap();
        let limits = ServiceLimits {
            memory: Some(1 << 30),
            ..ServiceLimits::default()
        };
        let (cage, trouble) = Cage::build(Order {
            limits,
            groups: vec![group],
        });
        assert_eq!(trouble.unwrap().kind(), io::ErrorKind::NotFound);
        assert!(cage.until_look().is_some() && cage.doors().unwrap().is_empty());
    }
}
