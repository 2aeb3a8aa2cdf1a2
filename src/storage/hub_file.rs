//! `hub.json` in the data folder: where the hub that runs on it can be reached.

use std::{
    fs::{self, File},
    io::{self, Write},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};

use crate::clock;

const FILE: &str = "hub.json";

/// Which process the hub is, and the addresses that it really bound.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HubInfo {
    /// The hub's process.
    pub pid: u32,
    /// When that process started, in ticks since boot; 0 where the system does not tell.
    pub start_time: u64,
    /// The boot that this process number belongs to.
    pub boot_id: String,
    /// The MCP endpoint over HTTP, if that door is open.
    pub mcp_url: Option<String>,
    /// The admin door, if it is open.
    pub admin_url: Option<String>,
}

impl HubInfo {
    /// This process, with the addresses it bound.
    pub fn of_this_process(mcp_url: Option<String>, admin_url: Option<String>) -> Self {
        let pid = std::process::id();
        Self {
            pid,
            start_time: clock::process_start_time(pid).unwrap_or(0),
            boot_id: clock::boot_id().to_owned(),
            mcp_url,
            admin_url,
        }
    }

    /// What the last hub on `data_dir` wrote; `None` if it ended cleanly or never ran.
    pub fn read(data_dir: &Path) -> Option<Self> {
        let bytes = fs::read(data_dir.join(FILE)).ok()?;
        serde_json::from_slice(&bytes).ok()
    }

    /// Whether that very process still runs.
    pub fn is_running(&self) -> bool {
        self.boot_id == clock::boot_id() && clock::process_start_time(self.pid) == Some(self.start_time)
    }

    /// Writes it into `data_dir`, whole or not at all, readable by its owner only.
    ///
    /// # Errors
    /// When the folder cannot be written.
    pub fn write(&self, data_dir: &Path) -> io::Result<HubFile> {
        let (path, draft) = (data_dir.join(FILE), data_dir.join("hub.json.new"));
        let mut file = File::options()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(&draft)?;
        file.write_all(&serde_json::to_vec_pretty(self)?)?;
        file.write_all(b"\n")?;
        fs::rename(draft, &path)?;
        Ok(HubFile { path })
    }
}

/// The written file; removed when dropped, which a clean end does.
#[derive(Debug)]
#[must_use = "dropping it removes the file"]
pub struct HubFile {
    path: PathBuf,
}

impl Drop for HubFile {
    fn drop(&mut self) {
        // Left behind it does no harm: readers check whether the process still runs.
        if let Err(error) = fs::remove_file(&self.path) {
            tracing::debug!(%error, "could not remove hub.json");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_file_lasts_as_long_as_the_hub() {
        let dir = tempfile::tempdir().unwrap();
        let url = Some("http://127.0.0.1:9090/mcp".to_owned());
        let info = HubInfo::of_this_process(url, None);
        let file = info.write(dir.path()).unwrap();
        let read = HubInfo::read(dir.path()).unwrap();
        assert_eq!(read, info);
        assert!(read.is_running());
        let other = HubInfo {
            start_time: read.start_time + 1,
            ..read
        };
        assert!(!other.is_running());
        drop(file);
        assert_eq!(HubInfo::read(dir.path()), None);
    }
}
