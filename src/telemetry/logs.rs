//! Starts the log: stderr and, if wanted, a file a day.

use std::{
    error::Error,
    fmt,
    fs::DirBuilder,
    io,
    io::IsTerminal as _,
    os::unix::fs::DirBuilderExt as _,
    path::{Path, PathBuf},
};

use tracing_appender::{
    non_blocking::{NonBlocking, NonBlockingBuilder, WorkerGuard},
    rolling::{RollingFileAppender, Rotation},
};
use tracing_subscriber::{
    EnvFilter, Layer, Registry,
    filter::ParseError,
    fmt::{MakeWriter, layer},
    layer::SubscriberExt as _,
    registry::LookupSpan,
    reload,
    util::{SubscriberInitExt as _, TryInitError},
};

use super::{
    child_log::{ChildLog, ChildLogs},
    redact::{Redacting, Redactor},
};
use crate::config::{Log, LogFormat, Secret, ServiceName, Surroundings};

/// Lines that may wait for a slow reader of stderr or a slow disk; more are dropped.
const WAITING_LINES: usize = 4_096;

/// Why logging could not start.
#[derive(Debug, thiserror::Error)]
pub enum TelemetryError {
    /// The level is none.
    #[error("`log.level` is not understood")]
    Level(#[source] ParseError),
    /// The folder of the log files cannot be used.
    #[error("cannot write logs to `{}`; set `log.dir`, or `log.keep_files: 0` for none", .folder.display())]
    Folder {
        /// The folder.
        folder: PathBuf,
        /// Why.
        #[source]
        cause: Box<dyn Error + Send + Sync>,
    },
    /// Logging was started before.
    #[error("logging was already started")]
    Twice(#[source] TryInitError),
}

/// Keeps logging alive; the last lines are written when it is dropped, so it must outlive everything that logs.
#[must_use = "logging ends when this is dropped"]
pub struct TelemetryGuard {
    filter: reload::Handle<EnvFilter, Registry>,
    redactor: Redactor,
    children: ChildLogs,
    _workers: Vec<WorkerGuard>,
}

impl fmt::Debug for TelemetryGuard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TelemetryGuard")
    }
}

/// Starts logging to stderr, and to a file a day in `log.dir` or `<data_dir>/logs` unless `log.keep_files` is 0. Standard
/// output is never written to. To be called once.
///
/// # Errors
/// If the folder cannot be used, the level is none, or logging was started before.
pub fn start(log: &Log, data_dir: &Path) -> Result<TelemetryGuard, TelemetryError> {
    let redactor = Redactor::default();
    let (filter, handle) = reload::Layer::new(filter(&log.level)?);
    let mut workers = Vec::new();
    let colour = io::stderr().is_terminal() && !Surroundings::of_process().variables.contains_key("NO_COLOR");
    let stderr = to(io::stderr(), "log-stderr", &redactor, &mut workers);
    let folder = log.dir.clone().unwrap_or_else(|| data_dir.join("logs"));
    let folder = (log.keep_files > 0).then_some(folder);
    let file = match &folder {
        Some(folder) => Some(to(daily(folder, log.keep_files)?, "log-file", &redactor, &mut workers)),
        None => None,
    };
    tracing_subscriber::registry()
        .with(filter)
        .with(lines(log.format, stderr, colour))
        .with(file.map(|file| lines(log.format, file, false)))
        .try_init()
        .map_err(TelemetryError::Twice)?;
    Ok(TelemetryGuard {
        filter: handle,
        children: ChildLogs::new(
            folder.map(|folder| folder.join("services")),
            log.keep_files,
            redactor.clone(),
        ),
        redactor,
        _workers: workers,
    })
}

impl TelemetryGuard {
    /// Replaces the secrets that must not appear in any line: `config.secrets()`, at the start and after each reload.
    pub fn hide(&self, secrets: &[Secret<String>]) {
        self.redactor.set(secrets);
    }

    /// The redactor of all logs, for other texts that people see, such as the last lines of a service's stderr.
    pub fn redactor(&self) -> Redactor {
        self.redactor.clone()
    }

    /// Changes the level of a running hub.
    ///
    /// # Errors
    /// If `level` is none.
    pub fn set_level(&self, level: &str) -> Result<(), TelemetryError> {
        if self.filter.reload(filter(level)?).is_err() {
            tracing::error!("the level of the log could not be changed");
        }
        Ok(())
    }

    /// Where the stderr of `service` goes: `services/<name>.log` beside the hub's own log, 10 MiB a file.
    pub fn child_log(&self, service: &ServiceName) -> ChildLog {
        self.children.of(service)
    }
}

