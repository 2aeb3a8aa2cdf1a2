//! The admin door from the outside: bind first, serve when the rest is ready.

use std::{net::SocketAddr, sync::Arc};

use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::{ServiceDirectory, access::Guarded, router};
use crate::{
    config::Config,
    downstream::{
        BindError,
        http::{access::Access, listen::Listeners, serve::Service},
    },
    lifecycle::{Readiness, Tasks},
};

/// The socket of the admin door, not served yet.
#[derive(Debug)]
pub struct Bound(Option<Listeners>);

/// Binds what the configuration's `admin` asks for; nothing if it is off.
///
/// # Errors
/// [`BindError`], one line that names the address and the flag.
pub fn bind(config: &Config) -> Result<Bound, BindError> {
    if !config.admin.enabled {
        return Ok(Bound(None));
    }
    Listeners::bind(config.admin.host, config.admin.port, "--admin-port").map(|listeners| Bound(Some(listeners)))
}

impl Bound {
    /// The address bound; `None` if the door is off.
    pub fn address(&self) -> Option<SocketAddr> {
        self.0.as_ref().map(|listeners| listeners.address)
    }

    /// Starts to answer.
    pub fn serve(
        self,
        config: &Config,
        directory: Arc<dyn ServiceDirectory>,
        tasks: &Tasks,
        readiness: Readiness,
    ) -> Doors {
        let guarded = Arc::new(Guarded {
            access: Access::admin(&config.network, &config.auth),
            routes: router::routes(directory),
            readiness,
            tasks: tasks.clone(),
        });
        let service = Service {
            tasks: tasks.clone(),
            closing: CancellationToken::new(),
            open: TaskTracker::new(),
        };
        if let Some(listeners) = self.0 {
            service.start(listeners, &guarded);
        }
        let (closing, stopping) = (service.closing.clone(), tasks.clone());
        tasks.spawn("admin door", async move {
            // Until it is closed it says that the hub stops.
            tokio::select! {
                () = closing.cancelled() => {}
                () = stopping.hurrying() => closing.cancel(),
            }
        });
        Doors(service)
    }
}

/// The admin door while it is served.
#[derive(Clone, Debug)]
pub struct Doors(Service);

impl Doors {
    /// Takes no more connections and resolves when those there are have ended. It may close last: a load balancer asks `/health/ready`
    /// while the rest drains.
    pub async fn close(&self) {
        self.0.closing.cancel();
        self.0.open.close();
        self.0.open.wait().await;
    }
}
