//! Faults under a kernel that is set up as servers are today: cgroups v2 with all controllers, and the hub as process 1.
//! Machines that run tests often have neither, so a virtual machine of a few seconds has both (`tests/vm`).

use std::{collections::BTreeMap, process::Stdio, time::Duration};

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

async fn boot() -> Findings {
    let here = format!("{}/tests/vm", env!("CARGO_MANIFEST_DIR"));
    let booted = tokio::process::Command::new(format!("{here}/boot"))
        .args([format!("{here}/faults"), binary(), fixture("fixture-child")])
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output();
    let output = tokio::time::timeout(LIMIT, booted)
        .await
        .expect("the machine ends")
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(
        text.contains("RESULT"),
        "{text}\n{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let results = text
        .lines()
        .filter_map(|line| line.trim().split_once("RESULT ")?.1.split_once(' '));
    let found = results
        .map(|(name, value)| (name.to_owned(), value.trim().to_owned()))
        .collect();
    Findings(found, text)
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
