"""What an organisation asks: a crowd that signs in at once, and how soon somebody who may not stay is out everywhere.

    python benchmarks/sign_ins.py [--only crowd ends] [--people 1000]

`crowd`: so many people sign in by password in the same moment, each over a connection and from an address of their own (an
address has its limit), while /health is asked twenty times a second by another process. Every one of them must be let in. CPU
is the server's, for each sign-in; most of it is the hash of the password, which is meant to be dear.

`ends`: three processes on one PostgreSQL, which hear each other by LISTEN. Somebody has a socket at each, an answer that is
streamed at each, and asks each for their chats, and as an MCP client by their key, twenty times a second. Then they sign out,
are put on hold, switched off, or deleted, at the first process: seconds until every process refuses, the last socket is closed
and the last stream has ended. Who signs out keeps their keys, and with them their MCP clients. This server's MCP keeps no
sessions: each message is let in or refused by itself.
"""

import argparse
import asyncio
import contextlib
import itertools
import sys
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from measure import Answer, Client, cpu, percentile
from processes import ready, servers
from run import ADMIN, Bench, completion, free_port, health_asked, process
from tabs import Tab

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from tests.support import postgres  # noqa: E402 - found beside this folder

PROCESSES = 3
# An answer that nobody waits for to the end: 20 ms a token.
LONG = completion("slow", 6_000, stream=True)
PING = {"jsonrpc": "2.0", "id": 1, "method": "tools/list"}
SECRET = "a secret that is long enough for benchmarks"


def common(provider: int) -> dict[str, str]:
    return {
        "HOST": "127.0.0.1", "PYTHONPATH": str(ROOT / "src"), "WEBUI_SECRET_KEY": SECRET, "GLOBAL_LOG_LEVEL": "WARNING",
        "OPENAI_API_BASE_URLS": f"http://127.0.0.1:{provider}/v1", "OPENAI_API_KEYS": "none",
        "BYPASS_MODEL_ACCESS_CONTROL": "true", "ENABLE_MCP_SERVER": "true", "ENABLE_API_KEYS": "true",
    }  # fmt: skip


class Visitor(Client):
    """A client that comes from an address of its own: of this machine's network of 16 million."""

    def __init__(self, port: int, number: int) -> None:
        super().__init__(port)
        self._from = f"127.1.{number // 250}.{number % 250 + 1}"

    async def request(self, method: str, path: str, body: Any = None) -> Answer:
        if self._streams is None:
            self._streams = await asyncio.open_connection(self.host, self.port, local_addr=(self._from, 0))
        return await super().request(method, path, body)


async def person(admin: Client, number: int) -> dict[str, Any]:
    form = ADMIN | {"name": f"Person {number}", "email": f"person{number}@example.com", "role": "user"}
    made: dict[str, Any] = (await admin.post("/api/v1/auths/add", form)).json()
    return made | form


async def crowd(port: int, pid: int, token: str, count: int) -> str:
    admin = Client(port, token)
    people = [await person(admin, number) for number in range(count)]
    clients = [Visitor(port, number) for number in range(count)]
    before, began = cpu(pid), time.perf_counter()
    async with health_asked(Bench(port, pid, 0, 0, token, {})) as health:
        answers = await asyncio.gather(
            *(
                client.post("/api/v1/auths/signin", {"email": one["email"], "password": one["password"]})
                for client, one in zip(clients, people, strict=True)
            )
        )
    used, took = cpu(pid) - before, time.perf_counter() - began
    let_in = sum(answer.status == 200 for answer in answers)
    errors = sum(answer.status >= 500 for answer in answers)
    told = f"{let_in} of {count} let in, {errors} answers of 500 and more, in {took:.1f} s, {used / count * 1e3:.1f} ms CPU each"
    return f"{told}; /health p99 {percentile(health, 0.99):.0f} ms, the longest {max(health):.0f} ms"


async def refused(port: int, token: str, ask: Callable[[Client], Awaitable[Any]]) -> float:
    """When a process no longer answers 200."""
    client = Client(port, token)
    while True:
        try:
            if (await ask(client)).status != 200:
                return time.perf_counter()
        except (OSError, asyncio.IncompleteReadError):
            client = Client(port, token)
        await asyncio.sleep(0.05)


