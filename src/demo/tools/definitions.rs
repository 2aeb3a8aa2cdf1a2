//! The tools as they are listed.

use serde_json::{Value, json};

use crate::mcp::LogLevel;

/// All tools, always in this order.
pub(in crate::demo) fn list() -> Vec<Value> {
    vec![
        tool(
            "echo",
            "Echo",
            "Returns the text it is given.",
            json!({"text": {"type": "string", "description": "What to return"}}),
            &["text"],
        ),
        with_output(
            tool(
                "time",
                "Time",
                "Tells the time of day, in UTC or at an offset from it.",
                json!({"offset": {"type": "string", "description": "From UTC, such as +02:00, -03:30 or Z",
                    "pattern": "^(Z|[+-][0-9]{2}:?[0-9]{2})$", "default": "Z"}}),
                &[],
            ),
            json!({"time": {"type": "string", "description": "RFC 3339"}, "weekday": {"type": "string"},
                "unix_ms": {"type": "integer", "description": "Milliseconds since 1970-01-01 UTC"}}),
        ),
        with_output(
            tool(
                "calculate",
                "Calculate",
                "Evaluates an arithmetic expression: + - * / % ^, parentheses, pi, e and tau, and the functions \
                 sqrt, abs, ln, log10, exp, sin, cos, tan, round, floor, ceil, min and max.",
                json!({"expression": {"type": "string", "description": "For example 2 * (3 + 4) ^ 2", "maxLength": 1000}}),
                &["expression"],
            ),
            json!({"value": {"type": "number"}}),
        ),
        tool(
            "hash",
            "Hash",
            "Returns the SHA-2 hash of a text in hexadecimal.",
            json!({"text": {"type": "string"},
                "algorithm": {"type": "string", "enum": ["sha224", "sha256", "sha384", "sha512"], "default": "sha256"}}),
            &["text"],
        ),
        tool(
            "uuid",
            "UUID",
            "Makes random UUIDs (version 4).",
            json!({"count": {"type": "integer", "minimum": 1, "maximum": 100, "default": 1}}),
            &[],
        ),
        tool(
            "countdown",
            "Countdown",
            "Counts down to zero, reports progress after every step, and can be cancelled.",
            json!({"from": {"type": "integer", "minimum": 1, "maximum": 1000},
                "interval_ms": {"type": "integer", "minimum": 1, "maximum": 60_000, "default": 1000,
                    "description": "Milliseconds from one step to the next"}}),
            &["from"],
        ),
        tool(
            "log",
            "Log",
            "Sends a log message to the client, if the client wants messages of this level.",
            json!({"message": {"type": "string"},
                "level": {"type": "string", "enum": LEVELS.map(LogLevel::as_str), "default": "info"}}),
            &["message"],
        ),
        with_output(
            tool(
                "system_info",
                "System information",
                "Describes the machine that this service runs on.",
                json!({}),
                &[],
            ),
            json!({"os": {"type": "string"}, "architecture": {"type": "string"}, "processors": {"type": "integer"},
                "memory_bytes": {"type": ["integer", "null"]}, "process_id": {"type": "integer"},
                "version": {"type": "string", "description": "Of mcpvisor"}}),
        ),
    ]
}

const LEVELS: [LogLevel; 8] = [
    LogLevel::Debug,
    LogLevel::Info,
    LogLevel::Notice,
    LogLevel::Warning,
    LogLevel::Error,
    LogLevel::Critical,
    LogLevel::Alert,
    LogLevel::Emergency,
];

#[expect(clippy::needless_pass_by_value, reason = "every schema is written in place")]
fn tool(name: &str, title: &str, description: &str, properties: Value, required: &[&str]) -> Value {
    let mut schema = json!({"type": "object", "properties": properties});
    if !required.is_empty() {
        schema["required"] = json!(required);
    }
    // Nothing here changes anything or reaches beyond this process.
    json!({"name": name, "title": title, "description": description, "inputSchema": schema,
        "annotations": {"readOnlyHint": true, "openWorldHint": false}})
}

/// Every property of a structured result is always there.
#[expect(clippy::needless_pass_by_value, reason = "every schema is written in place")]
fn with_output(mut tool: Value, properties: Value) -> Value {
    let required: Vec<_> = properties
        .as_object()
        .into_iter()
        .flat_map(|properties| properties.keys().cloned())
        .collect();
    tool["outputSchema"] = json!({"type": "object", "properties": properties, "required": required});
    tool
}
