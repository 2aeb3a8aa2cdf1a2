//! `npx some-package` whose registry can't be reached any more.

use std::{
    fs,
    path::Path,
    process::Stdio,
    time::{Duration, Instant},
};

use serde_json::json;
use tokio::{
    io::{AsyncBufReadExt as _, BufReader},
    process::{Child, Command},
};

use crate::{
    figures::Figures,
    fixture::Session,
    hub::Hub,
    tools::{fixture, npx, python, turn},
};

/// Prints the port it serves the folder at.
const REGISTRY: &str = "import functools, http.server, sys
handler = functools.partial(http.server.SimpleHTTPRequestHandler, directory=sys.argv[1])
server = http.server.ThreadingHTTPServer(('127.0.0.1', 0), handler)
print(server.server_port, flush=True)
server.serve_forever()";

/// A registry with one package, whose program is the fixture child.
struct Registry {
    process: Child,
    port: u16,
}

impl Registry {
    async fn start(folder: &Path) -> Self {
        let package = folder.join("package");
        fs::create_dir_all(&package).unwrap();
        let about = json!({"name": "some-server", "version": "1.0.0", "bin": {"some-server": "run.js"}});
        fs::write(package.join("package.json"), about.to_string()).unwrap();
        let run = format!(
            "#!/usr/bin/env node\nrequire('node:child_process').spawn({}, {{stdio: 'inherit'}}).on('exit', code => process.exit(code ?? 1));\n",
            json!(fixture("fixture-child"))
        );
        fs::write(package.join("run.js"), run).unwrap();
        let packing = Command::new("tar")
            .args(["czf", "some-server-1.0.0.tgz", "package"])
            .current_dir(folder)
            .status();
        assert!(packing.await.unwrap().success());
        let mut process = Command::new(python())
            .args(["-c", REGISTRY, folder.to_str().unwrap()])
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(process.stdout.take().unwrap()).lines();
        let port: u16 = lines.next_line().await.unwrap().unwrap().parse().unwrap();
        let mut version = about.clone();
        version["dist"] = json!({"tarball": format!("http://127.0.0.1:{port}/some-server-1.0.0.tgz")});
        let index = json!({"name": "some-server", "dist-tags": {"latest": "1.0.0"}, "versions": {"1.0.0": version}});
        fs::write(folder.join("some-server"), index.to_string()).unwrap();
        Self { process, port }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn f12_a_registry_that_is_down_leaves_the_tools_listed_and_calls_answered() {
    let _turn = turn().await;
    let figures = Figures::of("F12", "`npx` cannot reach its registry");
    let builder = Hub::builder();
    let folder = builder.folder().to_owned();
    let mut registry = Registry::start(&folder.join("registry")).await;
    let cache = folder.join("cache");
    let (npx, path) = npx();
    let yaml = json!({"services": {"some": {"command": npx, "args": ["-y", "some-server"], "env": {
        "npm_config_registry": format!("http://127.0.0.1:{}", registry.port),
        "npm_config_cache": cache,
        // By itself npm tries again after 10 s and after a minute, and so long nobody knows better than to wait.
        "npm_config_fetch_retries": "0",
        "PATH": path,
    }}}});
    let hub = builder.config(&yaml.to_string()).start().await;
    hub.wait_for("some", "ready", Duration::from_mins(1)).await;
    registry.process.kill().await.unwrap();
    fs::remove_dir_all(&cache).unwrap();

    let hub = hub.restarted().await;
    let session = Session::open(&hub).await;
    let asked = Instant::now();
    let listed = session
        .post(&json!({"jsonrpc": "2.0", "id": 1, "method": "tools/list"}))
        .await;
    figures.at_most("tools are listed after", asked.elapsed(), Duration::from_millis(100));
    assert!(listed[0].to_string().contains("some__echo"), "{listed:?}");
    // The first call may meet a start that has not failed yet, the others meet a service that is known to be down.
    let first = session.call("some__echo", json!({"text": "x"})).await;
    assert_eq!(first["error"]["data"]["mcpvisor"]["outcome"], "not_sent", "{first}");
    hub.wait_for("some", "crash_loop", Duration::from_secs(40)).await;
    let asked = Instant::now();
    let answer = session.call("some__echo", json!({"text": "x"})).await;
    figures.at_most("a call is answered after", asked.elapsed(), Duration::from_millis(100));
    assert_eq!(answer["error"]["code"], -31006, "{answer}");
    let about = &answer["error"]["data"]["mcpvisor"];
    assert_eq!(
        (&about["reason"], &about["outcome"]),
        (&json!("unavailable"), &json!("not_sent"))
    );
    assert!(about["stderr"].to_string().contains("ECONNREFUSED"), "{answer}");
}