/// A single word speaks of the hub: what the libraries below it do in detail is shown only where they are named.
fn filter(level: &str) -> Result<EnvFilter, TelemetryError> {
    let directives = match level.trim() {
        word @ ("debug" | "trace") => format!("info,mcpvisor={word}"),
        directives => directives.to_owned(),
    };
    EnvFilter::try_new(directives).map_err(TelemetryError::Level)
}

/// A writer through a bounded queue and a thread of its own.
fn to<W: io::Write + Send + 'static>(
    writer: W,
    thread: &'static str,
    redactor: &Redactor,
    workers: &mut Vec<WorkerGuard>,
) -> Redacted {
    let (queue, worker) = NonBlockingBuilder::default()
        // The default of 128,000 costs 4 MiB at once.
        .buffered_lines_limit(WAITING_LINES)
        .lossy(true)
        .thread_name(thread)
        .finish(writer);
    workers.push(worker);
    Redacted {
        queue,
        redactor: redactor.clone(),
    }
}

fn daily(folder: &Path, keep_files: usize) -> Result<RollingFileAppender, TelemetryError> {
    let refuse = |cause: Box<dyn Error + Send + Sync>| TelemetryError::Folder {
        folder: folder.to_owned(),
        cause,
    };
    // Made here: the appender would complain on stderr about a folder that is not there yet.
    // This may be the first to make the data folder, which is nobody else's business.
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(folder)
        .map_err(|cause| refuse(cause.into()))?;
    RollingFileAppender::builder()
        .rotation(Rotation::DAILY)
        .filename_prefix("mcpvisor")
        .filename_suffix("log")
        .max_log_files(keep_files)
        .build(folder)
        .map_err(|cause| refuse(cause.into()))
}

fn lines<S>(format: LogFormat, writer: Redacted, colour: bool) -> Box<dyn Layer<S> + Send + Sync>
where
    S: tracing::Subscriber + for<'span> LookupSpan<'span>,
{
    match format {
        LogFormat::Text => layer().with_ansi(colour).with_target(false).with_writer(writer).boxed(),
        LogFormat::Json => layer().json().flatten_event(true).with_writer(writer).boxed(),
    }
}

/// Makes a redacting writer for each line.
#[derive(Clone)]
struct Redacted {
    queue: NonBlocking,
    redactor: Redactor,
}

impl<'a> MakeWriter<'a> for Redacted {
    type Writer = Redacting<NonBlocking>;

    fn make_writer(&'a self) -> Self::Writer {
        Redacting {
            inner: self.queue.clone(),
            redactor: self.redactor.clone(),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    /// The only test that starts logging: it can be started once per process.
    #[test]
    fn the_log_holds_no_canary_and_follows_its_level() {
        let dir = tempfile::tempdir().unwrap();
        let log = Log {
            level: "warn".to_owned(),
            format: LogFormat::Json,
            ..Log::default()
        };
        let telemetry = start(&log, dir.path()).unwrap();
        telemetry.hide(&[Secret::new("canary-\"0815\"".to_owned())]);
        tracing::info!("too quiet");
        tracing::warn!(token = "canary-\"0815\"", "with canary-\"0815\" inside");
        telemetry.set_level("debug").unwrap();
        assert!(telemetry.set_level("a=b=c").is_err());
        tracing::debug!("now loud");
        tracing::debug!(target: "sqlx", "a library");
        let name = ServiceName::new("svc").unwrap();
        telemetry.child_log(&name).write_line("from a child");
        assert!(matches!(start(&log, dir.path()), Err(TelemetryError::Twice(_))));
        drop(telemetry);
        let files: Vec<_> = fs::read_dir(dir.path().join("logs"))
            .unwrap()
            .map(|file| file.unwrap().path())
            .collect();
        let hub = files
            .iter()
            .find(|file| file.extension().is_some_and(|e| e == "log"))
            .unwrap();
        let text = fs::read_to_string(hub).unwrap();
        assert!(
            text.contains("with *** inside") && text.contains(r#""token":"***""#),
            "{text}"
        );
        assert!(
            text.contains("now loud")
                && !text.contains("too quiet")
                && !text.contains("a library")
                && !text.contains("0815"),
            "{text}"
        );
        assert!(
            text.lines()
                .all(|line| serde_json::from_str::<serde_json::Value>(line).is_ok()),
            "{text}"
        );
        let child = fs::read_to_string(dir.path().join("logs/services/svc.log")).unwrap();
        assert!(child.ends_with(" from a child\n"), "{child}");
    }
}
