//! mcpvisor: one binary that runs, watches and serves all your MCP servers.
//!
//! Modules are listed bottom-up; a module uses only what stands above it (`tests/architecture.rs` holds that).

pub mod admin;
pub mod app;
pub mod catalog;
pub mod cli;
pub mod clock;
pub mod config;
pub mod demo;
pub mod downstream;
pub mod gateway;
pub mod jsonrpc;
pub mod lifecycle;
pub mod mcp;
pub mod storage;
pub mod supervisor;
pub mod telemetry;
pub mod upstream;
