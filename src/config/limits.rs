//! Sections `limits` and `names`: how much of everything, and how long.

use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{
    mistakes::{KeyPath, Mistakes},
    scalar::{Size, Span, Whole},
};

const KIB: usize = 1 << 10;
const MIB: usize = 1 << 20;

/// How much of everything the hub takes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Largest body of an HTTP request, in bytes.
    pub max_body_bytes: usize,
    /// Longest line from a child or on stdin, in bytes; at most 64 MiB.
    pub max_line_bytes: usize,
    /// How long an idle session is kept.
    pub session_ttl: Duration,
    /// Sessions at once.
    pub max_sessions: usize,
    /// Messages kept per session for a client that reconnects.
    pub replay_messages: usize,
    /// Bytes kept per session for a client that reconnects.
    pub replay_bytes: usize,
    /// Entries on one page of a list.
    pub page_size: usize,
    /// Children that start at the same time.
    pub concurrent_starts: usize,
    /// How long calls in flight may go on after a stop was asked for.
    pub drain: Duration,
    /// The whole time from the request to stop to the exit; longer than `drain`.
    pub stop_budget: Duration,
    /// Whether children are held in control groups.
    pub cgroups: Cgroups,
}

/// Whether the kernel's control groups hold children and enforce their limits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
#[schemars(inline)]
pub enum Cgroups {
    /// Where the hub may make them.
    #[default]
    Auto,
    /// Never: what children take is looked at twice a second instead.
    Off,
}

impl Limits {
    /// The defaults; a container is given less time to stop than a process, so there the budget is 8.5 s.
    pub fn default_for(in_container: bool) -> Self {
        let stop = if in_container { (4_000, 8_500) } else { (18_000, 30_000) };
        Self {
            max_body_bytes: 16 * MIB,
            max_line_bytes: 16 * MIB,
            session_ttl: Duration::from_mins(30),
            max_sessions: 20_000,
            replay_messages: 256,
            replay_bytes: MIB,
            page_size: 1_000,
            concurrent_starts: 4,
            drain: Duration::from_millis(stop.0),
            stop_budget: Duration::from_millis(stop.1),
            cgroups: Cgroups::Auto,
        }
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self::default_for(false)
    }
}

/// How names of tools are made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Names {
    /// Longest name shown to clients, in characters; longer ones are shortened with a hash.
    pub max_length: usize,
}

impl Default for Names {
    fn default() -> Self {
        Self { max_length: 64 }
    }
}

/// How much of everything the hub takes.
#[derive(Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
#[schemars(inline)]
pub(super) struct RawLimits {
    /// Largest body of an HTTP request.
    #[schemars(extend("default" = "16MiB"))]
    #[serde(skip_serializing_if = "Option::is_none")]
    max_body_bytes: Option<Size>,
    /// Longest line from a child or on stdin; at most 64MiB.
    #[schemars(extend("default" = "16MiB"))]
    #[serde(skip_serializing_if = "Option::is_none")]
    max_line_bytes: Option<Size>,
    /// How long an idle session is kept.
    #[schemars(extend("default" = "30m"))]
    #[serde(skip_serializing_if = "Option::is_none")]
    session_ttl: Option<Span>,
    /// Sessions at once.
    #[schemars(extend("default" = 20_000))]
    #[serde(skip_serializing_if = "Option::is_none")]
    max_sessions: Option<Whole>,
    /// Messages kept per session for a client that reconnects.
    #[schemars(extend("default" = 256))]
    #[serde(skip_serializing_if = "Option::is_none")]
    replay_messages: Option<Whole>,
    /// Bytes kept per session for a client that reconnects.
    #[schemars(extend("default" = "1MiB"))]
    #[serde(skip_serializing_if = "Option::is_none")]
    replay_bytes: Option<Size>,
    /// Entries on one page of a list.
    #[schemars(extend("default" = 1_000))]
    #[serde(skip_serializing_if = "Option::is_none")]
    page_size: Option<Whole>,
    /// Children that start at the same time.
    #[schemars(extend("default" = 4))]
    #[serde(skip_serializing_if = "Option::is_none")]
    concurrent_starts: Option<Whole>,
    /// How long calls in flight may go on after a stop was asked for (4s in a container).
    #[schemars(extend("default" = "18s"))]
    #[serde(skip_serializing_if = "Option::is_none")]
    drain: Option<Span>,
    /// The whole time from the request to stop to the exit; longer than `drain` (8500ms in a container).
    #[schemars(extend("default" = "30s"))]
    #[serde(skip_serializing_if = "Option::is_none")]
    stop_budget: Option<Span>,
    /// Whether control groups hold children and enforce their limits: `auto` where the hub may make them, `off` never.
    #[schemars(extend("default" = "auto"))]
    #[serde(skip_serializing_if = "Option::is_none")]
    cgroups: Option<Cgroups>,
}

/// How names of tools are made.
#[derive(Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
#[schemars(inline)]
pub(super) struct RawNames {
    /// Longest name shown to clients; longer ones are shortened with a hash.
    #[schemars(extend("default" = 64))]
    #[serde(skip_serializing_if = "Option::is_none")]
    max_length: Option<Whole>,
}

