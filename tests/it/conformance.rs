//! The official conformance suite through a hub to a fixture server, beside the same fixture called directly.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::Path,
    process::Stdio,
    time::Duration,
};

use serde_json::Value;
use tempfile::TempDir;
use tokio::{net::TcpListener, process::Command};

use crate::{
    hub::Hub,
    tools::{fixture, node, tool, turn},
};

/// A set of scenarios that the suite runs in one go.
struct Set {
    name: &'static str,
    arguments: &'static [&'static str],
    /// How many scenarios the set scores; a suite that runs fewer would prove nothing.
    scored: usize,
    /// Checks that fail through the hub, as `scenario/check`. Strict: one that passes must leave the list.
    known_failures: &'static [&'static str],
}

const NOVEMBER_2025: Set = Set {
    name: "2025-11-25",
    arguments: &["--requirements", "2025-11-25"],
    scored: 30,
    known_failures: &[],
};
const JULY_2026: Set = Set {
    name: "2026-07-28",
    arguments: &["--requirements", "2026-07-28"],
    scored: 37,
    known_failures: &[
        // The tasks extension, which the set does not score.
        "tasks-capability-negotiation/sep-2663-tasks-methods-non-declaring",
        "tasks-capability-negotiation/tasks-extension-advertised",
        "tasks-dispatch-and-envelope/sep-2663-durable-create-strong-consistency",
        "tasks-dispatch-and-envelope/sep-2663-tasks-get-invalid-task-id-32602",
        "tasks-dispatch-and-envelope/tasks-result-type-complete-on-non-task-responses",
        "tasks-lifecycle/sep-2663-cancel-ack-empty-result",
        "tasks-lifecycle/sep-2663-tasks-get-status-completed",
        "tasks-lifecycle/sep-2663-tasks-get-status-failed",
        "tasks-lifecycle/sep-2663-tasks-get-status-working",
        "tasks-lifecycle/sep-2663-tool-error-uses-completed-status",
        "tasks-lifecycle/tasks-cancel-terminal-idempotent-ack",
        "tasks-mrtr-composition/sep-2663-mrtr-synchronous-before-task-creation",
        "tasks-mrtr-input/sep-2663-tasks-get-status-input-required",
        "tasks-mrtr-input/tasks-mrtr-partial-fulfillment",
        "tasks-mrtr-input/tasks-mrtr-tasks-update-resumes",
        "tasks-request-headers/sep-2663-routing-headers-accepted-on-tasks-get",
        "tasks-request-state-removal/tasks-get-detailed-no-request-state",
        "tasks-wire-fields/tasks-no-early-ttl-expiry",
        "tasks-wire-fields/tasks-no-related-task-meta-on-inlined-result",
    ],
};
const JUNE_2025: Set = Set {
    name: "2025-06-18",
    arguments: &["--suite", "all", "--spec-version", "2025-06-18"],
    scored: 27,
    known_failures: &[],
};

/// What a run of the suite found.
#[derive(Debug, Default)]
struct Outcome {
    /// Scenarios with the number of checks that passed.
    scenarios: BTreeMap<String, usize>,
    /// `scenario/check: why` of each failed check.
    failures: BTreeMap<String, String>,
    /// Scenarios that ran but are not scored.
    unscored: BTreeSet<String>,
}

impl Outcome {
    fn scored(&self) -> usize {
        self.scenarios
            .keys()
            .filter(|name| !self.unscored.contains(*name))
            .count()
    }

    fn failed_checks(&self) -> BTreeSet<&str> {
        self.failures.keys().map(String::as_str).collect()
    }

    /// One line a set, kept beside the logs for whoever wants the figures.
    fn record(&self, label: &str, set: &Set) {
        let failing: BTreeSet<_> = self.failures.keys().filter_map(|key| key.split('/').next()).collect();
        let line = format!(
            "{label} {}: {}/{} scenarios, {} checks passed, {} failed",
            set.name,
            self.scored() - failing.iter().filter(|name| !self.unscored.contains(**name)).count(),
            set.scored,
            self.scenarios.values().sum::<usize>(),
            self.failures.len()
        );
        println!("{line}");
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/test-logs");
        fs::create_dir_all(&folder).unwrap();
        fs::write(
            folder.join(format!("conformance-{label}-{}.txt", set.name)),
            line + "\n",
        )
        .unwrap();
    }
}

