//! Which tool to call, and with what.

use anyhow::{Context as _, bail};
use serde_json::{Map, Value};

use super::args::Args;

/// The call to repeat.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Choice {
    pub(super) tool: String,
    pub(super) arguments: Map<String, Value>,
    /// The argument that gets a text of its own in every call, which the answer must hold.
    pub(super) text: Option<String>,
}

/// Takes the tool asked for, else one that is safe to call many times.
pub(super) fn choose(args: &Args, tools: &[Value]) -> anyhow::Result<Choice> {
    let tool = match &args.tool {
        Some(name) => tools
            .iter()
            .find(|tool| name_of(tool) == name)
            .with_context(|| format!("the server has no tool `{name}`; it has {}", names(tools)))?,
        None => harmless(tools).with_context(|| {
            format!(
                "found no tool that is surely harmless to call; choose one of {} with --tool",
                names(tools)
            )
        })?,
    };
    let name = name_of(tool).to_owned();
    if let Some(arguments) = args.given_arguments()? {
        return Ok(Choice {
            tool: name,
            arguments,
            text: None,
        });
    }
    let required = required(tool);
    let text = text_argument(tool);
    match (required.as_slice(), text) {
        ([], None) => Ok(Choice {
            tool: name,
            arguments: Map::new(),
            text: None,
        }),
        (_, Some(text)) => Ok(Choice {
            tool: name,
            arguments: Map::new(),
            text: Some(text),
        }),
        (_, None) => bail!(
            "tool `{name}` needs {}: give them with --arguments",
            required.join(", ")
        ),
    }
}

fn name_of(tool: &Value) -> &str {
    tool.get("name").and_then(Value::as_str).unwrap_or("")
}

fn names(tools: &[Value]) -> String {
    let names: Vec<_> = tools.iter().map(name_of).take(20).collect();
    names.join(", ")
}

fn required(tool: &Value) -> Vec<&str> {
    let required = tool.pointer("/inputSchema/required").and_then(Value::as_array);
    required.into_iter().flatten().filter_map(Value::as_str).collect()
}

/// The only required argument, where it is a text without further rules and the tool gives it back.
fn text_argument(tool: &Value) -> Option<String> {
    let [only] = required(tool).try_into().ok()?;
    let schema = tool.pointer("/inputSchema/properties")?.get(only)?;
    let plain = schema.get("type")? == "string" && schema.get("enum").is_none() && schema.get("pattern").is_none();
    (plain && is_echo(tool)).then(|| only.to_owned())
}

fn is_echo(tool: &Value) -> bool {
    let name = name_of(tool);
    // Aggregating servers put the service's name before it.
    name == "echo" || ["__echo", "/echo", ".echo"].iter().any(|end| name.ends_with(end))
}

fn harmless(tools: &[Value]) -> Option<&Value> {
    let reads_only = |tool: &&Value| {
        tool.pointer("/annotations/readOnlyHint") == Some(&Value::Bool(true)) && required(tool).is_empty()
    };
    let echo = tools.iter().find(|tool| is_echo(tool) && text_argument(tool).is_some());
    echo.or_else(|| tools.iter().find(reads_only))
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;
    use serde_json::json;

    use super::*;

    #[derive(clap::Parser)]
    struct Line {
        #[command(flatten)]
        args: Args,
    }

    fn args(more: &[&str]) -> Args {
        let line = ["bench", "http://127.0.0.1:1/mcp"].iter().chain(more);
        Line::parse_from(line).args
    }

    fn tools() -> Vec<Value> {
        let text = json!({"type": "string"});
        vec![
            json!({"name": "delete_all", "inputSchema": {"type": "object"}}),
            json!({"name": "now", "inputSchema": {"type": "object"}, "annotations": {"readOnlyHint": true}}),
            json!({"name": "a__echo", "inputSchema": {"required": ["message"], "properties": {"message": text}}}),
            json!({"name": "add", "inputSchema": {"required": ["a", "b"], "properties": {}}}),
        ]
    }

    #[test]
    fn echo_is_preferred_and_its_argument_found() {
        let choice = choose(&args(&[]), &tools()).unwrap();
        assert_eq!(
            (choice.tool.as_str(), choice.text.as_deref()),
            ("a__echo", Some("message"))
        );
    }

    #[test]
    fn without_echo_only_what_says_that_it_reads() {
        let mut tools = tools();
        tools.remove(2);
        assert_eq!(choose(&args(&[]), &tools).unwrap().tool, "now");
        tools.remove(1);
        let error = choose(&args(&[]), &tools).unwrap_err().to_string();
        assert!(error.contains("delete_all") && error.contains("--tool"), "{error}");
    }

    #[test]
    fn a_tool_asked_for_gets_what_it_needs() {
        let error = choose(&args(&["--tool", "add"]), &tools()).unwrap_err().to_string();
        assert!(error.contains("a, b"), "{error}");
        let choice = choose(&args(&["--tool", "add", "--arguments", r#"{"a":1,"b":2}"#]), &tools()).unwrap();
        assert_eq!(choice.arguments["b"], 2);
        assert_eq!(choose(&args(&["--tool", "delete_all"]), &tools()).unwrap().text, None);
        assert!(choose(&args(&["--tool", "nothing"]), &tools()).is_err());
    }
}
