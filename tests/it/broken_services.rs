//! One bad service costs nobody anything: lists and `initialize` answer while others start, hang or fail.

use std::time::{Duration, Instant};

use serde_json::json;

use crate::{
    client::{Door, LEGACY, text_of},
    hub::Hub,
    servers::setting,
    tools::{binary, optimised, turn},
};

/// One that never answers `initialize`, and one that exits at once.
const BAD: &str = "  silent: { command: sleep, args: ['100000'] }\n  broken: { command: 'false' }\n";

fn seven_demos() -> String {
    let demo = binary();
    let good = (1..=7).map(|n| format!("  good{n}: {{ command: {demo}, args: [demo-server] }}\n"));
    format!("services:\n{}", good.collect::<String>())
}

/// `initialize` again and again for a while; the slowest but one percent.
async fn initialize_p99(hub: &Hub, rounds: usize) -> Duration {
    let params = json!({"protocolVersion": LEGACY, "capabilities": {}, "clientInfo": {"name": "it", "version": "1"}});
    let hello = json!({"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": params}).to_string();
    let mut times = Vec::new();
    for _ in 0..rounds {
        let started = Instant::now();
        let reply = hub.mcp.post("/mcp", &[], &hello).await;
        times.push(started.elapsed());
        assert_eq!(reply.messages()[0]["result"]["protocolVersion"], LEGACY);
    }
    times.sort_unstable();
    times[rounds * 99 / 100]
}

#[tokio::test]
async fn seven_good_services_serve_within_two_seconds_beside_two_bad_ones() {
    let _turn = turn().await;
    let launched = Instant::now();
    let mut hub = Hub::builder().config(&(seven_demos() + BAD)).start().await;
    let slowest = initialize_p99(&hub, 200).await;
    let mut client = hub.client(Door::Http, LEGACY).await;
    loop {
        let tools = client.tools().await;
        let listed = (1..=7).filter(|n| tools.contains(&format!("good{n}__echo"))).count();
        if listed == 7 {
            break;
        }
        assert!(
            launched.elapsed() < Duration::from_secs(2),
            "{listed} of 7 listed\n{}",
            hub.log_tail()
        );
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    for n in 1..=7 {
        let result = client
            .call(&format!("good{n}__echo"), json!({"text": "still here"}))
            .await
            .unwrap();
        assert!(text_of(&result).contains("still here"), "{result}");
    }
    let took = launched.elapsed();
    println!("listed and called after {took:?}; initialize p99 {slowest:?}");
    assert!(took < Duration::from_secs(2), "all called after {took:?}");
    let bound = Duration::from_millis(if optimised() { 10 } else { 50 });
    assert!(slowest < bound, "initialize p99 {slowest:?}");
    let broken = hub.service("broken").await;
    assert!(
        ["backoff", "crash_loop", "spawning", "queued", "handshaking"].contains(&broken["state"].as_str().unwrap()),
        "{broken}"
    );
}

/// How long until each of the seven real servers is ready, from launch.
async fn real_seven_ready_after(bad: &str) -> Duration {
    let builder = Hub::builder();
    let yaml = setting(builder.folder()).await.yaml;
    let launched = Instant::now();
    let hub = builder.config(&(yaml + bad)).start().await;
    hub.wait_until(Duration::from_secs(90), "seven ready services", async || {
        let services = hub.services().await;
        let ready = services.iter().filter(|item| item["state"] == "ready").count();
        if ready == 7 {
            Ok(())
        } else {
            Err(format!("{ready} ready"))
        }
    })
    .await;
    launched.elapsed()
}

#[tokio::test]
async fn real_servers_start_as_fast_beside_two_bad_ones() {
    let _turn = turn().await;
    // Once unmeasured, so that both find the servers' files in memory.
    real_seven_ready_after("").await;
    let alone = real_seven_ready_after("").await;
    let beside = real_seven_ready_after(BAD).await;
    println!("seven real servers ready after {alone:?}, beside two bad ones {beside:?}");
    assert!(beside < alone.mul_f64(1.5), "{beside:?} is more than 1.5 × {alone:?}");
}
