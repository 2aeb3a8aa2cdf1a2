//! Keeps the module map in `docs/ARCHITECTURE.md` true: who may use whom, how big files get, and what documents may say.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a broken tree should fail the test loudly"
)]

use std::{
    fs,
    path::{Path, PathBuf},
};

/// Every top-level module, bottom-up: a module may use only what stands before it.
const LAYERS: &[&str] = &[
    "clock",
    "config",
    "telemetry",
    "lifecycle",
    "jsonrpc",
    "mcp",
    "demo",
    "storage",
    "auth",
    "supervisor",
    "upstream",
    "catalog",
    "policy",
    "gateway",
    "jobs",
    "downstream",
    "knowledge",
    "analysis",
    "github",
    "admin",
    "app",
    "cli",
];

/// Modules that may use less than everything before them.
const NARROWER: &[(&str, &[&str])] = &[
    ("clock", &[]),
    // The demo server is a child process of its own and knows nothing of the hub.
    ("demo", &["clock", "jsonrpc", "mcp"]),
];

/// Modules that only these others may use.
const PRIVATE_TO: &[(&str, &[&str])] = &[("app", &["cli"]), ("demo", &["cli"])];

const MAX_LINES: usize = 500;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn files_below(dir: &Path, extension: &str, out: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(dir).unwrap_or_else(|e| panic!("{}: {e}", dir.display())) {
        let path = entry.unwrap().path();
        let hidden = path
            .file_name()
            .is_some_and(|name| name.as_encoded_bytes().starts_with(b"."));
        if path.is_dir() && !hidden && !path.ends_with("node_modules") {
            files_below(&path, extension, out);
        } else if path.extension().is_some_and(|found| found == extension) {
            out.push(path);
        }
    }
}

/// The files of `src` with the top-level module each belongs to; the two crate roots belong to none.
fn sources() -> Vec<(PathBuf, String, Option<String>)> {
    let mut files = Vec::new();
    files_below(&root().join("src"), "rs", &mut files);
    files.sort();
    files
        .into_iter()
        .map(|path| {
            let inside = path.strip_prefix(root().join("src")).unwrap().to_owned();
            let first = inside.components().next().unwrap().as_os_str();
            let name = Path::new(first).file_stem().unwrap().to_str().unwrap().to_owned();
            let module = (name != "main" && name != "lib").then_some(name);
            let text = fs::read_to_string(&path).unwrap();
            (inside, text, module)
        })
        .collect()
}

/// The code without its comments, so that a link in a comment is no use.
fn code(text: &str) -> String {
    text.lines()
        .map(|line| line.split("//").next().unwrap_or(""))
        .collect::<Vec<_>>()
        .join("\n")
}

fn first_word(text: &str) -> &str {
    let end = text
        .find(|c: char| !(c.is_alphanumeric() || c == '_'))
        .unwrap_or(text.len());
    text.get(..end).unwrap_or("")
}

/// The names that a path ending in `::` leads to: one, or those of a `{…}` group.
fn heads(rest: &str) -> Vec<&str> {
    let Some(group) = rest.strip_prefix('{') else {
        return vec![first_word(rest)];
    };
    let (mut depth, mut found, mut expecting) = (0_u32, Vec::new(), true);
    for (at, character) in group.char_indices() {
        match character {
            '{' => depth += 1,
            '}' if depth == 0 => break,
            '}' => depth -= 1,
            ',' if depth == 0 => expecting = true,
            c if expecting && c.is_alphabetic() => {
                found.push(first_word(group.get(at..).unwrap_or("")));
                expecting = false;
            }
            _ => {}
        }
    }
    found
}

/// Top-level modules that `text`, a file at `depth` modules below the crate root, names through `crate::` or by
/// climbing there with `super::`.
fn uses(text: &str, depth: usize) -> Vec<String> {
    let text = code(text);
    let mut found: Vec<String> = text
        .split("crate::")
        .skip(1)
        .flat_map(heads)
        .map(str::to_owned)
        .collect();
    let climb = "super::".repeat(depth);
    found.extend(
        text.split(&climb)
            .skip(1)
            .flat_map(heads)
            .filter(|name| LAYERS.contains(name))
            .map(str::to_owned),
    );
    found
}

