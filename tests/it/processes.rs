//! Who is still alive: the processes that a hub started, wherever they hid.

use std::{
    fs,
    time::{Duration, Instant},
};

/// Running processes (no zombies) whose environment carries `TMPDIR=mark`. Children of a hub inherit it, also those that
/// left the process group, the session or their parent.
pub fn marked(mark: &str) -> Vec<u32> {
    let wanted = format!("TMPDIR={mark}");
    let mut found: Vec<u32> = fs::read_dir("/proc")
        .unwrap()
        .filter_map(|entry| entry.unwrap().file_name().to_str()?.parse().ok())
        .filter(|pid| {
            let environment = fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
            environment
                .split(|byte| *byte == 0)
                .any(|entry| entry == wanted.as_bytes())
                && !is_zombie(*pid)
        })
        .collect();
    found.sort_unstable();
    found
}

fn is_zombie(pid: u32) -> bool {
    // The state follows the command name, which is in parentheses and may hold anything.
    fs::read_to_string(format!("/proc/{pid}/stat")).map_or(true, |stat| {
        stat.rsplit_once(") ")
            .is_none_or(|(_, rest)| rest.starts_with(['Z', 'X']))
    })
}

/// The command line of a process, for messages.
pub fn command_line(pid: u32) -> String {
    let bytes = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    String::from_utf8_lossy(&bytes).replace('\0', " ").trim().to_owned()
}

/// Waits until no marked process is left; the survivors with their command lines if the bound passes first.
pub fn wait_until_none(mark: &str, bound: Duration) -> Result<(), String> {
    let deadline = Instant::now() + bound;
    loop {
        let left = marked(mark);
        if left.is_empty() {
            return Ok(());
        }
        if Instant::now() > deadline {
            let lines = left.iter().map(|pid| format!("{pid}: {}", command_line(*pid)));
            return Err(lines.collect::<Vec<_>>().join("\n"));
        }
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// Fields of `/proc/<pid>/stat` after the name, which may hold anything: the state is the first.
fn stat(pid: u32) -> Option<Vec<String>> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let (_, fields) = stat.rsplit_once(") ")?;
    Some(fields.split(' ').map(str::to_owned).collect())
}

/// Whether a process exists and is no zombie.
pub fn alive(pid: u32) -> bool {
    stat(pid).is_some_and(|fields| !matches!(fields[0].as_str(), "Z" | "X"))
}

/// When a process started, in ticks since boot.
pub fn start_time(pid: u32) -> Option<u64> {
    stat(pid)?.get(19)?.parse().ok()
}

/// Living children of a process.
pub fn children_of(parent: u32) -> Vec<u32> {
    let parent = parent.to_string();
    let all = fs::read_dir("/proc").unwrap().flatten();
    all.filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .filter(|pid| stat(*pid).is_some_and(|fields| fields[1] == parent && fields[0] != "Z"))
        .collect()
}

/// Everything below a process.
pub fn below(root: u32) -> Vec<u32> {
    let mut found = children_of(root);
    let mut at = 0;
    while let Some(pid) = found.get(at).copied() {
        found.extend(children_of(pid));
        at += 1;
    }
    found
}

/// Ended children of a process that it has not waited for.
pub fn zombies_of(parent: u32) -> usize {
    let parent = parent.to_string();
    let all = fs::read_dir("/proc").unwrap().flatten();
    all.filter_map(|entry| stat(entry.file_name().to_str()?.parse().ok()?))
        .filter(|fields| fields[1] == parent && fields[0] == "Z")
        .count()
}

/// The number by which a process knows itself, where it lives in a namespace of its own.
pub fn innermost_number(pid: u32) -> Option<u32> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("NSpid:"))?;
    line.split_whitespace().last()?.parse().ok()
}
