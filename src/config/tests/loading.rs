//! From files, variables and flags to a configuration.

use std::{path::Path, time::Duration};

use super::place::{Place, command};
use crate::config::*;

#[test]
fn nothing_configured_is_one_demo_on_loopback() {
    let place = Place::new();
    let expected = Config {
        data_dir: place.dir.path().join("data"),
        ..Config::default()
    };
    assert_eq!(place.config(), expected);
    assert_eq!(expected.services["demo"].source, Source::Demo);
    assert_eq!(place.load().unwrap().warnings, [""; 0]);
}

#[test]
fn each_layer_wins_over_the_one_before() {
    let mut place = Place::with("mcpvisor.yaml", "http: {port: 1001}\nlog: {level: debug}\n");
    assert_eq!(place.config().http.port, 1001);
    place.write(".env", "MCPVISOR_HTTP__PORT=1002\nMCPVISOR_ADMIN__PORT=2002\n");
    assert_eq!(place.config().http.port, 1002);
    place.write(".env.local", "MCPVISOR_HTTP__PORT=1003\n");
    assert_eq!(place.config().http.port, 1003);
    place = place.set("MCPVISOR_HTTP__PORT", "1004");
    let config = place.config();
    assert_eq!(
        (config.http.port, config.admin.port, config.log.level.as_str()),
        (1004, 2002, "debug")
    );
    let flags = Flags {
        port: Some(1005),
        transport: Some(Transport::Sse),
        admin: true,
        ..Flags::default()
    };
    let config = Config::load_in(&flags, &place.surroundings).unwrap().config;
    assert_eq!(
        (config.http.port, config.transport, config.admin.enabled),
        (1005, Transport::Sse, true)
    );
}

#[test]
fn limits_of_a_service_in_every_spelling() {
    let place = Place::with(
        "mcpvisor.yaml",
        "limits: {cgroups: \"off\"}\n\
         services:\n\
         \x20 a: {command: x, limits: {memory: 512MiB, pids: 256, open_files: 1024, cpus: 0.5}}\n\
         \x20 b: {command: x, limits: {memory: \"4194304\"}}\n",
    )
    .set("MCPVISOR_SERVICES__B__LIMITS__CPUS", "2");
    let config = place.config();
    assert_eq!(config.limits.cgroups, Cgroups::Off);
    let limits: Vec<_> = config.services.values().map(|service| service.limits).collect();
    let wanted = [
        ServiceLimits {
            memory: Some(512 << 20),
            pids: Some(256),
            open_files: Some(1024),
            cpus: Some(500),
        },
        ServiceLimits {
            memory: Some(4 << 20),
            cpus: Some(2000),
            ..ServiceLimits::default()
        },
    ];
    assert_eq!(limits, wanted);
}

