//! What a service writes to its stderr, kept in rotated files of its own.

use std::{
    collections::BTreeMap,
    fmt,
    io::Write as _,
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError, Weak},
};

use chrono::{DateTime, SecondsFormat};
use tracing_appender::non_blocking::{NonBlocking, NonBlockingBuilder, WorkerGuard};

use super::{redact::Redactor, rotate::SizeLimited};
use crate::{clock, config::ServiceName};

/// Largest file of one service, in bytes.
const MOST_BYTES: u64 = 10 << 20;
/// Longest line that is kept, in bytes; the rest of it is left out.
const LONGEST_LINE: usize = 16 << 10;
/// Lines that may wait for the disk; more are dropped.
const WAITING_LINES: usize = 512;

/// Where the stderr of one service goes. All units of a service share one. Cheap to clone; the last clone that goes
/// waits a moment for the lines that are still on their way.
#[derive(Clone)]
pub struct ChildLog {
    redactor: Redactor,
    file: Option<Arc<LogFile>>,
}

struct LogFile {
    writer: Mutex<NonBlocking>,
    _worker: WorkerGuard,
}

impl fmt::Debug for ChildLog {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ChildLog")
            .field("to_file", &self.file.is_some())
            .finish_non_exhaustive()
    }
}

impl ChildLog {
    /// A log that keeps nothing.
    pub fn nowhere() -> Self {
        Self {
            redactor: Redactor::default(),
            file: None,
        }
    }

    /// Adds a line (without its end) with the time and without known secrets. Never waits: when the disk does not keep up,
    /// the line is dropped and counted.
    pub fn write_line(&self, line: &str) {
        let Some(file) = &self.file else { return };
        let cut = line.floor_char_boundary(LONGEST_LINE);
        let (kept, rest) = line.split_at(cut);
        let clean = self.redactor.redact(kept);
        let more = if rest.is_empty() { "" } else { " …" };
        let entry = format!("{} {clean}{more}\n", timestamp());
        let mut writer = file.writer.lock().unwrap_or_else(PoisonError::into_inner);
        // `NonBlocking` in its lossy form takes or drops; it cannot fail.
        drop(writer.write_all(entry.as_bytes()));
    }

    /// Lines that were dropped because the disk did not keep up.
    pub fn dropped_lines(&self) -> usize {
        self.file.as_ref().map_or(0, |file| {
            let writer = file.writer.lock().unwrap_or_else(PoisonError::into_inner);
            writer.error_counter().dropped_lines()
        })
    }
}

fn timestamp() -> String {
    let millis = i64::try_from(clock::now_unix_millis()).unwrap_or_default();
    DateTime::from_timestamp_millis(millis)
        .unwrap_or_default()
        .to_rfc3339_opts(SecondsFormat::Millis, true)
}

/// Opens the logs of services, one file each, shared by all who ask for the same name.
#[derive(Debug)]
pub(super) struct ChildLogs {
    /// `None` writes no files.
    folder: Option<PathBuf>,
    keep_files: usize,
    redactor: Redactor,
    open: Mutex<BTreeMap<ServiceName, Weak<LogFile>>>,
}

impl fmt::Debug for LogFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("LogFile")
    }
}

impl ChildLogs {
    pub(super) fn new(folder: Option<PathBuf>, keep_files: usize, redactor: Redactor) -> Self {
        Self {
            folder,
            keep_files,
            redactor,
            open: Mutex::default(),
        }
    }

    /// The log of `service`. Touches the disk only with the first line.
    pub(super) fn of(&self, service: &ServiceName) -> ChildLog {
        let file = self.folder.as_ref().map(|folder| {
            let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
            if let Some(file) = open.get(service).and_then(Weak::upgrade) {
                return file;
            }
            let path = folder.join(format!("{service}.log"));
            let (writer, worker) = NonBlockingBuilder::default()
                .buffered_lines_limit(WAITING_LINES)
                .lossy(true)
                .thread_name("child-log")
                .finish(SizeLimited::new(path, MOST_BYTES, self.keep_files));
            let file = Arc::new(LogFile {
                writer: Mutex::new(writer),
                _worker: worker,
            });
            open.insert(service.clone(), Arc::downgrade(&file));
            file
        });
        ChildLog {
            redactor: self.redactor.clone(),
            file,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::config::Secret;

    #[test]
    fn lines_arrive_in_order_without_secrets() {
        let dir = tempfile::tempdir().unwrap();
        let redactor = Redactor::new(&[Secret::new("canary-4711".to_owned())]);
        let logs = ChildLogs::new(Some(dir.path().to_owned()), 3, redactor);
        let name = ServiceName::new("a").unwrap();
        let (one, other) = (logs.of(&name), logs.of(&name));
        one.write_line("first canary-4711");
        other.write_line(&"é".repeat(LONGEST_LINE));
        one.write_line("third");
        assert_eq!(one.dropped_lines(), 0);
        drop((one, other));
        let text = fs::read_to_string(dir.path().join("a.log")).unwrap();
        let lines: Vec<_> = text.lines().map(|line| line.split_once(' ').unwrap().1).collect();
        assert_eq!((lines[0], lines[2], lines.len()), ("first ***", "third", 3));
        assert!(lines[1].ends_with("é …") && lines[1].len() < LONGEST_LINE + 8);
        ChildLog::nowhere().write_line("kept nowhere");
    }
}
