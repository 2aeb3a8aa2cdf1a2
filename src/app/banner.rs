//! What a person sees on stderr after the start: what is served, where, and how to connect.

use std::net::SocketAddr;

use crate::config::{Config, Transport};

/// Where the doors are.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Addresses {
    pub(super) http: Option<SocketAddr>,
    pub(super) admin: Option<SocketAddr>,
}

impl Addresses {
    /// The base URL of the door for MCP clients.
    pub(super) fn http_url(self) -> Option<String> {
        self.http.map(url)
    }

    /// The base URL of the admin door.
    pub(super) fn admin_url(self) -> Option<String> {
        self.admin.map(url)
    }
}

/// An address a client on this machine can open: a wildcard is reached on loopback.
fn url(address: SocketAddr) -> String {
    if address.ip().is_unspecified() {
        format!("http://127.0.0.1:{}", address.port())
    } else {
        format!("http://{address}")
    }
}

/// The banner, ending in a newline.
pub(super) fn banner(config: &Config, addresses: Addresses) -> String {
    let mut text = format!("mcpvisor {} is up\n", env!("CARGO_PKG_VERSION"));
    let mut line = |label: &str, value: &str| {
        text.extend([format!("  {label:<9} {value}\n")]);
    };
    line("services", &services(config));
    line(
        "settings",
        &config.file.as_ref().map_or_else(
            || "none found, built-in defaults; `mcpvisor check` shows them".to_owned(),
            |file| file.display().to_string(),
        ),
    );
    line("data", &config.data_dir.display().to_string());
    if config.transport != Transport::Sse {
        line("stdio", "one client on stdin and stdout");
    }
    if let Some(base) = addresses.http_url() {
        line(
            "http",
            &format!(
                "{base}/mcp   (also {base}/sse and {}/ws)",
                base.replacen("http", "ws", 1)
            ),
        );
    }
    if let Some(base) = addresses.admin_url() {
        line("admin", &format!("{base}/   (services: {base}/api/v1/services)"));
    }
    if let Some(base) = addresses.http_url() {
        let header = if config.auth.tokens.is_empty() {
            ""
        } else {
            " --header \"Authorization: Bearer <token>\""
        };
        line(
            "connect",
            &format!("claude mcp add --transport http mcpvisor {base}/mcp{header}"),
        );
        line(
            "",
            &format!(
                "or in any client's JSON: {{\"mcpServers\":{{\"mcpvisor\":{{\"command\":\"mcpvisor\",\"args\":[\"connect\",\"{base}/mcp\"]}}}}}}"
            ),
        );
    }
    text
}

fn services(config: &Config) -> String {
    const SHOWN: usize = 12;
    let enabled: Vec<&str> = config
        .services
        .values()
        .filter(|service| service.enabled)
        .map(|service| service.name.as_str())
        .collect();
    match enabled.len() {
        0 => "none enabled".to_owned(),
        count if count > SHOWN => format!(
            "{} and {} more",
            enabled.iter().take(SHOWN).copied().collect::<Vec<_>>().join(", "),
            count - SHOWN
        ),
        _ => enabled.join(", "),
    }
}
