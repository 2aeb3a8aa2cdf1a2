//! `mcpvisor health`: asks the running hub whether it is well.

use std::{
    fs,
    io::{Read as _, Write as _},
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream},
    path::Path,
    process::ExitCode,
    time::Duration,
};

use anyhow::{Context as _, bail};
use serde::Deserialize;

use super::{exit::Exit, output};
use crate::{
    clock,
    config::{Config, Flags},
};

/// A hub that needs longer to say that it is well is not.
const PATIENCE: Duration = Duration::from_secs(3);
/// More of the answer is not looked at.
const MOST_BYTES: u64 = 64 << 10;

/// What a running hub says about itself in its data folder.
#[derive(Debug, Deserialize)]
struct Running {
    pid: u32,
    start_time: u64,
    mcp_url: Option<String>,
    admin_url: Option<String>,
}

/// Exit code 0 if a hub runs on this data folder and answers its health check.
pub(super) fn run(flags: &Flags) -> ExitCode {
    let data_dir = match Config::load(flags) {
        Ok(loaded) => loaded.config.data_dir,
        Err(error) => return output::refuse(&error),
    };
    match ask(&data_dir) {
        Ok(answer) => output::answer(&format!("{answer}\n")),
        Err(error) => {
            output::note(&format_args!("{error:#}"));
            Exit::Failed.into()
        }
    }
}

fn ask(data_dir: &Path) -> anyhow::Result<String> {
    let file = data_dir.join("hub.json");
    let text = fs::read_to_string(&file).with_context(|| format!("no hub runs on {}", data_dir.display()))?;
    let running: Running = serde_json::from_str(&text).with_context(|| format!("cannot read {}", file.display()))?;
    if clock::process_start_time(running.pid) != Some(running.start_time) {
        bail!("the hub on {} (process {}) is gone", data_dir.display(), running.pid);
    }
    match running.mcp_url.or(running.admin_url) {
        Some(url) => get_health(&url),
        // Only the stdio door is open: that the process is there is all that can be seen from outside.
        None => Ok(format!("process {} runs", running.pid)),
    }
}

/// `GET /health` where `url` points to. By hand: a runtime and a client would take longer than the question.
fn get_health(url: &str) -> anyhow::Result<String> {
    let uri: http::Uri = url.parse().with_context(|| format!("`{url}` is no address"))?;
    let (Some(host), Some(port)) = (uri.host(), uri.port_u16()) else {
        bail!("`{url}` has no host and port");
    };
    let host: IpAddr = host
        .trim_matches(['[', ']'])
        .parse()
        .with_context(|| format!("`{host}` is no IP address"))?;
    // What listens everywhere is asked on loopback.
    let near = match host {
        IpAddr::V4(any) if any.is_unspecified() => IpAddr::V4(Ipv4Addr::LOCALHOST),
        IpAddr::V6(any) if any.is_unspecified() => IpAddr::V6(Ipv6Addr::LOCALHOST),
        IpAddr::V4(_) | IpAddr::V6(_) => host,
    };
    let address = SocketAddr::new(near, port);
    let mut stream =
        TcpStream::connect_timeout(&address, PATIENCE).with_context(|| format!("{address} does not answer"))?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    // In one piece: a server may answer and close after the first.
    let request = format!("GET /health HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes())?;
    let mut answer = Vec::new();
    stream
        .take(MOST_BYTES)
        .read_to_end(&mut answer)
        .with_context(|| format!("{address} does not answer in time"))?;
    let answer = String::from_utf8_lossy(&answer);
    let status = answer.lines().next().unwrap_or_default();
    if status.split(' ').nth(1) == Some("200") {
        Ok(format!("http://{address}/health: {status}"))
    } else {
        bail!("http://{address}/health: {status}");
    }
}

#[cfg(test)]
mod tests {
    use std::{net::TcpListener, thread};

    use super::*;

    fn hub_json(dir: &Path, start_time: u64, url: &str) {
        let text = serde_json::json!({
            "pid": std::process::id(), "start_time": start_time, "boot_id": "x", "mcp_url": url, "admin_url": null
        });
        fs::write(dir.join("hub.json"), text.to_string()).unwrap();
    }

    fn server(answer: &'static str) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}/mcp", listener.local_addr().unwrap());
        thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut request = [0; 1024];
            let n = stream.read(&mut request).unwrap();
            assert!(request[..n].starts_with(b"GET /health HTTP/1.1\r\n"));
            stream.write_all(answer.as_bytes()).unwrap();
        });
        url
    }

    #[test]
    fn well_unwell_gone_and_never_there() {
        let dir = tempfile::tempdir().unwrap();
        let start_time = clock::process_start_time(std::process::id()).unwrap();
        let error = |dir: &Path| format!("{:#}", ask(dir).unwrap_err());
        assert!(error(dir.path()).starts_with("no hub runs on "));
        hub_json(dir.path(), start_time, &server("HTTP/1.1 200 OK\r\n\r\n{}"));
        assert!(ask(dir.path()).unwrap().ends_with("/health: HTTP/1.1 200 OK"));
        hub_json(
            dir.path(),
            start_time,
            &server("HTTP/1.1 503 Service Unavailable\r\n\r\n"),
        );
        assert!(error(dir.path()).contains("503"));
        hub_json(dir.path(), start_time + 1, "http://127.0.0.1:9/mcp");
        assert!(error(dir.path()).ends_with("is gone"));
    }
}
