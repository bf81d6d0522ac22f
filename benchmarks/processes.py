"""What several processes cost: CPU of all server processes per token, over that of one, in one run.

    python benchmarks/processes.py [--rounds 3] [--chats 60] [--only page api idle]

Starts a PostgreSQL and a Redis of its own (those of the tests), and servers on them: one without Redis (news go by LISTEN),
one with it, and two with it. Tabs of page chats have their socket at one of two processes and ask either of them, by turns,
so that half of the answers cross. PostgreSQL's and Redis' own processes are not counted: they are other machines'.
`idle` opens 10,000 sockets at one process and prints its memory; it needs that many open files in this one.
"""

import argparse
import asyncio
import contextlib
import resource
import shutil
import statistics
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from measure import Client, cpu, load, memory_mb
from run import ADMIN, completion, free_port, process
from tabs import Tab

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from tests.support import postgres  # noqa: E402 - found beside this folder
from tests.support import redis as redis_support  # noqa: E402

TOKENS = 200
IDLE = 10_000


@dataclass
class Servers:
    """Processes on one database, with an admin signed in."""

    ports: list[int]
    pids: list[int]
    token: str = ""
    people: list[str] = field(default_factory=list)

    async def tokens_of(self, count: int) -> list[str]:
        """Session tokens of so many people, who are added when they are needed."""
        admin = Client(self.ports[0], self.token)
        while len(self.people) < count:
            form = ADMIN | {"email": f"person{len(self.people)}@example.com", "role": "admin"}
            self.people.append((await admin.post("/api/v1/auths/add", form)).json()["token"])
        admin.close()
        return self.people[:count]

    def cpu(self) -> float:
        return sum(cpu(pid) for pid in self.pids)


@contextlib.contextmanager
def servers(count: int, environment: dict[str, str]) -> Iterator[Servers]:
    """So many, each with a folder of its own. The first one is started for once before, and migrates."""
    with contextlib.ExitStack() as stack:
        out = Servers([], [])
        for number in range(count):
            folder = tempfile.mkdtemp(prefix="oui-bench-")
            stack.callback(shutil.rmtree, folder, ignore_errors=True)
            port = free_port()
            env = environment | {"PORT": str(port), "DATA_DIR": folder}
            serve = ["-m", "open_webui.cli", "serve"]
            if not number:
                with process(serve, port, "/health", env):
                    pass
            pid, _ = stack.enter_context(process(serve, port, "/health", env))
            out.ports.append(port)
            out.pids.append(pid)
        yield out


async def ready(s: Servers) -> None:
    """Signs an admin up, and waits until each process knows the provider's models."""
    s.token = (await Client(s.ports[0]).post("/api/v1/auths/signup", ADMIN)).json()["token"]
    for port in s.ports:
        client = Client(port, s.token)
        while b'"slow"' not in (await client.get("/api/models")).body:  # noqa: ASYNC110 - it tells nobody
            await asyncio.sleep(0.05)
        client.close()
    await asyncio.sleep(2)  # and of each other


async def page(s: Servers, chats: int) -> float:
    """CPU microseconds a token of page chats at the pace of reading, each of a person of their own."""
    count = len(s.ports)
    people = await s.tokens_of(chats)
    tabs = [Tab(s.ports[n % count], people[n], s.ports[n // count % count]) for n in range(chats)]
    await asyncio.gather(*(tab.open() for tab in tabs))
    before = s.cpu()
    answers = await asyncio.gather(*(tab.chat("slow", TOKENS) for tab in tabs))
    used = s.cpu() - before
    await asyncio.gather(*(tab.close() for tab in tabs))
    if not all(answer.whole for answer in answers):
        raise RuntimeError("an answer was not whole")
    return used / chats / TOKENS * 1e6


async def api(s: Servers, chats: int) -> float:
    """CPU microseconds a chunk of API streams."""
    body = completion("fast", TOKENS, stream=True)
    clients = [Client(s.ports[n % len(s.ports)], s.token) for n in range(20)]
    before = s.cpu()
    answers = await load(clients, chats * 4, lambda c: c.post("/api/chat/completions", body))
    return (s.cpu() - before) / sum(answer.chunks for answer in answers) * 1e6


async def idle(s: Servers, _chats: int) -> float:
    """Memory in MB of a process with many sockets of one person each, which do nothing."""
    resource.setrlimit(resource.RLIMIT_NOFILE, (IDLE + 1_000, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))
    people = await s.tokens_of(IDLE // 250)
    tabs = [Tab(s.ports[0], people[n % len(people)]) for n in range(IDLE)]
    for at in range(0, IDLE, 100):
        await asyncio.gather(*(tab.open() for tab in tabs[at : at + 100]))
    await asyncio.sleep(3)
    memory = memory_mb(s.pids[0])
    if not all(tab.is_open for tab in tabs):
        raise RuntimeError("a socket was closed")
    await asyncio.gather(*(tab.close() for tab in tabs))
    return memory


SCENARIOS = {"page": page, "api": api}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--chats", type=int, default=60)
    parser.add_argument("--only", nargs="+", default=["page", "api", "idle"])
    given = parser.parse_args()
    database = postgres.start()
    carrier = redis_support.Redis()
    carrier.start()
    provider_port = free_port()
    figures: dict[tuple[str, str], list[float]] = {}
    numbers = iter(range(1000))

    def measured(name: str, count: int, kind: str, *, with_redis: bool) -> None:
        fresh = f"bench_{next(numbers)}"
        asyncio.run(database.execute(f"CREATE DATABASE {fresh}"))
        env = {
            "HOST": "127.0.0.1", "PYTHONPATH": str(ROOT / "src"), "DATABASE_URL": database.url(fresh),
            "WEBUI_SECRET_KEY": "a secret that is long enough for benchmarks", "GLOBAL_LOG_LEVEL": "WARNING",
            "OPENAI_API_BASE_URLS": f"http://127.0.0.1:{provider_port}/v1", "OPENAI_API_KEYS": "none",
            "MAX_CONNECTIONS_PER_ADDRESS": "20000",
        }  # fmt: skip
        if with_redis:
            env["REDIS_URL"] = carrier.url
        with servers(count, env) as s:

            async def run() -> None:
                await ready(s)
                scenario = idle if name == "idle" else SCENARIOS[name]
                figures.setdefault((name, kind), []).append(await scenario(s, given.chats))

            asyncio.run(run())

    try:
        with process(["benchmarks/provider.py", str(provider_port)], provider_port, "/v1/models"):
            for _ in range(given.rounds):
                for name in (n for n in SCENARIOS if n in given.only):
                    measured(name, 1, "listen", with_redis=False)
                    measured(name, 1, "one", with_redis=True)
                    measured(name, 2, "two", with_redis=True)
            if "idle" in given.only:
                measured("idle", 1, "one", with_redis=True)
    finally:
        carrier.stop()
        database.stop()
    for name in SCENARIOS:
        if (name, "one") not in figures:
            continue
        listen, one, two = (statistics.median(figures[name, kind]) for kind in ("listen", "one", "two"))
        print(
            f"{name:6} {one:.1f} us with Redis, {one / listen:.2f} x without; two processes {two:.1f} us: {one / two:.2f}"
        )
    if ("idle", "one") in figures:
        print(f"idle   {figures['idle', 'one'][0]:.0f} MB PSS with {IDLE:,} sockets")


if __name__ == "__main__":
    main()
