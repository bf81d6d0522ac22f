"""What MCP costs: `python benchmarks/mcp_sessions.py` opens sessions for many people over streamable HTTP, and calls.

The server is one of the official library, with a tool that answers at once. Printed are CPU milliseconds for a call, of this
process and of the one with the sessions; what the library alone spends on it, in a process without anything else; and the memory
(PSS) that sessions take.
"""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "src")]

from open_webui.tools.mcp.frames import Target  # noqa: E402 - found through the path above
from open_webui.tools.mcp.sessions import Sessions  # noqa: E402

CALLS = 500
PEOPLE = 100
SERVER = """
import sys
from mcp.server.mcpserver import MCPServer
server = MCPServer("bench", log_level="ERROR")
@server.tool()
def echo(message: str) -> str:
    return message
server.run("streamable-http", host="127.0.0.1", port=int(sys.argv[1]))
"""


class Nobody:
    """Hears of nothing."""

    async def progressed(self, progress: Any) -> None:
        """Nothing."""

    async def asked(self, ask: Any) -> Any:
        """Nothing."""


def cpu(pid: int) -> float:
    """CPU milliseconds of a process."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) * 1000 / os.sysconf("SC_CLK_TCK")


def pss(pid: int) -> float:
    """Megabytes."""
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
        if line.startswith("Pss:"):
            return int(line.split()[1]) / 1024
    return 0.0


async def alone(url: str) -> float:
    """CPU milliseconds that the library spends on a call, in a process without anything else."""
    from mcp.client import Client

    async with Client(url, cache=None) as client:
        await client.call_tool("echo", {"message": "x"})
        began = time.process_time()
        for _ in range(CALLS):
            await client.call_tool("echo", {"message": "x"})
        return (time.process_time() - began) * 1000 / CALLS


async def ours(url: str) -> None:
    sessions = Sessions()

    async def way() -> Target:
        return Target(url=url)

    async def call(person: int) -> None:
        await sessions.call((str(person), "bench"), way, "echo", {"message": "x"}, Nobody())

    await call(0)
    assert sessions.pid is not None
    child, here = cpu(sessions.pid), cpu(os.getpid())
    began = time.perf_counter()
    for _ in range(CALLS):
        await call(0)
    elapsed = (time.perf_counter() - began) * 1000 / CALLS
    child, here = cpu(sessions.pid) - child, cpu(os.getpid()) - here
    print(f"a call on a warm session: {here / CALLS:.2f} ms CPU here, {child / CALLS:.2f} ms in the process with the")
    print(f"sessions, {elapsed:.2f} ms elapsed with the server's own time (which depends on the machine's load)")
    before = pss(sessions.pid)
    for start in range(1, PEOPLE + 1, 10):
        await asyncio.gather(*(call(person) for person in range(start, start + 10)))
    after = pss(sessions.pid)
    print(f"{PEOPLE} people's sessions: {after:.1f} MB PSS, of which {before:.1f} MB are the library and one session")
    await sessions.close()


def main() -> None:
    port = 18_790
    server = subprocess.Popen([sys.executable, "-c", SERVER, str(port)], stderr=subprocess.DEVNULL)
    try:
        import socket

        for _ in range(600):
            try:
                socket.create_connection(("127.0.0.1", port)).close()
                break
            except OSError:
                time.sleep(0.1)
        url = f"http://127.0.0.1:{port}/mcp"
        asyncio.run(ours(url))
        print(f"the library alone: {asyncio.run(alone(url)):.2f} ms CPU a call")
    finally:
        server.kill()
        server.wait()


if __name__ == "__main__":
    main()
