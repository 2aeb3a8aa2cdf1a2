//! Whole conversations, message by message, in both eras.

use bytes::Bytes;
use serde_json::{Value, json};
use tokio::time::Instant;

use super::session::Session;
use crate::jsonrpc::{Line, Looks};

/// Sends one message and returns everything that comes back, updates included.
fn exchange(session: &mut Session, message: &Value) -> Vec<Value> {
    send_text(session, &message.to_string())
}

fn send_text(session: &mut Session, text: &str) -> Vec<Value> {
    let mut out = Vec::new();
    session.line(Line::Whole(Bytes::copy_from_slice(text.as_bytes())), &mut out);
    session.tick(Instant::now(), &mut out);
    let lines = out.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
    lines.map(|line| serde_json::from_slice(line).unwrap()).collect()
}

/// Whatever a conversation looks like, an answer has the shape that JSON-RPC and the era ask for.
fn result(session: &mut Session, method: &str, params: &Value) -> Value {
    let sent = json!({"jsonrpc": "2.0", "id": "q", "method": method, "params": params});
    let all = exchange(session, &sent);
    let answer = all.iter().find(|message| message.get("id").is_some()).unwrap();
    assert_eq!(answer["jsonrpc"], "2.0");
    assert_eq!(answer["id"], "q");
    assert_eq!(answer.get("error"), None, "{answer}");
    let result = answer["result"].clone();
    let modern = params
        .pointer("/_meta/io.modelcontextprotocol~1protocolVersion")
        .is_some();
    assert_eq!(result.get("resultType").is_some(), modern, "{result}");
    if modern {
        assert_eq!(result["resultType"], "complete");
        assert_eq!(
            result["_meta"]["io.modelcontextprotocol/serverInfo"]["name"],
            "mcpvisor-demo"
        );
        let cacheable = method.ends_with("/list") || method == "resources/read" || method == "server/discover";
        assert_eq!(result["ttlMs"].is_u64(), cacheable, "{method}");
        assert_eq!(result["cacheScope"].is_string(), cacheable, "{method}");
    } else {
        for field in ["ttlMs", "cacheScope", "_meta"] {
            assert_eq!(result.get(field), None, "{method}");
        }
    }
    result
}

fn error(session: &mut Session, method: &str, params: &Value) -> Value {
    let sent = json!({"jsonrpc": "2.0", "id": 7, "method": method, "params": params});
    let all = exchange(session, &sent);
    assert_eq!(all.len(), 1, "{all:?}");
    assert_eq!(all[0]["id"], 7);
    assert_eq!(all[0].get("result"), None, "{all:?}");
    all[0]["error"].clone()
}

fn modern(mut params: Value) -> Value {
    params["_meta"] = json!({
        "io.modelcontextprotocol/protocolVersion": "2026-07-28",
        "io.modelcontextprotocol/clientCapabilities": {},
        "io.modelcontextprotocol/clientInfo": {"name": "test", "version": "1"},
    });
    params
}

/// Params as either era sends them.
type Dress = fn(Value) -> Value;
const ERAS: [Dress; 2] = [std::convert::identity, modern];

fn initialized(version: &str) -> (Session, Value) {
    let mut session = Session::with_page_size(3);
    let params = json!({"protocolVersion": version, "capabilities": {}, "clientInfo": {"name": "t", "version": "1"}});
    let answer = result(&mut session, "initialize", &params);
    assert_eq!(
        exchange(
            &mut session,
            &json!({"jsonrpc": "2.0", "method": "notifications/initialized"})
        ),
        [Value::Null; 0]
    );
    (session, answer)
}

#[test]
fn the_handshake_agrees_on_a_revision() {
    for (asked, agreed) in [
        ("2024-11-05", "2024-11-05"),
        ("2025-03-26", "2025-03-26"),
        ("2025-06-18", "2025-06-18"),
        ("2025-11-25", "2025-11-25"),
        ("2026-07-28", "2025-11-25"),
        ("1999-01-01", "2025-11-25"),
    ] {
        let (mut session, answer) = initialized(asked);
        assert_eq!(answer["protocolVersion"], agreed);
        assert_eq!(answer["serverInfo"]["name"], "mcpvisor-demo");
        assert!(answer["serverInfo"]["version"].is_string());
        for capability in ["tools", "resources", "prompts", "logging"] {
            assert!(answer["capabilities"][capability].is_object(), "{capability}");
        }
        assert_eq!(result(&mut session, "ping", &json!({})), json!({}));
    }
    assert_eq!(error(&mut Session::new(), "initialize", &json!({}))["code"], -32602);
}

