// Drives an MCP server through the TypeScript SDK 1.x: `ts-legacy.mjs JOB.json`, one JSON report on stdout.
// JOB: {"transport": "stdio" | "sse" | "http", "command": [...] or "url": "...", "headers": {...}, "calls": [...]}
import { Client } from '@modelcontextprotocol/sdk/client/index.js';
import { SSEClientTransport } from '@modelcontextprotocol/sdk/client/sse.js';
import { StdioClientTransport } from '@modelcontextprotocol/sdk/client/stdio.js';
import { StreamableHTTPClientTransport } from '@modelcontextprotocol/sdk/client/streamableHttp.js';
import { drive, readJob } from './drive.mjs';

function transport(job) {
  const requestInit = { headers: job.headers ?? {} };
  switch (job.transport) {
    case 'stdio':
      return new StdioClientTransport({ command: job.command[0], args: job.command.slice(1), env: job.env, stderr: 'inherit' });
    case 'sse':
      return new SSEClientTransport(new URL(job.url), { requestInit });
    case 'http':
      return new StreamableHTTPClientTransport(new URL(job.url), { requestInit });
    default:
      throw new Error(`this client has no transport ${job.transport}`);
  }
}

const job = readJob();
const client = new Client({ name: 'mcpvisor-test-ts-legacy', version: '1.0.0' }, { capabilities: {} });
const link = transport(job);
let agreed = null;
const tell = link.setProtocolVersion?.bind(link);
link.setProtocolVersion = (revision) => {
  agreed = revision;
  tell?.(revision);
};
await drive(job, client, link, () => agreed);