#[test]
fn every_mistake_is_told_at_once_with_its_place() {
    let place = Place::with(
        "mcpvisor.yaml",
        "http: {port: 70000, hots: x}\n\
         transprot: both\n\
         limits: {max_line_bytes: 1GiB, drain: soon, cgroups: maybe}\n\
         services:\n\
         \x20 good: {command: x}\n\
         \x20 git hub: {command: x}\n\
         \x20 broken: {comand: x, start: sometimes, timeouts: {call: []}}\n\
         \x20 remote: {url: \"example.org/mcp\"}\n\
         \x20 shell: {command: npx -y thing}\n\
         \x20 empty: {}\n\
         \x20 greedy: {command: x, limits: {memory: 1MiB, pids: 0, open_files: 9, cpus: 0.001, disk: 1GiB}}\n",
    )
    .set("MCPVISOR_LOG__FORMAT", "jsn");
    let mut found = place.mistakes();
    found.sort();
    assert_eq!(
        found,
        [
            "http.hots: unknown key; did you mean `host`? (mcpvisor.yaml)",
            "http.port: a port lies between 0 and 65535, 70000 does not (mcpvisor.yaml)",
            "limits.cgroups: expected one of `auto`, `off`, found `maybe` (mcpvisor.yaml)",
            "limits.drain: expected a length of time such as `500ms`, `30s`, `5m` or `2h`, found `soon` (mcpvisor.yaml)",
            "limits.max_line_bytes: lies between 1KiB and 64MiB, 1GiB does not (mcpvisor.yaml)",
            "log.format: expected one of `text`, `json`, found `jsn`; did you mean `json`? (MCPVISOR_LOG__FORMAT in the environment)",
            "services.broken.comand: unknown key; did you mean `command`? (mcpvisor.yaml)",
            "services.broken.start: expected one of `eager`, `lazy`, found `sometimes` (mcpvisor.yaml)",
            "services.broken.timeouts.call: expected a single value, found a list (mcpvisor.yaml)",
            "services.empty: needs a `command`, the program to run, or a `url`, where a server runs (mcpvisor.yaml)",
            "services.git hub: a name has only letters, digits, `-` and single `_`, not ' '; did you mean `git-hub`? (mcpvisor.yaml)",
            "services.greedy.limits.cpus: lies between 0.01 and 8192 (mcpvisor.yaml)",
            "services.greedy.limits.disk: unknown key; known here: `memory`, `pids`, `open_files`, `cpus` (mcpvisor.yaml)",
            "services.greedy.limits.memory: lies between 4MiB and 1048576GiB (mcpvisor.yaml)",
            "services.greedy.limits.open_files: lies between 16 and 1073741824 (mcpvisor.yaml)",
            "services.greedy.limits.pids: lies between 1 and 4194304 (mcpvisor.yaml)",
            "services.remote.url: expected an address such as `https://mcp.example.org/mcp` (mcpvisor.yaml)",
            "services.shell.command: is one program, not a shell line; write `command: npx` and `args: [-y, thing]` (mcpvisor.yaml)",
            "transprot: unknown key; did you mean `transport`? (mcpvisor.yaml)",
        ]
    );
}

#[test]
fn a_service_with_everything() {
    let place = Place::with(
        "mcpvisor.yaml",
        "services:\n\
         \x20 files:\n\
         \x20   command: npx\n\
         \x20   args: [-y, server, 7]\n\
         \x20   env: {PORT: 8080, DEBUG: true, API_KEY: \"${KEY}\", PLAIN: \"a$$b\"}\n\
         \x20   cwd: .\n\
         \x20   prefix: fs\n\
         \x20   sharing: per-client\n\
         \x20   placement: one-hub\n\
         \x20   replace: stop-first\n\
         \x20   instances: \"${N:3}\"\n\
         \x20   start: lazy\n\
         \x20   idle_timeout: 5m\n\
         \x20   era: modern\n\
         \x20   when_down: hide\n\
         \x20   tools: {read: {safe_to_repeat: true}}\n\
         \x20   timeouts: {call: 10s}\n\
         \x20   restart: {policy: on-failure, max_delay: 5}\n",
    )
    .set("KEY", "canary-7: [x]");
    let config = place.config();
    let service = &config.services["files"];
    let run = command(&config, "files");
    assert_eq!(run.args, ["-y", "server", "7"]);
    let env: Vec<_> = run.env.iter().map(|(k, v)| (k.as_str(), v.expose().as_str())).collect();
    assert_eq!(
        env,
        [
            ("API_KEY", "canary-7: [x]"),
            ("DEBUG", "true"),
            ("PLAIN", "a$b"),
            ("PORT", "8080")
        ]
    );
    assert_eq!(run.cwd.as_deref(), Some(place.dir.path().join(".").as_path()));
    assert_eq!((service.prefix_text(), service.instances), (Some("fs"), 3));
    assert_eq!(
        (service.sharing, service.placement, service.replace),
        (Sharing::PerClient, Placement::OneHub, Replace::StopFirst)
    );
    assert_eq!(
        (service.start, service.era, service.when_down),
        (Start::Lazy, EraChoice::Modern, WhenDown::Hide)
    );
    assert_eq!(service.idle_timeout, Some(Duration::from_mins(5)));
    assert!(service.tools["read"].safe_to_repeat);
    assert_eq!(
        (service.timeouts.start, service.timeouts.call),
        (Duration::from_mins(3), Duration::from_secs(10))
    );
    assert_eq!(
        service.restart,
        Restart {
            policy: RestartPolicy::OnFailure,
            max_delay: Duration::from_secs(5)
        }
    );
    let shown = format!("{config:?}{}", config.to_yaml());
    assert!(!shown.contains("canary"), "{shown}");
    assert_eq!(config.secrets(), [Secret::new("canary-7: [x]".to_owned())]);
}

