//! Faults under a kernel that is set up as servers are today: cgroups v2 with all controllers, and the hub as process 1.
//! Machines that run tests often have neither, so a virtual machine of a few seconds has both (`tests/vm`).

use std::{collections::BTreeMap, process::Stdio, time::Duration};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use tokio::{
    io::{AsyncBufReadExt as _, BufReader},
    time::{Instant, timeout_at},
};

use crate::{
    figures::Figures,
    tools::{binary, fixture, turn},
};

/// The emulated processor is some twenty times slower than the real one.
const LIMIT: Duration = Duration::from_mins(3);

/// What `/init` said, by name.
struct Findings(BTreeMap<String, String>, String);

impl Findings {
    fn text(&self, name: &str) -> &str {
        let found = self.0.get(name);
        found.unwrap_or_else(|| panic!("no `{name}` in what the machine said:\n{}", self.1))
    }

    fn count(&self, name: &str) -> usize {
        self.text(name).parse().unwrap()
    }

    /// How long something took until it was so.
    fn time(&self, name: &str) -> Duration {
        let times: Vec<f64> = self
            .text(name)
            .split(' ')
            .filter_map(|time| time.parse().ok())
            .collect();
        let [begun, ended] = times.as_slice() else {
            panic!("{name} never came:\n{}", self.1)
        };
        Duration::from_secs_f64(ended - begun)
    }
}

/// How long the emulator may take until our `/init` speaks; some ten times what it needs.
const BOOT: Duration = Duration::from_mins(1);

/// Boots the machine. An emulator that hangs before the kernel has started anything of ours says nothing about a hub: it is
/// given another try, loudly.
async fn boot() -> Findings {
    for attempt in 1..=3 {
        if let Some(found) = try_boot().await {
            return found;
        }
        println!("attempt {attempt}: the emulator started nothing within {BOOT:?}");
    }
    panic!("the virtual machine does not start")
}

async fn try_boot() -> Option<Findings> {
    let here = format!("{}/tests/vm", env!("CARGO_MANIFEST_DIR"));
    let mut machine = tokio::process::Command::new(format!("{here}/boot"))
        .args([format!("{here}/faults"), binary(), fixture("fixture-child")])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .process_group(0)
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let mut console = BufReader::new(machine.stdout.take().unwrap());
    let (mut text, mut bytes) = (String::new(), Vec::new());
    let deadline = Instant::now() + LIMIT;
    loop {
        bytes.clear();
        let patience = if text.contains("RESULT") {
            deadline
        } else {
            deadline - LIMIT + BOOT
        };
        match timeout_at(patience, console.read_until(b'\n', &mut bytes)).await {
            Ok(Ok(0)) => break,
            Ok(read) => text += &String::from_utf8_lossy(&bytes[..read.unwrap()]),
            Err(_late) => {
                let group = Pid::from_raw(-i32::try_from(machine.id().unwrap()).unwrap());
                kill(group, Signal::SIGTERM).unwrap();
                machine.wait().await.unwrap();
                assert!(!text.contains("RESULT"), "the machine did not end:\n{text}");
                return None;
            }
        }
    }
    machine.wait().await.unwrap();
    let results = text
        .lines()
        .filter_map(|line| line.trim().split_once("RESULT ")?.1.split_once(' '));
    let found = results.map(|(name, value)| (name.to_owned(), value.trim().to_owned()));
    Some(Findings(found.collect(), text.clone()))
}

#[tokio::test(flavor = "multi_thread")]
async fn f11_caps_hold_under_cgroups_v2_and_process_1_reaps() {
    let _turn = turn().await;
    let found = boot().await;
    assert!(
        found.1.contains("control groups (v2): memory, pids, cpu"),
        "{}",
        found.1
    );
    assert_eq!(found.count("groups"), 5, "a group for each process");
    let caps = Figures::of("F11", "caps under cgroups v2, in a virtual machine");
    caps.at_most(
        "from the memory cap to reason `oom`",
        found.time("oom"),
        Duration::from_secs(5),
    );
    // How long that takes on an emulated processor says nothing.
    found.time("pids");
    found.time("good-serves");
    found.time("oom-again-ready");
    assert_eq!(found.text("cpu"), "20000 100000", "a fifth of a processor");

    let orphans = Figures::of("F2", "kill -9 of the hub under cgroups v2, in a virtual machine");
    orphans.exactly("processes left after 1 s", found.count("children-after-kill"), 0_usize);
    orphans.exactly("groups left after 1 s", found.count("groups-after-kill"), 0_usize);
    assert_eq!(found.text("exit"), "0");
    orphans.exactly(
        "processes left after SIGTERM",
        found.count("children-after-term"),
        0_usize,
    );
    orphans.exactly("groups left after SIGTERM", found.count("groups-after-term"), 0_usize);

    let first = Figures::of("F9", "orphans of others, the hub as process 1 of a virtual machine");
    found.time("first-process");
    first.exactly("zombies after 1 s", found.count("zombies"), 0_usize);
    found.time("serves");
    found.time("first-oom");
    // When process 1 ends, the kernel says with which code.
    assert!(found.1.contains("exitcode=0x00000000"), "{}", found.1);
    assert!(
        !found.0.contains_key("hung"),
        "SIGTERM did not end process 1:\n{}",
        found.1
    );
}
