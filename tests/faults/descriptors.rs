//! A hub that has no descriptor left for new connections.

use std::time::{Duration, Instant};

use serde_json::json;
use tokio::{net::TcpStream, process::Command};

use crate::{
    amount::Amount,
    figures::Figures,
    fixture::{Session, hub_with, text_in},
    hub::Hub,
    invariant::{Invariant, descriptors},
    load::processor_time,
    tools::{python, turn},
};

const LIMIT: &str = "import resource, sys
pid, soft = int(sys.argv[1]), int(sys.argv[2])
hard = resource.prlimit(pid, resource.RLIMIT_NOFILE)[1]
resource.prlimit(pid, resource.RLIMIT_NOFILE, (min(soft, hard), hard))";

async fn limit_files(hub: &Hub, soft: usize) {
    let args = ["-c", LIMIT, &hub.pid().to_string(), &soft.to_string()];
    assert!(Command::new(python()).args(args).status().await.unwrap().success());
}

#[tokio::test(flavor = "multi_thread")]
async fn f30_without_descriptors_the_doors_wait_and_sessions_go_on() {
    const TAKEN: usize = 100;
    let _turn = turn().await;
    let figures = Figures::of("F30", "no descriptor is left for new connections");
    let mut hub = hub_with("", &[]).await;
    let warm = Session::open(&hub).await;
    assert_eq!(text_in(&warm.call("fix__echo", json!({"text": "warm"})).await), "warm");
    drop(warm);
    let before = Invariant::of(&mut hub).await;

    // Its connection stays open for the calls that follow.
    let session = Session::open(&hub).await;
    let (address, admin) = (address(&hub.mcp.url("")), address(&hub.admin.url("")));
    limit_files(&hub, descriptors(hub.pid()) + 20).await;
    let mut taken = Vec::new();
    for n in 0..TAKEN {
        // The kernel takes them in the hub's place.
        taken.push(
            TcpStream::connect(if n % 2 == 0 { &address } else { &admin })
                .await
                .unwrap(),
        );
    }
    hub.wait_until(
        Duration::from_secs(5),
        "the hub to run out of descriptors",
        async || {
            let log = hub.log();
            if log.contains("could not accept connections") {
                Ok(())
            } else {
                Err(log)
            }
        },
    )
    .await;
    let (begun, used, mut calls) = (Instant::now(), processor_time(hub.pid()), 0_usize);
    let warned = hub.log().matches("could not accept connections").count();
    while begun.elapsed() < Duration::from_secs(3) {
        let answer = session.call("fix__echo", json!({"text": "on"})).await;
        assert_eq!(text_in(&answer), "on");
        calls += 1;
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let used = processor_time(hub.pid()).abs_diff(used).as_secs_f64() / begun.elapsed().as_secs_f64() * 100.0;
    figures.at_most(
        "processor time of the hub meanwhile",
        Amount::Percent(used),
        Amount::Percent(10.0),
    );
    figures.at_least("calls of the session there was, in 3 s", calls, 20_usize);
    let warned = hub.log().matches("could not accept connections").count() - warned;
    figures.at_most("log lines of the doors in 3 s", warned, 4_usize);
    drop(taken);
    let freed = Instant::now();
    let fresh = Session::open_on(&hub.mcp.fresh()).await;
    assert_eq!(text_in(&fresh.call("fix__echo", json!({"text": "new"})).await), "new");
    figures.at_most(
        "a new connection is served after",
        freed.elapsed(),
        Duration::from_secs(2),
    );
    limit_files(&hub, usize::MAX >> 1).await;
    drop((session, fresh));
    before.holds(&mut hub, &figures).await;
}

fn address(url: &str) -> String {
    url.trim_start_matches("http://").trim_end_matches('/').to_owned()
}