/// Bounds of a number, checked with one message.
struct Bounds<'a> {
    at: &'a KeyPath,
    mistakes: &'a mut Mistakes,
}

impl Bounds<'_> {
    fn within(&mut self, key: &str, value: usize, least: usize, most: usize, show: fn(usize) -> String) -> usize {
        if !(least..=most).contains(&value) {
            let message = format!(
                "lies between {} and {}, {} does not",
                show(least),
                show(most),
                show(value)
            );
            self.mistakes.push(self.at.join(key), message);
        }
        value.clamp(least, most)
    }

    fn number(&mut self, key: &str, raw: Option<Whole>, default: usize, most: usize) -> usize {
        let value = raw.map_or(default, |Whole(n)| usize::try_from(n).unwrap_or(usize::MAX));
        self.within(key, value, 1, most, |n| n.to_string())
    }

    fn size(&mut self, key: &str, raw: Option<Size>, default: usize, most: usize) -> usize {
        self.within(key, raw.map_or(default, |Size(n)| n), KIB, most, |n| {
            Size(n).to_string()
        })
    }

    fn span(&mut self, key: &str, raw: Option<Span>, default: Duration, least: Duration) -> Duration {
        let value = raw.map_or(default, |Span(span)| span);
        if value < least {
            self.mistakes
                .push(self.at.join(key), format!("is at least {}", Span(least)));
        }
        value
    }
}

impl RawLimits {
    pub(super) fn check(self, defaults: &Limits, at: &KeyPath, mistakes: &mut Mistakes) -> Limits {
        let budget_is_ours = self.stop_budget.is_none();
        let mut b = Bounds { at, mistakes };
        let mut limits = Limits {
            max_body_bytes: b.size("max_body_bytes", self.max_body_bytes, defaults.max_body_bytes, 1 << 30),
            max_line_bytes: b.size("max_line_bytes", self.max_line_bytes, defaults.max_line_bytes, 64 * MIB),
            session_ttl: b.span(
                "session_ttl",
                self.session_ttl,
                defaults.session_ttl,
                Duration::from_secs(1),
            ),
            max_sessions: b.number("max_sessions", self.max_sessions, defaults.max_sessions, 1_000_000),
            replay_messages: b.number(
                "replay_messages",
                self.replay_messages,
                defaults.replay_messages,
                1_000_000,
            ),
            replay_bytes: b.size("replay_bytes", self.replay_bytes, defaults.replay_bytes, 1 << 30),
            page_size: b.number("page_size", self.page_size, defaults.page_size, 100_000),
            concurrent_starts: b.number(
                "concurrent_starts",
                self.concurrent_starts,
                defaults.concurrent_starts,
                1_000,
            ),
            drain: b.span("drain", self.drain, defaults.drain, Duration::ZERO),
            stop_budget: b.span(
                "stop_budget",
                self.stop_budget,
                defaults.stop_budget,
                Duration::from_millis(500),
            ),
            cgroups: self.cgroups.unwrap_or(defaults.cgroups),
        };
        if limits.drain >= limits.stop_budget {
            if budget_is_ours {
                // The difference between the two is what children are given to stop.
                limits.stop_budget = limits.drain + defaults.stop_budget.saturating_sub(defaults.drain);
            } else {
                let message = format!(
                    "must be shorter than `limits.stop_budget` ({})",
                    Span(limits.stop_budget)
                );
                b.mistakes.push(at.join("drain"), message);
            }
        }
        limits
    }
}

impl RawNames {
    pub(super) fn check(self, at: &KeyPath, mistakes: &mut Mistakes) -> Names {
        let value = self.max_length.map_or(Names::default().max_length, |Whole(n)| {
            usize::try_from(n).unwrap_or(usize::MAX)
        });
        let mut bounds = Bounds { at, mistakes };
        Names {
            max_length: bounds.within("max_length", value, 16, 1_024, |n| n.to_string()),
        }
    }
}

impl From<&Limits> for RawLimits {
    fn from(limits: &Limits) -> Self {
        let whole = |n: usize| Some(Whole(n as u64));
        Self {
            max_body_bytes: Some(Size(limits.max_body_bytes)),
            max_line_bytes: Some(Size(limits.max_line_bytes)),
            session_ttl: Some(Span(limits.session_ttl)),
            max_sessions: whole(limits.max_sessions),
            replay_messages: whole(limits.replay_messages),
            replay_bytes: Some(Size(limits.replay_bytes)),
            page_size: whole(limits.page_size),
            concurrent_starts: whole(limits.concurrent_starts),
            drain: Some(Span(limits.drain)),
            stop_budget: Some(Span(limits.stop_budget)),
            cgroups: Some(limits.cgroups),
        }
    }
}

impl From<&Names> for RawNames {
    fn from(names: &Names) -> Self {
        Self {
            max_length: Some(Whole(names.max_length as u64)),
        }
    }
}
