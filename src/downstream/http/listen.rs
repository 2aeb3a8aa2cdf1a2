//! Binds the addresses of a door before anything else starts, and says plainly what stands in the way.

use std::{
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
};

use tokio::net::{TcpListener, TcpSocket};

use super::holder;

/// Connections that may wait to be accepted.
const BACKLOG: u32 = 4096;

/// What the kernel may hold for a connection whose client does not read, in bytes (it takes twice as much for its own needs). By itself it
/// lets each have several MiB. Enough for 5 MB/s over 50 ms.
const SEND_BUFFER: u32 = 256 << 10;

/// Why a door could not be opened. Fits on one line.
#[derive(Debug, thiserror::Error)]
pub enum BindError {
    /// Somebody else has the port.
    #[error("{address} is already in use{}; choose another port with {flag}", held(*.holder))]
    InUse {
        /// What was asked for.
        address: SocketAddr,
        /// The option that moves the door.
        flag: &'static str,
        /// The process that has it, if the system tells.
        holder: Option<u32>,
    },
    /// Ports below 1024 need a privilege.
    #[error("not allowed to listen on {address}; choose a port above 1023 with {flag}")]
    NotAllowed {
        /// What was asked for.
        address: SocketAddr,
        /// The option that moves the door.
        flag: &'static str,
    },
    /// Anything else.
    #[error("could not listen on {address} (see {flag}): {source}")]
    Other {
        /// What was asked for.
        address: SocketAddr,
        /// The option that moves the door.
        flag: &'static str,
        /// What the system said.
        source: io::Error,
    },
}

fn held(holder: Option<u32>) -> String {
    holder.map(|pid| format!(" by process {pid}")).unwrap_or_default()
}

/// The sockets of one door.
#[derive(Debug)]
pub(crate) struct Listeners {
    pub(crate) sockets: Vec<TcpListener>,
    pub(crate) address: SocketAddr,
}

impl Listeners {
    /// Binds `host:port`; port 0 takes a free one. `flag` names the option that moves it.
    ///
    /// For 127.0.0.1 the same port of `::1` is taken too, if it is free: `localhost` means either.
    pub(crate) fn bind(host: IpAddr, port: u16, flag: &'static str) -> Result<Self, BindError> {
        let wanted = SocketAddr::new(host, port);
        let first = listen(wanted).map_err(|source| explain(wanted, flag, source))?;
        let address = first.local_addr().map_err(|source| explain(wanted, flag, source))?;
        let mut sockets = vec![first];
        if host == IpAddr::V4(Ipv4Addr::LOCALHOST) {
            let twin = SocketAddr::new(IpAddr::V6(Ipv6Addr::LOCALHOST), address.port());
            match listen(twin) {
                Ok(socket) => sockets.push(socket),
                Err(error) => tracing::debug!(%error, "not listening on {twin}"),
            }
        }
        Ok(Self { sockets, address })
    }
}

fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = match address {
        SocketAddr::V4(_) => TcpSocket::new_v4()?,
        SocketAddr::V6(_) => TcpSocket::new_v6()?,
    };
    // A restart must not wait for old connections to time out.
    socket.set_reuseaddr(true)?;
    // Connections have it from the socket that accepts them.
    socket.set_send_buffer_size(SEND_BUFFER)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}

fn explain(address: SocketAddr, flag: &'static str, source: io::Error) -> BindError {
    #[expect(
        clippy::wildcard_enum_match_arm,
        reason = "ErrorKind is open; the rest is passed on as it is"
    )]
    match source.kind() {
        io::ErrorKind::AddrInUse => BindError::InUse {
            address,
            flag,
            holder: holder::of(address),
        },
        io::ErrorKind::PermissionDenied => BindError::NotAllowed { address, flag },
        _ => BindError::Other { address, flag, source },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOST: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

    #[tokio::test]
    async fn a_taken_port_is_named_in_one_line() {
        let first = Listeners::bind(HOST, 0, "--port").unwrap();
        let error = Listeners::bind(HOST, first.address.port(), "--port").unwrap_err();
        let text = error.to_string();
        let pid = format!("by process {}", std::process::id());
        assert!(
            text.contains(&first.address.to_string()) && text.contains("--port") && text.contains(&pid),
            "{text}"
        );
        assert!(!text.contains('\n'));
    }

    #[tokio::test]
    async fn an_address_of_another_machine_is_refused() {
        let error = Listeners::bind("192.0.2.1".parse().unwrap(), 0, "--port").unwrap_err();
        assert!(matches!(error, BindError::Other { .. }), "{error}");
    }
}
