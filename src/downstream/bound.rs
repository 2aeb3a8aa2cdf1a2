//! The MCP-over-HTTP door from the outside: bind first, serve when the rest is ready, close before the rest stops.

use std::{future::Future, net::SocketAddr, sync::Arc};

use http::Request;
use hyper::body::Incoming;
use tokio_util::task::TaskTracker;

use super::{
    door::Door,
    http::{
        listen::{BindError, Listeners},
        reply::Answer,
        router,
        serve::{Answers, Origin, Service},
    },
};
use crate::{
    config::Config,
    gateway::Gateway,
    lifecycle::{Readiness, Tasks},
};

/// The sockets of the MCP-over-HTTP door, not served yet: connections wait.
#[derive(Debug)]
pub struct Bound(Option<Listeners>);

/// Binds what the configuration's `transport` and `http` ask for.
///
/// # Errors
/// [`BindError`], whose text is one line that names the address, who has it and the flag to move it.
pub fn bind(config: &Config) -> Result<Bound, BindError> {
    if !config.transport.has_http() {
        return Ok(Bound(None));
    }
    Listeners::bind(config.http.host, config.http.port, "--port").map(|listeners| Bound(Some(listeners)))
}

impl Bound {
    /// The address bound (with the real port where 0 was asked for); `None` if the transport is stdio alone.
    pub fn address(&self) -> Option<SocketAddr> {
        self.0.as_ref().map(|listeners| listeners.address)
    }

    /// Starts to answer.
    pub fn serve(self, config: &Config, gateway: Gateway, tasks: &Tasks, readiness: Readiness) -> Doors {
        let door = Arc::new(Door::new(config, gateway, tasks, readiness));
        let service = Service {
            tasks: tasks.clone(),
            closing: door.closing.clone(),
            open: TaskTracker::new(),
        };
        if let Some(listeners) = self.0 {
            service.start(listeners, &door);
            let sweeper = Arc::clone(&door);
            tasks.spawn("session sweeper", async move { sweep(&sweeper).await });
        }
        let doors = Doors { door, service };
        let (closing, stopping) = (doors.clone(), tasks.clone());
        tasks.spawn("doors", async move {
            stopping.stopping().await;
            closing.begin_to_close();
        });
        doors
    }
}

impl Answers for Door {
    fn answer(self: &Arc<Self>, from: Origin, request: Request<Incoming>) -> impl Future<Output = Answer> + Send {
        router::answer(self, from, request)
    }
}

async fn sweep(door: &Door) {
    let mut every = tokio::time::interval(door.sessions.sweep_every());
    loop {
        tokio::select! {
            _ = every.tick() => door.sessions.sweep(&door.gateway),
            () = door.closing.cancelled() => return,
            () = door.tasks.stopping() => return,
        }
    }
}

/// The MCP-over-HTTP door while it is served.
#[derive(Clone, Debug)]
pub struct Doors {
    door: Arc<Door>,
    service: Service,
}

impl Doors {
    /// Takes no more connections, lets idle streams and connections end, and resolves when the last one has: calls in flight are answered
    /// first. May take as long as they do; drop it to stop waiting.
    pub async fn close(&self) {
        self.begin_to_close();
        self.service.open.close();
        self.service.open.wait().await;
    }

    fn begin_to_close(&self) {
        self.door.closing.cancel();
        self.door.sessions.close_streams();
    }

    /// Legacy sessions open now.
    pub fn sessions(&self) -> usize {
        self.door.sessions.len()
    }
}
