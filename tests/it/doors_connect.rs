//! `mcpvisor connect` between a client on pipes and a hub over HTTP or WebSocket, also when either breaks.

use std::{
    process::{Child, Command, Stdio},
    sync::{Arc, Mutex},
    time::Duration,
};

use serde_json::{Value, json};
use tokio::{
    io::copy_bidirectional,
    net::{TcpListener, TcpStream},
    sync::broadcast,
};

use crate::{
    client::{LEGACY, Lines, text_of},
    doors_raw::{CLAIM, demo, initialize},
    http::PATIENCE,
    hub::Hub,
};

/// A running `mcpvisor connect`.
struct Connected {
    process: Child,
    lines: Lines,
}

impl Connected {
    fn start(args: &[&str], data_dir: Option<&str>) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_mcpvisor"));
        command
            .arg("connect")
            .args(args)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped());
        if let Some(data_dir) = data_dir {
            command.env("MCPVISOR_DATA_DIR", data_dir);
        }
        let mut process = command.spawn().unwrap();
        let lines = Lines::new(process.stdin.take().unwrap(), process.stdout.take().unwrap());
        Self { process, lines }
    }

    async fn hear(&mut self) -> Value {
        let line = tokio::time::timeout(PATIENCE, self.lines.next())
            .await
            .unwrap()
            .expect("a line");
        serde_json::from_str(&line).unwrap_or_else(|e| panic!("stdout has a line that is no message ({e}): {line}"))
    }

    /// Says `message` and hears until the answer with its id; what comes before is returned too.
    async fn ask(&mut self, message: &str) -> (Value, Vec<Value>) {
        let id = serde_json::from_str::<Value>(message).unwrap()["id"].clone();
        self.lines.send(message).await;
        let mut before = Vec::new();
        loop {
            let came = self.hear().await;
            if came["id"] == id && came.get("method").is_none() {
                return (came, before);
            }
            before.push(came);
        }
    }

    async fn greet(&mut self) {
        let (answer, _) = self.ask(&initialize(LEGACY)).await;
        assert_eq!(answer["result"]["protocolVersion"], LEGACY, "{answer}");
        self.lines
            .send(r#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#)
            .await;
    }

    async fn echo(&mut self, text: &str) -> Value {
        let params = json!({"name": "demo__echo", "arguments": {"text": text}});
        let message = json!({"jsonrpc": "2.0", "id": text, "method": "tools/call", "params": params});
        self.ask(&message.to_string()).await.0
    }

    /// Closes stdin; the exit code.
    async fn end(mut self) -> Option<i32> {
        self.lines.close();
        while self.lines.next().await.is_some() {}
        let mut process = self.process;
        tokio::task::spawn_blocking(move || process.wait().unwrap().code())
            .await
            .unwrap()
    }
}

/// Passes connections on to a hub that may change, and cuts them on request.
#[derive(Clone)]
struct Proxy {
    url: String,
    target: Arc<Mutex<String>>,
    cuts: broadcast::Sender<()>,
}

impl Proxy {
    async fn to(hub: &Hub) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let proxy = Self {
            url: format!("http://{}/mcp", listener.local_addr().unwrap()),
            target: Arc::new(Mutex::new(address(hub))),
            cuts: broadcast::channel(4).0,
        };
        let serving = proxy.clone();
        tokio::spawn(async move {
            while let Ok((mut near, _)) = listener.accept().await {
                let target = serving.target.lock().unwrap().clone();
                let mut cut = serving.cuts.subscribe();
                tokio::spawn(async move {
                    let Ok(mut far) = TcpStream::connect(target).await else {
                        return;
                    };
                    tokio::select! {
                        _ = copy_bidirectional(&mut near, &mut far) => {}
                        _ = cut.recv() => {}
                    }
                });
            }
        });
        proxy
    }

    fn cut(&self) {
        // There may be none to cut.
        let _none = self.cuts.send(());
    }

    fn turn_to(&self, hub: &Hub) {
        *self.target.lock().unwrap() = address(hub);
    }
}

fn address(hub: &Hub) -> String {
    hub.mcp.url("").strip_prefix("http://").unwrap().to_owned()
}

fn countdown(id: u64, from: u64, seconds: f64) -> String {
    let params = json!({"name": "demo__countdown", "arguments": {"from": from, "seconds": seconds}, "_meta": {"progressToken": "p"}});
    json!({"jsonrpc": "2.0", "id": id, "method": "tools/call", "params": params}).to_string()
}

