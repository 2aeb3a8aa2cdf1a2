//! `mcpvisor demo-server`: the built-in demo service, as the child process that the hub runs.

use std::process::ExitCode;

use tokio::runtime;

/// Serves stdin and stdout until stdin ends. One thread is enough, and starts in a millisecond: call this before
/// anything of the hub is set up.
pub(crate) fn run() -> ExitCode {
    let Ok(runtime) = runtime::Builder::new_current_thread().enable_io().enable_time().build() else {
        return ExitCode::FAILURE;
    };
    let code = runtime.block_on(crate::demo::run());
    // Where stdin is no pipe, a thread may still wait for it.
    runtime.shutdown_background();
    code
}
