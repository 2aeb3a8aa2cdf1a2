//! Where each client keeps its servers.

use serde_json::{Map, Value};

/// The places, most telling first: Claude Desktop, Claude Code, Cursor, Windsurf and Cline; VS Code's `mcp.json`; VS Code's and
/// Visual Studio's settings; Zed.
const PLACES: [&[&str]; 5] = [
    &["mcpServers"],
    &["mcp", "servers"],
    &["mcp", "mcpServers"],
    &["context_servers"],
    &["servers"],
];

/// The servers of a client's file, whichever it is.
pub(super) fn servers(file: &Value) -> Option<&Map<String, Value>> {
    PLACES
        .iter()
        .find_map(|place| place.iter().try_fold(file, |value, key| value.get(key))?.as_object())
}