#[tokio::test(flavor = "multi_thread")]
async fn both_eras_pass_through() {
    let hub = demo().await;
    let mut connected = Connected::start(&[&hub.mcp.url("/mcp")], None);
    connected.greet().await;
    assert_eq!(text_of(&connected.echo("x").await["result"]), "x");
    let (answer, before) = connected.ask(&countdown(3, 3, 0.5)).await;
    assert!(answer.get("result").is_some(), "{answer}");
    let steps: Vec<_> = before
        .iter()
        .map(|message| message["params"]["progress"].clone())
        .collect();
    assert_eq!(steps, [json!(1), json!(2), json!(3)]);
    for (bad, code) in [("{", -32700), ("[]", -32600), (r#"{"jsonrpc":"2.0"}"#, -32600)] {
        connected.lines.send(bad).await;
        assert_eq!(connected.hear().await["error"]["code"], code, "{bad}");
    }
    let (unknown, _) = connected.ask(r#"{"jsonrpc":"2.0","id":"u","method":"no/such"}"#).await;
    assert_eq!(unknown["error"]["code"], -32601);
    assert_eq!(connected.end().await, Some(0));

    let mut connected = Connected::start(&[&hub.mcp.url("/services/demo/mcp")], None);
    let request = |id: u64, method: &str, params: &str| {
        format!(r#"{{"jsonrpc":"2.0","id":{id},"method":"{method}","params":{{{params}{CLAIM}}}}}"#)
    };
    let (discovered, _) = connected.ask(&request(1, "server/discover", "")).await;
    assert!(discovered["result"]["supportedVersions"].is_array(), "{discovered}");
    let (answer, _) = connected
        .ask(&request(2, "tools/call", r#""name":"echo","arguments":{"text":"y"},"#))
        .await;
    assert_eq!(text_of(&answer["result"]), "y");
    let (removed, _) = connected.ask(&request(3, "ping", "")).await;
    assert_eq!(removed["error"]["code"], -32601);
    connected
        .lines
        .send(&request(
            4,
            "tools/call",
            r#""name":"countdown","arguments":{"from":1,"seconds":60},"#,
        ))
        .await;
    connected
        .lines
        .send(r#"{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":4}}"#)
        .await;
    let (answer, before) = connected
        .ask(&request(5, "tools/call", r#""name":"echo","arguments":{"text":"z"},"#))
        .await;
    assert_eq!((text_of(&answer["result"]).as_str(), before.len()), ("z", 0));
    assert_eq!(connected.end().await, Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hub_that_starts_again_is_not_noticed() {
    let first = demo().await;
    let proxy = Proxy::to(&first).await;
    let mut connected = Connected::start(&[&proxy.url], None);
    connected.greet().await;
    assert_eq!(text_of(&connected.echo("before").await["result"]), "before");
    let second = demo().await;
    proxy.turn_to(&second);
    drop(first);
    proxy.cut();
    for text in ["after", "and again"] {
        let answer = connected.echo(text).await;
        assert_eq!(text_of(&answer["result"]), text, "{answer}");
    }
    assert_eq!(connected.end().await, Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_survives_a_broken_connection() {
    let hub = demo().await;
    let proxy = Proxy::to(&hub).await;
    let mut connected = Connected::start(&[&proxy.url], None);
    connected.greet().await;
    connected.lines.send(&countdown(9, 4, 2.0)).await;
    let mut steps = Vec::new();
    loop {
        let message = connected.hear().await;
        if message["id"] == 9 {
            assert!(message.get("result").is_some(), "{message}");
            break;
        }
        steps.push(message["params"]["progress"].as_u64().unwrap());
        proxy.cut();
    }
    assert_eq!(steps, [1, 2, 3, 4]);
    assert_eq!(connected.end().await, Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn tokens_web_sockets_and_the_hub_of_the_folder() {
    let program = env!("CARGO_BIN_EXE_mcpvisor");
    let yaml = "auth:\n  tokens:\n    - {name: ann, token: aaaaaaaaaaaaaaaaaaaa}\n";
    let config = format!("{yaml}services:\n  demo:\n    command: {program}\n    args: [demo-server]\n");
    let hub = Hub::builder().config(&config).start().await;
    let token = hub.folder().join("token");
    std::fs::write(&token, "aaaaaaaaaaaaaaaaaaaa\n").unwrap();
    let token = token.display().to_string();
    let data = hub.folder().join("data").display().to_string();
    let socket = hub.mcp.url("/ws").replacen("http", "ws", 1);
    for args in [
        &["--token-file", &token, &socket][..],
        &[
            "--header",
            "Authorization: Bearer aaaaaaaaaaaaaaaaaaaa",
            &hub.mcp.url("/"),
        ],
        &["--token-file", &token],
    ] {
        let mut connected = Connected::start(args, Some(&data));
        connected.greet().await;
        let (answer, _) = connected.ask(r#"{"jsonrpc":"2.0","id":1,"method":"ping"}"#).await;
        assert_eq!(answer["result"], json!({}), "{args:?}");
        assert_eq!(connected.end().await, Some(0), "{args:?}");
    }
    let mut refused = Connected::start(&[&hub.mcp.url("/mcp")], None);
    let (answer, _) = refused.ask(&initialize(LEGACY)).await;
    assert!(
        answer["error"]["message"].as_str().unwrap().contains("token"),
        "{answer}"
    );
    assert_eq!(refused.end().await, Some(0));
    let nobody = tempfile::tempdir().unwrap();
    let nobody = nobody.path().display().to_string();
    assert_eq!(Connected::start(&[], Some(&nobody)).end().await, Some(1));
    assert_eq!(Connected::start(&[&socket], None).end().await, Some(1), "no token");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hub_that_is_not_there_is_one_clear_error() {
    let mut connected = Connected::start(&["http://127.0.0.1:1/mcp"], None);
    let (answer, _) = tokio::time::timeout(Duration::from_secs(20), connected.ask(&initialize(LEGACY)))
        .await
        .unwrap();
    assert_eq!(answer["error"]["code"], -31006, "{answer}");
    assert_eq!(answer["error"]["data"]["mcpvisor"]["outcome"], "not_sent");
    assert_eq!(connected.end().await, Some(0));
}
