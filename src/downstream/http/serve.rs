//! Accepts connections and answers what comes on them, HTTP/1.1 or HTTP/2, until the door closes.

use std::{future::Future, io, net::IpAddr, sync::Arc, time::Duration};

use http::{Request, header::UPGRADE};
use hyper::{body::Incoming, rt::Executor, service::service_fn};
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    server::conn::auto,
};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::{
    body::DoorBody,
    listen::Listeners,
    pulse::{self, Pulse, Timed},
    reply::Answer,
};
use crate::lifecycle::Tasks;

/// The longest head of a request, in bytes.
const MAX_HEAD: usize = 64 << 10;
/// After an error of the listening socket that is not about one connection: the first and the longest wait.
const BACK_OFF: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(1));

/// The connection of a request.
#[derive(Clone, Debug)]
pub(crate) struct Origin {
    /// The address it came to.
    pub(crate) local: IpAddr,
    /// Its deadlines.
    pub(crate) pulse: Arc<Pulse>,
}

/// How long the answers of calls that are given up in a hurry may take to go out.
const LAST_ANSWERS: Duration = Duration::from_millis(500);

/// Answers the requests of a door.
pub(crate) trait Answers: Send + Sync + 'static {
    /// Answers one request.
    fn answer(self: &Arc<Self>, from: Origin, request: Request<Incoming>) -> impl Future<Output = Answer> + Send;
}

/// The running part of a door.
#[derive(Clone, Debug)]
pub(crate) struct Service {
    pub(crate) tasks: Tasks,
    /// Cancelled when the door closes.
    pub(crate) closing: CancellationToken,
    /// Holds every open connection.
    pub(crate) open: TaskTracker,
}

#[derive(Clone)]
struct Spawner(Tasks);

impl<F> Executor<F> for Spawner
where
    F: Future + Send + 'static,
    F::Output: Send,
{
    fn execute(&self, stream: F) {
        self.0.spawn("http2 stream", async move { drop(stream.await) });
    }
}

impl Service {
    /// Serves all sockets of a door.
    pub(crate) fn start<A: Answers>(&self, listeners: Listeners, answers: &Arc<A>) {
        for socket in listeners.sockets {
            let (service, answers) = (self.clone(), Arc::clone(answers));
            self.tasks.spawn_vital("http listener", async move {
                service.accept(socket, answers).await;
                // The socket is closed; ending before the rest does would look like a failure.
                service.tasks.stopping().await;
            });
        }
    }

    async fn accept<A: Answers>(&self, socket: TcpListener, answers: Arc<A>) {
        let builder = Arc::new(self.builder());
        let mut wait = BACK_OFF.0;
        loop {
            let accepted = tokio::select! {
                biased;
                () = self.closing.cancelled() => return,
                accepted = socket.accept() => accepted,
            };
            match accepted {
                Ok((stream, _)) => {
                    if wait != BACK_OFF.0 {
                        wait = BACK_OFF.0;
                        tracing::info!("connections are accepted again");
                    }
                    self.connect(stream, &builder, &answers);
                }
                Err(error) if is_about_one_connection(&error) => {}
                Err(error) => {
                    // Most likely no file descriptor is left: connections that end give theirs back. Said once each time it begins.
                    if wait == BACK_OFF.0 {
                        tracing::warn!(%error, "could not accept connections, trying again until it works");
                    }
                    tokio::time::sleep(wait).await;
                    wait = (wait * 2).min(BACK_OFF.1);
                }
            }
        }
    }

    fn builder(&self) -> auto::Builder<Spawner> {
        let mut builder = auto::Builder::new(Spawner(self.tasks.clone()));
        // The deadlines of HTTP/1 are those of `pulse`.
        builder.http1().header_read_timeout(None).max_buf_size(MAX_HEAD);
        builder
            .http2()
            .timer(TokioTimer::new())
            .keep_alive_interval(Duration::from_secs(30))
            .keep_alive_timeout(Duration::from_secs(20))
            .max_header_list_size(16 << 10);
        builder
    }

    fn connect<A: Answers>(&self, stream: TcpStream, builder: &Arc<auto::Builder<Spawner>>, answers: &Arc<A>) {
        // Answers are small and waited for.
        if let Err(error) = stream.set_nodelay(true) {
            tracing::debug!(%error, "could not set TCP_NODELAY");
        }
        let Ok(local) = stream.local_addr() else { return };
        let local = local.ip().to_canonical();
        let (builder, answers, service) = (Arc::clone(builder), Arc::clone(answers), self.clone());
        let open = self.open.token();
        self.tasks.spawn("http connection", async move {
            let pulse = Arc::new(Pulse::default());
            let io = TokioIo::new(Timed::new(stream, Arc::clone(&pulse), pulse::Limits::default()));
            let connected = Arc::clone(&pulse);
            let handler = service_fn(move |mut request: Request<Incoming>| {
                let (answers, busy) = (Arc::clone(&answers), pulse.begin());
                let from = Origin {
                    local,
                    pulse: Arc::clone(&pulse),
                };
                if request.headers().contains_key(UPGRADE) {
                    // A connection that changes its protocol is busy for as long as that lasts.
                    request.extensions_mut().insert(Arc::new(pulse.begin()));
                }
                async move {
                    let answer = answers.answer(from, request).await;
                    Ok::<_, std::convert::Infallible>(answer.map(|body: DoorBody| body.holding(busy)))
                }
            });
            let mut connection = std::pin::pin!(builder.serve_connection_with_upgrades(io, handler));
            tokio::select! {
                biased;
                ended = connection.as_mut() => return log(ended),
                () = service.closing.cancelled() => {
                    connected.closing();
                    connection.as_mut().graceful_shutdown();
                }
            }
            tokio::select! {
                ended = connection.as_mut() => log(ended),
                () = async {
                    service.tasks.hurrying().await;
                    // An answer that was given has yet to be written; how long a client takes to read it is not ours to know.
                    tokio::time::sleep(LAST_ANSWERS).await;
                } => {}
            }
            drop(open);
        });
    }
}

fn log<E: std::fmt::Display>(ended: Result<(), E>) {
    if let Err(error) = ended {
        tracing::trace!(%error, "a connection ended early");
    }
}

fn is_about_one_connection(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionAborted
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::ConnectionRefused
            | io::ErrorKind::Interrupted
    )
}
