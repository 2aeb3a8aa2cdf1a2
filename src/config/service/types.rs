//! A service as the rest of the hub sees it: checked, complete, immutable.

use std::{collections::BTreeMap, fmt, path::PathBuf, time::Duration};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{limits::ServiceLimits, remote::Remote};
use crate::config::{name::ServiceName, secret::Secret, sensitive};

/// One MCP server registered here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Service {
    /// The name; also the key in [`Config::services`](crate::config::Config::services).
    pub name: ServiceName,
    /// Whether it may run.
    pub enabled: bool,
    /// What runs.
    pub source: Source,
    /// What stands before its tools' names.
    pub prefix: Prefix,
    /// Whether clients share an instance.
    pub sharing: Sharing,
    /// On which hubs it runs, where there are several.
    pub placement: Placement,
    /// How a new generation takes over from the old one.
    pub replace: Replace,
    /// How many instances run; at least 1.
    pub instances: u32,
    /// When it starts.
    pub start: Start,
    /// After how long without a call it is stopped; `None` never.
    pub idle_timeout: Option<Duration>,
    /// Which revisions of the protocol it is spoken to in.
    pub era: EraChoice,
    /// What clients see of its tools while it is down.
    pub when_down: WhenDown,
    /// Settings of single tools, by the tool's own name.
    pub tools: BTreeMap<String, ToolSettings>,
    /// How long it is waited for.
    pub timeouts: Timeouts,
    /// What happens when it exits by itself.
    pub restart: Restart,
    /// What each process of it may take.
    pub limits: ServiceLimits,
}

impl Service {
    /// A service with every setting at its default.
    pub fn new(name: ServiceName, source: Source) -> Self {
        Self {
            timeouts: Timeouts::default_for(&source),
            name,
            enabled: true,
            source,
            prefix: Prefix::Service,
            sharing: Sharing::Shared,
            placement: Placement::EveryHub,
            replace: Replace::Overlap,
            instances: 1,
            start: Start::Eager,
            idle_timeout: None,
            era: EraChoice::Match,
            when_down: WhenDown::Keep,
            tools: BTreeMap::new(),
            restart: Restart::default(),
            limits: ServiceLimits::default(),
        }
    }

    /// The service that runs when nothing is configured.
    pub fn demo() -> Self {
        let name = ServiceName::new("demo").expect("`demo` follows the rule of names");
        Self::new(name, Source::Demo)
    }

    /// What stands before `__` in the names of its tools; `None` if they keep their own names.
    pub fn prefix_text(&self) -> Option<&str> {
        match &self.prefix {
            Prefix::Service => Some(self.name.as_str()),
            Prefix::None => None,
            Prefix::Text(text) => Some(text),
        }
    }
}

/// What a service runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// A program that speaks MCP on its stdin and stdout.
    Command(Command),
    /// The built-in demo server: the hub's own binary with `demo-server`.
    Demo,
    /// A server that runs elsewhere.
    Remote(Remote),
}

/// A program, started without a shell. `Debug` masks variables and the arguments that look like secrets.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Command {
    /// A path, or a name looked up in `PATH`.
    pub program: String,
    /// Its arguments.
    pub args: Vec<String>,
    /// Variables on top of the few that children inherit.
    pub env: BTreeMap<String, Secret<String>>,
    /// Where it starts; the hub's own folder if not set.
    pub cwd: Option<PathBuf>,
}

impl fmt::Debug for Command {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Command")
            .field("program", &self.program)
            .field("args", &sensitive::masked(&self.args))
            .field("env", &self.env)
            .field("cwd", &self.cwd)
            .finish()
    }
}

/// What stands before the names of a service's tools and prompts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Prefix {
    /// The service's name: `github__create_issue`.
    #[default]
    Service,
    /// Nothing: `create_issue`.
    None,
    /// A text of its own: `gh__create_issue`.
    Text(String),
}

/// Declares a set of settings that are written as one word.
macro_rules! words {
    ($($(#[$about:meta])* $name:ident { $($(#[$variant_about:meta])* $variant:ident),+ $(,)? })+) => {$(
        $(#[$about])*
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
        #[serde(rename_all = "kebab-case")]
        #[schemars(inline)]
        pub enum $name { $($(#[$variant_about])* $variant),+ }
    )+};
}

words! {
    /// Whether clients share an instance.
    Sharing {
        /// All clients with the same capabilities use the same instances.
        #[default]
        Shared,
        /// Every client has an instance of its own.
        PerClient,
    }

    /// On which hubs a service runs, where there are several.
    Placement {
        /// On each of them.
        #[default]
        EveryHub,
        /// On one at a time.
        OneHub,
    }

    /// How a new generation takes over from the old one.
    Replace {
        /// The new one is ready before the old one goes.
        #[default]
        Overlap,
        /// The old one is gone before the new one starts: for programs that hold a port or a database.
        StopFirst,
    }

    /// When a service starts.
    Start {
        /// With the hub.
        #[default]
        Eager,
        /// With the first call.
        Lazy,
    }

    /// Which revisions of the protocol a service is spoken to in.
    EraChoice {
        /// The client's, where the service knows it.
        #[default]
        Match,
        /// Those up to 2025-11-25.
        Legacy,
        /// Those from 2026-07-28.
        Modern,
    }

    /// What clients see of a service's tools while it is down.
    WhenDown {
        /// The last known list.
        #[default]
        Keep,
        /// Nothing.
        Hide,
    }

    /// When a service that ended is started again.
    RestartPolicy {
        /// However it ended.
        #[default]
        Always,
        /// Only when it failed: a code other than 0, or a signal.
        OnFailure,
        /// Never.
        Never,
    }
}

/// Settings of one tool.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ToolSettings {
    /// Whether calling it twice does no more than calling it once; such calls are repeated after a crash.
    pub safe_to_repeat: bool,
}

/// How long a service is waited for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timeouts {
    /// From the start of the process to the end of the handshake.
    pub start: Duration,
    /// From a call to its answer.
    pub call: Duration,
    /// From the request to stop until it is killed.
    pub stop: Duration,
}

/// Programs that may have to download what they run.
const DOWNLOADERS: &[&str] = &[
    "npx", "npm", "pnpm", "pnpx", "yarn", "bunx", "bun", "deno", "uvx", "uv", "pipx", "docker", "podman",
];

impl Timeouts {
    /// The defaults: 180 s to start for programs that may have to download what they run, else 30 s.
    pub fn default_for(source: &Source) -> Self {
        let downloads = match source {
            Source::Command(command) => {
                let program = command.program.rsplit('/').next().unwrap_or_default();
                DOWNLOADERS.contains(&program)
            }
            Source::Demo | Source::Remote(_) => false,
        };
        Self {
            start: Duration::from_secs(if downloads { 180 } else { 30 }),
            call: Duration::from_mins(5),
            stop: Duration::from_secs(10),
        }
    }
}

/// What happens when a service exits by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Restart {
    /// Whether it is started again.
    pub policy: RestartPolicy,
    /// The longest wait between two starts.
    pub max_delay: Duration,
}

impl Default for Restart {
    fn default() -> Self {
        Self {
            policy: RestartPolicy::Always,
            max_delay: Duration::from_mins(1),
        }
    }
}
