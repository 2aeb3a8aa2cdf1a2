//! The system refuses the hub what a new process needs: those that run are not disturbed, and it comes back by itself.

use std::{
    cell::Cell,
    collections::BTreeSet,
    fs,
    path::PathBuf,
    process::{Child, Command},
    time::{Duration, Instant},
};

use nix::sys::signal::Signal;
use serde_json::{Value, json};

use crate::{
    figures::Figures,
    fixture::{SOON, Session, service, services, text_in},
    hub::Hub,
    invariant::Invariant,
    killing::send,
    limits::{ended, process_of},
    tools::turn,
};

async fn two_services() -> Hub {
    let yaml = services(&[service("good", "", &[]), service("fix", "", &[])]);
    let hub = Hub::builder().config(&yaml).start().await;
    hub.wait_until_ready(SOON).await;
    hub
}

async fn echo(session: &Session, service: &str) {
    let answer = session
        .call(&format!("{service}__echo"), json!({"text": "there"}))
        .await;
    assert_eq!(text_in(&answer), "there");
}

/// With `refused` in force, a process that is killed can't be replaced; after `allowed` it is.
async fn refused_and_allowed(
    figures: &Figures,
    hub: &mut Hub,
    refuse: impl Fn(&Hub),
    allow: impl Fn(&Hub),
    words: &str,
) {
    let session = Session::open(hub).await;
    echo(&session, "good").await;
    echo(&session, "fix").await;
    drop(session);
    let before = Invariant::of(hub).await;
    // These connections are open before nothing more can be opened.
    let session = Session::open(hub).await;
    let (pid, _) = process_of(hub, "fix").await;

    refuse(hub);
    send(pid, Signal::SIGKILL);
    let exit = ended(hub, "fix", "spawn", SOON).await;
    assert!(exit["detail"].as_str().unwrap().contains(words), "{exit}");
    let state = hub.service("fix").await["state"].clone();
    assert!(
        ["backoff", "queued", "spawning"].contains(&state.as_str().unwrap()),
        "{state}"
    );
    let asked = Instant::now();
    for _ in 0..100 {
        echo(&session, "good").await;
    }
    figures.at_most(
        "100 calls to another service meanwhile",
        asked.elapsed(),
        Duration::from_secs(1),
    );
    let answer: Value = session.call("fix__echo", json!({"text": "?"})).await;
    if let Some(error) = answer.get("error") {
        assert_eq!(error["code"], -31006, "{answer}");
    }
    allow(hub);
    let allowed = Instant::now();
    hub.wait_until(SOON, "the service to be back", async || {
        let state = hub.service("fix").await["state"].clone();
        if state == "ready" {
            Ok(())
        } else {
            Err(state.to_string())
        }
    })
    .await;
    // The waits double: 0.5, 1, 2, 4 seconds.
    figures.at_most(
        "from the end of the shortage to a ready service",
        allowed.elapsed(),
        Duration::from_secs(5),
    );
    echo(&session, "fix").await;
    drop(session);
    before.holds(hub, figures).await;
}

fn limit_files(hub: &Hub, limit: &str) {
    let (pid, limit) = (hub.pid().to_string(), format!("--nofile={limit}"));
    let done = Command::new("prlimit").args(["--pid", &pid, &limit]).status().unwrap();
    assert!(done.success());
}

/// The number below which one descriptor is free. With the five of a process that ends, that is enough for a client and too
/// little for a new process.
fn all_but_one(hub: &Hub) -> u32 {
    let open = fs::read_dir(format!("/proc/{}/fd", hub.pid())).unwrap().flatten();
    let open: BTreeSet<u32> = open
        .map(|entry| entry.file_name().to_str().unwrap().parse().unwrap())
        .collect();
    (0..).filter(|number| !open.contains(number)).nth(1).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn f30_no_descriptor_for_a_new_process() {
    let _turn = turn().await;
    let figures = Figures::of("F30", "EMFILE when a service is started");
    let mut hub = two_services().await;
    let text = fs::read_to_string(format!("/proc/{}/limits", hub.pid())).unwrap();
    let line = text.lines().find(|line| line.starts_with("Max open files")).unwrap();
    let usual: Vec<_> = line.split_whitespace().collect();
    let usual = format!("{}:{}", usual[3], usual[4]);
    let hard = usual.split(':').nth(1).unwrap().to_owned();
    refused_and_allowed(
        &figures,
        &mut hub,
        |hub| limit_files(hub, &format!("{}:{hard}", all_but_one(hub))),
        |hub| limit_files(hub, &usual),
        "Too many open files",
    )
    .await;
}

/// Lets every attempt of a process to start a process or thread fail, from when it is made until it is dropped.
struct Injection(Child);

impl Injection {
    fn into(hub: &Hub, error: &str) -> Self {
        let (calls, pid) = ("fork,vfork,clone,clone3", hub.pid().to_string());
        let (trace, inject) = (format!("trace={calls}"), format!("inject={calls}:error={error}"));
        let mut strace = Command::new("strace");
        strace.args(["-f", "-qq", "-p", &pid, "-e", &trace, "-e", &inject, "-o", "/dev/null"]);
        let strace = strace.spawn().expect("strace is missing: run scripts/tools once");
        let attached = || {
            let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
            status
                .lines()
                .any(|line| line == format!("TracerPid:\t{}", strace.id()))
        };
        let begun = Instant::now();
        while !attached() {
            assert!(begun.elapsed() < SOON, "strace did not attach");
            std::thread::sleep(Duration::from_millis(5));
        }
        Self(strace)
    }
}

impl Drop for Injection {
    fn drop(&mut self) {
        // It lets go of the hub, and ends.
        send(self.0.id(), Signal::SIGINT);
        self.0.wait().unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn f30_no_memory_for_a_new_process() {
    let _turn = turn().await;
    let figures = Figures::of("F30", "ENOMEM when a service is started");
    let mut hub = two_services().await;
    let injection = Cell::new(None);
    refused_and_allowed(
        &figures,
        &mut hub,
        |hub| injection.set(Some(Injection::into(hub, "ENOMEM"))),
        |_| drop(injection.take()),
        "Cannot allocate memory",
    )
    .await;
}

/// A group of version 1 around the hub alone; its services have their own.
struct Group(PathBuf);

impl Group {
    fn around(hub: &Hub) -> Self {
        let own = fs::read_to_string("/proc/self/cgroup").unwrap();
        let own = own.lines().find_map(|line| line.split_once(":pids:"));
        let (_, own) = own.expect("this test needs the pids controller of version 1");
        let path = PathBuf::from(format!("/sys/fs/cgroup/pids{own}/mcpvisor-f30-{}", hub.pid()));
        fs::create_dir(&path).unwrap();
        fs::write(path.join("cgroup.procs"), hub.pid().to_string()).unwrap();
        Self(path)
    }

    fn allow(&self, most: &str) {
        fs::write(self.0.join("pids.max"), most).unwrap();
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        let up = self.0.parent().unwrap().join("cgroup.procs");
        for pid in fs::read_to_string(self.0.join("cgroup.procs"))
            .unwrap_or_default()
            .lines()
        {
            let _gone = fs::write(&up, pid);
        }
        let _removed = fs::remove_dir(&self.0);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn f30_no_process_to_be_had() {
    let _turn = turn().await;
    let figures = Figures::of("F30", "EAGAIN when a service is started");
    let mut hub = two_services().await;
    let group = Group::around(&hub);
    refused_and_allowed(
        &figures,
        &mut hub,
        |_| group.allow("1"),
        |_| group.allow("max"),
        "Resource temporarily unavailable",
    )
    .await;
    drop(group);
}
