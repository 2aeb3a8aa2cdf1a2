//! Reads the file, prints YAML on stdout and what to do by hand on stderr.

use std::{
    fs,
    io::{self, Read as _},
    path::Path,
    process::ExitCode,
};

use anyhow::{Context as _, bail};
use serde_json::{Map, Value};

use super::{entry, form, secrets::Secrets};
use crate::{
    cli::{exit::Exit, output},
    config::{nearest_name, strip_comments},
};

/// Prints the services of `file` in our form.
pub(in crate::cli) fn run(file: &Path) -> ExitCode {
    match read(file).and_then(|text| convert(&text, &file.display().to_string())) {
        Ok(converted) => {
            for note in &converted.notes {
                output::note(note);
            }
            output::answer(&converted.yaml)
        }
        Err(error) => {
            output::note(&format_args!("{}: {error:#}", file.display()));
            Exit::Failed.into()
        }
    }
}

fn read(file: &Path) -> anyhow::Result<String> {
    if file == Path::new("-") {
        let mut text = String::new();
        io::stdin().read_to_string(&mut text).context("cannot read stdin")?;
        return Ok(text);
    }
    fs::read_to_string(file).context("cannot be read")
}

/// Our form of a client's file, and what people should know about it.
#[derive(Debug)]
pub(super) struct Converted {
    pub(super) yaml: String,
    pub(super) notes: Vec<String>,
}

/// Converts the text of a client's file called `origin`.
pub(super) fn convert(text: &str, origin: &str) -> anyhow::Result<Converted> {
    let text = strip_comments(text).map_err(|error| anyhow::anyhow!("{error}"))?;
    let file: Value = serde_json::from_str(&text).context("is not JSON, not even with comments")?;
    let Some(servers) = form::servers(&file) else {
        bail!("there is no `mcpServers`, `servers` or `context_servers` in it");
    };
    let mut notes = Vec::new();
    let mut secrets = Secrets::default();
    let mut services = Map::new();
    for (their_name, server) in servers {
        let name = free_name(&nearest_name(their_name), &services);
        if name != *their_name {
            notes.push(format!(
                "`{their_name}` is called `{name}` now: names have letters, digits, `-` and single `_`"
            ));
        }
        match server {
            Value::Object(server) => {
                let service = entry::translate(&name, server, &mut secrets, &mut notes);
                services.insert(name, Value::Object(service));
            }
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_) => {
                notes.push(format!("`{their_name}` was left out: it is not a section"));
            }
        }
    }
    notes.extend(secrets.notes());
    let body = serde_saphyr::to_string(&serde_json::json!({ "services": services }))?;
    Ok(Converted {
        yaml: format!("# Imported from {}\n{body}", origin.replace(['\n', '\r'], " ")),
        notes,
    })
}

