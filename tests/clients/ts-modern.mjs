// Drives an MCP server through the TypeScript client 2.x: `ts-modern.mjs JOB.json`, one JSON report on stdout.
// JOB: {"transport": "stdio" | "http", "mode": "legacy" | "auto" | "<revision to pin>", "command": [...] or "url": "...",
//       "headers": {...}, "calls": [...]}
import { Client, StreamableHTTPClientTransport } from '@modelcontextprotocol/client';
import { StdioClientTransport } from '@modelcontextprotocol/client/stdio';
import { drive, readJob } from './drive.mjs';

function transport(job) {
  switch (job.transport) {
    case 'stdio':
      return new StdioClientTransport({ command: job.command[0], args: job.command.slice(1), env: job.env, stderr: 'inherit' });
    case 'http':
      return new StreamableHTTPClientTransport(new URL(job.url), { requestInit: { headers: job.headers ?? {} } });
    default:
      throw new Error(`this client has no transport ${job.transport}`);
  }
}

const job = readJob();
const mode = ['legacy', 'auto'].includes(job.mode ?? 'legacy') ? (job.mode ?? 'legacy') : { pin: job.mode };
const client = new Client({ name: 'mcpvisor-test-ts-modern', version: '1.0.0' }, { capabilities: {}, versionNegotiation: { mode } });
await drive(job, client, transport(job), () => client.getNegotiatedProtocolVersion?.() ?? null);
