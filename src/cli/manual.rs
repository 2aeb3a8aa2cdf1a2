//! The manual behind `--help`.

/// What stands above the options.
pub(super) const ABOUT: &str = "\
One binary that runs, watches and serves all your MCP servers.

Without a subcommand the hub runs: it starts the services of the configuration as
child processes, keeps them running, and serves their tools, resources and prompts
as one MCP server. Without a configuration it serves one built-in demo service.";

/// What stands below the options.
pub(super) const MANUAL: &str = "\
Examples:
  mcpvisor                                 stdio and HTTP, the demo service
  mcpvisor --transport stdio               for a client that starts its servers itself
  mcpvisor --transport sse --admin         for a server: MCP on 9090, health on 9091
  mcpvisor --config team.yaml --port 8080  another file, another port
  mcpvisor check --config team.yaml        what would hold, or all that is wrong
  mcpvisor import claude_desktop_config.json > mcpvisor.yaml
  mcpvisor connect http://127.0.0.1:9090   one more stdio client of a running hub

Doors:
  stdio   stdin and stdout carry MCP and nothing else; logs go to stderr.
          With --transport stdio the end of stdin stops the hub, with both it
          closes only this door.
  HTTP    http://127.0.0.1:9090
            /mcp              Streamable HTTP, all revisions of the protocol
            /sse, /messages   HTTP+SSE, for older clients
            /ws               WebSocket
            /services/NAME/…  the same three for one service, without prefix
            /health
  admin   http://127.0.0.1:9091, with --admin: /health, /metrics,
          /api/v1/services

  Only this machine reaches a door unless --host or --admin-host says otherwise,
  and then clients need a token: set auth.tokens first.
  Tools appear as service__tool.

Configuration:
  Later ones win: defaults, the file, .env, .env.local, environment, flags.
  The .env files stand beside the configuration file, or in the current folder
  if there is none. Every key: docs/configuration.md.

Environment:
  MCPVISOR_CONFIG          the configuration file, like --config
  MCPVISOR_DATA_DIR        the data folder, like --data-dir
  MCPVISOR_SECTION__KEY    any setting, such as MCPVISOR_HTTP__PORT=8080
  MCPVISOR_AUTH__TOKENS    '[{\"name\": \"me\", \"token\": \"…\"}]'
  DATABASE_URL, REDIS_URL  accepted, not used by this version
  NO_COLOR                 no colours in the log

Signals:
  SIGTERM, SIGINT  finish calls in flight, stop all services, exit; a second
                   one hurries
  SIGHUP           read the configuration again (it is also read when a file
                   changes)

Exit codes:
  0    ended cleanly
  1    failed
  3    was asked to end, but something had to be cut off
  64   called with arguments that make no sense
  78   the configuration has mistakes, or a port is taken";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_manual_fits_a_terminal() {
        for line in ABOUT.lines().chain(MANUAL.lines()) {
            assert!(line.chars().count() <= 86, "{line}");
        }
    }
}