/// `name`, or `name-2` and so on if it is taken.
fn free_name(name: &str, taken: &Map<String, Value>) -> String {
    let numbered = (2..).map(|number| {
        let short: String = name.chars().take(28).collect();
        format!("{short}-{number}")
    });
    std::iter::once(name.to_owned())
        .chain(numbered)
        .find(|candidate| !taken.contains_key(candidate))
        .expect("there is always another number")
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::config::{Config, Flags, Source, Surroundings};

    /// What the printed YAML means, with `variables` set.
    fn reload(yaml: &str, variables: &[(&str, &str)]) -> Config {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("mcpvisor.yaml"), yaml).unwrap();
        let variables: BTreeMap<_, _> = variables
            .iter()
            .map(|(k, v)| ((*k).to_owned(), (*v).to_owned()))
            .collect();
        let surroundings = Surroundings {
            folder: dir.path().to_owned(),
            variables,
            ..Surroundings::default()
        };
        Config::load_in(&Flags::default(), &surroundings)
            .unwrap_or_else(|error| panic!("{error}\n{yaml}"))
            .config
    }

    fn run_of(config: &Config, name: &str) -> (String, Vec<String>, Vec<(String, String)>) {
        match &config.services[name].source {
            Source::Command(command) => (
                command.program.clone(),
                command.args.clone(),
                command
                    .env
                    .iter()
                    .map(|(k, v)| (k.clone(), v.expose().clone()))
                    .collect(),
            ),
            other @ (Source::Demo | Source::Remote(_)) => panic!("{name} is {other:?}"),
        }
    }

    fn pairs(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
        pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect()
    }

    #[test]
    fn a_claude_desktop_file() {
        let text = r#"{"globalShortcut": "x", "mcpServers": {
            "github": {"command": "docker", "args": ["run", "-i", "mcp/github"], "env": {"GITHUB_TOKEN": "ghp_canary123456", "LEVEL": "a$b"}},
            "My Files": {"command": "npx", "args": ["-y", "files", "/a b"], "disabled": true},
            "gitlab": {"command": "npx", "args": ["gl", "--token", "canary-args-1", "--key=canary-args-2"], "env": {"GITHUB_TOKEN": "other-canary"}}
        }}"#;
        let converted = convert(text, "claude_desktop_config.json").unwrap();
        let shown = format!("{}{:?}", converted.yaml, converted.notes);
        assert!(!shown.contains("canary"), "{shown}");
        let config = reload(
            &converted.yaml,
            &[
                ("GITHUB_TOKEN", "1"),
                ("GITLAB_GITHUB_TOKEN", "2"),
                ("GITLAB_TOKEN", "3"),
                ("GITLAB_KEY", "4"),
            ],
        );
        let (program, args, env) = run_of(&config, "github");
        assert_eq!(
            (program.as_str(), args),
            ("docker", ["run", "-i", "mcp/github"].map(str::to_owned).to_vec())
        );
        assert_eq!(env, pairs(&[("GITHUB_TOKEN", "1"), ("LEVEL", "a$b")]));
        assert_eq!(run_of(&config, "gitlab").1, ["gl", "--token", "3", "--key=4"]);
        assert_eq!(run_of(&config, "gitlab").2, pairs(&[("GITHUB_TOKEN", "2")]));
        assert!(!config.services["My-Files"].enabled);
        assert!(
            shown.contains("GITLAB_GITHUB_TOKEN") && shown.contains("My-Files"),
            "{shown}"
        );
    }

    #[test]
    fn a_vs_code_file_with_comments() {
        let text = r#"{
          // asked for once
          "inputs": [{"id": "gh-key", "type": "promptString", "password": true},],
          "servers": {
            "one": {"type": "stdio", "command": "x", "args": ["${workspaceFolder}/s", "${env:HOME}"], "env": {"K": "${input:gh-key}"}, "envFile": "y"},
            /* far away */
            "two": {"type": "http", "url": "https://example.org/mcp", "headers": {"Authorization": "Bearer canary-header"}},
          },
        }"#;
        let converted = convert(text, "mcp.json").unwrap();
        assert!(!converted.yaml.contains("canary"), "{}", converted.yaml);
        let config = reload(
            &converted.yaml,
            &[
                ("HOME", "/h"),
                ("GH_KEY", "v"),
                ("WORKSPACE_FOLDER", "/w"),
                ("TWO_AUTHORIZATION", "t"),
            ],
        );
        assert_eq!(
            run_of(&config, "one"),
            (
                "x".to_owned(),
                vec!["/w/s".to_owned(), "/h".to_owned()],
                pairs(&[("K", "v")])
            )
        );
        let Source::Remote(remote) = &config.services["two"].source else {
            panic!("{:?}", config.services["two"])
        };
        assert_eq!(
            (
                remote.address().as_str(),
                remote.headers["Authorization"].expose().as_str()
            ),
            ("https://example.org/mcp", "Bearer t")
        );
        assert!(
            converted.notes.iter().any(|note| note.contains("envFile")),
            "{:?}",
            converted.notes
        );
    }

    #[test]
    fn zed_in_both_forms_and_vs_code_settings() {
        let text = r#"{"theme": "x", "context_servers": {
            "old": {"command": {"path": "/bin/a", "args": ["b"], "env": {"C": "d"}}, "settings": {}},
            "new": {"source": "custom", "command": "e", "args": ["f"], "enabled": false}
        }}"#;
        let config = reload(&convert(text, "settings.json").unwrap().yaml, &[]);
        assert_eq!(
            run_of(&config, "old"),
            ("/bin/a".to_owned(), vec!["b".to_owned()], pairs(&[("C", "d")]))
        );
        assert!(!config.services["new"].enabled);
        let text = r#"{"editor.tabSize": 2, "mcp": {"servers": {"a": {"command": "b"}}}}"#;
        assert_eq!(run_of(&reload(&convert(text, "x").unwrap().yaml, &[]), "a").0, "b");
    }

    #[test]
    fn what_is_no_such_file_says_so() {
        for (text, part) in [("{}", "mcpServers"), ("nonsense", "not JSON"), ("{} /*", "no end")] {
            let error = format!("{:#}", convert(text, "x").unwrap_err());
            assert!(error.contains(part), "{error}");
        }
    }
}
