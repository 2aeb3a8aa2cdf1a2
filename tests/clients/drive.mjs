// What both TypeScript drivers do with a connected client: list everything, make the planned calls, report.
// A call is {"tool": name, "arguments": {...}} or {"prompt": name, "arguments": {...}} or {"resource": uri};
// with "expect" the text of the answer must contain it.
// "awaitTools" names prefixes of tools to wait for before anything is called.
import { readFileSync } from 'node:fs';

export function readJob() {
  return JSON.parse(readFileSync(process.argv[2], 'utf8'));
}

/** All pages of one list; a server without the capability has an empty one. */
async function pages(fetchPage, key) {
  const items = [];
  let cursor;
  do {
    const page = await fetchPage(cursor === undefined ? {} : { cursor });
    items.push(...page[key]);
    cursor = page.nextCursor;
  } while (cursor !== undefined);
  return items;
}

/** Lists tools until one of each prefix is there: a hub answers at once with what it knows, and a new one knows nothing. */
async function toolsOnceComplete(client, prefixes) {
  const deadline = performance.now() + 60_000;
  for (;;) {
    const names = (await pages((p) => client.listTools(p), 'tools')).map((tool) => tool.name);
    const complete = prefixes.every((prefix) => names.some((name) => name.startsWith(prefix)));
    if (complete || performance.now() > deadline) return names;
    await new Promise((resolve) => setTimeout(resolve, 100));
  }
}

function textOf(answer) {
  const blocks = answer.content ?? answer.contents ?? (answer.messages ?? []).map((message) => message.content);
  return blocks.map((block) => block.text ?? block.resource?.text ?? `[${block.type}]`).join('\n');
}

async function call(client, planned, options) {
  if (planned.tool !== undefined) {
    const answer = await client.callTool({ name: planned.tool, arguments: planned.arguments ?? {} }, ...options);
    return { text: textOf(answer), failed: answer.isError === true };
  }
  if (planned.prompt !== undefined) {
    const answer = await client.getPrompt({ name: planned.prompt, arguments: planned.arguments ?? {} });
    return { text: textOf(answer), failed: false };
  }
  return { text: textOf(await client.readResource({ uri: planned.resource })), failed: false };
}

async function attempt(client, planned, options) {
  const started = performance.now();
  const name = planned.tool ?? planned.prompt ?? planned.resource;
  const done = (ok, text) => ({ name, ok, text: text.slice(0, 2000), ms: Math.round(performance.now() - started) });
  try {
    const { text, failed } = await call(client, planned, options);
    return done(!failed && (planned.expect === undefined || text.includes(planned.expect)), text);
  } catch (error) {
    return done(false, `${error?.name}: ${error?.message}`);
  }
}

export async function drive(job, client, transport, revision, callOptions = []) {
  const report = { connected: false, calls: [] };
  const started = performance.now();
  try {
    await client.connect(transport);
    report.connected = true;
    report.connectMs = Math.round(performance.now() - started);
    report.revision = revision();
    report.server = client.getServerVersion() ?? null;
    const offered = client.getServerCapabilities() ?? {};
    report.capabilities = Object.keys(offered).sort();
    if (offered.tools) report.tools = await toolsOnceComplete(client, job.awaitTools ?? []);
    if (offered.prompts) report.prompts = (await pages((p) => client.listPrompts(p), 'prompts')).map((prompt) => prompt.name);
    if (offered.resources) {
      report.resources = (await pages((p) => client.listResources(p), 'resources')).map((resource) => resource.uri);
      const templates = await pages((p) => client.listResourceTemplates(p), 'resourceTemplates');
      report.templates = templates.map((template) => template.uriTemplate);
    }
    for (const planned of job.calls ?? []) report.calls.push(await attempt(client, planned, callOptions));
    await client.close();
  } catch (error) {
    report.error = `${error?.name}: ${error?.message}${error?.cause ? ` (${error.cause})` : ''}`;
  }
  report.ms = Math.round(performance.now() - started);
  process.stdout.write(`${JSON.stringify(report)}\n`, () => process.exit(report.error === undefined ? 0 : 1));
}
