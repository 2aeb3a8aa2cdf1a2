//! Where `scripts/tools` put the real servers, clients and the conformance suite.

use std::path::PathBuf;

/// The hub under test: the binary that cargo built for the tests, or the one that `MCPVISOR_TEST_BINARY` names, so that
/// figures can be taken from a release build without compiling everything else for it.
pub fn binary() -> String {
    std::env::var("MCPVISOR_TEST_BINARY").unwrap_or_else(|_| env!("CARGO_BIN_EXE_mcpvisor").to_owned())
}

/// Whether the hub under test is optimised: the promised figures hold for that only.
pub fn optimised() -> bool {
    !cfg!(debug_assertions) || std::env::var_os("MCPVISOR_TEST_BINARY").is_some()
}

/// A path under `tests/.tools`; fails the test with what to run where it is missing.
pub fn tool(path: &str) -> String {
    let found = PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join("tests/.tools")
        .join(path);
    assert!(found.exists(), "{} is missing: run scripts/tools once", found.display());
    found.to_str().unwrap().to_owned()
}

/// Node 22.
pub fn node() -> String {
    tool("node_modules/node/bin/node")
}

/// `npx`, and the `PATH` it needs: that of the system, or the one that `scripts/tools` installed where there was none.
pub fn npx() -> (String, String) {
    let path = std::env::var("PATH").unwrap_or_default();
    let own = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/.tools/npm/bin");
    let path = format!("{path}:{}", own.display());
    let found = path
        .split(':')
        .map(|folder| PathBuf::from(folder).join("npx"))
        .find(|npx| npx.exists());
    let found = found.expect("npx: run scripts/tools once");
    (found.to_str().unwrap().to_owned(), path)
}

/// The Python that has the SDK and the Python servers.
pub fn python() -> String {
    tool("venv/bin/python")
}

/// A file of `tests/clients`.
pub fn driver(name: &str) -> String {
    format!("{}/tests/clients/{name}", env!("CARGO_MANIFEST_DIR"))
}

/// A fixture built by `cargo test` from `[[example]]`, such as `conformance-fixture`.
pub fn fixture(name: &str) -> String {
    let hub = PathBuf::from(env!("CARGO_BIN_EXE_mcpvisor"));
    let found = hub.parent().unwrap().join("examples").join(name);
    assert!(found.exists(), "{} is missing: cargo build --examples", found.display());
    found.to_str().unwrap().to_owned()
}

/// Waits for the turn of a test that loads the machine or has a clock inside: only one of them runs at a time.
pub async fn turn() -> tokio::sync::MutexGuard<'static, ()> {
    static TURN: tokio::sync::Mutex<()> = tokio::sync::Mutex::const_new(());
    TURN.lock().await
}
