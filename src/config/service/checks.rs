//! From services as written to services that can run, or to a list of what is wrong with them.

use std::{
    collections::{BTreeMap, btree_map::Entry},
    path::{Path, PathBuf},
    time::Duration,
};

use super::{
    raw::{RawRestart, RawService, RawTimeouts},
    remote::{self, RemoteTransport},
    types::{Command, Prefix, Restart, Service, Source, Timeouts, ToolSettings},
};
use crate::config::{
    mistakes::{KeyPath, Mistakes},
    name::{self, ServiceName},
    scalar::{Span, Switch, Text, Whole, Words},
    secret::Secret,
    twin::Files,
};

/// Most instances of one service.
const MOST_INSTANCES: u64 = 64;

/// The keys that say what a service runs.
const SOURCES: [&str; 3] = ["command", "url", "builtin"];

/// What is collected while services are checked.
pub(in crate::config) struct Context<'a> {
    pub(in crate::config) files: &'a mut Files,
    pub(in crate::config) mistakes: &'a mut Mistakes,
    pub(in crate::config) warnings: &'a mut Vec<String>,
}

/// Checks all services: each by itself, and that their tools' names cannot meet.
pub(in crate::config) fn check_services(
    raw: BTreeMap<String, RawService>,
    at: &KeyPath,
    context: &mut Context<'_>,
) -> BTreeMap<ServiceName, Service> {
    let mut services: BTreeMap<ServiceName, Service> = BTreeMap::new();
    for (key, raw) in raw {
        let at = at.join(&key);
        match ServiceName::new(&key) {
            Err(error) => context
                .mistakes
                .suggest(at, error.to_string(), Some(name::nearest(&key))),
            Ok(name) => {
                if let Some(service) = check(raw, name, &at, context) {
                    services.insert(service.name.clone(), service);
                }
            }
        }
    }
    let mut owners: BTreeMap<&str, &ServiceName> = BTreeMap::new();
    for service in services.values().filter(|service| service.enabled) {
        let Some(prefix) = service.prefix_text() else { continue };
        if let Some(owner) = owners.insert(prefix, &service.name) {
            let message =
                format!("the tools of `{owner}` already begin with `{prefix}__`; give one of the two another prefix");
            context.mistakes.push(at.join(&service.name).join("prefix"), message);
        }
    }
    services
}

fn check(raw: RawService, name: ServiceName, at: &KeyPath, context: &mut Context<'_>) -> Option<Service> {
    let enabled = raw.enabled.is_none_or(bool::from);
    let source = source(
        Origin {
            command: raw.command,
            args: raw.args,
            env: raw.env,
            env_files: raw.env_files,
            cwd: raw.cwd,
            builtin: raw.builtin.is_some(),
            url: raw.url,
            transport: raw.transport,
            headers: raw.headers,
            header_files: raw.header_files,
        },
        at,
        context,
    );
    let mistakes = &mut *context.mistakes;
    let tools = raw.tools.unwrap_or_default().into_iter();
    let defaults = Timeouts::default_for(source.as_ref().unwrap_or(&Source::Demo));
    let service = Service {
        enabled,
        prefix: prefix(raw.prefix, at, mistakes),
        sharing: raw.sharing.unwrap_or_default(),
        placement: raw.placement.unwrap_or_default(),
        replace: raw.replace.unwrap_or_default(),
        instances: instances(raw.instances, at, mistakes),
        start: raw.start.unwrap_or_default(),
        idle_timeout: raw
            .idle_timeout
            .map(|span| positive(Some(span), span.0, &at.join("idle_timeout"), mistakes)),
        era: raw.era.unwrap_or_default(),
        when_down: raw.when_down.unwrap_or_default(),
        tools: tools
            .map(|(tool, raw)| {
                let safe_to_repeat = raw.safe_to_repeat.is_some_and(|Switch(safe)| safe);
                (tool, ToolSettings { safe_to_repeat })
            })
            .collect(),
        timeouts: timeouts(
            &raw.timeouts.unwrap_or_default(),
            defaults,
            &at.join("timeouts"),
            mistakes,
        ),
        restart: restart(&raw.restart.unwrap_or_default(), &at.join("restart"), mistakes),
        limits: raw.limits.unwrap_or_default().check(&at.join("limits"), mistakes),
        name,
        source: source?,
    };
    Some(service)
}

