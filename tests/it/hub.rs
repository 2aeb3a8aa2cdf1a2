//! One hub: the real binary in a folder of its own, stopped by SIGTERM when the test ends, nothing left behind.

use std::{
    fs,
    os::unix::process::ExitStatusExt as _,
    process::{Child, Command, ExitStatus, Stdio},
    time::{Duration, Instant},
};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use serde_json::Value;
use tempfile::TempDir;

use crate::{
    client::{Door, Lines, McpClient},
    http::Http,
    processes,
    tools::binary,
};

/// How long a hub may take to say that it serves. Generous: several debug builds may start at once on two cores.
const START: Duration = Duration::from_secs(20);
/// The stop budget of 30 s and a little.
const STOP: Duration = Duration::from_secs(35);

/// What to start. Without further word: no configuration, MCP over HTTP and the admin door on free ports.
#[derive(Debug)]
pub struct Builder {
    dir: TempDir,
    transport: String,
    port: String,
    config: Option<String>,
    env: Vec<(String, String)>,
    args: Vec<String>,
    wrapper: Vec<String>,
}

impl Builder {
    /// The text of its `mcpvisor.yaml`.
    pub fn config(mut self, yaml: &str) -> Self {
        self.config = Some(yaml.to_owned());
        self
    }

    pub fn env(mut self, name: &str, value: &str) -> Self {
        self.env.push((name.to_owned(), value.to_owned()));
        self
    }

    /// More arguments for the launch line.
    pub fn args<'a>(mut self, args: impl IntoIterator<Item = &'a str>) -> Self {
        self.args.extend(args.into_iter().map(str::to_owned));
        self
    }

    /// `stdio`, `sse` (the default here) or `both`.
    pub fn transport(mut self, transport: &str) -> Self {
        transport.clone_into(&mut self.transport);
        self
    }

    /// Runs it as the only child of this program, such as `unshare --pid --fork`.
    pub fn under<'a>(mut self, wrapper: impl IntoIterator<Item = &'a str>) -> Self {
        self.wrapper = wrapper.into_iter().map(str::to_owned).collect();
        self
    }

    /// The port of the MCP door; a free one if not set.
    pub fn port(mut self, port: &str) -> Self {
        port.clone_into(&mut self.port);
        self
    }

    /// The folder it will run in.
    pub fn folder(&self) -> &std::path::Path {
        self.dir.path()
    }

    fn command(&self, args: &[String]) -> Command {
        let dir = self.dir.path();
        for folder in ["home", "tmp", "data"] {
            fs::create_dir_all(dir.join(folder)).unwrap();
        }
        if let Some(yaml) = &self.config {
            fs::write(dir.join("mcpvisor.yaml"), yaml).unwrap();
        }
        let program = binary();
        let mut words = self.wrapper.iter().map(String::as_str).chain([program.as_str()]);
        let mut command = Command::new(words.next().unwrap_or_default());
        command.args(words).args(args).current_dir(dir);
        for (name, _) in std::env::vars_os() {
            let name_text = name.to_string_lossy().into_owned();
            let leaks = name_text.starts_with("MCPVISOR_") || name_text.starts_with("XDG_");
            if leaks || ["DATABASE_URL", "REDIS_URL", "RUST_LOG"].contains(&name_text.as_str()) {
                command.env_remove(name);
            }
        }
        command
            .env("HOME", dir.join("home"))
            .env("TMPDIR", dir.join("tmp"))
            .env("MCPVISOR_DATA_DIR", dir.join("data"))
            .envs(self.env.iter().map(|(name, value)| (name, value)));
        command
    }

    /// The launch line used by [`Builder::start`], for clients that start the hub themselves: program first.
    pub fn launch_line(&self) -> Vec<String> {
        let fixed = [
            "--transport",
            &self.transport,
            "--admin",
            "--port",
            &self.port,
            "--admin-port",
            "0",
        ];
        let mut line = vec![binary()];
        line.extend(fixed.map(str::to_owned));
        if self.config.is_some() {
            line.extend([
                "--config".to_owned(),
                self.dir.path().join("mcpvisor.yaml").display().to_string(),
            ]);
        }
        line.extend(self.args.iter().cloned());
        line
    }

    /// Starts it and waits until it serves.
    pub async fn start(self) -> Hub {
        let line = self.launch_line();
        let log = self.dir.path().join("hub.log");
        let mut child = self
            .command(&line[1..])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(fs::File::create(&log).unwrap())
            .spawn()
            .unwrap();
        let stdio = Lines::new(child.stdin.take().unwrap(), child.stdout.take().unwrap());
        let started = Instant::now();
        let (info, pid) = loop {
            if let Some(found) = read_info(&self, child.id()) {
                break found;
            }
            let ended = child.try_wait().unwrap();
            if ended.is_some() || started.elapsed() > START {
                let _already_gone = child.kill();
                let text = fs::read_to_string(&log).unwrap_or_default();
                panic!(
                    "the hub did not serve (ended: {ended:?}) after {:?}:\n{text}",
                    started.elapsed()
                );
            }
            tokio::time::sleep(Duration::from_millis(2)).await;
        };
        Hub {
            mcp: Http::to(&url_in(&info, "mcp_url")),
            admin: Http::to(&url_in(&info, "admin_url")),
            started_in: started.elapsed(),
            pid,
            child: Some(child),
            stdio: Some(stdio),
            builder: self,
        }
    }

    /// Runs `mcpvisor ARGS` in the folder until it ends by itself.
    pub async fn run(self, args: &[&str], bound: Duration) -> Ended {
        let args: Vec<String> = args.iter().map(|arg| (*arg).to_owned()).collect();
        let mut command = tokio::process::Command::from(self.command(&args));
        command.stdin(Stdio::null()).kill_on_drop(true);
        let output = tokio::time::timeout(bound, command.output())
            .await
            .unwrap_or_else(|_| panic!("mcpvisor {args:?} was still running after {bound:?}"))
            .unwrap();
        Ended {
            code: output.status.code(),
            stdout: String::from_utf8(output.stdout).unwrap(),
            stderr: String::from_utf8(output.stderr).unwrap(),
        }
    }
}

