//! mcpvisor: one binary that runs, watches and serves all your MCP servers.

pub mod jsonrpc;
