//! The variables that a server inherits. The hub's own settings and secrets are not among them.

use std::{collections::BTreeMap, ffi::OsString};

/// Names the process tree that a process belongs to, as `hub/service/unit`: how what escaped its guard is found again.
pub const TREE_MARK: &str = "__MCPVISOR_TREE";

/// Inherited by name.
const NAMES: [&str; 32] = [
    "PATH",
    "HOME",
    "USER",
    "LOGNAME",
    "LANG",
    "LANGUAGE",
    "TERM",
    "SHELL",
    "TMPDIR",
    "TZ",
    "HTTP_PROXY",
    "HTTPS_PROXY",
    "NO_PROXY",
    "ALL_PROXY",
    "FTP_PROXY",
    "http_proxy",
    "https_proxy",
    "no_proxy",
    "all_proxy",
    "ftp_proxy",
    "SSL_CERT_FILE",
    "SSL_CERT_DIR",
    "REQUESTS_CA_BUNDLE",
    "CURL_CA_BUNDLE",
    "VIRTUAL_ENV",
    "NVM_DIR",
    "VOLTA_HOME",
    "PNPM_HOME",
    "CARGO_HOME",
    "RUSTUP_HOME",
    "DISPLAY",
    "WAYLAND_DISPLAY",
];

/// Inherited by how the name begins.
const PREFIXES: [&str; 6] = ["LC_", "XDG_", "NODE_", "npm_config_", "PIP_", "UV_"];

fn is_inherited(name: &str) -> bool {
    // Code that every Node process would run is no setting to pass on unasked.
    name != "NODE_OPTIONS" && (NAMES.contains(&name) || PREFIXES.iter().any(|prefix| name.starts_with(prefix)))
}

/// The part of the hub's environment that every server inherits: paths, language, proxies, and the
/// settings of package runners.
pub fn inherited() -> BTreeMap<OsString, OsString> {
    std::env::vars_os()
        .filter(|(name, _)| name.to_str().is_some_and(is_inherited))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hubs_own_settings_stay_here() {
        for name in ["PATH", "HOME", "LC_ALL", "XDG_RUNTIME_DIR", "npm_config_registry"] {
            assert!(is_inherited(name), "{name}");
        }
        for name in [
            "MCPVISOR_SECRET_KEY",
            "DATABASE_URL",
            "REDIS_URL",
            "LD_PRELOAD",
            "NODE_OPTIONS",
            "AWS_SECRET_ACCESS_KEY",
        ] {
            assert!(!is_inherited(name), "{name}");
        }
    }
}