#[test]
fn arguments_that_are_secrets_are_not_shown() {
    let place = Place::with(
        "mcpvisor.yaml",
        "services: {a: {command: x, args: [--db, \"pg://h?k=${DB_PASSWORD}\", --api-key=canary-2, --token, canary-3, plain]}}\n",
    )
    .set("DB_PASSWORD", "canary-1");
    let config = place.config();
    assert_eq!(command(&config, "a").args[1], "pg://h?k=canary-1");
    let shown = format!("{}{:?}", config.to_yaml(), config.services);
    assert!(
        !config.to_yaml().contains("canary") && !shown.contains("canary-2") && !shown.contains("canary-3"),
        "{shown}"
    );
    assert!(
        shown.contains("pg://h?k=***") && shown.contains("--api-key=***") && shown.contains("plain"),
        "{shown}"
    );
    assert_eq!(config.secrets().len(), 3);
}

#[test]
fn a_program_is_found_beside_the_file() {
    let place = Place::with(
        "mcpvisor.yaml",
        "services: {a: {command: ./s}, b: {command: s}, c: {command: ./s, cwd: sub}, d: {command: ~/s, cwd: sub}, e: {command: /s}}\n",
    )
    .set("HOME", "/home/u");
    let config = place.config();
    let beside = place.dir.path().join("./s").display().to_string();
    let programs = ["a", "b", "c", "d", "e"].map(|name| command(&config, name).program);
    assert_eq!(programs, [beside.as_str(), "s", "./s", "/home/u/s", "/s"]);
}

#[test]
fn what_is_shown_reads_back_as_the_same() {
    let place = Place::with(
        "mcpvisor.yaml",
        "network: {public_url: \"https://h/\", allowed_hosts: [a, \"b:1\"]}\n\
         services: {a: {command: \"/bin/x y\", args: [\"no\", \"1.10\", \"${X:}\", \"- a: b\"], prefix: none}, b: {builtin: demo, enabled: false}}\n",
    );
    let config = place.config();
    place.write("mcpvisor.yaml", &config.to_yaml());
    assert_eq!(place.config(), config, "{}", config.to_yaml());
    assert_eq!(command(&config, "a").args, ["no", "1.10", "", "- a: b"]);
}

#[test]
fn a_desktop_file_is_accepted_as_it_is() {
    let place = Place::with(
        "mcpvisor.json",
        r#"{
          // written by an editor
          "globalShortcut": "x",
          "mcpServers": {
            "My Files": {"command": "npx", "args": ["-y", "files"], "env": {"A": "1"}, "disabled": false, "autoApprove": []},
            "off": {"url": "https://example.org", "type": "http", "disabled": true},
          },
        }"#,
    );
    let loaded = place.load().unwrap();
    assert_eq!(
        loaded
            .config
            .services
            .keys()
            .map(ServiceName::as_str)
            .collect::<Vec<_>>(),
        ["My-Files", "off"]
    );
    assert_eq!(command(&loaded.config, "My-Files").args, ["-y", "files"]);
    assert_eq!(loaded.warnings.len(), 3, "{:#?}", loaded.warnings);
    place.write(
        "mcpvisor.json",
        r#"{"mcpServers": {"far away": {"url": "https://example.org", "type": "ws"}}}"#,
    );
    assert_eq!(
        place.mistakes(),
        [
            "mcpServers.far away.transport: does not fit the `url`: a WebSocket begins with `ws://` or `wss://`, everything else with `http://` or `https://` (mcpvisor.json)"
        ]
    );
}

