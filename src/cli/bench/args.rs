//! The command line of `mcpvisor bench`.

use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use serde_json::{Map, Value};

use crate::mcp::Era;

/// Measures calls of one tool of an MCP server, over HTTP or stdio.
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = "Examples:
  mcpvisor bench http://127.0.0.1:9090/mcp
  mcpvisor bench http://127.0.0.1:9090/mcp --tool demo__echo --concurrency 1,16,64 --pid 4711 --json
  mcpvisor bench http://127.0.0.1:9090/mcp --streams 1000
  mcpvisor bench --seconds 2 --stdio npx -y @modelcontextprotocol/server-everything")]
pub(in crate::cli) struct Args {
    /// The Streamable HTTP endpoint, such as `http://127.0.0.1:9090/mcp` (http only)
    #[arg(required_unless_present = "stdio")]
    pub(super) url: Option<String>,

    /// Start this server and drive it over its pipes; takes the rest of the line
    #[arg(long, num_args = 1.., allow_hyphen_values = true, value_name = "CMD", conflicts_with = "url")]
    pub(super) stdio: Vec<String>,

    /// The tool to call; without it `echo`, or the first that is read-only and needs no arguments
    #[arg(long, value_name = "NAME")]
    pub(super) tool: Option<String>,

    /// Arguments of the call, a JSON object; without it, for a tool with one text argument, `--bytes` of text that differ
    /// from call to call and are looked for in the answer
    #[arg(long, value_name = "JSON")]
    pub(super) arguments: Option<String>,

    /// Length of the text made where no arguments are given
    #[arg(long, default_value_t = 300, value_name = "N")]
    pub(super) bytes: usize,

    /// Calls in flight; several values are measured one after the other
    #[arg(long, short = 'c', value_delimiter = ',', default_value = "1,16", value_name = "N")]
    pub(super) concurrency: Vec<usize>,

    /// Measured time per concurrency, in seconds
    #[arg(long, default_value_t = 5.0, value_name = "S")]
    pub(super) seconds: f64,

    /// Measure this many calls instead of a time
    #[arg(long, value_name = "N")]
    pub(super) calls: Option<u64>,

    /// Time before the measured one, in seconds
    #[arg(long, default_value_t = 0.5, value_name = "S")]
    pub(super) warm_up: f64,

    /// How to speak: with `initialize` and a session, or 2026-07-28
    #[arg(long, default_value = "legacy", value_parser = ["legacy", "modern"])]
    pub(super) era: String,

    /// Sessions the calls are spread over (legacy HTTP)
    #[arg(long, default_value_t = 1, value_name = "N")]
    pub(super) sessions: usize,

    /// Use only the ids 0 to N-1, again and again, in every session
    #[arg(long, value_name = "N")]
    pub(super) ids: Option<u64>,

    /// A header to send with every request, such as `Authorization: Bearer …`
    #[arg(long, value_name = "NAME: VALUE")]
    pub(super) header: Vec<String>,

    /// Also report CPU time per call and memory of this process and its children
    #[arg(long, value_name = "PID")]
    pub(super) pid: Option<u32>,

    /// Open this many sessions with an idle event stream each instead of calling; then report their cost and how soon
    /// each hears that the list of tools changed
    #[arg(long, value_name = "N", conflicts_with_all = ["stdio", "calls", "ids"])]
    pub(super) streams: Option<usize>,

    /// With `--streams`: the tool whose call makes the server send `notifications/tools/list_changed`
    #[arg(long, value_name = "NAME", requires = "streams")]
    pub(super) trigger: Option<String>,

    /// Report as JSON
    #[arg(long)]
    pub(super) json: bool,

    /// Exit with 1 if any call failed
    #[arg(long)]
    pub(super) strict: bool,
}

impl Args {
    pub(super) fn era(&self) -> Era {
        if self.era == Era::Modern.as_str() {
            Era::Modern
        } else {
            Era::Legacy
        }
    }

    pub(super) fn warm_up(&self) -> anyhow::Result<Duration> {
        Duration::try_from_secs_f64(self.warm_up).context("--warm-up")
    }

    pub(super) fn until(&self) -> anyhow::Result<Until> {
        Ok(match self.calls {
            Some(calls) => Until::Calls(calls),
            None => Until::Time(Duration::try_from_secs_f64(self.seconds).context("--seconds")?),
        })
    }

    pub(super) fn given_arguments(&self) -> anyhow::Result<Option<Map<String, Value>>> {
        let parse = |text: &String| serde_json::from_str(text).context("--arguments must be a JSON object");
        self.arguments.as_ref().map(parse).transpose()
    }

    pub(super) fn headers(&self) -> anyhow::Result<Vec<(http::HeaderName, http::HeaderValue)>> {
        let parse = |line: &String| {
            let Some((name, value)) = line.split_once(':') else {
                bail!("--header {line}: must look like `Name: value`");
            };
            let mut value = http::HeaderValue::try_from(value.trim()).context("--header")?;
            value.set_sensitive(true);
            Ok((http::HeaderName::try_from(name.trim()).context("--header")?, value))
        };
        self.header.iter().map(parse).collect()
    }
}

/// When a measurement ends.
#[derive(Clone, Copy, Debug)]
pub(super) enum Until {
    Calls(u64),
    Time(Duration),
}

impl Until {
    /// Whether another call may start, after `made` since `begun`.
    pub(super) fn allows(self, begun: Instant, made: u64) -> bool {
        match self {
            Self::Calls(calls) => made < calls,
            Self::Time(time) => begun.elapsed() < time,
        }
    }
}