/// How many modules deep a file is: `src/a/b.rs` is `a::b`, two; `src/a/mod.rs` is `a`, one.
fn depth_of(inside: &Path) -> usize {
    let parts = inside.components().count();
    if inside.ends_with("mod.rs") { parts - 1 } else { parts }
}

#[test]
fn modules_use_only_the_layers_before_them() {
    let mut wrong = Vec::new();
    for (path, text, module) in sources() {
        let Some(module) = module else { continue };
        let Some(layer) = LAYERS.iter().position(|name| *name == module) else {
            continue; // the next test names it
        };
        let narrower = NARROWER.iter().find(|(name, _)| *name == module);
        let allowed = narrower.map_or(&LAYERS[..layer], |(_, only)| *only);
        for used in uses(&text, depth_of(&path)) {
            let a_module = LAYERS.contains(&used.as_str());
            let private = PRIVATE_TO
                .iter()
                .any(|(name, users)| *name == used && !users.contains(&module.as_str()));
            if a_module && used != module && (private || !allowed.contains(&used.as_str())) {
                wrong.push(format!("src/{} uses crate::{used}", path.display()));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn every_module_is_in_the_map() {
    for (path, _, module) in sources() {
        let known = module.is_none_or(|name| LAYERS.contains(&name.as_str()));
        assert!(known, "src/{}: add its module to LAYERS", path.display());
    }
}

#[test]
fn anyhow_stays_in_the_commands() {
    for (path, text, module) in sources() {
        let at_the_edge = module.is_none_or(|name| name == "cli");
        let used = code(&text).contains("anyhow");
        assert!(at_the_edge || !used, "src/{}: give the error an enum", path.display());
    }
}

#[test]
fn files_stay_readable() {
    for (path, text, _) in sources() {
        let path = path.display();
        let lines = text.split("#[cfg(test)]").next().unwrap().lines().count();
        assert!(lines <= MAX_LINES, "src/{path}: {lines} lines of code");
    }
}

#[test]
fn every_file_says_what_it_is_for() {
    let mut files = Vec::new();
    for folder in ["src", "tests", "benches"] {
        if root().join(folder).exists() {
            files_below(&root().join(folder), "rs", &mut files);
        }
    }
    for file in files {
        let text = fs::read_to_string(&file).unwrap();
        assert!(text.starts_with("//!"), "{}", file.display());
    }
}

#[test]
fn module_roots_hold_no_logic() {
    for (path, text, _) in sources() {
        if path.ends_with("mod.rs") {
            let logic = code(&text)
                .lines()
                .any(|line| line.contains("fn ") && line.contains('('));
            assert!(!logic, "src/{}: move the functions into a file", path.display());
        }
    }
}

#[test]
fn documents_state_facts() {
    // Praise tells a reader nothing; notes to ourselves belong elsewhere.
    let unwanted = [
        "blazing",
        "seamless",
        "effortless",
        "powerful",
        "cutting-edge",
        "world-class",
        "state-of-the-art",
        "supercharge",
        "best-in-class",
        "enterprise-grade",
        "todo:",
        "fixme",
        "lorem ipsum",
    ];
    let mut files = Vec::new();
    for folder in ["docs", "src", "tests"] {
        if root().join(folder).exists() {
            files_below(&root().join(folder), "md", &mut files);
        }
    }
    files.extend(["README.md", "README.zh-CN.md"].map(|name| root().join(name)));
    for file in files.into_iter().filter(|file| file.exists()) {
        let text = fs::read_to_string(&file).unwrap().to_lowercase();
        for word in unwanted {
            assert!(!text.contains(word), "{}: says \"{word}\"", file.display());
        }
    }
}

#[test]
fn the_layer_check_sees_every_way_to_name_a_module() {
    let text = "use crate::{catalog::{Entry, app}, gateway}; // crate::cli\nlet x = crate::app::start();\nuse super::super::jobs::Job;";
    assert_eq!(uses(text, 2), ["catalog", "gateway", "app", "jobs"]);
    assert_eq!(uses("use super::tests::x;", 1), Vec::<String>::new());
    assert_eq!(depth_of(Path::new("a/mod.rs")), 1);
    assert_eq!(depth_of(Path::new("a/b.rs")), 2);
}
