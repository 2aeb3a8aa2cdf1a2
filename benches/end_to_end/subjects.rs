//! What is measured: each subject a process of its own with the same child behind it.

use std::{
    fs,
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::{TcpListener, TcpStream},
    path::Path,
    process::{Child, Command, Stdio},
    thread::sleep,
    time::{Duration, Instant},
};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use serde::Deserialize;
use tempfile::TempDir;

use crate::{Figures, binary};

/// How long a subject may take to answer its first call.
const PATIENCE: Duration = Duration::from_secs(20);

/// One way to call a subject.
#[derive(Debug)]
pub(crate) struct Way {
    pub(crate) name: &'static str,
    era: &'static str,
    tool: &'static str,
}

/// A running process that answers calls; stopped when dropped.
#[derive(Debug)]
pub(crate) struct Subject {
    pub(crate) name: &'static str,
    pub(crate) ways: Vec<Way>,
    running: Option<Running>,
}

#[derive(Debug)]
struct Running {
    process: Child,
    url: String,
    _folder: TempDir,
}

impl Drop for Running {
    fn drop(&mut self) {
        let pid = Pid::from_raw(i32::try_from(self.process.id()).unwrap());
        // It may have ended by itself.
        let _gone = kill(pid, Signal::SIGTERM);
        let _status = self.process.wait();
    }
}

/// Memory of one process, in MiB.
#[derive(Debug)]
pub(crate) struct Memory {
    pub(crate) rss_mib: f64,
    pub(crate) private_mib: f64,
}

impl Subject {
    /// The demo server alone, over its pipes.
    pub(crate) fn child() -> Self {
        Self {
            name: "child",
            ways: vec![
                way("child legacy", "legacy", "echo"),
                way("child modern", "modern", "echo"),
            ],
            running: None,
        }
    }

    /// The smallest relay; see `tests/fixtures/floor.rs`.
    pub(crate) fn floor() -> Self {
        let path = binary().parent().unwrap().join("examples/floor");
        assert!(path.exists(), "{} is missing: use scripts/bench", path.display());
        let mut process = Command::new(path)
            // In a session of its own like the hub's children: Linux shares processors out by session.
            .arg("setsid")
            .arg(binary())
            .arg("demo-server")
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut url = String::new();
        let mut output = BufReader::new(process.stdout.take().unwrap());
        output.read_line(&mut url).unwrap();
        Self {
            name: "floor",
            // No sessions, but each era's messages and what the child makes of them.
            ways: vec![
                way("floor legacy", "legacy", "echo"),
                way("floor modern", "modern", "echo"),
            ],
            running: Some(Running {
                process,
                url: url.trim().to_owned(),
                _folder: TempDir::new().unwrap(),
            }),
        }
    }

    /// The hub as it starts without any configuration.
    pub(crate) fn hub() -> Self {
        let folder = TempDir::with_prefix("mcpvisor-bench-").unwrap();
        let port = free_port();
        let mut process = hub_command(folder.path(), port).spawn().unwrap();
        until_healthy(&mut process, port);
        Self {
            name: "hub",
            ways: vec![
                way("hub legacy", "legacy", "demo__echo"),
                way("hub modern", "modern", "demo__echo"),
            ],
            running: Some(Running {
                process,
                url: format!("http://127.0.0.1:{port}/mcp"),
                _folder: folder,
            }),
        }
    }

    /// crates.io `mcp-proxy`, the fastest of the other proxies that were measured.
    pub(crate) fn peer() -> Self {
        let program = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/.tools/peer/bin/mcp-proxy");
        assert!(
            program.exists(),
            "{} is missing: see docs/performance.md",
            program.display()
        );
        let (folder, port) = (TempDir::with_prefix("mcpvisor-bench-").unwrap(), free_port());
        let config = folder.path().join("proxy.toml");
        fs::write(&config, peer_config(port)).unwrap();
        let process = Command::new(program)
            .arg("--config")
            .arg(config)
            // Its log is not what is compared.
            .env("RUST_LOG", "warn")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(fs::File::create(folder.path().join("peer.log")).unwrap())
            .spawn()
            .unwrap();
        Self {
            name: "peer",
            ways: vec![way("peer", "legacy", "demo/echo")],
            running: Some(Running {
                process,
                url: format!("http://127.0.0.1:{port}/"),
                _folder: folder,
            }),
        }
    }

    /// Drives it for `seconds` at each concurrency.
    pub(crate) fn measure(&self, way: &Way, seconds: f64, concurrencies: &[usize]) -> Vec<Figures> {
        self.drive(way, seconds, concurrencies)
            .unwrap_or_else(|why| panic!("{}: {why}", way.name))
    }

