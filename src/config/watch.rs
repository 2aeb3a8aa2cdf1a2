//! Follows the files of a configuration. A good new one is published; a broken one is refused whole, every mistake
//! logged, and the running one kept.

use std::{
    collections::BTreeMap, fs, future::Future, os::unix::fs::MetadataExt, path::PathBuf, sync::Arc, time::Duration,
};

use tokio::{
    sync::{Notify, watch},
    time::{MissedTickBehavior, interval, sleep},
};

use super::{diff::diff, layers::Flags, load::Loaded, mistakes::ConfigError, model::Config, places::Surroundings};

/// How often files are looked at.
const EVERY: Duration = Duration::from_secs(1);
/// How long a file must stay the same before it is read: editors write in pieces.
const SETTLE: Duration = Duration::from_millis(100);
/// How often a file that keeps changing is waited for.
const PATIENCE: usize = 20;

/// Asks a [`Watcher`] to read the files now, for SIGHUP. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Reload(Arc<Notify>);

impl Reload {
    /// Reads the files as soon as possible, also if they look the same (a secret may have changed behind a link).
    pub fn now(&self) {
        self.0.notify_one();
    }
}

/// Follows the files of a configuration.
#[derive(Debug)]
pub struct Watcher {
    flags: Flags,
    surroundings: Surroundings,
    reload: Reload,
    current: watch::Sender<Arc<Config>>,
    /// What the hub was started with; some settings hold as they are here until it is started again.
    started: Arc<Config>,
    stamps: BTreeMap<PathBuf, Option<Stamp>>,
}

/// What tells one state of a file from another without reading it.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Stamp {
    inode: u64,
    len: u64,
    seconds: i64,
    nanoseconds: i64,
}

impl Watcher {
    /// A watcher of what `loaded` was read from; run it with [`Watcher::run`]. The receiver holds the configuration
    /// that is in force, beginning with `loaded`.
    pub fn new(flags: &Flags, loaded: &Loaded) -> (Self, Reload, watch::Receiver<Arc<Config>>) {
        Self::new_in(flags, loaded, Surroundings::of_process())
    }

    /// Like [`Watcher::new`], in surroundings of the caller's choice.
    pub fn new_in(
        flags: &Flags,
        loaded: &Loaded,
        surroundings: Surroundings,
    ) -> (Self, Reload, watch::Receiver<Arc<Config>>) {
        let reload = Reload::default();
        let started = Arc::new(loaded.config.clone());
        let (current, follow) = watch::channel(Arc::clone(&started));
        let mut flags = flags.clone();
        // Once a file was found, it is this file: if it goes away, that is a mistake and not another configuration.
        flags.config = flags.config.or_else(|| loaded.config.file.clone());
        let mut watcher = Self {
            flags,
            surroundings,
            reload: reload.clone(),
            current,
            started,
            stamps: BTreeMap::new(),
        };
        watcher.follow(loaded.watched.iter().cloned());
        (watcher, reload, follow)
    }

    /// Follows the files until `stopping` resolves.
    pub async fn run(mut self, stopping: impl Future<Output = ()>) {
        let mut tick = interval(EVERY);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        tokio::pin!(stopping);
        loop {
            let reload = self.reload.clone();
            let asked = tokio::select! {
                () = &mut stopping => return,
                () = reload.0.notified() => true,
                _ = tick.tick() => false,
            };
            if !asked && !self.changed() {
                continue;
            }
            tokio::select! {
                () = &mut stopping => return,
                () = self.settle() => {}
            }
            self.load(asked);
        }
    }

    /// Whether a file looks different than when it was last read. A few `stat` calls, too quick to be worth a thread.
    fn changed(&self) -> bool {
        self.stamps.iter().any(|(file, known)| stamp(file) != *known)
    }

    async fn settle(&mut self) {
        for _ in 0..PATIENCE {
            self.follow(self.stamps.keys().cloned().collect::<Vec<_>>());
            sleep(SETTLE).await;
            if !self.changed() {
                return;
            }
        }
    }

    fn follow(&mut self, files: impl IntoIterator<Item = PathBuf>) {
        self.stamps = files.into_iter().map(|file| (file.clone(), stamp(&file))).collect();
    }

    fn load(&mut self, asked: bool) {
        match Config::load_in(&self.flags, &self.surroundings) {
            Ok(loaded) => self.accept(loaded, asked),
            Err(error) => self.refuse(error),
        }
    }

    fn accept(&mut self, loaded: Loaded, asked: bool) {
        self.follow(loaded.watched);
        let new = Arc::new(loaded.config);
        let changed = self.current.send_if_modified(|current| {
            let differs = **current != *new;
            if differs {
                *current = Arc::clone(&new);
            }
            differs
        });
        if changed {
            for warning in loaded.warnings {
                tracing::warn!("configuration: {warning}");
            }
            tracing::info!("took over a new configuration");
            for path in diff(&self.started, &new).needs_restart {
                tracing::warn!("configuration: `{path}` has changed and holds after a restart of the hub");
            }
        } else if asked {
            tracing::info!("read the configuration again; nothing has changed");
        }
    }

    fn refuse(&mut self, error: ConfigError) {
        let known = std::mem::take(&mut self.stamps);
        self.follow(known.into_keys().chain(error.watched).collect::<Vec<_>>());
        tracing::error!(
            mistakes = error.mistakes.len(),
            "refused a new configuration, the running one is kept"
        );
        for mistake in error.mistakes {
            tracing::error!("configuration: {mistake}");
        }
    }
}

fn stamp(file: &std::path::Path) -> Option<Stamp> {
    let about = fs::metadata(file).ok()?;
    Some(Stamp {
        inode: about.ino(),
        len: about.len(),
        seconds: about.mtime(),
        nanoseconds: about.mtime_nsec(),
    })
}