/// What the hub says of itself, and its process; `child` is what was started.
fn read_info(builder: &Builder, child: u32) -> Option<(Value, u32)> {
    let text = fs::read_to_string(builder.dir.path().join("data/hub.json")).ok()?;
    let info: Value = serde_json::from_str(&text).ok()?;
    if builder.wrapper.is_empty() {
        return (info["pid"] == child).then_some((info, child));
    }
    // Its own number may be another one, and the file that of the hub before.
    let pid = *processes::children_of(child).first()?;
    let inner = processes::innermost_number(pid)?;
    let same = info["pid"] == inner && info["start_time"] == processes::start_time(pid)?;
    same.then_some((info, pid))
}

/// With `--transport stdio` there is no HTTP door; any use of the client then fails by itself.
fn url_in(info: &Value, key: &str) -> String {
    info[key].as_str().unwrap_or("http://127.0.0.1:1").to_owned()
}

/// How a run of the binary ended.
#[derive(Debug)]
pub struct Ended {
    pub code: Option<i32>,
    pub stdout: String,
    pub stderr: String,
}

/// A running hub. Dropping it sends SIGTERM and fails the test unless it exits with 0 and leaves no process behind.
#[derive(Debug)]
pub struct Hub {
    /// The MCP door.
    pub mcp: Http,
    /// The admin door.
    pub admin: Http,
    /// From launch until it said that it serves.
    pub started_in: Duration,
    pid: u32,
    child: Option<Child>,
    stdio: Option<Lines>,
    builder: Builder,
}

impl Hub {
    pub fn builder() -> Builder {
        Builder {
            dir: TempDir::with_prefix("mcpvisor-it-").unwrap(),
            transport: "sse".to_owned(),
            port: "0".to_owned(),
            config: None,
            env: Vec::new(),
            args: Vec::new(),
            wrapper: Vec::new(),
        }
    }

    pub fn pid(&self) -> u32 {
        assert!(self.child.is_some(), "the hub still runs");
        self.pid
    }

    pub fn folder(&self) -> &std::path::Path {
        self.builder.folder()
    }

    /// What it wrote to stderr so far.
    pub fn log(&self) -> String {
        fs::read_to_string(self.folder().join("hub.log")).unwrap_or_default()
    }

    /// Its stdin and stdout; can be taken once.
    pub fn take_stdio(&mut self) -> Lines {
        self.stdio.take().expect("stdin and stdout are taken once")
    }

    /// A connected client of a door at its usual path, speaking `revision`.
    pub async fn client(&mut self, door: Door, revision: &str) -> McpClient {
        Box::pin(McpClient::connect(self, door, "", revision)).await
    }

    /// The same under a prefix such as `/services/demo`.
    pub async fn client_at(&mut self, door: Door, prefix: &str, revision: &str) -> McpClient {
        Box::pin(McpClient::connect(self, door, prefix, revision)).await
    }

    /// The items of `/api/v1/services`.
    pub async fn services(&self) -> Vec<Value> {
        let reply = self.admin.get("/api/v1/services").await;
        assert_eq!(reply.status, 200, "{}", reply.text());
        reply.json()["items"].as_array().expect("a list of services").clone()
    }

    /// One service's item.
    pub async fn service(&self, name: &str) -> Value {
        let all = self.services().await;
        all.iter()
            .find(|item| item["name"] == name)
            .unwrap_or_else(|| panic!("no service {name} in {all:?}"))
            .clone()
    }

    /// Waits until a service is in a state; returns its item.
    pub async fn wait_for(&self, name: &str, state: &str, bound: Duration) -> Value {
        self.wait_until(bound, &format!("{name} to be {state}"), async || {
            let items = self.services().await;
            let found = items.iter().find(|item| item["name"] == name && item["state"] == state);
            found.cloned().ok_or_else(|| format!("{items:?}"))
        })
        .await
    }

