//! stdin and stdout as one client. Nothing else is ever written to stdout.

use std::{sync::Arc, time::Duration};

use tokio_util::sync::CancellationToken;

use super::{
    connection::{AtEnd, Connection, End},
    outbound::Outbound,
    pipes::{Stdout, stdin_frames},
};
use crate::{
    config::Limits,
    gateway::{Gateway, Principal, Scope},
};

/// How long the last lines may take to be written.
const LAST_LINES: Duration = Duration::from_secs(5);

/// Why the stdio door closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StdioEnd {
    /// stdin ended, and its last calls were answered: with `--transport stdio` the hub has nothing left to do.
    Input,
    /// Nobody reads stdout any more.
    Gone,
    /// The hub stops.
    Stopping,
}

/// Serves the client on stdin and stdout until one of them ends or `stopping` is cancelled.
pub async fn stdio(gateway: Gateway, limits: &Limits, stopping: &CancellationToken) -> StdioEnd {
    let out = Arc::new(Outbound::default());
    let principal = Principal {
        name: Arc::from("stdio"),
    };
    let client = Connection::open(gateway, Scope::All, principal, Arc::clone(&out), AtEnd::Answer);
    let frames = stdin_frames(limits.max_line_bytes);
    let (end, ()) = tokio::join!(client.drive(frames, stopping, limits.drain), write_stdout(&out));
    match end {
        End::Input => StdioEnd::Input,
        End::Gone => StdioEnd::Gone,
        End::Closing => StdioEnd::Stopping,
    }
}

/// Writes what is queued until nothing follows or nobody reads.
async fn write_stdout(out: &Outbound) {
    let stdout = match Stdout::start() {
        Ok(stdout) => stdout,
        Err(error) => {
            tracing::error!(%error, "could not write stdout");
            return out.abandon();
        }
    };
    while let Some(message) = out.next().await {
        tokio::select! {
            written = stdout.write(message) => if !written {
                return out.abandon();
            },
            () = out.gone() => return,
        }
    }
    // What was queued last is on its way; a reader that is stuck is not waited for.
    tokio::select! {
        () = stdout.finish() => {}
        () = out.gone() => {}
        () = tokio::time::sleep(LAST_LINES) => {}
    }
}
