//! Every real client on every transport, through one hub, to seven real servers: each pair lists and calls.

use std::{fs, path::Path, process::Stdio, time::Duration};

use serde_json::{Value, json};
use tokio::process::Command;

use crate::{
    hub::{Builder, Hub},
    processes,
    servers::{SERVERS, Setting, setting},
    tools::{binary, driver, node, python, turn},
};

/// How a client reaches the hub.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    Http,
    Sse,
    /// The client starts a hub of its own with `--transport stdio`.
    Stdio,
    /// The client starts `mcpvisor connect URL`.
    Connect,
}

struct Cell {
    client: &'static str,
    driver: &'static str,
    mode: &'static str,
    way: Way,
    revision: &'static str,
}

const fn cell(
    client: &'static str,
    driver: &'static str,
    mode: &'static str,
    way: Way,
    revision: &'static str,
) -> Cell {
    Cell {
        client,
        driver,
        mode,
        way,
        revision,
    }
}

const LEGACY: &str = "2025-11-25";
const MODERN: &str = "2026-07-28";
const CELLS: [Cell; 13] = [
    cell("TypeScript SDK 1.32.2", "ts-legacy.mjs", "legacy", Way::Stdio, LEGACY),
    cell("TypeScript SDK 1.32.2", "ts-legacy.mjs", "legacy", Way::Sse, LEGACY),
    cell("TypeScript SDK 1.32.2", "ts-legacy.mjs", "legacy", Way::Http, LEGACY),
    cell("TypeScript SDK 1.32.2", "ts-legacy.mjs", "legacy", Way::Connect, LEGACY),
    cell(
        "TypeScript client 2.4.0, legacy",
        "ts-modern.mjs",
        "legacy",
        Way::Stdio,
        LEGACY,
    ),
    cell(
        "TypeScript client 2.4.0, legacy",
        "ts-modern.mjs",
        "legacy",
        Way::Http,
        LEGACY,
    ),
    cell(
        "TypeScript client 2.4.0, auto",
        "ts-modern.mjs",
        "auto",
        Way::Http,
        MODERN,
    ),
    cell(
        "TypeScript client 2.4.0, pinned",
        "ts-modern.mjs",
        MODERN,
        Way::Stdio,
        MODERN,
    ),
    cell(
        "TypeScript client 2.4.0, pinned",
        "ts-modern.mjs",
        MODERN,
        Way::Http,
        MODERN,
    ),
    cell(
        "TypeScript client 2.4.0, pinned",
        "ts-modern.mjs",
        MODERN,
        Way::Connect,
        MODERN,
    ),
    cell("Python mcp 2.3.0, auto", "py-client.py", "auto", Way::Stdio, MODERN),
    cell("Python mcp 2.3.0, auto", "py-client.py", "auto", Way::Http, MODERN),
    cell("Python mcp 2.3.0, auto", "py-client.py", "auto", Way::Connect, MODERN),
];

/// Runs a driver and returns its report.
async fn drive(folder: &Path, driver_name: &str, job: &Value) -> Value {
    let file = folder.join("job.json");
    fs::write(&file, job.to_string()).unwrap();
    let interpreter = if Path::new(driver_name)
        .extension()
        .is_some_and(|extension| extension == "py")
    {
        python()
    } else {
        node()
    };
    let mut command = Command::new(interpreter);
    command
        .arg(driver(driver_name))
        .arg(&file)
        .stdin(Stdio::null())
        .kill_on_drop(true);
    let output = tokio::time::timeout(Duration::from_mins(3), command.output())
        .await
        .unwrap_or_else(|_| panic!("{driver_name} still ran after 180 s"))
        .unwrap();
    serde_json::from_slice(&output.stdout).unwrap_or_else(|e| {
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        panic!("{driver_name} made no report ({e}): {said}")
    })
}

fn job(cell: &Cell, hub: &Hub, setting: &Setting, own: &Builder) -> Value {
    let transport = match cell.way {
        Way::Http => "http",
        Way::Sse => "sse",
        Way::Stdio | Way::Connect => "stdio",
    };
    let binary = binary();
    let url = match cell.way {
        Way::Http | Way::Connect => hub.mcp.url("/mcp"),
        Way::Sse => hub.mcp.url("/sse"),
        Way::Stdio => String::new(),
    };
    let command = match cell.way {
        Way::Stdio => vec![
            binary.clone(),
            "--transport".into(),
            "stdio".into(),
            "--config".into(),
            config_of(own),
        ],
        Way::Connect => vec![binary.clone(), "connect".into(), url.clone()],
        Way::Http | Way::Sse => Vec::new(),
    };
    // Children of the hub that the client starts carry this folder, so that left-overs are found.
    let env = json!({
        "PATH": std::env::var("PATH").unwrap(),
        "HOME": own.folder().join("home"),
        "TMPDIR": own.folder().join("tmp"),
        "MCPVISOR_DATA_DIR": own.folder().join("data"),
    });
    json!({
        "transport": transport, "mode": cell.mode, "url": url, "command": command, "env": env,
        "awaitTools": SERVERS.map(|name| format!("{name}__")), "calls": setting.calls,
    })
}