#[test]
fn discovery_says_what_the_handshake_would() {
    let found = result(&mut Session::new(), "server/discover", &modern(json!({})));
    let (_, legacy) = initialized("2025-11-25");
    assert_eq!(found["capabilities"], legacy["capabilities"]);
    assert_eq!(found["instructions"], legacy["instructions"]);
    let versions: Vec<_> = found["supportedVersions"]
        .as_array()
        .unwrap()
        .iter()
        .map(|v| v.as_str().unwrap())
        .collect();
    assert!(versions.contains(&"2026-07-28"));
}

#[test]
fn a_bad_modern_claim_is_refused() {
    let mut session = Session::new();
    let claim = |version: Value, capabilities: Value| {
        json!({"_meta": {"io.modelcontextprotocol/protocolVersion": version,
            "io.modelcontextprotocol/clientCapabilities": capabilities}})
    };
    for params in [
        json!({}),
        claim(json!(7), json!({})),
        claim(json!("2026-07-28"), Value::Null),
    ] {
        assert_eq!(
            error(&mut session, "server/discover", &params)["code"],
            -32602,
            "{params}"
        );
    }
    let refused = error(&mut session, "tools/list", &claim(json!("v999"), json!({})));
    assert_eq!(refused["code"], -32022);
    assert_eq!(refused["data"]["requested"], "v999");
    assert!(
        refused["data"]["supported"]
            .as_array()
            .unwrap()
            .iter()
            .any(|version| version == "2026-07-28")
    );
    // The modern era has none of these, and the legacy era not this one.
    for method in [
        "initialize",
        "ping",
        "logging/setLevel",
        "resources/subscribe",
        "resources/unsubscribe",
        "x/y",
    ] {
        assert_eq!(
            error(&mut session, method, &modern(json!({})))["code"],
            -32601,
            "{method}"
        );
    }
    assert_eq!(error(&mut session, "x/y", &json!({}))["code"], -32601);
}

#[test]
fn lists_come_in_pages_and_items_are_whole() {
    for dress in ERAS {
        let (mut session, _) = initialized("2025-11-25");
        for (method, key, needed) in [
            ("tools/list", "tools", &["name", "description", "inputSchema"][..]),
            ("resources/list", "resources", &["uri", "name", "mimeType"]),
            (
                "resources/templates/list",
                "resourceTemplates",
                &["uriTemplate", "name"],
            ),
            ("prompts/list", "prompts", &["name", "description", "arguments"]),
        ] {
            let (mut items, mut cursor, mut pages) = (Vec::new(), None::<Value>, 0);
            loop {
                let params = cursor
                    .take()
                    .map_or_else(|| json!({}), |cursor| json!({"cursor": cursor}));
                let page = result(&mut session, method, &dress(params));
                items.extend(page[key].as_array().unwrap().clone());
                pages += 1;
                match page.get("nextCursor") {
                    Some(next) => cursor = Some(next.clone()),
                    None => break,
                }
            }
            assert_eq!(pages, items.len().div_ceil(3), "{method}");
            for item in &items {
                for field in needed {
                    assert!(!item[field].is_null(), "{field} of {item}");
                }
                if key == "tools" {
                    assert_eq!(item["inputSchema"]["type"], "object");
                }
            }
            for cursor in ["0", "99", "-1", "x"] {
                assert_eq!(
                    error(&mut session, method, &dress(json!({"cursor": cursor})))["code"],
                    -32602
                );
            }
        }
    }
}

#[test]
fn every_tool_answers_as_it_promises() {
    for dress in ERAS {
        let (mut session, _) = initialized("2025-11-25");
        let call = |session: &mut Session, name: &str, arguments: Value| {
            result(
                session,
                "tools/call",
                &dress(json!({"name": name, "arguments": arguments})),
            )
        };
        for tool in super::tools::list() {
            let name = tool["name"].as_str().unwrap();
            let arguments = match name {
                "echo" | "hash" => json!({"text": "a"}),
                "calculate" => json!({"expression": "6*7"}),
                "log" => json!({"message": "a", "level": "emergency"}),
                "countdown" => continue,
                _ => json!({}),
            };
            let said = call(&mut session, name, arguments);
            assert_eq!(said.get("isError"), None, "{said}");
            assert_eq!(said["content"][0]["type"], "text");
            assert!(said["content"][0]["text"].is_string());
            match tool.get("outputSchema") {
                None => assert_eq!(said.get("structuredContent"), None, "{name}"),
                Some(schema) => {
                    for field in schema["required"].as_array().unwrap() {
                        assert!(
                            said["structuredContent"].get(field.as_str().unwrap()).is_some(),
                            "{field} of {name}"
                        );
                    }
                }
            }
        }
        for (name, arguments) in [
            ("echo", json!({})),
            ("calculate", json!({"expression": "1/"})),
            ("hash", json!({"text": "a", "algorithm": "rot13"})),
            ("uuid", json!({"count": 101})),
            ("countdown", json!({"from": 0})),
            ("log", json!({"message": "a", "level": "loud"})),
            ("time", json!({"offset": "here"})),
        ] {
            let said = call(&mut session, name, arguments);
            assert_eq!(said["isError"], true, "{name}");
            assert!(!said["content"][0]["text"].as_str().unwrap().is_empty());
        }
        assert_eq!(
            error(&mut session, "tools/call", &dress(json!({"name": "nope"})))["code"],
            -32602
        );
        let params = json!({"name": "echo", "arguments": []});
        assert_eq!(error(&mut session, "tools/call", &dress(params))["code"], -32602);
    }
}

