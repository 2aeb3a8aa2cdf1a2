//! The time of day, and the two facts that tell one process from another that later got its number.
//! The only place that asks the system what time it is; everything that measures a span uses
//! `tokio::time::Instant`, which tests can pause.

use std::{
    sync::OnceLock,
    time::{SystemTime, UNIX_EPOCH},
};

/// Milliseconds since 1970-01-01 UTC; 0 for a clock set before that.
#[expect(clippy::disallowed_methods, reason = "this is the one place that may")]
pub fn now_unix_millis() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

/// Names this boot of the machine: process numbers mean something only together with it.
/// Empty where the system does not tell (anything but Linux).
pub fn boot_id() -> &'static str {
    static BOOT_ID: OnceLock<String> = OnceLock::new();
    BOOT_ID.get_or_init(|| {
        std::fs::read_to_string("/proc/sys/kernel/random/boot_id")
            .map(|id| id.trim().to_owned())
            .unwrap_or_default()
    })
}

/// When process `pid` started, in clock ticks since boot (`proc(5)`, `stat` field 22). `None` if no
/// such process exists, or where the system does not tell.
pub fn process_start_time(pid: u32) -> Option<u64> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name in field 2 may hold spaces and parentheses, so count from the last parenthesis.
    let (_, fields) = stat.rsplit_once(')')?;
    fields.split_ascii_whitespace().nth(19)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_clock_is_set() {
        // 2020-01-01, long before this was written.
        assert!(now_unix_millis() > 1_577_836_800_000);
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn processes_can_be_told_apart() {
        let me = process_start_time(std::process::id()).unwrap();
        assert_eq!(process_start_time(std::process::id()), Some(me));
        assert_ne!(process_start_time(1), None);
        // Above the largest number that a kernel gives out.
        assert_eq!(process_start_time(u32::MAX), None);
        assert_eq!(boot_id().len(), 36);
    }
}
