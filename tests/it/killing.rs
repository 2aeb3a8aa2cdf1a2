//! Kills hubs and guards as nobody can be told of in advance, and finds out what they had known.

use std::{fs, path::Path};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use sqlx::{Connection as _, Row as _, SqliteConnection};

use crate::{
    fixture::SOON,
    hub::{Builder, Hub},
    processes::children_of,
    tools::fixture,
};

pub fn send(pid: u32, signal: Signal) {
    kill(Pid::from_raw(i32::try_from(pid).unwrap()), signal).unwrap();
}

/// A service that starts a daemon with no mark, no session, no group and no parent of ours, and writes its number into `file`.
pub fn with_bare_daemon(name: &str, file: &Path, switches: &str) -> String {
    let (file, child) = (file.display(), fixture("fixture-child"));
    // A dollar is written twice in a configuration.
    let daemon = "trap : TERM HUP; echo $$$$ > $$0; while :; do /bin/sleep 0.2; done";
    let script =
        format!("env -i setsid /bin/sh -c '{daemon}' {file} </dev/null >/dev/null 2>&1 & exec {child} {switches}");
    format!(
        "  {name}: {{ command: sh, args: {} }}\n",
        serde_json::json!(["-c", script])
    )
}

pub async fn number_in(hub: &Hub, file: &Path) -> u32 {
    hub.wait_until(SOON, "the daemon's number", async || {
        let text = fs::read_to_string(file).unwrap_or_default();
        text.trim().parse().map_err(|_unparsed| text)
    })
    .await
}

/// The database of a hub; it is only looked at, unless the hub is gone.
pub async fn database(folder: &Path) -> SqliteConnection {
    let file = folder.join("data/mcpvisor.db");
    SqliteConnection::connect(&format!("sqlite://{}", file.display()))
        .await
        .unwrap()
}

/// Waits until the hub has written down that it started `pid`.
pub async fn wait_until_recorded(hub: &Hub, pid: u32) {
    hub.wait_until(SOON, "the daemon's record", async || {
        let mut database = database(hub.folder()).await;
        let found = sqlx::query("select count(*) from leftover where pid = $1")
            .bind(pid)
            .fetch_one(&mut database)
            .await
            .unwrap();
        if found.get::<i64, _>(0) == 1 {
            Ok(())
        } else {
            Err(format!("no record of {pid}"))
        }
    })
    .await;
}

/// Kills the hub and every guard, so that none of them can do anything about it.
pub async fn kill_with_guards(hub: Hub) -> Builder {
    // Or it would see its guards die, and tidy up.
    send(hub.pid(), Signal::SIGSTOP);
    for guard in children_of(hub.pid()) {
        send(guard, Signal::SIGKILL);
    }
    hub.killed().await
}