#[test]
fn log_messages_keep_to_the_level() {
    let logged = |session: &mut Session, params: Value| {
        let sent = json!({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params});
        exchange(session, &sent)
            .into_iter()
            .filter(|message| message["method"] == "notifications/message")
            .count()
    };
    let call = || json!({"name": "log", "arguments": {"message": "m", "level": "warning"}});
    let (mut session, _) = initialized("2025-11-25");
    assert_eq!(logged(&mut session, call()), 1);
    result(&mut session, "logging/setLevel", &json!({"level": "error"}));
    assert_eq!(logged(&mut session, call()), 0);
    assert_eq!(
        error(&mut session, "logging/setLevel", &json!({"level": "loud"}))["code"],
        -32602
    );
    // A modern request hears nothing unless it asks.
    assert_eq!(logged(&mut session, modern(call())), 0);
    let mut asking = modern(call());
    asking["_meta"]["io.modelcontextprotocol/logLevel"] = json!("debug");
    assert_eq!(logged(&mut session, asking), 1);
}

#[test]
fn resources_are_read_and_missing_ones_named() {
    for (dress, missing) in ERAS.into_iter().zip([-32002, -32602]) {
        let (mut session, _) = initialized("2025-11-25");
        for uri in ["demo://welcome", "demo://statistics", "demo://greeting/J%C3%BCrgen"] {
            let read = result(&mut session, "resources/read", &dress(json!({"uri": uri})));
            assert_eq!(read["contents"][0]["uri"], uri);
            assert!(!read["contents"][0]["text"].as_str().unwrap().is_empty());
        }
        for uri in ["demo://greeting/", "demo://greeting/a/b", "file:///etc/passwd"] {
            let refused = error(&mut session, "resources/read", &dress(json!({"uri": uri})));
            assert_eq!(refused["code"], missing);
            assert_eq!(refused["data"]["uri"], uri);
        }
    }
}

