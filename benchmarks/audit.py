"""What the audit record costs a request: CPU of two servers, one that keeps it and one that doesn't, asked in turns.

`python benchmarks/audit.py`; `--database-url postgresql://...` names an empty database for each, separated by a comma.
"""

import argparse
import asyncio
import os
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from measure import Client, cpu

LEVELS = ("none", "writes")
PASSWORD = "correct horse battery"
# Entries are linked a second after they were written; that belongs to them.
LINKED_SECONDS = 1.6


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port: int = found.getsockname()[1]
        return port


class Server:
    """One with a database of its own."""

    def __init__(self, folder: Path, level: str, url: str) -> None:
        folder.mkdir()
        self.port = free_port()
        given = {"AUDIT_LEVEL": level, "DATA_DIR": str(folder), "PORT": str(self.port), "HOST": "127.0.0.1",
                 "WEBUI_SECRET_KEY": "a secret that is long enough",
                 "ENABLE_OLLAMA_API": "false", "ENABLE_OPENAI_API": "false"}  # fmt: skip
        if url:
            given["DATABASE_URL"] = url
        command = [sys.executable, "-m", "open_webui.cli", "serve"]
        with (folder / "log").open("wb") as log:
            self.process = subprocess.Popen(command, env=os.environ | given, cwd=folder, stdout=log, stderr=log)

    async def sign_up(self) -> None:
        client = Client(self.port)
        deadline = time.monotonic() + 60
        while True:
            try:
                if (await client.request("GET", "/health")).status == 200:
                    break
            except OSError:
                if time.monotonic() > deadline:
                    raise
                client = Client(self.port)
            await asyncio.sleep(0.1)
        form = {"name": "Admin", "email": "admin@example.com", "password": PASSWORD}
        token = (await client.request("POST", "/api/v1/auths/signup", form)).json()["token"]
        self.client = Client(self.port, token)

    async def cost(self, count: int, method: str, path: str, body: Any) -> float:
        """Microseconds of CPU for each of so many requests."""
        before = cpu(self.process.pid)
        for _ in range(count):
            answer = await self.client.request(method, path, body)
            assert answer.status == 200, answer.body
        await asyncio.sleep(LINKED_SECONDS)
        return (cpu(self.process.pid) - before) / count * 1e6

    def close(self) -> None:
        self.process.send_signal(signal.SIGTERM)
        self.process.wait(30)


ACTS: dict[str, tuple[str, str, Any]] = {
    "read: one's chats": ("GET", "/api/v1/chats/", None),
    "write: a folder": ("POST", "/api/v1/folders/{id}/update", {"name": "Work"}),
    "write: a new chat": ("POST", "/api/v1/chats/new", {"chat": {"title": "x", "messages": []}}),
    "write: a group": ("POST", "/api/v1/groups/create", {"name": "Staff", "description": ""}),
}


async def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=1_000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--database-url", default="")
    asked = parser.parse_args()
    urls = asked.database_url.split(",") if asked.database_url else ["", ""]
    with tempfile.TemporaryDirectory() as folder:
        servers = [Server(Path(folder) / level, level, url) for level, url in zip(LEVELS, urls, strict=True)]
        try:
            for server in servers:
                await server.sign_up()
            for name, (method, path, body) in ACTS.items():
                await compare(servers, name, (method, path, body), asked.rounds, asked.count)
        finally:
            for server in servers:
                server.close()


async def compare(servers: list[Server], name: str, act: tuple[str, str, Any], rounds: int, count: int) -> None:
    method, path, body = act
    paths = []
    for server in servers:
        made = await server.client.request("POST", "/api/v1/folders/", {"name": f"Work {name}"})
        paths.append(path.replace("{id}", str(made.json()["id"])))
        await server.cost(count // 4, method, paths[-1], body)
    pairs = [[await s.cost(count, method, p, body) for s, p in zip(servers, paths, strict=True)] for _ in range(rounds)]
    best = [min(pair[k] for pair in pairs) for k in range(len(LEVELS))]
    ratio = statistics.median(on / off for off, on in pairs)
    print(f"{name:20} {best[0]:6.0f} us without, {best[1]:6.0f} us with, {100 * (ratio - 1):+5.1f} % (median of pairs)")


if __name__ == "__main__":
    asyncio.run(main())
