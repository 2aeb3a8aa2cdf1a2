//! The prompt, and completion of its arguments and the template's.

use serde_json::{Value, json};

use super::{answer::Answer, session::Request};
use crate::mcp::ErrorAnswer;

const AUDIENCES: &[&str] = &["a beginner", "a child", "a manager", "an engineer", "an expert"];
const TOPICS: &[&str] = &[
    "JSON-RPC",
    "MCP",
    "MCP prompts",
    "MCP resources",
    "MCP tools",
    "process supervision",
];
const NAMES: &[&str] = &["Ada", "Alan", "Barbara", "Edsger", "Grace", "World"];
/// The most values that one completion may have (completion/complete, "Completion Results").
const MAX_VALUES: usize = 100;

pub(super) fn list() -> Vec<Value> {
    vec![
        json!({"name": "explain", "title": "Explain", "description": "Asks for an explanation that suits the audience",
        "arguments": [
            {"name": "topic", "description": "What is to be explained", "required": true},
            {"name": "audience", "description": "For whom; an engineer, if left out", "required": false}]}),
    ]
}

pub(super) fn get(request: &Request<'_>) -> Result<Answer, ErrorAnswer> {
    let name = request.text("name")?;
    if name != "explain" {
        return Err(
            ErrorAnswer::invalid_params(format!("there is no prompt `{name}`")).with_data(json!({"name": name}))
        );
    }
    let argument = |name: &str| request.params.get("arguments")?.get(name)?.as_str();
    let topic =
        argument("topic").ok_or_else(|| ErrorAnswer::invalid_params("the argument `topic` must be a string"))?;
    let audience = argument("audience").unwrap_or("an engineer");
    let text = format!("Explain {topic} to {audience}. Begin with one sentence that says what it is for.");
    Ok(Answer::once(json!({
        "description": format!("Explain {topic}"),
        "messages": [{"role": "user", "content": {"type": "text", "text": text}}],
    })))
}

pub(super) fn complete(request: &Request<'_>) -> Result<Answer, ErrorAnswer> {
    let text = |pointer: [&str; 2]| {
        let [outer, inner] = pointer;
        let value = request
            .params
            .get(outer)
            .and_then(|value| value.get(inner))
            .and_then(Value::as_str);
        value.ok_or_else(|| ErrorAnswer::invalid_params(format!("`{outer}.{inner}` must be a string")))
    };
    let argument = text(["argument", "name"])?;
    let begun = text(["argument", "value"])?.to_lowercase();
    let known = match text(["ref", "type"])? {
        "ref/prompt" => match (text(["ref", "name"])?, argument) {
            ("explain", "topic") => TOPICS,
            ("explain", "audience") => AUDIENCES,
            ("explain", _) => &[],
            (name, _) => return Err(ErrorAnswer::invalid_params(format!("there is no prompt `{name}`"))),
        },
        "ref/resource" => match (text(["ref", "uri"])?, argument) {
            ("demo://greeting/{name}", "name") => NAMES,
            _ => &[],
        },
        other => return Err(ErrorAnswer::invalid_params(format!("`ref.type` cannot be `{other}`"))),
    };
    let values: Vec<_> = known
        .iter()
        .filter(|value| value.to_lowercase().starts_with(&begun))
        .take(MAX_VALUES)
        .collect();
    Ok(Answer::once(
        json!({"completion": {"total": values.len(), "hasMore": false, "values": values}}),
    ))
}