/// Everything that says what a service runs.
struct Origin {
    command: Option<Text>,
    args: Option<Words>,
    env: Option<BTreeMap<String, Secret<String>>>,
    env_files: Option<BTreeMap<String, Text>>,
    cwd: Option<Text>,
    builtin: bool,
    url: Option<Text>,
    transport: Option<RemoteTransport>,
    headers: Option<BTreeMap<String, Secret<String>>>,
    header_files: Option<BTreeMap<String, Text>>,
}

impl Origin {
    fn is_shown_as_remote(&self) -> bool {
        self.transport.is_some() || self.headers.is_some() || self.header_files.is_some()
    }

    fn is_shown_as_command(&self) -> bool {
        self.args.is_some() || self.env.is_some() || self.env_files.is_some() || self.cwd.is_some()
    }
}

fn source(origin: Origin, at: &KeyPath, context: &mut Context<'_>) -> Option<Source> {
    let known_wrong = SOURCES
        .iter()
        .any(|key| context.mistakes.under(&at.join(key)) || context.mistakes.meant(at, key));
    let (shown, told_to_run) = (origin.is_shown_as_remote(), origin.is_shown_as_command());
    match (origin.command, origin.builtin, origin.url) {
        (None, false, None) => {
            if !known_wrong {
                context.mistakes.push(
                    at.clone(),
                    "needs a `command`, the program to run, or a `url`, where a server runs",
                );
            }
            None
        }
        (None, false, Some(url)) => {
            if told_to_run {
                context.mistakes.push(
                    at.clone(),
                    "`args`, `env` and `cwd` belong to a `command`, not to a remote server",
                );
            }
            let headers = from_files("headers", origin.headers, origin.header_files, at, context);
            remote::check(&url, origin.transport, Some(headers), at, context.mistakes).map(Source::Remote)
        }
        (None, true, None) => Some(Source::Demo),
        (Some(Text(program)), false, None) => {
            if shown {
                context.mistakes.push(
                    at.clone(),
                    "`transport`, `headers` and `header_files` belong to a remote server, not to a `command`",
                );
            }
            let args = origin.args.unwrap_or_default().0;
            let mistakes = &mut *context.mistakes;
            check_program(&program, &args, at, mistakes);
            let env = variables(origin.env, origin.env_files, at, context);
            Some(Source::Command(Command {
                program,
                args,
                env,
                cwd: folder(origin.cwd, at, context.warnings),
            }))
        }
        (Some(_), ..) | (None, true, Some(_)) => {
            context.mistakes.push(
                at.clone(),
                "has more than one of `command`, `url` and `builtin`; choose one",
            );
            None
        }
    }
}

fn check_program(program: &str, args: &[String], at: &KeyPath, mistakes: &mut Mistakes) {
    let at_command = at.join("command");
    if program.trim().is_empty() {
        mistakes.push(at_command, "is empty");
    } else if program.contains('\0') || args.iter().any(|arg| arg.contains('\0')) {
        mistakes.push(at_command, "contains a NUL character");
    } else if args.is_empty() && program.contains(char::is_whitespace) && !Path::new(program).exists() {
        let mut words = program.split_whitespace();
        let first = words.next().unwrap_or_default();
        let rest = words.collect::<Vec<_>>().join(", ");
        let message = format!("is one program, not a shell line; write `command: {first}` and `args: [{rest}]`");
        mistakes.push(at_command, message);
    }
}

