//! `mcpvisor bench`: what calls of one tool cost, on this hub or on any other MCP server.
//!
//! Drives `tools/call` over keep-alive HTTP/1.1 connections or over a child's pipes, checks that every answer belongs to its
//! request, and reports latency, rate, errors and what the server's process used meanwhile. It runs on one thread and
//! keeps its own work small, because on a small machine the client takes time from the server it measures.

mod args;
mod call;
mod drive;
mod http;
mod measure;
mod process;
mod report;
mod stdio;
mod streams;
mod tool;

pub(in crate::cli) use args::Args;
pub(in crate::cli) use drive::run;
