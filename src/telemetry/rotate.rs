//! A file that never grows beyond a size: full ones are renamed `.1`, `.2`, … and the oldest goes.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Write},
    path::{Path, PathBuf},
};

/// Writes to `path`, at most `most_bytes` per file and `keep` files in all. Opened with the first write, and again after
/// a failure, so that a full or missing disk costs lines and nothing else.
#[derive(Debug)]
pub(super) struct SizeLimited {
    path: PathBuf,
    most_bytes: u64,
    keep: usize,
    open: Option<(File, u64)>,
}

impl SizeLimited {
    pub(super) fn new(path: PathBuf, most_bytes: u64, keep: usize) -> Self {
        Self {
            path,
            most_bytes,
            keep: keep.max(1),
            open: None,
        }
    }

    /// The open file and its length.
    fn file(&mut self, coming: u64) -> io::Result<&mut (File, u64)> {
        if self
            .open
            .as_ref()
            .is_some_and(|(_, len)| *len > 0 && len + coming > self.most_bytes)
        {
            self.open = None;
            self.rotate()?;
        }
        match &mut self.open {
            Some(open) => Ok(open),
            closed @ None => {
                if let Some(folder) = self.path.parent() {
                    fs::create_dir_all(folder)?;
                }
                let file = OpenOptions::new().create(true).append(true).open(&self.path)?;
                let len = file.metadata()?.len();
                Ok(closed.insert((file, len)))
            }
        }
    }

    fn numbered(&self, number: usize) -> PathBuf {
        let mut name = self.path.as_os_str().to_owned();
        name.push(format!(".{number}"));
        PathBuf::from(name)
    }

    fn rotate(&self) -> io::Result<()> {
        let Some(last) = self.keep.checked_sub(1).filter(|last| *last > 0) else {
            return fs::remove_file(&self.path);
        };
        for number in (1..last).rev() {
            rename(&self.numbered(number), &self.numbered(number + 1))?;
        }
        rename(&self.path, &self.numbered(1))
    }
}

/// A file that is not there needs no new name.
fn rename(from: &Path, to: &Path) -> io::Result<()> {
    match fs::rename(from, to) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

impl Write for SizeLimited {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let coming = bytes.len() as u64;
        let written = self.file(coming).and_then(|(file, len)| {
            file.write_all(bytes)?;
            *len += coming;
            Ok(())
        });
        if written.is_err() {
            self.open = None;
        }
        written.map(|()| bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.open.as_mut().map_or(Ok(()), |(file, _)| file.flush())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_file_outgrows_its_size_and_the_oldest_goes() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("new/x.log");
        let mut log = SizeLimited::new(path.clone(), 10, 3);
        for line in [
            "one\n",
            "two\n",
            "three\n",
            "four\n",
            "five\n",
            "longer than ten\n",
            "six\n",
        ] {
            log.write_all(line.as_bytes()).unwrap();
        }
        let read = |file: &Path| fs::read_to_string(file).unwrap();
        assert_eq!(read(&path), "six\n");
        assert_eq!(read(&log.numbered(1)), "longer than ten\n");
        assert_eq!(read(&log.numbered(2)), "four\nfive\n");
        assert!(!log.numbered(3).exists());
        drop(log);
        let mut log = SizeLimited::new(path.clone(), 10, 1);
        log.write_all(b"seven\n").unwrap();
        log.write_all(b"eight\n").unwrap();
        assert_eq!(read(&path), "eight\n");
    }
}