/// What was written under `key`, and what stands in the files of the key beside it.
fn from_files(
    key: &str,
    written: Option<BTreeMap<String, Secret<String>>>,
    files: Option<BTreeMap<String, Text>>,
    at: &KeyPath,
    context: &mut Context<'_>,
) -> BTreeMap<String, Secret<String>> {
    let mut all = written.unwrap_or_default();
    let files_key = format!("{}_files", key.trim_end_matches('s'));
    for (name, Text(file)) in files.unwrap_or_default() {
        let at = at.join(&files_key).join(&name);
        match all.entry(name) {
            Entry::Occupied(entry) => {
                let message = format!("`{}` also stands in `{key}`; keep one of the two", entry.key());
                context.mistakes.push(at, message);
            }
            Entry::Vacant(entry) => {
                if let Some(value) = context.files.read(Path::new(&file), &at, context.mistakes) {
                    entry.insert(value);
                }
            }
        }
    }
    all
}

fn variables(
    env: Option<BTreeMap<String, Secret<String>>>,
    files: Option<BTreeMap<String, Text>>,
    at: &KeyPath,
    context: &mut Context<'_>,
) -> BTreeMap<String, Secret<String>> {
    let env = from_files("env", env, files, at, context);
    for (name, value) in &env {
        let at = at.join("env").join(name);
        if name.is_empty() || name.contains(['=', '\0']) || value.expose().contains('\0') {
            context
                .mistakes
                .push(at, "is not a variable that a program could be given");
        }
    }
    env
}

/// A folder that is not there costs only this service, so it is no mistake: it may still be mounted.
fn folder(cwd: Option<Text>, at: &KeyPath, warnings: &mut Vec<String>) -> Option<PathBuf> {
    let folder = PathBuf::from(cwd?.0);
    if !folder.is_dir() {
        warnings.push(format!("{}: `{}` is not a folder", at.join("cwd"), folder.display()));
    }
    Some(folder)
}

fn prefix(raw: Option<Text>, at: &KeyPath, mistakes: &mut Mistakes) -> Prefix {
    let Some(Text(text)) = raw else { return Prefix::Service };
    match text.as_str() {
        "service" => Prefix::Service,
        "none" => Prefix::None,
        _ => {
            if let Err(error) = name::check(&text) {
                let message = format!("{error} (the rule of names also holds for prefixes; `none` leaves it out)");
                mistakes.push(at.join("prefix"), message);
            }
            Prefix::Text(text)
        }
    }
}

fn instances(raw: Option<Whole>, at: &KeyPath, mistakes: &mut Mistakes) -> u32 {
    let wanted = raw.map_or(1, u64::from);
    if !(1..=MOST_INSTANCES).contains(&wanted) {
        mistakes.push(
            at.join("instances"),
            format!("lies between 1 and {MOST_INSTANCES}, {wanted} does not"),
        );
    }
    u32::try_from(wanted.clamp(1, MOST_INSTANCES)).expect("clamped to 64 above")
}

fn positive(raw: Option<Span>, default: Duration, at: &KeyPath, mistakes: &mut Mistakes) -> Duration {
    let span = raw.map_or(default, |Span(span)| span);
    if span.is_zero() {
        mistakes.push(at.clone(), "must be longer than nothing");
    }
    span
}

fn timeouts(raw: &RawTimeouts, defaults: Timeouts, at: &KeyPath, mistakes: &mut Mistakes) -> Timeouts {
    Timeouts {
        start: positive(raw.start, defaults.start, &at.join("start"), mistakes),
        call: positive(raw.call, defaults.call, &at.join("call"), mistakes),
        stop: positive(raw.stop, defaults.stop, &at.join("stop"), mistakes),
    }
}

fn restart(raw: &RawRestart, at: &KeyPath, mistakes: &mut Mistakes) -> Restart {
    let defaults = Restart::default();
    Restart {
        policy: raw.policy.unwrap_or(defaults.policy),
        max_delay: positive(raw.max_delay, defaults.max_delay, &at.join("max_delay"), mistakes),
    }
}
