//! What a process tree takes, as `/proc` has it: for limits that no control group holds.

use std::fs;

/// What one or more processes take.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Usage {
    /// Resident memory in bytes; what several processes share counts for each of them.
    pub(super) memory: u64,
    /// Processes and threads.
    pub(super) tasks: u64,
}

/// The sum over `pids`; those that are gone count as nothing.
pub(super) fn of(pids: impl Iterator<Item = i32>) -> Usage {
    pids.filter_map(|pid| fs::read_to_string(format!("/proc/{pid}/status")).ok())
        .map(|status| parse(&status))
        .fold(Usage::default(), |sum, one| Usage {
            memory: sum.memory + one.memory,
            tasks: sum.tasks + one.tasks,
        })
}

fn parse(status: &str) -> Usage {
    let number = |key: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(key))?;
        line.split_whitespace().next()?.parse::<u64>().ok()
    };
    Usage {
        // A zombie has none.
        memory: number("VmRSS:").unwrap_or_default() * 1024,
        tasks: number("Threads:").unwrap_or_default(),
    }
}

/// Memory of `pids` in bytes, where what several processes share is divided among them. Costs the kernel a walk over all
/// their memory: only asked when the cheaper sum is too large.
pub(super) fn fair_memory(pids: impl Iterator<Item = i32>) -> u64 {
    let share = |pid: i32| {
        let rollup = fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).ok()?;
        let line = rollup.lines().find_map(|line| line.strip_prefix("Pss:"))?;
        Some(line.split_whitespace().next()?.parse::<u64>().ok()? * 1024)
    };
    // Not every kernel has that file.
    pids.map(|pid| share(pid).unwrap_or_else(|| of([pid].into_iter()).memory))
        .sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_and_threads_are_read() {
        let status = "Name:\ta VmRSS: 7\nVmRSS:\t    1500 kB\nThreads:\t12\n";
        assert_eq!(
            parse(status),
            Usage {
                memory: 1500 * 1024,
                tasks: 12
            }
        );
        assert_eq!(parse("Name:\tzombie\nThreads:\t1\n").memory, 0);
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn a_process_takes_something() {
        let own = i32::try_from(std::process::id()).unwrap();
        let usage = of([own, i32::MAX].into_iter());
        assert!(usage.memory > 1 << 20 && usage.tasks >= 1, "{usage:?}");
        let fair = fair_memory([own].into_iter());
        assert!(fair > 0 && fair <= usage.memory * 2, "{fair} {usage:?}");
    }
}
