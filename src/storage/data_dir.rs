//! The data folder. A lock on it keeps two hubs from sharing one.

use std::{
    fs::{self, DirBuilder, File, TryLockError},
    io::{self, Read, Seek, Write},
    os::unix::fs::{DirBuilderExt, OpenOptionsExt},
    path::{Path, PathBuf},
    sync::Arc,
};

const LOCK: &str = "hub.lock";

/// Why the data folder cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum LockError {
    /// Another hub has it.
    #[error("the data folder `{}` is in use by the hub with process number {pid}", folder.display())]
    InUse {
        /// The folder.
        folder: PathBuf,
        /// The other hub's process, as it wrote it down; 0 if it did not.
        pid: u32,
    },
    /// It cannot be made, read or written.
    #[error("cannot use the data folder `{}`", folder.display())]
    Unusable {
        /// The folder.
        folder: PathBuf,
        /// What the system says.
        #[source]
        cause: io::Error,
    },
}

/// A locked data folder. The lock lasts until the last clone is dropped, or the process ends in whatever way.
#[derive(Clone, Debug)]
pub struct DataDir {
    path: Arc<Path>,
    _lock: Arc<File>,
}

impl DataDir {
    /// Makes the folder if there is none (readable by its owner only) and locks it. Takes well under a millisecond.
    ///
    /// # Errors
    /// [`LockError`]: another hub has it, or the system refuses.
    pub fn lock(folder: &Path) -> Result<Self, LockError> {
        let unusable = |cause| LockError::Unusable {
            folder: folder.to_owned(),
            cause,
        };
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(folder)
            .map_err(unusable)?;
        let mut file = File::options()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(folder.join(LOCK))
            .map_err(unusable)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                return Err(LockError::InUse {
                    folder: folder.to_owned(),
                    pid: read_pid(&mut file).unwrap_or(0),
                });
            }
            Err(TryLockError::Error(cause)) => return Err(unusable(cause)),
        }
        write_pid(&mut file).map_err(unusable)?;
        Ok(Self {
            path: fs::canonicalize(folder).unwrap_or_else(|_| folder.to_owned()).into(),
            _lock: Arc::new(file),
        })
    }

    /// The folder.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

fn read_pid(file: &mut File) -> Option<u32> {
    let mut text = String::new();
    file.read_to_string(&mut text).ok()?;
    text.trim().parse().ok()
}

fn write_pid(file: &mut File) -> io::Result<()> {
    file.set_len(0)?;
    file.rewind()?;
    writeln!(file, "{}", std::process::id())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_hubs_never_share_a_folder() {
        let dir = tempfile::tempdir().unwrap();
        let folder = dir.path().join("new/data");
        let first = DataDir::lock(&folder).unwrap();
        let error = DataDir::lock(&folder).unwrap_err();
        assert_eq!(
            error.to_string(),
            format!(
                "the data folder `{}` is in use by the hub with process number {}",
                folder.display(),
                std::process::id()
            )
        );
        let clone = first.clone();
        drop(first);
        assert!(DataDir::lock(&folder).is_err());
        drop(clone);
        assert!(DataDir::lock(&folder).is_ok());
    }

    #[test]
    fn a_folder_that_cannot_be_is_told() {
        let error = DataDir::lock(Path::new("/proc/no/data")).unwrap_err();
        assert_eq!(error.to_string(), "cannot use the data folder `/proc/no/data`");
    }
}
