//! What one process of a service may take: memory, processes and threads, open files, processors.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::config::{
    mistakes::{KeyPath, Mistakes},
    scalar::{Size, Thousandths, Whole},
};

const MIB: u64 = 1 << 20;
/// Less than this and no program starts.
const LEAST_MEMORY: u64 = 4 * MIB;
/// More open files than the kernel gives anybody.
const MOST_FILES: u64 = 1 << 30;
/// The largest number of processes and threads that Linux knows.
const MOST_PIDS: u64 = 4_194_304;
/// Less than a hundredth is less than the kernel hands out at a time.
const LEAST_CPUS: u32 = 10;
const MOST_CPUS: u32 = 8_192_000;

/// What each process of a service may take, with all that it starts. `None` is no cap.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ServiceLimits {
    /// Memory in bytes, swap included.
    pub memory: Option<u64>,
    /// Processes and threads.
    pub pids: Option<u64>,
    /// Open files of each process.
    pub open_files: Option<u64>,
    /// Time on processors, in thousandths of one.
    pub cpus: Option<u32>,
}

/// What one process of the service may take, with all that it starts.
#[derive(Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
#[schemars(inline)]
pub(in crate::config) struct RawServiceLimits {
    /// Memory, swap included; the whole tree is killed when it needs more.
    #[serde(skip_serializing_if = "Option::is_none")]
    memory: Option<Size>,
    /// Processes and threads (2048 where a control group can hold them).
    #[serde(skip_serializing_if = "Option::is_none")]
    pids: Option<Whole>,
    /// Open files of each process (1024, which a program may raise by itself).
    #[serde(skip_serializing_if = "Option::is_none")]
    open_files: Option<Whole>,
    /// Processors: `0.5` is half of one. Needs a control group.
    #[serde(skip_serializing_if = "Option::is_none")]
    cpus: Option<Thousandths>,
}

impl RawServiceLimits {
    pub(super) fn check(self, at: &KeyPath, mistakes: &mut Mistakes) -> ServiceLimits {
        let mut within = |key: &str, good: bool, least: &dyn ToString, most: &dyn ToString| {
            if !good {
                let message = format!("lies between {} and {}", least.to_string(), most.to_string());
                mistakes.push(at.join(key), message);
            }
        };
        let memory = self.memory.map(|Size(bytes)| bytes as u64);
        if let Some(bytes) = memory {
            let most = 1 << 50;
            let good = (LEAST_MEMORY..=most).contains(&bytes);
            within("memory", good, &"4MiB", &"1048576GiB");
        }
        let mut whole = |key: &str, raw: Option<Whole>, least: u64, most: u64| {
            let value = raw.map(u64::from)?;
            within(key, (least..=most).contains(&value), &least, &most);
            Some(value)
        };
        let pids = whole("pids", self.pids, 1, MOST_PIDS);
        let open_files = whole("open_files", self.open_files, 16, MOST_FILES);
        let cpus = self.cpus.map(|Thousandths(cpus)| cpus);
        if let Some(cpus) = cpus {
            within(
                "cpus",
                (LEAST_CPUS..=MOST_CPUS).contains(&cpus),
                &"0.01",
                &(MOST_CPUS / 1000),
            );
        }
        ServiceLimits {
            memory,
            pids,
            open_files,
            cpus,
        }
    }
}

impl From<&ServiceLimits> for RawServiceLimits {
    fn from(limits: &ServiceLimits) -> Self {
        Self {
            memory: limits
                .memory
                .map(|bytes| Size(usize::try_from(bytes).unwrap_or(usize::MAX))),
            pids: limits.pids.map(Whole),
            open_files: limits.open_files.map(Whole),
            cpus: limits.cpus.map(Thousandths),
        }
    }
}
