//! What `mcpvisor connect` is told.

use std::{fs, path::PathBuf};

use anyhow::{Context as _, bail};
use http::{HeaderMap, HeaderName, HeaderValue, Uri, header::AUTHORIZATION, uri::PathAndQuery};

use crate::{
    config::{Config, Flags},
    storage::HubInfo,
};

/// Serve one stdio client through a hub that runs elsewhere
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Args {
    /// The MCP endpoint: `http(s)://host[:port]/mcp` or `ws(s)://host[:port]/ws` [default: the hub that runs on this data folder]
    url: Option<String>,
    /// A file whose first line is the token to show
    #[arg(long, value_name = "FILE")]
    token_file: Option<PathBuf>,
    /// One more header to send; may be given several times
    #[arg(long = "header", value_name = "NAME:VALUE", value_parser = header)]
    headers: Vec<(HeaderName, HeaderValue)>,
    /// The configuration file of the hub to look for
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// The data folder of the hub to look for
    #[arg(long, value_name = "FOLDER")]
    data_dir: Option<PathBuf>,
}

/// Where to connect, and what to show there.
#[derive(Clone, Debug)]
pub(super) struct Target {
    pub(super) uri: Uri,
    pub(super) headers: HeaderMap,
}

impl Args {
    /// Reads files and checks what was given.
    pub(super) fn target(&self) -> anyhow::Result<Target> {
        let url = match &self.url {
            Some(url) => url.clone(),
            None => self.running_hub()?,
        };
        let mut uri: Uri = url.parse().with_context(|| format!("`{url}` is no address"))?;
        if !matches!(uri.scheme_str(), Some("http" | "https" | "ws" | "wss")) || uri.host().is_none() {
            bail!("`{url}` is no address: it begins with http://, https://, ws:// or wss:// and names a host");
        }
        if uri.path() == "/" && uri.query().is_none() {
            uri = with_usual_path(uri)?;
        }
        let mut headers: HeaderMap = self.headers.iter().cloned().collect();
        if let Some(file) = &self.token_file {
            let text = fs::read_to_string(file).with_context(|| format!("could not read {}", file.display()))?;
            let token = text.lines().next().unwrap_or_default().trim();
            if token.is_empty() {
                bail!("{} is empty", file.display());
            }
            let mut value = HeaderValue::try_from(format!("Bearer {token}"))
                .with_context(|| format!("the token in {} has characters no header may have", file.display()))?;
            value.set_sensitive(true);
            headers.insert(AUTHORIZATION, value);
        }
        Ok(Target { uri, headers })
    }

    fn running_hub(&self) -> anyhow::Result<String> {
        let flags = Flags {
            config: self.config.clone(),
            data_dir: self.data_dir.clone(),
            ..Flags::default()
        };
        let loaded = Config::load(&flags)
            .context("no URL was given, and the configuration that would name the hub can't be used")?;
        let folder = loaded.config.data_dir;
        let hub = HubInfo::read(&folder)
            .filter(HubInfo::is_running)
            .with_context(|| format!("no URL was given, and no hub runs on {}", folder.display()))?;
        hub.mcp_url
            .context("the hub that runs serves no HTTP; start it with `--transport both`")
    }
}

/// An address without a path means the hub as a whole.
fn with_usual_path(uri: Uri) -> anyhow::Result<Uri> {
    let mut parts = uri.into_parts();
    let socket = parts
        .scheme
        .as_ref()
        .is_some_and(|scheme| scheme.as_str().starts_with("ws"));
    parts.path_and_query = Some(PathAndQuery::from_static(if socket { "/ws" } else { "/mcp" }));
    Uri::from_parts(parts).context("the address can't be completed")
}

fn header(text: &str) -> Result<(HeaderName, HeaderValue), String> {
    let (name, value) = text.split_once(':').ok_or("write it as `Name: value`")?;
    let name = name.trim().parse::<HeaderName>().map_err(|error| error.to_string())?;
    let value = value.trim().parse::<HeaderValue>().map_err(|error| error.to_string())?;
    Ok((name, value))
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        args: Args,
    }

    fn target(line: &[&str]) -> anyhow::Result<Target> {
        Line::try_parse_from(["connect"].iter().chain(line))?.args.target()
    }

    #[test]
    fn urls_headers_and_tokens() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("token");
        fs::write(&file, "secret-token\n").unwrap();
        let file = file.display().to_string();
        let good = target(&["http://localhost:1/mcp", "--header", "X-A: b:c", "--token-file", &file]).unwrap();
        assert_eq!(good.uri.path(), "/mcp");
        assert_eq!(
            target(&["wss://hub.example"]).unwrap().uri.to_string(),
            "wss://hub.example/ws"
        );
        assert_eq!(good.headers["x-a"], "b:c");
        assert_eq!(good.headers[AUTHORIZATION], "Bearer secret-token");
        assert!(!format!("{good:?}").contains("secret-token"));
        for bad in [
            &["ftp://x/"][..],
            &["localhost:9090"],
            &["http://x/", "--header", "nothing"],
            &["http://x/", "--token-file", "/none"],
        ] {
            assert!(target(bad).is_err(), "{bad:?}");
        }
    }
}
