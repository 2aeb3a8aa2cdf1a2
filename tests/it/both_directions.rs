//! Everything that goes both ways: progress, cancellation, logs, completion, subscriptions, list changes, questions of
//! servers, roots, unknown methods, pings.

use std::time::Duration;

use futures_util::future::join_all;
use serde_json::{Value, json};

use crate::{
    client::{Door, LEGACY, MODERN, McpClient, text_of},
    fixture::{
        CountFile, SOON, Session, answer_in, call, call_modern, expect, hub_with, modern, post_modern, service,
        services, stream_modern, text_in,
    },
    http::PATIENCE,
    hub::Hub,
    sse::EventStream,
};

fn with_token(mut message: Value, token: Value) -> Value {
    message["params"]["_meta"]["progressToken"] = token;
    message
}

/// Waits until the child of a legacy connection has got a notification that holds `text`.
async fn wait_for_event(hub: &Hub, session: &Session, text: &str) {
    hub.wait_until(SOON, &format!("{text} at the child"), async || {
        let events = session.events("fix__events").await;
        if events.contains(text) { Ok(()) } else { Err(events) }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn progress_comes_back_with_the_clients_own_token_and_to_nobody_else() {
    let hub = hub_with("", &[]).await;
    let sessions = [Session::open(&hub).await, Session::open(&hub).await];
    let calls = [(0, 3_u64), (1, 5), (0, 4), (1, 6)].map(|(client, steps)| {
        let session = &sessions[client];
        async move {
            let ask = with_token(
                call(1, "fix__emit_progress", json!({"steps": steps, "ms": 30})),
                json!("same"),
            );
            (steps, session.post(&ask).await)
        }
    });
    for (steps, messages) in join_all(calls).await {
        let (answer, progress) = messages.split_last().unwrap();
        assert_eq!(text_in(answer), "awake");
        let seen: Vec<_> = progress
            .iter()
            .map(|message| {
                assert_eq!(message["method"], "notifications/progress");
                assert_eq!(message["params"]["progressToken"], "same");
                assert_eq!(message["params"]["total"], steps, "the other call's progress");
                message["params"]["progress"].as_u64().unwrap()
            })
            .collect();
        assert_eq!(seen, (1..=steps).collect::<Vec<_>>());
    }
    // A number stays a number, in the modern era too.
    let ask = modern(with_token(
        call(1, "fix__emit_progress", json!({"steps": 2, "ms": 20})),
        json!(7),
    ));
    let messages = post_modern(&hub, "", &ask).await.messages();
    let tokens: Vec<_> = messages
        .iter()
        .filter_map(|message| message["params"].get("progressToken"))
        .collect();
    assert_eq!(tokens, [&json!(7), &json!(7)], "{messages:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_legacy_client_takes_a_call_back_by_a_notification() {
    let builder = Hub::builder().transport("both");
    let counted = CountFile::of(builder.folder());
    let yaml = services(&[service("fix", "", &["--count-file", counted.path()])]);
    let mut hub = builder.config(&yaml).start().await;
    hub.wait_until_ready(SOON).await;
    let session = Session::open(&hub).await;
    // Two calls with one id in different sessions: only the right one ends.
    let other = Session::open(&hub).await;
    let kept = {
        let other = other.clone();
        tokio::spawn(async move { other.post(&call("a", "fix__sleep", json!({"ms": 1500}))).await })
    };
    let waiting = {
        let session = session.clone();
        tokio::spawn(async move { session.post(&call("a", "fix__sleep", json!({"ms": 600_000}))).await })
    };
    counted.wait_for(&hub, "call sleep", 2).await;
    let cancel = json!({"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": "a"}});
    session.post(&cancel).await;
    let came = tokio::time::timeout(PATIENCE, waiting)
        .await
        .expect("the stream ends")
        .unwrap();
    assert_eq!(came, Vec::<Value>::new(), "a call taken back has no answer");
    wait_for_event(&hub, &session, "notifications/cancelled").await;
    assert_eq!(text_in(&answer_in(&kept.await.unwrap())), "awake");

    // stdio: the next line may already be the cancellation.
    let mut stdio = hub.take_stdio();
    let hello = json!({"jsonrpc": "2.0", "id": 0, "method": "initialize", "params": {"protocolVersion": LEGACY,
        "capabilities": {}, "clientInfo": {"name": "it", "version": "1"}}});
    stdio.send(&hello.to_string()).await;
    assert!(stdio.next().await.unwrap().contains("serverInfo"));
    stdio
        .send(&call("s", "fix__sleep", json!({"ms": 600_000})).to_string())
        .await;
    let cancel = json!({"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": "s"}});
    stdio.send(&cancel.to_string()).await;
    stdio.send(&call("e", "fix__events", json!({})).to_string()).await;
    let answer: Value = serde_json::from_str(&stdio.next().await.unwrap()).unwrap();
    assert_eq!(answer["id"], "e", "nothing answers the call taken back: {answer}");
    assert_eq!(
        text_in(&answer).matches("notifications/cancelled").count(),
        2,
        "{answer}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_modern_client_takes_a_call_back_by_leaving() {
    let builder = Hub::builder();
    let counted = CountFile::of(builder.folder());
    let yaml = services(&[service("fix", "", &["--count-file", counted.path()])]);
    let hub = builder.config(&yaml).start().await;
    hub.wait_until_ready(SOON).await;
    let ask = modern(with_token(
        call(1, "fix__emit_progress", json!({"steps": 10_000, "ms": 50})),
        json!(1),
    ));
    let mut stream = stream_modern(&hub, &ask).await;
    expect(&mut stream, "notifications/progress").await;
    drop(stream);
    hub.wait_until(SOON, "the cancellation at the child", async || {
        let answer = call_modern(&hub, "fix__events", json!({})).await;
        if text_in(&answer).contains("notifications/cancelled") {
            Ok(())
        } else {
            Err(answer.to_string())
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_legacy_client_that_loses_its_stream_loses_no_call() {
    let hub = hub_with("", &[]).await;
    let session = Session::open(&hub).await;
    let ask = with_token(
        call("long", "fix__emit_progress", json!({"steps": 8, "ms": 100})),
        json!(1),
    );
    let mut stream = session.stream(&ask).await;
    let last = loop {
        let event = stream.next(PATIENCE).await.expect("an event");
        if event
            .message()
            .is_some_and(|message| message["method"] == "notifications/progress")
        {
            break event.id.expect("an id to resume from");
        }
    };
    drop(stream);
    let mut again = session.listen(Some(&last)).await;
    let mut progress = 1;
    let answer = loop {
        let message = again.next_message(PATIENCE).await.expect("the rest of the stream");
        if message.get("method").is_none() {
            break message;
        }
        progress += 1;
        assert_eq!(message["params"]["progress"], progress);
    };
    assert_eq!(
        (&answer["id"], text_in(&answer), progress),
        (&json!("long"), "awake", 8)
    );
    assert!(!session.events("fix__events").await.contains("cancelled"));
}

#[tokio::test(flavor = "multi_thread")]
async fn each_client_has_its_own_log_level() {
    let hub = hub_with("", &[]).await;
    let [quiet, chatty] = [Session::open(&hub).await, Session::open(&hub).await];
    for (session, level) in [(&quiet, "error"), (&chatty, "debug")] {
        let set = json!({"jsonrpc": "2.0", "id": 1, "method": "logging/setLevel", "params": {"level": level}});
        assert_eq!(session.post(&set).await[0]["result"], json!({}));
    }
    let wrong = json!({"jsonrpc": "2.0", "id": 1, "method": "logging/setLevel", "params": {"level": "loud"}});
    assert_eq!(quiet.post(&wrong).await[0]["error"]["code"], -32602);
    let mut streams = [quiet.listen(None).await, chatty.listen(None).await];
    for (session, level, expected) in [(&quiet, "warning", 0), (&quiet, "error", 2), (&chatty, "debug", 2)] {
        let log = call(
            1,
            "fix__emit_log",
            json!({"level": level, "count": 2, "message": level}),
        );
        let messages = session.post(&log).await;
        let logged: Vec<_> = messages
            .iter()
            .filter(|message| message["method"] == "notifications/message")
            .collect();
        assert_eq!(logged.len(), expected, "{level}: {messages:?}");
        assert!(logged.iter().all(|message| message["params"]["level"] == level));
    }
    // None of it went to anybody's other stream.
    quiet.call("fix__change_tools", json!({})).await;
    for stream in &mut streams {
        expect(stream, "notifications/tools/list_changed").await;
    }
    // Modern: only who asks for a level gets logs.
    for (level, expected) in [(None, 0), (Some("info"), 1)] {
        let mut ask = modern(call(1, "fix__emit_log", json!({"level": "info"})));
        if let Some(level) = level {
            ask["params"]["_meta"]["io.modelcontextprotocol/logLevel"] = json!(level);
        }
        let messages = post_modern(&hub, "", &ask).await.messages();
        assert_eq!(messages.len(), 1 + expected, "{messages:?}");
    }
}

/// Modern clients over HTTP have no session: two of them are still two.
#[tokio::test(flavor = "multi_thread")]
async fn logs_of_one_modern_call_never_reach_another() {
    let hub = hub_with("", &["--legacy-only"]).await;
    let with_level = |mut message: Value| {
        message["params"]["_meta"]["io.modelcontextprotocol/logLevel"] = json!("debug");
        modern(message)
    };
    let progress = with_token(call(1, "fix__emit_progress", json!({"steps": 12, "ms": 100})), json!(1));
    let mut bystander = stream_modern(&hub, &with_level(progress)).await;
    expect(&mut bystander, "notifications/progress").await;
    let log = with_level(call(2, "fix__emit_log", json!({"level": "info", "message": "secret"})));
    post_modern(&hub, "", &log).await;
    loop {
        let message = bystander.next_message(PATIENCE).await.expect("an answer");
        assert!(!message.to_string().contains("secret"), "{message}");
        if message.get("method").is_none() {
            break;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn arguments_are_completed_by_the_service_they_belong_to() {
    let mut hub = hub_with("", &[]).await;
    for revision in [LEGACY, MODERN] {
        let mut client = hub.client(Door::Http, revision).await;
        for reference in [
            json!({"type": "ref/prompt", "name": "fix__hello"}),
            json!({"type": "ref/resource", "uri": "fixture://item/{id}"}),
        ] {
            let params = json!({"ref": reference, "argument": {"name": "name", "value": "al"}});
            let result = client.request("completion/complete", params).await.unwrap();
            assert_eq!(
                result["completion"]["values"],
                json!(["alice", "albert"]),
                "{reference}"
            );
        }
        let unknown =
            json!({"ref": {"type": "ref/prompt", "name": "hello"}, "argument": {"name": "name", "value": ""}});
        let error = client.request("completion/complete", unknown).await.unwrap_err();
        assert_eq!(error["code"], -32602);
    }
}

async fn touch(session: &Session) {
    session.call("fix__touch", json!({})).await;
}

async fn change_tools(session: &Session) {
    session.call("fix__change_tools", json!({})).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_subscriber_hears_of_a_resource_until_it_does_not_want_to() {
    let mut hub = hub_with("era: legacy", &[]).await;
    let session = Session::open(&hub).await;
    let mut stream = session.listen(None).await;
    let mut socket = hub.client(Door::Socket, LEGACY).await;
    let mut bystander = hub.client(Door::Socket, LEGACY).await;
    let uri = json!({"uri": "fixture://counter"});
    let subscribe = |method: &str| json!({"jsonrpc": "2.0", "id": 1, "method": method, "params": uri});
    assert_eq!(
        session.post(&subscribe("resources/subscribe")).await[0]["result"],
        json!({})
    );
    assert_eq!(socket.request("resources/subscribe", uri.clone()).await, Ok(json!({})));
    let listen = json!({"jsonrpc": "2.0", "id": 5, "method": "subscriptions/listen", "params": {"notifications":
        {"resourceSubscriptions": ["fixture://counter", "nobody://has/this"]}}});
    let mut modern_stream = stream_modern(&hub, &modern(listen)).await;
    let first = expect(&mut modern_stream, "notifications/subscriptions/acknowledged").await;
    assert_eq!(
        first["params"]["notifications"],
        json!({"resourceSubscriptions": ["fixture://counter"]}),
        "what nobody has is not promised"
    );
    touch(&session).await;
    let updated = "notifications/resources/updated";
    assert_eq!(expect(&mut stream, updated).await["params"], uri);
    assert_eq!(socket.next_message(PATIENCE).await["params"], uri);
    assert_eq!(expect(&mut modern_stream, updated).await["params"]["uri"], uri["uri"]);

    // One leaves: the others still hear of it.
    assert_eq!(
        session.post(&subscribe("resources/unsubscribe")).await[0]["result"],
        json!({})
    );
    touch(&session).await;
    change_tools(&session).await;
    expect(&mut stream, "notifications/tools/list_changed").await;
    assert_eq!(socket.next_message(PATIENCE).await["method"], updated);
    expect(&mut modern_stream, updated).await;
    assert_eq!(
        bystander.next_message(PATIENCE).await["method"],
        "notifications/tools/list_changed"
    );

    // Nobody has it: an error, in the words of the era.
    let missing = json!({"jsonrpc": "2.0", "id": 1, "method": "resources/subscribe", "params": {"uri": "nobody://x"}});
    assert_eq!(session.post(&missing).await[0]["error"]["code"], -32002);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_subscription_is_refused_to_the_client() {
    // It knows neither subscriptions nor the wish for them.
    let hub = hub_with("", &["--never-subscribe"]).await;
    let session = Session::open(&hub).await;
    let ask =
        json!({"jsonrpc": "2.0", "id": "r", "method": "resources/subscribe", "params": {"uri": "fixture://counter"}});
    let answer = session.post(&ask).await.remove(0);
    assert_eq!(
        (&answer["id"], &answer["error"]["code"]),
        (&json!("r"), &json!(-32601)),
        "{answer}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn clients_of_every_kind_hear_of_a_changed_list() {
    let builder = Hub::builder().transport("both");
    let mut hub = builder.config(&services(&[service("fix", "", &[])])).start().await;
    hub.wait_until_ready(SOON).await;
    let session = Session::open(&hub).await;
    let mut stream = session.listen(None).await;
    let mut modern_client = hub.client(Door::Http, MODERN).await;
    modern_client.listen().await;
    let mut clients: Vec<McpClient> = Vec::new();
    for door in [Door::Sse, Door::Socket, Door::Stdio] {
        clients.push(hub.client(door, LEGACY).await);
    }
    clients.push(hub.client_at(Door::Sse, "/services/fix", LEGACY).await);
    change_tools(&session).await;
    let changed = "notifications/tools/list_changed";
    assert_eq!(
        expect(&mut stream, changed).await,
        json!({"jsonrpc": "2.0", "method": changed})
    );
    for client in &mut clients {
        assert_eq!(client.next_message(PATIENCE).await["method"], changed);
        let tools = client.tools().await;
        assert!(tools.iter().any(|name| name.ends_with("extra_tool")), "{tools:?}");
    }
    let message = modern_client.next_message(PATIENCE).await;
    assert_eq!(message["method"], changed);
    assert_eq!(
        message["params"]["_meta"]["io.modelcontextprotocol/subscriptionId"],
        "listen"
    );
}

fn all_capabilities() -> Value {
    json!({"sampling": {}, "elicitation": {}, "roots": {"listChanged": true}})
}

/// Reads a call's stream until the server asks, answers it, and gives the call's answer.
async fn answer_question(session: &Session, stream: &mut EventStream, method: &str, result: Value) -> Value {
    let question = expect(stream, method).await;
    let answer = json!({"jsonrpc": "2.0", "id": question["id"], "result": result});
    assert_eq!(session.post(&answer).await.len(), 0);
    stream.next_message(PATIENCE).await.expect("the answer of the call")
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_to_a_question_returns_to_the_call_that_asked() {
    let hub = hub_with("", &[]).await;
    let session = Session::open_at(&hub, "", &all_capabilities()).await;
    for (what, method) in [
        ("sampling", "sampling/createMessage"),
        ("elicitation", "elicitation/create"),
    ] {
        // Two calls of one client ask at the same time.
        let mut streams = Vec::new();
        for n in 0..2 {
            let ask = call(n, "fix__ask", json!({"what": what, "message": format!("question {n}")}));
            streams.push(session.stream(&ask).await);
        }
        let mut questions = Vec::new();
        for stream in &mut streams {
            questions.push(expect(stream, method).await);
        }
        // Answered in the other order, each with what was asked.
        for question in questions.iter().rev() {
            let result = json!({"heard": question["params"], "big": 1});
            session
                .post(&json!({"jsonrpc": "2.0", "id": question["id"], "result": result}))
                .await;
        }
        let mut seen = Vec::new();
        for mut stream in streams {
            let answer = stream.next_message(PATIENCE).await.expect("an answer");
            let n = answer["id"].as_u64().unwrap();
            let heard: Value = serde_json::from_str(text_in(&answer)).unwrap();
            assert!(
                heard["heard"].to_string().contains(&format!("question {n}")),
                "{answer}"
            );
            seen.push(n);
        }
        seen.sort_unstable();
        assert_eq!(seen, [0, 1]);
    }
    // Who can't be asked is not: the server learns that before it asks.
    let plain = Session::open(&hub).await;
    let answer = plain
        .call("fix__ask", json!({"what": "sampling", "message": "x"}))
        .await;
    assert!(
        answer["error"]["message"].as_str().unwrap().contains("no sampling"),
        "{answer}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_question_that_could_be_anybodys_is_refused_in_clear_words() {
    let builder = Hub::builder();
    let counted = CountFile::of(builder.folder());
    let yaml = services(&[service("fix", "", &["--count-file", counted.path()])]);
    let hub = builder.config(&yaml).start().await;
    hub.wait_until_ready(SOON).await;
    let [one, other] = [
        Session::open_at(&hub, "", &all_capabilities()).await,
        Session::open_at(&hub, "", &all_capabilities()).await,
    ];
    let progress = with_token(
        call(1, "fix__emit_progress", json!({"steps": 10_000, "ms": 50})),
        json!(1),
    );
    let mut busy = one.stream(&progress).await;
    expect(&mut busy, "notifications/progress").await;
    let answer = other
        .call("fix__ask", json!({"what": "elicitation", "message": "who?"}))
        .await;
    let text = text_in(&answer);
    assert!(
        text.contains("sharing: per-client") && text.contains("several clients"),
        "{text}"
    );
    one.post(&json!({"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": 1}}))
        .await;
    while busy.next(PATIENCE).await.is_some() {}
    // Alone again.
    let ask = call(2, "fix__ask", json!({"what": "elicitation", "message": "who?"}));
    let mut stream = other.stream(&ask).await;
    let answer = answer_question(&other, &mut stream, "elicitation/create", json!({"action": "decline"})).await;
    assert_eq!(text_in(&answer), r#"{"action":"decline"}"#);
}

#[tokio::test(flavor = "multi_thread")]
async fn roots_are_asked_of_a_client_that_has_a_process_of_its_own() {
    let yaml = services(&[service("own", "sharing: per-client", &[]), service("shared", "", &[])]);
    let hub = Hub::builder().config(&yaml).start().await;
    hub.wait_until_ready(SOON).await;
    let mut pids = Vec::new();
    let sessions = [
        Session::open_at(&hub, "", &all_capabilities()).await,
        Session::open_at(&hub, "", &all_capabilities()).await,
    ];
    for (n, session) in sessions.iter().enumerate() {
        let mut stream = session
            .stream(&call(1, "own__ask", json!({"what": "roots", "message": ""})))
            .await;
        let roots = json!({"roots": [{"uri": format!("file:///client/{n}")}]});
        let answer = answer_question(session, &mut stream, "roots/list", roots.clone()).await;
        assert_eq!(text_in(&answer), roots.to_string());
        let whoami: Value = serde_json::from_str(text_in(&session.call("own__whoami", json!({})).await)).unwrap();
        assert_eq!(
            whoami["capabilities"]["roots"],
            json!({"listChanged": true}),
            "{whoami}"
        );
        pids.push(whoami["pid"].clone());
        // On a shared connection one client's roots would be everybody's.
        let answer = session
            .call("shared__ask", json!({"what": "roots", "message": ""}))
            .await;
        assert!(
            answer["error"]["message"].as_str().unwrap().contains("no roots"),
            "{answer}"
        );
    }
    assert_ne!(pids[0], pids[1]);
    // A change of roots goes to the process that knows them.
    let changed = json!({"jsonrpc": "2.0", "method": "notifications/roots/list_changed"});
    sessions[0].post(&changed).await;
    hub.wait_until(SOON, "the changed roots at the child", async || {
        let events = sessions[0].events("own__events").await;
        if events.contains("roots/list_changed") {
            Ok(())
        } else {
            Err(events)
        }
    })
    .await;
    for tool in ["own__events", "shared__events"] {
        assert!(!sessions[1].events(tool).await.contains("roots/list_changed"), "{tool}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_hub_does_not_know_goes_through_an_endpoint_of_one_service() {
    let mut hub = hub_with("", &[]).await;
    for revision in [LEGACY, MODERN] {
        let mut alone = hub.client_at(Door::Http, "/services/fix", revision).await;
        let answer = alone.request("fixture/custom", json!({"a": [1]})).await.unwrap();
        assert_eq!(answer["params"]["a"], json!([1]));
        let unknown = alone.request("fixture/unknown", json!({})).await.unwrap_err();
        assert_eq!(unknown["code"], -32601);
        let mut merged = hub.client(Door::Http, revision).await;
        let refused = merged.request("fixture/custom", json!({})).await.unwrap_err();
        assert_eq!(refused["code"], -32601);
    }
    // A modern notification too.
    let notification = json!({"jsonrpc": "2.0", "method": "notifications/fixture/modern", "params": {"x": 1}});
    let reply = post_modern(&hub, "/services/fix", &notification).await;
    assert_eq!(reply.status, 202, "{}", reply.text());
    hub.wait_until(SOON, "the notification at the child", async || {
        let answer = call_modern(&hub, "fix__events", json!({})).await;
        if text_in(&answer).contains("fixture/modern") {
            Ok(())
        } else {
            Err(answer.to_string())
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn pings_are_answered() {
    let builder = Hub::builder().transport("both");
    let mut hub = builder.config(&services(&[service("fix", "", &[])])).start().await;
    for door in [Door::Http, Door::Sse, Door::Socket, Door::Stdio] {
        let mut client = hub.client(door, LEGACY).await;
        assert_eq!(client.request("ping", json!({})).await, Ok(json!({})), "{door:?}");
    }
    let mut modern_client = hub.client(Door::Http, MODERN).await;
    let refused = modern_client.request("ping", json!({})).await.unwrap_err();
    assert_eq!(refused["code"], -32601, "there is no ping in the modern era");
    // A service pings the hub, not its clients.
    hub.wait_until_ready(SOON).await;
    let mut socket = hub.client(Door::Socket, LEGACY).await;
    let answer = tokio::time::timeout(
        Duration::from_secs(10),
        socket.call("fix__ask", json!({"what": "ping"})),
    )
    .await
    .expect("an answer to the ping")
    .unwrap();
    assert_eq!(text_of(&answer), "{}", "{answer}");
    assert!(socket.inbox.is_empty(), "{:?}", socket.inbox);
}
