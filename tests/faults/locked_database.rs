//! Another program that locks the database.

use std::time::Duration;

use serde_json::{Value, json};
use tokio::{
    io::{AsyncBufReadExt as _, BufReader},
    process::{Child, Command},
};

use crate::{
    figures::Figures,
    fixture::{SOON, Session, service, services, text_in},
    hub::Hub,
    invariant::Invariant,
    load::{callers, p99, undisturbed},
    tools::{python, turn},
};

const SERVICES: usize = 10;
/// Longer than the 5 s that one write waits by itself.
const LOCKED: Duration = Duration::from_secs(6);

const LOCK: &str = "import sqlite3, sys, time
base = sqlite3.connect(sys.argv[1], isolation_level=None)
base.execute('begin immediate')
print('locked', flush=True)
time.sleep(float(sys.argv[2]))
base.execute('rollback')";

const READ: &str = "import json, sqlite3, sys
base = sqlite3.connect(sys.argv[1])
rows = base.execute('select service, body from catalog')
print(json.dumps([name for name, body in rows if 'extra_tool' in [tool['name'] for tool in json.loads(body)['tools']]]))";

fn database(hub: &Hub) -> String {
    hub.folder().join("data/mcpvisor.db").display().to_string()
}

/// Locks the database; returns once it is locked.
async fn lock(hub: &Hub) -> Child {
    let mut locker = Command::new(python())
        .args(["-c", LOCK, &database(hub), &LOCKED.as_secs().to_string()])
        .stdout(std::process::Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(locker.stdout.take().unwrap()).lines();
    assert_eq!(lines.next_line().await.unwrap().as_deref(), Some("locked"));
    locker
}

/// How many services have their changed list in the database.
async fn written(hub: &Hub) -> usize {
    let read = Command::new(python()).args(["-c", READ, &database(hub)]).output();
    let output = read.await.unwrap();
    let names: Value = serde_json::from_slice(&output.stdout)
        .unwrap_or_else(|error| panic!("{error}: {}", String::from_utf8_lossy(&output.stderr)));
    names.as_array().unwrap().len()
}

#[tokio::test(flavor = "multi_thread")]
async fn f14_writes_wait_for_a_locked_database_and_calls_do_not() {
    let _turn = turn().await;
    let figures = Figures::of("F14", "another program locks the database for 6 s");
    let names: Vec<_> = (0..SERVICES).map(|n| format!("fix{n}")).collect();
    let yaml = services(&names.iter().map(|name| service(name, "", &[])).collect::<Vec<_>>());
    let mut hub = Hub::builder().config(&yaml).start().await;
    hub.wait_until_ready(SOON).await;
    callers(&hub, "fix0__echo", 2, Duration::from_secs(1)).await;
    let before = Invariant::of(&mut hub).await;
    assert_eq!(written(&hub).await, 0);

    let mut locker = None;
    let ratio = undisturbed(
        async || p99(callers(&hub, "fix0__echo", 2, Duration::from_millis(1500)).await),
        async || {
            if locker.is_none() {
                locker = Some(lock(&hub).await);
                let session = Session::open(&hub).await;
                for name in &names {
                    let answer = session.call(&format!("{name}__change_tools"), json!({})).await;
                    assert_eq!(text_in(&answer), "extra_tool is there");
                }
            }
            p99(callers(&hub, "fix0__echo", 2, Duration::from_millis(1500)).await)
        },
        2.0,
    )
    .await;
    figures.at_most("p99 of calls, to that before", ratio, crate::amount::Amount::Ratio(2.0));
    let mut locker = locker.unwrap();
    figures.exactly("lists written while it is locked", written(&hub).await, 0_usize);
    assert!(
        locker.try_wait().unwrap().is_none(),
        "the lock was gone before the calls were measured"
    );
    assert!(locker.wait().await.unwrap().success());
    hub.wait_until(SOON, "every list to be written", async || match written(&hub).await {
        SERVICES => Ok(()),
        fewer => Err(format!("{fewer} written")),
    })
    .await;
    figures.exactly("lists lost, of 10", SERVICES - written(&hub).await, 0_usize);
    before.holds(&mut hub, &figures).await;
}
