//! Resources: a welcome, statistics that change with every call, and a template.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::answer::{Answer, Cache, object};
use crate::mcp::{ErrorAnswer, code};

/// The one resource that changes.
pub(super) const STATISTICS: &str = "demo://statistics";

const WELCOME: &str = "demo://welcome";
const WELCOME_TEXT: &str = "# Welcome to mcpvisor

This service is built in, so that a hub without a configuration has something to serve. It runs as a child process like
any other MCP server.

- `calculate`, `time`, `hash`, `uuid`, `system_info` and `echo` answer at once.
- `countdown` reports progress and can be cancelled.
- `log` sends a log message at the level you choose.
- The resource `demo://statistics` changes with every call; subscribe to it to hear of that.
- The template `demo://greeting/{name}` and the prompt `explain` complete their arguments.

Add your own servers under `services:` in `mcpvisor.yaml`, or let `mcpvisor import` read them from the configuration of
your desktop client.
";
const GREETING: &str = "demo://greeting/";

/// How often each tool was called.
#[derive(Debug, Default)]
pub(super) struct Statistics {
    calls: BTreeMap<String, u64>,
    changed: bool,
}

impl Statistics {
    pub(super) fn count(&mut self, tool: &str) {
        if let Some(calls) = self.calls.get_mut(tool) {
            *calls += 1;
        } else {
            self.calls.insert(tool.to_owned(), 1);
        }
        self.changed = true;
    }

    /// Whether there were calls since this was last asked.
    pub(super) fn take_changed(&mut self) -> bool {
        std::mem::take(&mut self.changed)
    }
}

pub(super) fn list() -> Vec<Value> {
    vec![
        json!({"uri": WELCOME, "name": "welcome", "title": "Welcome", "description": "What this service offers",
            "mimeType": "text/markdown", "size": WELCOME_TEXT.len()}),
        json!({"uri": STATISTICS, "name": "statistics", "title": "Statistics",
            "description": "How often each tool was called since the service started", "mimeType": "application/json"}),
    ]
}

pub(super) fn templates() -> Vec<Value> {
    vec![
        json!({"uriTemplate": "demo://greeting/{name}", "name": "greeting", "title": "Greeting",
        "description": "A greeting for anyone", "mimeType": "text/plain"}),
    ]
}

/// The contents of `uri`. The code of the error is that of the asker's era.
pub(super) fn read(uri: &str, statistics: &Statistics, modern: bool) -> Result<Answer, ErrorAnswer> {
    let (mime_type, text, cache) = match uri {
        WELCOME => ("text/markdown", WELCOME_TEXT.to_owned(), Cache::Public(3_600_000)),
        STATISTICS => {
            let text = json!({"calls": statistics.calls}).to_string();
            ("application/json", text, Cache::Public(0))
        }
        _ => match uri.strip_prefix(GREETING) {
            Some(name) if !name.is_empty() && !name.contains('/') => {
                let text = format!("Hello, {}!", decoded(name));
                ("text/plain", text, Cache::Public(3_600_000))
            }
            _ => {
                let code = if modern {
                    code::INVALID_PARAMS
                } else {
                    code::RESOURCE_NOT_FOUND
                };
                let error = ErrorAnswer::new(code, format!("there is no resource `{uri}`"));
                return Err(error.with_data(json!({"uri": uri})));
            }
        },
    };
    let result = json!({"contents": [{"uri": uri, "mimeType": mime_type, "text": text}]});
    Ok(Answer::Result(object(result), cache))
}

/// Undoes percent-encoding; what is none stays as it is.
fn decoded(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, after @ ..] = rest {
        rest = after;
        if let (b'%', [high, low, after @ ..]) = (first, after)
            && let (Some(high), Some(low)) = (char::from(*high).to_digit(16), char::from(*low).to_digit(16))
            && let Ok(byte) = u8::try_from(high * 16 + low)
        {
            bytes.push(byte);
            rest = after;
        } else {
            bytes.push(*first);
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_decoded_and_bad_encodings_kept() {
        for (encoded, name) in [
            ("Ada", "Ada"),
            ("J%C3%BCrgen%20", "Jürgen "),
            ("100%", "100%"),
            ("%zz%4", "%zz%4"),
        ] {
            assert_eq!(decoded(encoded), name);
        }
    }
}
