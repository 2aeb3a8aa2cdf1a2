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