    /// Waits until every service is ready.
    pub async fn wait_until_ready(&self, bound: Duration) {
        self.wait_until(bound, "every service to be ready", async || {
            let items = self.services().await;
            let waiting: Vec<_> = items.iter().filter(|item| item["state"] != "ready").collect();
            if waiting.is_empty() && !items.is_empty() {
                Ok(())
            } else {
                Err(format!("{waiting:?}"))
            }
        })
        .await;
    }

    /// Asks until the answer is `Ok`; fails the test with the last `Err` and the hub's log when the bound passes.
    pub async fn wait_until<T>(
        &self,
        bound: Duration,
        what: &str,
        mut ask: impl AsyncFnMut() -> Result<T, String>,
    ) -> T {
        let started = Instant::now();
        loop {
            match ask().await {
                Ok(found) => return found,
                Err(seen) if started.elapsed() > bound => {
                    panic!("waited {bound:?} for {what}; last seen: {seen}\n{}", self.log_tail());
                }
                Err(_) => tokio::time::sleep(Duration::from_millis(20)).await,
            }
        }
    }

    pub fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(i32::try_from(self.pid()).unwrap()), signal).unwrap();
    }

    /// Waits for the end, which the test has caused itself; checks that no process is left, not how the hub ended.
    pub async fn ended(mut self, bound: Duration) -> Ended {
        let child = self.child.take().expect("the hub still runs");
        let status = tokio::task::spawn_blocking(move || wait(child, bound)).await.unwrap();
        let status = status.unwrap_or_else(|| panic!("the hub was still running after {bound:?}\n{}", self.log_tail()));
        self.nothing_left();
        Ended {
            code: status.code().or(status.signal().map(|signal| 128 + signal)),
            stdout: String::new(),
            stderr: self.log(),
        }
    }

    /// Stops it as [`Drop`] does and starts it again in the same folder.
    pub async fn restarted(mut self) -> Self {
        let builder = std::mem::replace(&mut self.builder, Self::builder());
        let child = self.child.take().expect("the hub still runs");
        let pid = Pid::from_raw(i32::try_from(self.pid).unwrap());
        kill(pid, Signal::SIGTERM).unwrap();
        let status = tokio::task::spawn_blocking(move || wait(child, STOP)).await.unwrap();
        assert_eq!(status.and_then(|status| status.code()), Some(0), "exit of the hub");
        builder.start().await
    }

    /// Kills it as nothing can be told of in advance; the same hub can be started again. What it leaves is the test's to count.
    pub async fn killed(mut self) -> Builder {
        let builder = std::mem::replace(&mut self.builder, Self::builder());
        self.signal(Signal::SIGKILL);
        let child = self.child.take().expect("the hub still runs");
        let status = tokio::task::spawn_blocking(move || wait(child, STOP)).await.unwrap();
        assert_eq!(status.and_then(|status| status.code()), None, "it was killed");
        builder
    }

    fn mark(&self) -> String {
        self.folder().join("tmp").display().to_string()
    }

    /// Processes of this hub that run now, itself included.
    pub fn processes(&self) -> Vec<u32> {
        processes::marked(&self.mark())
    }

    fn nothing_left(&self) {
        if let Err(left) = processes::wait_until_none(&self.mark(), Duration::from_secs(2)) {
            kill_marked(&self.mark());
            panic!("the hub left processes behind:\n{left}\n{}", self.log_tail());
        }
    }

    pub fn log_tail(&self) -> String {
        let log = self.log();
        let lines: Vec<_> = log.lines().collect();
        let from = lines.len().saturating_sub(60);
        format!("--- the hub's log ---\n{}", lines[from..].join("\n"))
    }
}

/// Waits for a process to end; kills it when the bound passes.
fn wait(mut child: Child, bound: Duration) -> Option<ExitStatus> {
    let deadline = Instant::now() + bound;
    loop {
        if let Some(status) = child.try_wait().unwrap() {
            return Some(status);
        }
        if Instant::now() > deadline {
            child.kill().unwrap();
            child.wait().unwrap();
            return None;
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}

fn kill_marked(mark: &str) {
    for pid in processes::marked(mark) {
        // It may be gone since.
        let _gone = kill(Pid::from_raw(i32::try_from(pid).unwrap()), Signal::SIGKILL);
    }
}

impl Drop for Hub {
    fn drop(&mut self) {
        let Some(child) = self.child.take() else { return };
        let pid = Pid::from_raw(i32::try_from(self.pid).unwrap());
        let _gone = kill(pid, Signal::SIGTERM);
        if std::thread::panicking() {
            // The test has failed already: leave nothing behind, and show what the hub said.
            wait(child, Duration::from_secs(5));
            kill_marked(&self.mark());
            println!("{}", self.log_tail());
            return;
        }
        let status = wait(child, STOP);
        self.nothing_left();
        let code = status.and_then(|status| status.code());
        assert_eq!(code, Some(0), "exit of the hub after SIGTERM\n{}", self.log_tail());
    }
}