fn config_of(builder: &Builder) -> String {
    builder.folder().join("mcpvisor.yaml").display().to_string()
}

/// What is wrong with a report; empty if nothing is.
fn faults(cell: &Cell, setting: &Setting, report: &Value) -> Vec<String> {
    let mut wrong = Vec::new();
    if let Some(error) = report["error"].as_str() {
        wrong.push(error.to_owned());
    }
    if report["revision"] != cell.revision {
        wrong.push(format!("speaks {}, not {}", report["revision"], cell.revision));
    }
    for name in SERVERS {
        if !names(report, "tools")
            .iter()
            .any(|tool| tool.starts_with(&format!("{name}__")))
        {
            wrong.push(format!("no tool of {name}"));
        }
    }
    for prompt in ["everything__simple-prompt", "fetch__fetch"] {
        if !names(report, "prompts").iter().any(|name| name == prompt) {
            wrong.push(format!("no prompt {prompt}"));
        }
    }
    let calls = report["calls"].as_array().map_or(&[][..], Vec::as_slice);
    if calls.len() != setting.calls.len() {
        wrong.push(format!("made {} of {} calls", calls.len(), setting.calls.len()));
    }
    for call in calls.iter().filter(|call| call["ok"] != true) {
        wrong.push(format!("{}: {}", call["name"], call["text"]));
    }
    wrong
}

fn names(report: &Value, key: &str) -> Vec<String> {
    let mut names: Vec<String> = serde_json::from_value(report[key].clone()).unwrap_or_default();
    names.sort();
    names
}

#[tokio::test]
async fn every_client_uses_every_server_on_every_transport() {
    let _turn = turn().await;
    let builder = Hub::builder();
    let setting = setting(builder.folder()).await;
    let hub = builder.config(&setting.yaml).start().await;
    hub.wait_until_ready(Duration::from_secs(90)).await;
    let mut table = Vec::new();
    let mut failed = Vec::new();
    let mut reference: Option<Vec<String>> = None;
    for cell in &CELLS {
        let own = Hub::builder();
        for folder in ["home", "tmp", "data"] {
            fs::create_dir_all(own.folder().join(folder)).unwrap();
        }
        fs::write(config_of(&own), &setting.yaml).unwrap();
        let report = drive(own.folder(), cell.driver, &job(cell, &hub, &setting, &own)).await;
        let mut wrong = faults(cell, &setting, &report);
        let lists = ["tools", "prompts", "resources", "templates"].map(|key| names(&report, key));
        let listed = lists.concat();
        if *reference.get_or_insert_with(|| listed.clone()) != listed {
            wrong.push("lists differ from the first client's".to_owned());
        }
        let mark = own.folder().join("tmp").display().to_string();
        if let Err(left) = processes::wait_until_none(&mark, Duration::from_secs(35)) {
            wrong.push(format!("left behind: {left}"));
        }
        let good = report["calls"]
            .as_array()
            .map_or(0, |calls| calls.iter().filter(|call| call["ok"] == true).count());
        table.push(format!(
            "{:<34} {:<8} {:<10} {:>3} tools {:>2} prompts {:>3} resources {:>2}/{} calls {:>6} ms  {}",
            cell.client,
            format!("{:?}", cell.way).to_lowercase(),
            report["revision"].as_str().unwrap_or("-"),
            lists[0].len(),
            lists[1].len(),
            lists[2].len() + lists[3].len(),
            good,
            setting.calls.len(),
            report["ms"],
            if wrong.is_empty() { "ok" } else { "FAILED" }
        ));
        failed.extend(
            wrong
                .iter()
                .map(|fault| format!("{} over {:?}: {fault}", cell.client, cell.way)),
        );
    }
    let table = table.join("\n");
    println!("{table}");
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/test-logs");
    fs::create_dir_all(&folder).unwrap();
    fs::write(folder.join("matrix.txt"), format!("{table}\n")).unwrap();
    assert!(failed.is_empty(), "{table}\n{}\n{}", failed.join("\n"), hub.log_tail());
}