    fn drive(&self, way: &Way, seconds: f64, concurrencies: &[usize]) -> Result<Vec<Figures>, String> {
        #[derive(Deserialize)]
        struct Report {
            runs: Vec<Figures>,
        }
        let listed: Vec<String> = concurrencies.iter().map(usize::to_string).collect();
        let mut command = Command::new(binary());
        command
            .args(["bench", "--json", "--seconds", &seconds.to_string()])
            .args(["--warm-up", "0.3", "--era", way.era, "--tool", way.tool])
            .args(["--concurrency", &listed.join(",")]);
        match &self.running {
            Some(running) => {
                command.args(["--pid", &running.process.id().to_string(), &running.url]);
            }
            None => {
                command.arg("--stdio").arg(binary()).arg("demo-server");
            }
        }
        let output = command.output().unwrap();
        if !output.status.success() {
            return Err(String::from_utf8_lossy(&output.stderr).into_owned());
        }
        let report: Report = serde_json::from_slice(&output.stdout).map_err(|error| error.to_string())?;
        Ok(report.runs)
    }

    /// Waits until a call works.
    pub(crate) fn wait_until_it_answers(&self) {
        let begun = Instant::now();
        for way in &self.ways {
            loop {
                match self.drive(way, 0.05, &[1]) {
                    Ok(runs) if runs.iter().all(|run| run.errors == 0) => break,
                    Ok(_) | Err(_) if begun.elapsed() < PATIENCE => sleep(Duration::from_millis(100)),
                    failed => panic!("{} does not answer: {failed:?}", way.name),
                }
            }
        }
    }

    /// What its own process holds now.
    pub(crate) fn memory(&self) -> Memory {
        let pid = self.running.as_ref().unwrap().process.id();
        let text = fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).unwrap();
        let mib = |name: &str| {
            let fields = text.lines().filter_map(|line| line.split_once(':'));
            let kib = fields
                .filter(|(field, _)| field.starts_with(name))
                .map(|(_, value)| value.trim().trim_end_matches("kB").trim().parse::<f64>().unwrap());
            kib.sum::<f64>() / 1024.0
        };
        Memory {
            rss_mib: mib("Rss"),
            private_mib: mib("Private_"),
        }
    }
}

fn way(name: &'static str, era: &'static str, tool: &'static str) -> Way {
    Way { name, era, tool }
}

fn hub_command(folder: &Path, port: u16) -> Command {
    let mut command = Command::new(binary());
    command
        .args(["--transport", "sse", "--port", &port.to_string()])
        .current_dir(folder)
        .env("HOME", folder)
        .env("MCPVISOR_DATA_DIR", folder.join("data"))
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(fs::File::create(folder.join("hub.log")).unwrap());
    command
}

/// From exec to the first good answer of `/health`, on a fresh data folder.
pub(crate) fn ready_after() -> Duration {
    let folder = TempDir::with_prefix("mcpvisor-bench-").unwrap();
    let port = free_port();
    let begun = Instant::now();
    let mut process = hub_command(folder.path(), port).spawn().unwrap();
    until_healthy(&mut process, port);
    let ready = begun.elapsed();
    drop(Running {
        process,
        url: String::new(),
        _folder: folder,
    });
    ready
}

fn until_healthy(process: &mut Child, port: u16) {
    let begun = Instant::now();
    while !is_healthy(port) {
        if let Some(status) = process.try_wait().unwrap() {
            panic!("the hub ended with {status}");
        }
        assert!(begun.elapsed() < PATIENCE, "the hub is not healthy after {PATIENCE:?}");
        sleep(Duration::from_millis(1));
    }
}

fn is_healthy(port: u16) -> bool {
    let ask = || -> std::io::Result<Vec<u8>> {
        let mut stream = TcpStream::connect(("127.0.0.1", port))?;
        stream.set_read_timeout(Some(Duration::from_secs(2)))?;
        stream.write_all(b"GET /health HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n")?;
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer)?;
        Ok(answer)
    };
    ask().is_ok_and(|answer| answer.starts_with(b"HTTP/1.1 200"))
}

/// A port that was free a moment ago.
fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap().port()
}

/// The least that makes it serve our demo server; what it does not do then costs it nothing.
fn peer_config(port: u16) -> String {
    format!(
        "[proxy]\nname = \"peer\"\n[proxy.listen]\nhost = \"127.0.0.1\"\nport = {port}\n\n[[backends]]\nname = \"demo\"\n\
         transport = \"stdio\"\ncommand = \"{}\"\nargs = [\"demo-server\"]\n",
        binary().display()
    )
}
