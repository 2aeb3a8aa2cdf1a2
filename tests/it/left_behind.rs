//! What a hub leaves when it is killed together with its guards, and what the next one on its data folder does about it.

use std::{
    fs,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use sqlx::Connection as _;

use crate::{
    fixture::{CountFile, SOON, service, services},
    hub::{Builder, Hub},
    killing::{database, kill_with_guards, number_in, wait_until_recorded, with_bare_daemon},
    processes::{self, alive, below, start_time},
    tools::turn,
};

/// How long what a hub left may live once the next one starts.
const SWEPT: Duration = Duration::from_secs(5);

#[tokio::test(flavor = "multi_thread")]
async fn what_a_killed_hub_left_is_swept_and_a_neighbour_is_not_touched() {
    let _turn = turn().await;
    let configured = |builder: Builder| {
        let folder = builder.folder();
        let (bare, counted) = (folder.join("bare"), CountFile::of(folder));
        let switches = [
            "--setsid-daemon",
            "--ignore-sigterm",
            "--ignore-eof",
            "--count-file",
            counted.path(),
        ];
        let yaml = services(&[
            service("fix", "timeouts: { stop: 1s }", &switches),
            with_bare_daemon("bare", &bare, ""),
        ]);
        (builder.config(&yaml), bare, counted)
    };
    let (neighbour, its_file, _) = configured(Hub::builder());
    let neighbour = neighbour.start().await;
    let (doomed, file, counted) = configured(Hub::builder());
    let doomed = doomed.start().await;
    for hub in [&neighbour, &doomed] {
        hub.wait_until_ready(SOON).await;
    }
    let (its_bare, bare) = (number_in(&neighbour, &its_file).await, number_in(&doomed, &file).await);
    wait_until_recorded(&doomed, bare).await;
    let mut theirs = [below(neighbour.pid()), vec![neighbour.pid(), its_bare]].concat();
    // Its daemon's naps come and go, and one that has just gone has no command line any more.
    theirs.retain(|pid| {
        let line = processes::command_line(*pid);
        *pid == its_bare || !(line.is_empty() || line.contains("sleep 0.2"))
    });
    let stamps: Vec<_> = theirs.iter().map(|pid| start_time(*pid)).collect();
    let ours = below(doomed.pid());
    let daemon = counted
        .lines()
        .iter()
        .find_map(|line| line.strip_prefix("daemon ")?.parse().ok());
    let daemon: u32 = daemon.expect("a daemon");
    assert!(ours.contains(&bare) && ours.contains(&daemon), "{ours:?}");

    let builder = kill_with_guards(doomed).await;
    assert!(
        alive(bare) && alive(daemon),
        "they outlive hub and guard, or this test shows nothing"
    );
    let begun = Instant::now();
    let again = builder.start().await;
    again
        .wait_until(SWEPT, "an end of what was left", async || {
            let left: Vec<_> = ours.iter().filter(|pid| alive(**pid)).collect();
            if left.is_empty() {
                Ok(())
            } else {
                Err(format!("{left:?}"))
            }
        })
        .await;
    println!(
        "what was left was gone {:?} after the start of the next hub",
        begun.elapsed()
    );
    again.wait_until_ready(SOON).await;
    // Not a process of the neighbour's is another one, or none.
    let now: Vec<_> = theirs.iter().map(|pid| start_time(*pid)).collect();
    assert_eq!(now, stamps);
    assert!(theirs.iter().all(|pid| alive(*pid)));
    drop(again);
    drop(neighbour);
    assert!(!alive(its_bare));
}

/// A process that has nothing to do with any hub.
struct Stranger(Child);

impl Stranger {
    fn new() -> Self {
        // In a session of its own: were it mistaken for one of ours, whatever shares its session would be too.
        let mut command = Command::new("setsid");
        Self(command.args(["sleep", "300"]).stdin(Stdio::null()).spawn().unwrap())
    }

    fn pid(&self) -> u32 {
        self.0.id()
    }

    fn start_time(&self) -> u64 {
        start_time(self.pid()).unwrap()
    }
}

impl Drop for Stranger {
    fn drop(&mut self) {
        let _gone = self.0.kill();
        self.0.wait().unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stranger_who_got_the_number_of_a_process_of_ours_is_never_killed() {
    let hub = Hub::builder().start().await;
    let builder = hub.killed().await;
    let folder = builder.folder().to_owned();
    processes::wait_until_none(&folder.join("tmp").display().to_string(), Duration::from_secs(1)).unwrap();
    let (later, earlier_boot, known) = (Stranger::new(), Stranger::new(), Stranger::new());
    let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap();
    let mut database = database(&folder).await;
    let run: String = sqlx::query_scalar("select hub_id from hub")
        .fetch_one(&mut database)
        .await
        .unwrap();
    for (pid, start_time, boot) in [
        (later.pid(), later.start_time() - 1, boot.trim()),
        (earlier_boot.pid(), earlier_boot.start_time(), "another"),
        (known.pid(), known.start_time(), boot.trim()),
    ] {
        sqlx::query(
            "insert into leftover (hub_id, service, pid, start_time, boot_id, pgid) values ($1, 'x', $2, $3, $4, $2)",
        )
        .bind(&run)
        .bind(pid)
        .bind(i64::try_from(start_time).unwrap())
        .bind(boot)
        .execute(&mut database)
        .await
        .unwrap();
    }
    database.close().await.unwrap();
    let again = builder.start().await;
    again
        .wait_until(SWEPT, "an end of the one that is known", async || {
            if alive(known.pid()) {
                Err("alive".to_owned())
            } else {
                Ok(())
            }
        })
        .await;
    again.wait_until_ready(SOON).await;
    assert!(alive(later.pid()) && alive(earlier_boot.pid()));
}
