//! How long a stop takes, and what does not make it longer.

use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use serde_json::json;

use crate::{
    fixture::{SOON, Session, hub_with, service, services, text_in},
    hub::Hub,
    tools::turn,
};

async fn stop(hub: Hub) -> Duration {
    let asked = Instant::now();
    hub.signal(Signal::SIGTERM);
    let ended = hub.ended(SOON).await;
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    asked.elapsed()
}

#[tokio::test(flavor = "multi_thread")]
async fn idle_connections_do_not_hold_up_a_stop() {
    let _turn = turn().await;
    let hub = hub_with("", &[]).await;
    // Used, and kept open for the next request by this client.
    let session = Session::open(&hub).await;
    let answer = session.call("fix__echo", json!({"text": "x"})).await;
    assert_eq!(text_in(&answer), "x");
    let stream = session.listen(None).await;
    let admin = hub.admin.clone();
    assert_eq!(admin.get("/health").await.status, 200);
    let took = stop(hub).await;
    println!("with idle connections open it stopped in {took:?}");
    assert!(took < Duration::from_millis(800), "{took:?}");
    drop((session, stream));
}

#[tokio::test(flavor = "multi_thread")]
async fn services_stop_side_by_side() {
    let _turn = turn().await;
    let deaf = ["--ignore-sigterm", "--ignore-eof"];
    let names = ["a", "b", "c", "d", "e", "f"];
    let entries: Vec<_> = names
        .iter()
        .map(|name| service(name, "timeouts: { stop: 1500ms }", &deaf))
        .collect();
    let hub = Hub::builder().config(&services(&entries)).start().await;
    hub.wait_until_ready(SOON).await;
    let took = stop(hub).await;
    println!("six deaf services, each given 1.5 s, were stopped in {took:?}");
    assert!(
        took >= Duration::from_millis(1500) && took < Duration::from_secs(4),
        "{took:?}"
    );
}
