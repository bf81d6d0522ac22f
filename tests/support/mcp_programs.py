"""An MCP server over stdio for the tests, of the official library: its things change, it counts its calls, and it can crash."""

import asyncio
import itertools
import os
from pathlib import Path

from mcp.server.mcpserver import Context, MCPServer
from mcp.server.mcpserver.prompts import Prompt
from mcp.server.mcpserver.resources import TextResource

server = MCPServer("changing")
_calls = itertools.count(1)


@server.tool()
def count() -> str:
    """How often this was called, in this process."""
    return f"{next(_calls)} in {os.getpid()}"


@server.tool()
async def learn(name: str, context: Context) -> str:
    """Another tool is there afterwards."""

    def learned() -> str:
        return f"I am {name}."

    server.add_tool(learned, name=name, description="A new one.")
    await context.notify_tools_changed()
    return "learned"


@server.tool()
async def note(name: str, context: Context) -> str:
    """Another resource and another prompt are there afterwards."""
    server.add_resource(TextResource(uri=f"note://{name}", name=name, text=f"A note of {name}."))

    def noted() -> str:
        return f"Think of {name}."

    server.add_prompt(Prompt.from_function(noted, name=name))
    await context.notify_resources_changed()
    await context.notify_prompts_changed()
    return "noted"


@server.tool()
async def wait(seconds: float, file: str) -> str:
    """Writes into a file whether it was cancelled."""
    told = Path(file)
    told.write_text("waiting")  # noqa: ASYNC240
    try:
        await asyncio.sleep(seconds)
    except asyncio.CancelledError:
        told.write_text("cancelled")  # noqa: ASYNC240
        raise
    return "done"


@server.tool()
def crash() -> str:
    """Ends the process."""
    os._exit(3)


if __name__ == "__main__":
    server.run("stdio")