/// Runs one set against a URL.
async fn run(set: &Set, url: &str) -> Outcome {
    let results = TempDir::with_prefix("mcpvisor-conformance-").unwrap();
    let mut command = Command::new(node());
    command
        .arg(tool("node_modules/@modelcontextprotocol/conformance/dist/index.js"))
        .args(["server", "--url", url, "-o"])
        .arg(results.path())
        .args(set.arguments)
        .stdin(Stdio::null())
        .kill_on_drop(true);
    let output = tokio::time::timeout(Duration::from_mins(10), command.output())
        .await
        .expect("the suite ends within ten minutes")
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let mut outcome = Outcome::default();
    for entry in fs::read_dir(results.path()).unwrap() {
        let folder = entry.unwrap().path();
        let checks: Vec<Value> = serde_json::from_slice(&fs::read(folder.join("checks.json")).unwrap()).unwrap();
        let name = scenario_of(folder.file_name().unwrap().to_str().unwrap());
        let passed = checks.iter().filter(|check| check["status"] == "SUCCESS").count();
        for check in checks.iter().filter(|check| check["status"] == "FAILURE") {
            let key = format!("{name}/{}", check["id"].as_str().unwrap());
            let why = check["errorMessage"].as_str().unwrap_or("").to_owned();
            outcome.failures.insert(key, why);
        }
        outcome.scenarios.insert(name, passed);
    }
    if let Some((_, rest)) = text.split_once("\nNot scored for") {
        let names = rest.lines().skip(1).filter_map(|line| line.split_whitespace().nth(1));
        outcome.unscored = names.map(str::to_owned).collect();
    }
    assert!(
        !outcome.scenarios.is_empty(),
        "{text}\n{}",
        String::from_utf8_lossy(&output.stderr)
    );
    outcome
}

/// `server-ping-2026-11-21T08-06-47-934Z` is scenario `ping`.
fn scenario_of(folder: &str) -> String {
    let stamp = "-2026-11-21T08-06-47-934Z".len();
    let name = folder.strip_prefix("server-").unwrap_or(folder);
    name.get(..name.len() - stamp).unwrap().to_owned()
}

fn judge(set: &Set, outcome: &Outcome, log: &str) {
    assert_eq!(outcome.scored(), set.scored, "scored scenarios of {}", set.name);
    let known: BTreeSet<&str> = set.known_failures.iter().copied().collect();
    let failed = outcome.failed_checks();
    let new: Vec<_> = outcome
        .failures
        .iter()
        .filter(|(key, _)| !known.contains(key.as_str()))
        .collect();
    assert!(new.is_empty(), "{}: {new:#?}\n{log}", set.name);
    let healed: Vec<_> = known.difference(&failed).collect();
    assert!(
        healed.is_empty(),
        "{}: these pass now, take them off the list: {healed:?}",
        set.name
    );
}

async fn through_a_hub(set: &Set) -> (Outcome, Hub) {
    let yaml = format!(
        "services:\n  fixture:\n    command: {}\n    prefix: none\n",
        fixture("conformance-fixture")
    );
    let hub = Hub::builder().config(&yaml).start().await;
    hub.wait_for("fixture", "ready", Duration::from_secs(20)).await;
    let outcome = run(set, &hub.mcp.url("/mcp").replace("127.0.0.1", "localhost")).await;
    outcome.record("hub", set);
    (outcome, hub)
}

async fn directly(set: &Set) -> Outcome {
    let free = TcpListener::bind("127.0.0.1:0")
        .await
        .unwrap()
        .local_addr()
        .unwrap()
        .port();
    let mut server = Command::new(fixture("conformance-fixture"))
        .args(["--http", &free.to_string()])
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let url = format!("http://localhost:{free}/mcp");
    let address = format!("127.0.0.1:{free}");
    let deadline = tokio::time::Instant::now() + Duration::from_secs(10);
    while tokio::net::TcpStream::connect(&address).await.is_err() {
        assert!(
            tokio::time::Instant::now() < deadline,
            "the fixture listens on {address}"
        );
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let outcome = run(set, &url).await;
    outcome.record("fixture", set);
    server.kill().await.unwrap();
    outcome
}

#[tokio::test]
async fn the_fixture_alone_passes() {
    let _turn = turn().await;
    for set in [NOVEMBER_2025, JULY_2026] {
        let outcome = directly(&set).await;
        assert_eq!(outcome.scored(), set.scored);
        assert!(outcome.failures.is_empty(), "{:#?}", outcome.failures);
    }
}

#[tokio::test]
async fn november_2025_passes_through_the_hub() {
    let _turn = turn().await;
    let (outcome, hub) = through_a_hub(&NOVEMBER_2025).await;
    judge(&NOVEMBER_2025, &outcome, &hub.log_tail());
}

#[tokio::test]
async fn july_2026_passes_through_the_hub() {
    let _turn = turn().await;
    let (outcome, hub) = through_a_hub(&JULY_2026).await;
    judge(&JULY_2026, &outcome, &hub.log_tail());
}

#[tokio::test]
async fn june_2025_fails_nowhere_that_the_fixture_alone_does_not() {
    let _turn = turn().await;
    let alone = directly(&JUNE_2025).await;
    let (outcome, hub) = through_a_hub(&JUNE_2025).await;
    let excused = alone.failed_checks();
    let own: Vec<_> = outcome
        .failures
        .iter()
        .filter(|(key, _)| !excused.contains(key.as_str()))
        .collect();
    assert!(own.is_empty(), "{own:#?}\n{}", hub.log_tail());
    judge(&JUNE_2025, &outcome, &hub.log_tail());
}

#[test]
fn folder_names_give_scenarios() {
    assert_eq!(scenario_of("server-tools-list-2026-11-21T08-06-47-934Z"), "tools-list");
}
