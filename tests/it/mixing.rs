//! No answer ever reaches the wrong client, however alike the ids are.

use futures_util::{StreamExt as _, stream};
use serde_json::{Value, json};

use crate::{client::LEGACY, http::Http, hub::Hub, tools::turn};

/// A legacy session over Streamable HTTP, used by many requests at once.
#[derive(Clone)]
struct Session {
    http: Http,
    id: String,
}

impl Session {
    async fn open(http: &Http) -> Self {
        let params =
            json!({"protocolVersion": LEGACY, "capabilities": {}, "clientInfo": {"name": "it", "version": "1"}});
        let hello = json!({"jsonrpc": "2.0", "id": 0, "method": "initialize", "params": params});
        let reply = http.post("/mcp", &[], &hello.to_string()).await;
        let session = Self {
            http: http.clone(),
            id: reply.header("mcp-session-id").to_owned(),
        };
        let ready = json!({"jsonrpc": "2.0", "method": "notifications/initialized"});
        assert_eq!(session.post(&ready).await.len(), 0);
        session
    }

    async fn post(&self, message: &Value) -> Vec<Value> {
        let headers = [("mcp-session-id", self.id.as_str()), ("mcp-protocol-version", LEGACY)];
        self.http.post("/mcp", &headers, &message.to_string()).await.messages()
    }

    /// Sends `text` through the echo tool and says what came back, if it was the answer to this request and to no other.
    async fn echo(&self, id: u64, text: String) -> Result<(), String> {
        let params = json!({"name": "demo__echo", "arguments": {"text": text}});
        let call = json!({"jsonrpc": "2.0", "id": id, "method": "tools/call", "params": params});
        let messages = self.post(&call).await;
        let answers: Vec<_> = messages
            .iter()
            .filter(|message| message.get("method").is_none())
            .collect();
        let own = answers.len() == 1
            && answers[0]["id"] == id
            && answers[0]["result"]["content"]
                .to_string()
                .contains(&format!("{text}\""));
        if own {
            Ok(())
        } else {
            Err(format!("asked {text} with id {id}, got {messages:?}"))
        }
    }
}

async fn clients_with_equal_ids(clients: usize, ids: u64) {
    let hub = Hub::builder().start().await;
    hub.wait_until_ready(std::time::Duration::from_secs(10)).await;
    let http = &hub.mcp;
    let wrong: Vec<String> = stream::iter(0..clients)
        .map(async |client| {
            let session = &Session::open(http).await;
            stream::iter(0..ids)
                .map(async |id| session.echo(id, format!("client {client} message {id}")).await.err())
                .buffer_unordered(8)
                .filter_map(async |fault| fault)
                .collect::<Vec<_>>()
                .await
        })
        .buffer_unordered(32)
        .flat_map(stream::iter)
        .collect()
        .await;
    assert!(
        wrong.is_empty(),
        "{} of {}: {:?}",
        wrong.len(),
        clients as u64 * ids,
        &wrong[..wrong.len().min(5)]
    );
}

#[tokio::test]
async fn clients_that_use_the_same_ids_get_their_own_answers() {
    let _turn = turn().await;
    clients_with_equal_ids(100, 100).await;
}

#[tokio::test]
#[ignore = "a minute of load: scripts/test --full"]
async fn a_thousand_clients_that_use_the_same_ids_get_their_own_answers() {
    let _turn = turn().await;
    clients_with_equal_ids(1000, 100).await;
}

#[tokio::test]
async fn many_requests_with_one_id_on_one_session_each_get_their_own_answer() {
    let hub = Hub::builder().start().await;
    hub.wait_until_ready(std::time::Duration::from_secs(10)).await;
    let session = &Session::open(&hub.mcp).await;
    let outcomes: Vec<_> = stream::iter(0..500)
        .map(async |number| session.echo(1, format!("request {number}")).await)
        .buffer_unordered(100)
        .collect()
        .await;
    let wrong: Vec<_> = outcomes.iter().filter_map(|outcome| outcome.as_ref().err()).collect();
    assert!(wrong.is_empty(), "{} wrong: {:?}", wrong.len(), wrong.first());
}
