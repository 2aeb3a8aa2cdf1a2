//! Control groups come and go with the servers they hold, whoever is killed.

use std::path::PathBuf;

use nix::sys::signal::Signal;

use crate::{
    fixture::{SOON, hub_with, service, services},
    hub::Hub,
    killing::{kill_with_guards, send},
    limits::process_of,
    processes::{alive, command_line},
    tools::turn,
};

/// The groups a guard was told to make.
fn groups_of(guard: u32) -> Vec<PathBuf> {
    let line = command_line(guard);
    let groups = line.split(" -- ").next().unwrap_or_default().split(' ');
    let groups = groups.filter_map(|arg| arg.split_once("=/").map(|(_, path)| PathBuf::from(format!("/{path}"))));
    let groups: Vec<_> = groups.collect();
    assert!(
        !groups.is_empty() && groups.iter().all(|group| group.exists()),
        "{line}"
    );
    groups
}

async fn no_longer_there(hub: &Hub, groups: &[PathBuf]) {
    hub.wait_until(SOON, "an end of the groups", async || {
        let left: Vec<_> = groups.iter().filter(|group| group.exists()).collect();
        if left.is_empty() {
            Ok(())
        } else {
            Err(format!("{left:?}"))
        }
    })
    .await;
}

const HARD: [&str; 3] = ["--setsid-daemon", "--ignore-sigterm", "--ignore-eof"];

#[tokio::test(flavor = "multi_thread")]
async fn f03_groups_of_a_killed_guard_are_removed() {
    let _turn = turn().await;
    let hub = hub_with("timeouts: { stop: 1s }", &HARD).await;
    let (pid, guard) = process_of(&hub, "fix").await;
    let groups = groups_of(guard);
    send(guard, Signal::SIGKILL);
    no_longer_there(&hub, &groups).await;
    assert!(!alive(pid));
    hub.wait_until_ready(SOON).await;
    let (_, guard) = process_of(&hub, "fix").await;
    let groups = groups_of(guard);
    drop(hub);
    assert!(
        groups.iter().all(|group| !group.exists()),
        "the guard removes them at the end"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn f03_other_limits_are_another_process() {
    let _turn = turn().await;
    let hub = hub_with("limits: { pids: 100 }", &[]).await;
    let (pid, guard) = process_of(&hub, "fix").await;
    assert!(command_line(guard).contains(" max-pids=100 "));
    let yaml = services(&[service("fix", "limits: { pids: 200 }", &[])]);
    std::fs::write(hub.folder().join("mcpvisor.yaml"), yaml).unwrap();
    hub.signal(Signal::SIGHUP);
    hub.wait_until(SOON, "another process", async || {
        let item = hub.service("fix").await;
        let another = item["instances"][0]["pid"]
            .as_u64()
            .is_some_and(|now| now != u64::from(pid));
        if another && item["state"] == "ready" && !alive(pid) {
            Ok(())
        } else {
            Err(item.to_string())
        }
    })
    .await;
    let (_, guard) = process_of(&hub, "fix").await;
    assert!(command_line(guard).contains(" max-pids=200 "));
}

#[tokio::test(flavor = "multi_thread")]
async fn f03_groups_of_a_hub_that_is_gone_are_removed_and_a_neighbours_are_not() {
    let _turn = turn().await;
    let (neighbour, doomed) = tokio::join!(
        hub_with("timeouts: { stop: 1s }", &HARD),
        hub_with("timeouts: { stop: 1s }", &HARD)
    );
    let theirs = groups_of(process_of(&neighbour, "fix").await.1);
    let groups = groups_of(process_of(&doomed, "fix").await.1);
    let builder = kill_with_guards(doomed).await;
    assert!(
        groups.iter().all(|group| group.exists()),
        "nobody is there to remove them"
    );
    let again = builder.start().await;
    no_longer_there(&again, &groups).await;
    assert!(theirs.iter().all(|group| group.exists()));
    again.wait_until_ready(SOON).await;
}
