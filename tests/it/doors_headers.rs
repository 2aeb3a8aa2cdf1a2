//! Headers: missing, wrong, contradictory; hosts and origins; sizes and slowness.

use http::{Method, StatusCode};
use serde_json::{Value, json};

use crate::{
    client::LEGACY,
    doors_raw::{self, Session, initialize, modern, modern_body},
    http::{ACCEPT_BOTH, JSON_BODY},
    hub::Hub,
};

const PING: &str = r#"{"jsonrpc":"2.0","id":1,"method":"ping"}"#;

#[tokio::test(flavor = "multi_thread")]
async fn media_types() {
    let hub = Hub::builder().start().await;
    let accept_wrong = [
        "application/json",
        "text/event-stream",
        "text/html",
        "",
        "application/json;q=0, text/event-stream",
    ];
    for accept in accept_wrong {
        let reply = hub
            .mcp
            .send(
                Method::POST,
                "/mcp",
                &[JSON_BODY, ("accept", accept)],
                &initialize(LEGACY),
            )
            .await;
        assert_eq!(reply.status, StatusCode::NOT_ACCEPTABLE, "{accept}");
        assert_eq!(reply.json()["error"]["code"], -32600);
    }
    let reply = hub
        .mcp
        .send(Method::POST, "/mcp", &[JSON_BODY], &initialize(LEGACY))
        .await;
    assert_eq!(reply.status, StatusCode::NOT_ACCEPTABLE);
    for kind in [
        "text/plain",
        "application/xml",
        "application/json; charset=utf-16",
        "application/jsonp",
        "multipart/form-data",
    ] {
        let reply = hub
            .mcp
            .send(
                Method::POST,
                "/mcp",
                &[ACCEPT_BOTH, ("content-type", kind)],
                &initialize(LEGACY),
            )
            .await;
        assert_eq!(reply.status, StatusCode::UNSUPPORTED_MEDIA_TYPE, "{kind}");
    }
    let reply = hub
        .mcp
        .send(Method::POST, "/mcp", &[ACCEPT_BOTH], &initialize(LEGACY))
        .await;
    assert_eq!(reply.status, StatusCode::UNSUPPORTED_MEDIA_TYPE);
    for (accept, kind) in [
        ("*/*", "application/json; charset=utf-8"),
        ("text/event-stream, application/json", "Application/JSON"),
    ] {
        let headers = [("accept", accept), ("content-type", kind)];
        let reply = hub.mcp.send(Method::POST, "/mcp", &headers, &initialize(LEGACY)).await;
        assert_eq!(reply.status, StatusCode::OK, "{accept} {kind}");
    }
    let session = Session::open(&hub, LEGACY).await;
    let headers = [&session.headers()[..], &[("accept", "application/json")]].concat();
    assert_eq!(
        hub.mcp.send(Method::GET, "/mcp", &headers, "").await.status,
        StatusCode::NOT_ACCEPTABLE
    );
    assert_eq!(
        hub.mcp.send(Method::PUT, "/mcp", &session.headers(), "").await.status,
        StatusCode::METHOD_NOT_ALLOWED
    );
    assert_eq!(
        hub.mcp.send(Method::POST, "/sse", &[], "").await.status,
        StatusCode::METHOD_NOT_ALLOWED
    );
    assert_eq!(hub.mcp.get("/ws").await.status.as_u16() / 100, 4);
    assert_eq!(hub.mcp.get("/elsewhere").await.status, StatusCode::NOT_FOUND);
    assert_eq!(
        hub.mcp
            .post("/services/nobody/mcp", &[], &initialize(LEGACY))
            .await
            .status,
        StatusCode::NOT_FOUND
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn foreign_hosts_and_origins_on_every_route_of_both_doors() {
    let hub = Hub::builder().start().await;
    let bad_hosts = [
        "evil.example",
        "evil.example:9090",
        "0.0.0.0",
        "[::ffff:127.0.0.1]",
        "localhost.",
        "127.0.0.1.nip.io",
        "2130706433",
        "",
    ];
    let bad_origins = [
        "null",
        "http://evil.example",
        "https://localhost.evil.example",
        "http://0.0.0.0:1",
        "file://",
        "http://localhost:1/x",
    ];
    let mcp = [
        "/mcp",
        "/sse",
        "/messages",
        "/ws",
        "/services/demo/mcp",
        "/services/demo/sse",
        "/health",
        "/",
        "/nowhere",
    ];
    let admin = [
        "/",
        "/metrics",
        "/health",
        "/health/live",
        "/health/ready",
        "/api/v1/services",
        "/api/v1/services/demo",
    ];
    let places = mcp
        .map(|path| (&hub.mcp, path))
        .into_iter()
        .chain(admin.map(|path| (&hub.admin, path)));
    for (http, path) in places {
        for method in ["GET", "POST", "DELETE", "OPTIONS"] {
            for host in bad_hosts {
                let request = format!(
                    "{method} {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"
                );
                let answer = doors_raw::bytes(http, request.as_bytes()).await;
                assert!(
                    answer.starts_with("HTTP/1.1 403 "),
                    "{method} {path} Host {host}: {answer}"
                );
            }
            for origin in bad_origins {
                let request = format!(
                    "{method} {path} HTTP/1.1\r\nHost: localhost\r\nOrigin: {origin}\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"
                );
                let answer = doors_raw::bytes(http, request.as_bytes()).await;
                assert!(
                    answer.starts_with("HTTP/1.1 403 "),
                    "{method} {path} Origin {origin}: {answer}"
                );
                assert!(!answer.to_ascii_lowercase().contains("access-control"), "{answer}");
            }
        }
    }
    for request in [
        "GET /health HTTP/1.1\r\nConnection: close\r\n\r\n",
        "GET /health HTTP/1.1\r\nHost: a\r\nHost: b\r\nConnection: close\r\n\r\n",
    ] {
        let answer = doors_raw::bytes(&hub.mcp, request.as_bytes()).await;
        assert!(answer.starts_with("HTTP/1.1 400 "), "{answer}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn pages_of_this_machine_may_call() {
    let hub = Hub::builder().start().await;
    let origin = ("origin", "http://localhost:5173");
    let asked = [
        origin,
        ("access-control-request-method", "POST"),
        ("access-control-request-headers", "mcp-param-x, content-type"),
    ];
    let reply = hub.mcp.send(Method::OPTIONS, "/mcp", &asked, "").await;
    assert_eq!(reply.status, StatusCode::NO_CONTENT);
    assert_eq!(reply.header("access-control-allow-origin"), origin.1);
    assert_eq!(
        reply.header("access-control-allow-headers"),
        "mcp-param-x, content-type"
    );
    let reply = hub.mcp.post("/mcp", &[origin], &initialize(LEGACY)).await;
    assert_eq!(reply.header("access-control-allow-origin"), origin.1);
    assert!(reply.header("access-control-expose-headers").contains("Mcp-Session-Id"));
}

#[tokio::test(flavor = "multi_thread")]
async fn modern_headers_repeat_the_body_or_else() {
    let hub = Hub::builder().start().await;
    doors_raw::listed(&hub).await;
    let code = |reply: &crate::http::Reply| (reply.status.as_u16(), reply.json()["error"]["code"].as_i64());
    let body = modern_body("tools/list", "");
    let version = ("mcp-protocol-version", "2026-07-28");
    let method = ("mcp-method", "tools/list");
    for (headers, wanted) in [
        (&[version, method][..], (200, None)),
        (&[version], (400, Some(-32020))),
        (&[method], (400, Some(-32020))),
        (&[], (400, Some(-32020))),
        (&[("mcp-protocol-version", "2025-11-25"), method], (400, Some(-32020))),
        (&[version, ("mcp-method", "TOOLS/LIST")], (400, Some(-32020))),
        (&[version, ("mcp-method", "tools/call")], (400, Some(-32020))),
        (&[version, method, ("mcp-method", "tools/call")], (400, Some(-32020))),
        (
            &[version, ("mcp-protocol-version", "2025-11-25"), method],
            (400, Some(-32600)),
        ),
    ] {
        let reply = hub.mcp.post("/mcp", headers, &body).await;
        assert_eq!(code(&reply), wanted, "{headers:?}: {}", reply.text());
        assert!(
            reply.json()["id"] == 1 || wanted.1 == Some(-32600),
            "{headers:?}: {}",
            reply.text()
        );
    }
    let unclaimed = hub.mcp.post("/mcp", &[version, ("mcp-method", "ping")], PING).await;
    assert_eq!(code(&unclaimed), (400, Some(-32602)));
    for removed in [
        "initialize",
        "ping",
        "logging/setLevel",
        "resources/subscribe",
        "resources/unsubscribe",
        "unknown/method",
    ] {
        assert_eq!(
            code(&modern(&hub.mcp, removed, "", &[]).await),
            (404, Some(-32601)),
            "{removed}"
        );
    }
    let echo = r#""name":"demo__echo","arguments":{"text":"x"},"#;
    for (name, wanted) in [
        (Some("demo__echo"), (200, None)),
        (Some("  demo__echo "), (200, None)),
        (Some("=?base64?ZGVtb19fZWNobw==?="), (200, None)),
        (Some("=?base64?ZGVtb19fZWNobw?="), (400, Some(-32020))),
        (Some("demo__time"), (400, Some(-32020))),
        (None, (400, Some(-32020))),
    ] {
        let more: Vec<_> = name.map(|name| ("mcp-name", name)).into_iter().collect();
        let reply = modern(&hub.mcp, "tools/call", echo, &more).await;
        assert_eq!(code(&reply), wanted, "{name:?}: {}", reply.text());
    }
    let unknown = body.replace("2026-07-28", "v999.0.0");
    let reply = hub
        .mcp
        .post("/mcp", &[("mcp-protocol-version", "v999.0.0"), method], &unknown)
        .await;
    assert_eq!(code(&reply), (400, Some(-32022)));
    assert_eq!(reply.json()["error"]["data"]["requested"], "v999.0.0");
    assert_eq!(
        code(&hub.mcp.post("/mcp", &[version, method], &unknown).await),
        (400, Some(-32020))
    );
    let garbage = hub.mcp.post("/mcp", &[version, method], "{").await;
    assert_eq!(code(&garbage), (400, Some(-32700)));
    assert_eq!(
        garbage.json().get("id"),
        None,
        "no id in the modern era where none was read"
    );
    let session = [version, ("mcp-session-id", "0123456789abcdef0123456789abcdef")];
    assert_eq!(
        hub.mcp.send(Method::DELETE, "/mcp", &session, "").await.status,
        StatusCode::METHOD_NOT_ALLOWED
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn sizes() {
    let yaml = "limits:\n  max_body_bytes: 1MiB\n  max_line_bytes: 1MiB\n";
    let mut hub = Hub::builder()
        .transport("both")
        .config(&format!("{yaml}{}", services()))
        .start()
        .await;
    let session = Session::open(&hub, LEGACY).await;
    let fill = |size: usize| {
        format!(
            r#"{{"jsonrpc":"2.0","id":9,"method":"ping","params":{{"v":"{}"}}}}"#,
            "x".repeat(size)
        )
    };
    assert_eq!(session.post(&fill(900_000)).await.status, StatusCode::OK);
    let reply = session.post(&fill(2 << 20)).await;
    assert_eq!(reply.status, StatusCode::PAYLOAD_TOO_LARGE);
    let endless = b"POST /mcp HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nAccept: */*\r\nContent-Length: 1099511627776\r\n\r\n{";
    assert!(doors_raw::bytes(&hub.mcp, endless).await.starts_with("HTTP/1.1 413 "));
    let mut chunked = b"POST /mcp HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nAccept: */*\r\nTransfer-Encoding: chunked\r\n\r\n".to_vec();
    for _ in 0..40 {
        chunked.extend_from_slice(b"10000\r\n");
        chunked.extend_from_slice(&vec![b' '; 0x10000]);
        chunked.extend_from_slice(b"\r\n");
    }
    let answer = doors_raw::bytes(&hub.mcp, &chunked).await;
    // Still sending when the answer comes, a client may see the connection reset before it.
    assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 413 "), "{answer}");
    let heads = format!(
        "GET /health HTTP/1.1\r\nHost: localhost\r\nX-Long: {}\r\n\r\n",
        "x".repeat(100_000)
    );
    let answer = doors_raw::bytes(&hub.mcp, heads.as_bytes()).await;
    assert!(answer.starts_with("HTTP/1.1 431 "), "{answer}");
    let many = format!(
        "GET /health HTTP/1.1\r\nHost: localhost\r\n{}\r\n",
        "X-A: b\r\n".repeat(5000)
    );
    let answer = doors_raw::bytes(&hub.mcp, many.as_bytes()).await;
    assert!(answer.starts_with("HTTP/1.1 431 "), "{answer}");
    let mut lines = hub.take_stdio();
    lines.send(&fill(2 << 20)).await;
    let answer: Value = serde_json::from_str(&lines.next().await.unwrap()).unwrap();
    assert_eq!((&answer["id"], &answer["error"]["code"]), (&json!(9), &json!(-32600)));
    lines.send(PING).await;
    let answer: Value = serde_json::from_str(&lines.next().await.unwrap()).unwrap();
    assert_eq!(answer["result"], json!({}));
    assert!(session.is_alive().await);
}

fn services() -> String {
    format!(
        "services:\n  demo:\n    command: {}\n    args: [demo-server]\n",
        env!("CARGO_BIN_EXE_mcpvisor")
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn half_a_head_is_given_up_and_harms_nobody() {
    let hub = Hub::builder().start().await;
    let session = Session::open(&hub, LEGACY).await;
    let slow: Vec<_> = (0..50)
        .map(|_| doors_raw::bytes(&hub.mcp, b"POST /mcp HTTP/1.1\r\nHost: loc"))
        .collect();
    let slow = futures_util::future::join_all(slow);
    let begun = std::time::Instant::now();
    let (answers, alive) = tokio::join!(slow, session.is_alive());
    assert!(alive);
    let seconds = begun.elapsed().as_secs();
    assert!((9..15).contains(&seconds), "{seconds}");
    assert!(
        answers.iter().all(|answer| answer.starts_with("HTTP/1.1 408 ")),
        "{answers:?}"
    );
}
