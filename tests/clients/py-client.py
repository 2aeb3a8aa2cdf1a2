"""Drives an MCP server through the Python SDK: `py-client.py JOB.json`, one JSON report on stdout.

JOB: {"transport": "stdio" | "http", "mode": "auto" | "legacy" | "<revision to pin>", "command": [...] or "url": "...",
      "calls": [...]}; calls and report are those of `drive.mjs`.
"""

import asyncio
import json
import sys
import time

from mcp.client.client import Client
from mcp.client.stdio import StdioServerParameters


def text_of(blocks) -> str:
    parts = []
    for block in blocks:
        resource = getattr(block, "resource", None)
        parts.append(getattr(block, "text", None) or getattr(resource, "text", None) or f"[{type(block).__name__}]")
    return "\n".join(parts)


async def pages(fetch, key):
    items, cursor = [], None
    while True:
        page = await fetch(cursor=cursor) if cursor is not None else await fetch()
        items += getattr(page, key)
        cursor = page.next_cursor
        if cursor is None:
            return items


async def tools_once_complete(client, prefixes):
    """Lists tools until one of each prefix is there: a hub answers at once with what it knows, and a new one knows nothing."""
    deadline = time.monotonic() + 60
    while True:
        names = [tool.name for tool in await pages(client.list_tools, "tools")]
        complete = all(any(name.startswith(prefix) for name in names) for prefix in prefixes)
        if complete or time.monotonic() > deadline:
            return names
        await asyncio.sleep(0.1)


async def call(client, planned):
    """The text of the answer, and whether the tool itself said that it failed."""
    if "tool" in planned:
        answer = await client.call_tool(planned["tool"], planned.get("arguments", {}))
        return text_of(answer.content), bool(answer.is_error)
    if "prompt" in planned:
        answer = await client.get_prompt(planned["prompt"], planned.get("arguments", {}))
        return text_of([message.content for message in answer.messages]), False
    return text_of((await client.read_resource(planned["resource"])).contents), False


async def attempt(client, planned):
    started = time.monotonic()
    try:
        text, failed = await call(client, planned)
        ok = not failed and planned.get("expect", "") in text
    except Exception as error:  # the report is for the test to judge
        ok, text = False, f"{type(error).__name__}: {error}"
    name = planned.get("tool") or planned.get("prompt") or planned.get("resource")
    return {"name": name, "ok": ok, "text": text[:2000], "ms": round((time.monotonic() - started) * 1000)}


async def drive(job, report):
    if job["transport"] == "stdio":
        program, *args = job["command"]
        target = StdioServerParameters(command=program, args=args, env=job.get("env"))
    else:
        target = job["url"]
    started = time.monotonic()
    async with Client(target, mode=job.get("mode", "auto")) as client:
        report["connected"] = True
        report["connectMs"] = round((time.monotonic() - started) * 1000)
        report["revision"] = client.protocol_version
        report["server"] = {"name": client.server_info.name} if client.server_info else None
        offered = client.server_capabilities
        names = ("completions", "logging", "prompts", "resources", "tools")
        report["capabilities"] = [name for name in names if getattr(offered, name) is not None]
        if offered.tools is not None:
            report["tools"] = await tools_once_complete(client, job.get("awaitTools", []))
        if offered.prompts is not None:
            report["prompts"] = [prompt.name for prompt in await pages(client.list_prompts, "prompts")]
        if offered.resources is not None:
            report["resources"] = [str(item.uri) for item in await pages(client.list_resources, "resources")]
            templates = await pages(client.list_resource_templates, "resource_templates")
            report["templates"] = [item.uri_template for item in templates]
        for planned in job.get("calls", []):
            report["calls"].append(await attempt(client, planned))


def main() -> int:
    with open(sys.argv[1], encoding="utf-8") as file:
        job = json.load(file)
    report = {"connected": False, "calls": []}
    started = time.monotonic()
    try:
        asyncio.run(drive(job, report))
    except BaseException as error:  # exception groups included
        causes = getattr(error, "exceptions", [error])
        report["error"] = "; ".join(f"{type(cause).__name__}: {cause}" for cause in causes)
    report["ms"] = round((time.monotonic() - started) * 1000)
    print(json.dumps(report), flush=True)
    return 1 if "error" in report else 0


if __name__ == "__main__":
    sys.exit(main())