async def closed(tab: Tab) -> float:
    while tab.is_open:  # noqa: ASYNC110 - it tells nobody
        await asyncio.sleep(0.01)
    return time.perf_counter()


async def streamed(port: int, token: str) -> float:
    with contextlib.suppress(OSError, asyncio.IncompleteReadError):
        await Client(port, token).post("/api/chat/completions", LONG)
    return time.perf_counter()


async def ends(ports: list[int], admin_token: str) -> list[str]:
    admin = Client(ports[0], admin_token)

    async def held(one: dict[str, Any]) -> None:
        form = {"name": one["name"], "email": one["email"], "profile_image_url": "", "role": "pending"}
        assert (await admin.post(f"/api/v1/users/{one['id']}/update", form)).status == 200

    async def switched_off(one: dict[str, Any]) -> None:
        form = {"name": one["name"], "email": one["email"], "profile_image_url": "", "role": "user", "active": False}
        assert (await admin.post(f"/api/v1/users/{one['id']}/update", form)).status == 200

    async def deleted(one: dict[str, Any]) -> None:
        assert (await admin.request("DELETE", f"/api/v1/users/{one['id']}")).status == 200

    async def signed_out(one: dict[str, Any]) -> None:
        assert (await Client(ports[0], one["token"]).post("/api/v1/auths/signout", {})).status == 200

    may = (await admin.get("/api/v1/users/default/permissions")).json()
    may["features"]["api_keys"] = True
    assert (await admin.post("/api/v1/users/default/permissions", may)).status == 200
    acts = {"signs out": signed_out, "put on hold": held, "switched off": switched_off, "deleted": deleted}
    told = []
    for number, (name, act) in enumerate(acts.items()):
        one = await person(admin, 10_000 + number)
        tabs = [Tab(port, one["token"]) for port in ports]
        for tab in tabs:
            await tab.open()
        kinds = {
            "requests": [refused(port, one["token"], lambda c: c.get("/api/v1/chats/?page=1")) for port in ports],
            "sockets": [closed(tab) for tab in tabs],
            "streams": [streamed(port, one["token"]) for port in ports],
        }
        if act is not signed_out:
            made = await Client(ports[0], one["token"]).post("/api/v1/auths/api_key", {})
            assert made.status == 200, made.body
            key = made.json()["api_key"]
            kinds["MCP"] = [refused(port, key, lambda c: c.post("/mcp", PING)) for port in ports]
        tasks = {kind: [asyncio.create_task(each) for each in waiting] for kind, waiting in kinds.items()}
        await asyncio.sleep(2)
        assert not any(task.done() for task in itertools.chain(*tasks.values())), "it ended before it was to"
        began = time.perf_counter()
        await act(one)
        async with asyncio.timeout(60):
            last = {kind: max(await asyncio.gather(*waiting)) - began for kind, waiting in tasks.items()}
        told.append(f"{name:12} " + ", ".join(f"{kind} {seconds:.2f} s" for kind, seconds in last.items()))
        for tab in tabs:
            await tab.close()
    return told


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", default=["crowd", "ends"])
    parser.add_argument("--people", type=int, default=1_000)
    given = parser.parse_args()
    provider = free_port()
    with process(["benchmarks/provider.py", str(provider)], provider, "/v1/models"):
        if "crowd" in given.only:
            with servers([common(provider)], 0, 0) as one:
                asyncio.run(ready(one))
                print("crowd", asyncio.run(crowd(one.ports[0], one.pids[0], one.token, given.people)), flush=True)
        if "ends" in given.only:
            database = postgres.start()
            try:
                asyncio.run(database.execute("CREATE DATABASE ends"))
                with servers([common(provider) | {"DATABASE_URL": database.url("ends")}] * PROCESSES, 0, 0) as several:
                    asyncio.run(ready(several))
                    for line in asyncio.run(ends(several.ports, several.token)):
                        print("ends ", line, flush=True)
            finally:
                database.stop()


if __name__ == "__main__":
    main()