#[test]
fn other_machines_only_with_a_token() {
    let place = Place::with("mcpvisor.yaml", "http: {host: 0.0.0.0}\n");
    let refused = place.mistakes();
    assert!(
        refused.len() == 1 && refused[0].starts_with("http.host: ") && refused[0].contains("auth.tokens"),
        "{refused:?}"
    );
    let place = place.set(
        "MCPVISOR_AUTH__TOKENS",
        r#"[{"name": "me", "token": "0123456789abcdef"}]"#,
    );
    let config = place.config();
    assert_eq!((config.auth.mcp, config.auth.tokens.len()), (McpAuth::Required, 1));
    let place = place.set("MCPVISOR_AUTH__MCP", "open");
    assert!(place.mistakes()[0].starts_with("auth.mcp: "));
    let place = place
        .set("MCPVISOR_AUTH__MCP", "")
        .set("MCPVISOR_AUTH__TOKENS", r#"[{"name": "me", "token": "short"}]"#);
    assert!(place.mistakes()[0].starts_with("auth.tokens: "));
    // Nothing listens there, so nothing is refused.
    let place = Place::with("mcpvisor.yaml", "transport: stdio\nhttp: {host: 0.0.0.0}\n");
    assert_eq!(place.config().transport, Transport::Stdio);
}

#[test]
fn a_secret_may_stand_in_a_file() {
    let place = Place::with(
        "mcpvisor.yaml",
        "auth: {tokens: [{name: me, token_file: key}, {name: you}, {name: me, token: a b}]}\n",
    );
    place.write("key", "0123456789abcdef\n");
    let found = place.mistakes();
    assert_eq!(
        found,
        [
            "auth.tokens[1]: needs `token` or `token_file` (mcpvisor.yaml)",
            "auth.tokens[2].name: there is another token called `me` (mcpvisor.yaml)",
            "auth.tokens[2].token: a token has only visible ASCII characters and no spaces (mcpvisor.yaml)",
        ]
    );
    place.write("mcpvisor.yaml", "auth: {tokens: [{name: me, token_file: key}]}\n");
    let loaded = place.load().unwrap();
    assert_eq!(loaded.config.auth.tokens[0].token.expose(), "0123456789abcdef");
    assert!(loaded.watched.contains(&place.dir.path().join("key")));
}

#[test]
fn two_services_with_the_same_prefix() {
    let place = Place::with(
        "mcpvisor.yaml",
        "services: {a: {command: x}, b: {command: x, prefix: a}, c: {command: x, prefix: a, enabled: false}}\n",
    );
    assert_eq!(
        place.mistakes(),
        [
            "services.b.prefix: the tools of `a` already begin with `a__`; give one of the two another prefix (mcpvisor.yaml)"
        ]
    );
}

#[test]
fn toml_and_variables_of_other_makers() {
    let place = Place::with(
        "mcpvisor.toml",
        "[services.a]\ncommand = \"x\"\nenv = { A = \"${MISSING}\" }\nenabled = false\n",
    )
    .set("DATABASE_URL", "postgres://u:p@h/d")
    .set("MCPVISOR_SERVICES__A__ENV__B", "2")
    .set("MCPVISOR_DATADIR", "/x");
    let loaded = place.load().unwrap();
    assert_eq!(
        loaded.config.storage.database_url,
        Some(Secret::new("postgres://u:p@h/d".to_owned()))
    );
    assert_eq!(command(&loaded.config, "a").env.len(), 2);
    assert_eq!(
        loaded.warnings,
        ["MCPVISOR_DATADIR is not a setting and was left out; did you mean `MCPVISOR_DATA_DIR`?"]
    );
    place.write(
        "mcpvisor.toml",
        "[services.a]\ncommand = \"x\"\nenv = { A = \"${MISSING}\" }\n",
    );
    assert!(place.mistakes()[0].starts_with("services.a.env.A: the variable `MISSING` is not set"));
}

#[test]
fn a_file_that_does_not_parse_shows_no_secret() {
    for (file, text) in [
        ("mcpvisor.yaml", "a: canary-9\n b: ["),
        ("mcpvisor.toml", "a = canary-9"),
        ("mcpvisor.json", "{\"a\": canary-9}"),
    ] {
        let mistakes = Place::with(file, text).mistakes();
        assert!(
            mistakes.len() == 1 && mistakes[0].ends_with(&format!("({file})")),
            "{mistakes:?}"
        );
        assert!(
            !mistakes[0].contains("canary") && mistakes[0].contains("line"),
            "{mistakes:?}"
        );
    }
    let place = Place::new();
    let flags = Flags {
        config: Some(Path::new("nowhere.yaml").to_owned()),
        ..Flags::default()
    };
    let error = Config::load_in(&flags, &place.surroundings).unwrap_err();
    assert!(error.to_string().contains("nowhere.yaml"), "{error}");
}