#[test]
fn subscribers_hear_of_calls_and_others_do_not() {
    let (mut session, _) = initialized("2025-11-25");
    let updates = |session: &mut Session| {
        let sent = json!({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": "uuid"}});
        let all = exchange(session, &sent);
        let updated = all
            .into_iter()
            .filter(|message| message["method"] == "notifications/resources/updated");
        updated.map(|message| message["params"].clone()).collect::<Vec<_>>()
    };
    assert_eq!(updates(&mut session), [Value::Null; 0]);
    result(
        &mut session,
        "resources/subscribe",
        &json!({"uri": "demo://statistics"}),
    );
    assert_eq!(updates(&mut session), [json!({"uri": "demo://statistics"})]);
    result(
        &mut session,
        "resources/unsubscribe",
        &json!({"uri": "demo://statistics"}),
    );
    assert_eq!(updates(&mut session), [Value::Null; 0]);
    assert_eq!(
        error(&mut session, "resources/subscribe", &json!({"uri": "demo://none"}))["code"],
        -32002
    );

    let listen = |id: Value, notifications: Value| {
        let params = modern(json!({"notifications": notifications}));
        json!({"jsonrpc": "2.0", "id": id, "method": "subscriptions/listen", "params": params})
    };
    let wanted = json!({"toolsListChanged": true, "resourceSubscriptions": ["demo://statistics", "demo://welcome"]});
    let said = exchange(&mut session, &listen(json!("l"), wanted));
    assert_eq!(said.len(), 1);
    assert_eq!(said[0]["method"], "notifications/subscriptions/acknowledged");
    assert_eq!(
        said[0]["params"]["notifications"],
        json!({"resourceSubscriptions": ["demo://statistics"]})
    );
    assert_eq!(
        said[0]["params"]["_meta"]["io.modelcontextprotocol/subscriptionId"],
        "l"
    );
    exchange(&mut session, &listen(json!(2), json!({"toolsListChanged": true})));
    let heard = updates(&mut session);
    assert_eq!(heard.len(), 1, "{heard:?}");
    assert_eq!(heard[0]["_meta"]["io.modelcontextprotocol/subscriptionId"], "l");
    exchange(
        &mut session,
        &json!({"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": "l"}}),
    );
    assert_eq!(updates(&mut session), [Value::Null; 0]);
}

#[test]
fn prompts_are_filled_in_and_completed() {
    for dress in ERAS {
        let (mut session, _) = initialized("2025-11-25");
        let get = |arguments: Value| dress(json!({"name": "explain", "arguments": arguments}));
        let filled = result(
            &mut session,
            "prompts/get",
            &get(json!({"topic": "pipes", "audience": "a child"})),
        );
        let text = filled["messages"][0]["content"]["text"].as_str().unwrap();
        assert!(text.contains("pipes") && text.contains("a child"), "{text}");
        assert_eq!(filled["messages"][0]["role"], "user");
        assert_eq!(error(&mut session, "prompts/get", &get(json!({})))["code"], -32602);
        assert_eq!(
            error(&mut session, "prompts/get", &dress(json!({"name": "none"})))["code"],
            -32602
        );

        let complete = |reference: Value, name: &str, value: &str| {
            dress(json!({"ref": reference, "argument": {"name": name, "value": value}}))
        };
        let prompt = || json!({"type": "ref/prompt", "name": "explain"});
        let found = result(
            &mut session,
            "completion/complete",
            &complete(prompt(), "audience", "A b"),
        );
        assert_eq!(found["completion"]["values"], json!(["a beginner"]));
        let template = json!({"type": "ref/resource", "uri": "demo://greeting/{name}"});
        let found = result(&mut session, "completion/complete", &complete(template, "name", ""));
        assert_eq!(found["completion"]["values"].as_array().unwrap().len(), 6);
        let unknown = complete(json!({"type": "ref/prompt", "name": "none"}), "a", "");
        assert_eq!(error(&mut session, "completion/complete", &unknown)["code"], -32602);
    }
}

#[test]
fn ids_of_every_form_come_back_as_they_were() {
    let mut session = Session::new();
    for id in ["0", "-1", "1.5", "18446744073709551616", r#""\u0041/""#, "1e3"] {
        let mut out = Vec::new();
        let text = format!(r#"{{"id":{id},"jsonrpc":"2.0","method":"ping"}}"#);
        session.line(Line::Whole(text.into()), &mut out);
        assert_eq!(
            String::from_utf8(out).unwrap(),
            format!("{{\"jsonrpc\":\"2.0\",\"id\":{id},\"result\":{{}}}}\n")
        );
    }
}

#[test]
fn what_is_no_message_is_answered_and_forgotten() {
    let mut session = Session::new();
    for (text, code) in [
        ("{", -32700),
        ("[]", -32600),
        ("7", -32600),
        (r#"{"jsonrpc":"2.0","id":1}"#, -32600),
    ] {
        let said = send_text(&mut session, text);
        assert_eq!(said[0]["error"]["code"], code, "{text}");
    }
    let mut out = Vec::new();
    session.line(
        Line::TooLong {
            length: 99,
            id: Some("5".to_owned()),
            looks: Looks::Asking,
        },
        &mut out,
    );
    let said: Value = serde_json::from_slice(&out).unwrap();
    assert_eq!(
        (said["id"].clone(), said["error"]["code"].clone()),
        (json!(5), json!(-32600))
    );
    for text in [
        r#"{"jsonrpc":"2.0","id":1,"result":{}}"#,
        r#"{"jsonrpc":"2.0","method":"what/ever"}"#,
    ] {
        assert_eq!(send_text(&mut session, text), [Value::Null; 0]);
    }
    assert_eq!(result(&mut session, "ping", &json!({})), json!({}));
}

#[test]
fn batches_are_for_the_one_revision_that_has_them() {
    let batch = r#"[{"jsonrpc":"2.0","id":1,"method":"ping"},{"jsonrpc":"2.0","method":"n"},{"jsonrpc":"2.0","id":2,"method":"x"}]"#;
    let (mut session, _) = initialized("2025-03-26");
    let said = send_text(&mut session, batch);
    assert_eq!(said.len(), 1);
    assert_eq!(said[0][0], json!({"jsonrpc": "2.0", "id": 1, "result": {}}));
    assert_eq!(said[0][1]["error"]["code"], -32601);
    assert_eq!(said[0].as_array().unwrap().len(), 2);
    assert_eq!(
        send_text(&mut session, r#"[{"jsonrpc":"2.0","method":"n"}]"#),
        [Value::Null; 0]
    );
    assert_eq!(send_text(&mut session, "[]")[0]["error"]["code"], -32600);

    let (mut session, _) = initialized("2025-06-18");
    assert_eq!(send_text(&mut session, batch)[0]["error"]["code"], -32600);
}
