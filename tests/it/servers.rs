//! The seven real servers that tests put behind a hub, with something for each to work on.

use std::{fs, path::Path};

use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpListener,
    process::Command,
};

use crate::tools::{node, tool};

/// Their names as services, in order.
pub const SERVERS: [&str; 7] = [
    "everything",
    "fetch",
    "filesystem",
    "git",
    "memory",
    "sequential-thinking",
    "time",
];

/// A folder with the seven servers' configuration, files, repository and a page to fetch.
pub struct Setting {
    /// A `services:` map.
    pub yaml: String,
    /// At least one call to each server, for the drivers.
    pub calls: Vec<Value>,
}

pub async fn setting(folder: &Path) -> Setting {
    let files = folder.join("files");
    let repository = folder.join("repository");
    fs::create_dir_all(&files).unwrap();
    fs::write(files.join("note.txt"), "a note on disk\n").unwrap();
    let made = Command::new("git")
        .args(["init", "--quiet", "--initial-branch", "trunk"])
        .arg(&repository)
        .status()
        .await
        .unwrap();
    assert!(made.success());
    let page = serve_a_page().await;
    let script = |name: &str| tool(&format!("node_modules/.bin/mcp-server-{name}"));
    let python_server = |name: &str| tool(&format!("venv/bin/mcp-server-{name}"));
    let yaml = format!(
        "services:
  everything: {{ command: {node}, args: [{everything}] }}
  filesystem: {{ command: {node}, args: [{filesystem}, {files}] }}
  memory: {{ command: {node}, args: [{memory}], env: {{ MEMORY_FILE_PATH: {folder}/memory.json }} }}
  sequential-thinking: {{ command: {node}, args: [{thinking}], env: {{ DISABLE_THOUGHT_LOGGING: 'true' }} }}
  time: {{ command: {time} }}
  git: {{ command: {git} }}
  fetch: {{ command: {fetch}, args: [--ignore-robots-txt, --allow-private-ips] }}
",
        node = node(),
        everything = script("everything"),
        filesystem = script("filesystem"),
        memory = script("memory"),
        thinking = script("sequential-thinking"),
        time = python_server("time"),
        git = python_server("git"),
        fetch = python_server("fetch"),
        files = files.display(),
        folder = folder.display(),
    );
    let tool =
        |name: &str, arguments: Value, expect: &str| json!({"tool": name, "arguments": arguments, "expect": expect});
    let calls = vec![
        tool(
            "everything__echo",
            json!({"message": "héllo \u{1f600}"}),
            "Echo: héllo \u{1f600}",
        ),
        tool("everything__get-sum", json!({"a": 2, "b": 40}), "42"),
        tool(
            "filesystem__read_text_file",
            json!({"path": files.join("note.txt")}),
            "a note on disk",
        ),
        tool(
            "memory__create_entities",
            json!({"entities": [{"name": "hub", "entityType": "thing", "observations": ["it runs"]}]}),
            "",
        ),
        tool("memory__read_graph", json!({}), "it runs"),
        tool(
            "sequential-thinking__sequentialthinking",
            json!({"thought": "one", "nextThoughtNeeded": false, "thoughtNumber": 1, "totalThoughts": 1}),
            "thoughtHistoryLength",
        ),
        tool("time__get_current_time", json!({"timezone": "Asia/Tokyo"}), "+09:00"),
        tool("git__git_status", json!({"repo_path": repository}), "On branch trunk"),
        tool("fetch__fetch", json!({"url": page}), "a page to fetch"),
        json!({"prompt": "everything__simple-prompt", "expect": "simple prompt"}),
        json!({"resource": "demo://resource/static/document/features.md", "expect": "# "}),
    ];
    Setting { yaml, calls }
}

/// Serves one plain page for as long as the test's runtime lives.
async fn serve_a_page() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/page.txt", listener.local_addr().unwrap());
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut request = [0; 4096];
            let _read = stream.read(&mut request).await;
            let answer = "HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\ncontent-length: 15\r\nconnection: close\r\n\r\na page to fetch";
            let _sent = stream.write_all(answer.as_bytes()).await;
        }
    });
    url
}
