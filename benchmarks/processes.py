"""What several processes cost: CPU of all server processes per token, over that of one, in one run.

    python benchmarks/processes.py [--rounds 3] [--chats 60] [--only page near api rest idle]

Starts a PostgreSQL and a Redis of its own (those of the tests), and servers on them: one without Redis (news go by LISTEN),
one with it, and two with it. Two are measured twice: with the same load at each as one has (twice the load in all), and with
one's load between them. The first is what a second process is for; in the second each is half as busy, and therefore tells
each answer's words up to twice as often (internal/load.py), so that frames a chat are printed, too. `strangers` are two that do
not hear each other, and whose tabs ask the one that has their socket: what twice the load costs on this machine by itself.

`page`: tabs of page chats have their socket at one of two processes and ask either of them, by turns, so that half of the
answers cross. `near`: each asks the one that has its socket, and nothing crosses. `api`: streams. `rest`: CPU of processes that
nobody asks, in ms a second each. `idle` opens 10,000 sockets at one process, and prints its memory and CPU, how long an
event of one of them takes to be answered, and what it costs when all leave at once and when the server stops; it needs that
many open files in this one. PostgreSQL's and Redis' own processes are told apart, with what servers that wait for their turn
ask of them.
"""

import argparse
import asyncio
import contextlib
import itertools
import os
import resource
import shutil
import signal
import statistics
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import psutil
from measure import Client, cpu, load, memory_mb
from run import ADMIN, completion, free_port, process
from tabs import Tab

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from tests.support import postgres  # noqa: E402 - found beside this folder
from tests.support import redis as redis_support  # noqa: E402

TOKENS = 200
IDLE = 10_000
REST_SECONDS = 10


@dataclass
class Servers:
    """Processes on one database, with an admin signed in."""

    ports: list[int]
    pids: list[int]
    database_pid: int
    carrier_pid: int
    are_strangers: bool = False
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


@contextlib.contextmanager
def servers(environments: list[dict[str, str]], database_pid: int, carrier_pid: int) -> Iterator[Servers]:
    """One for each environment, each with a folder of its own. The first one is started for once before, and migrates."""
    with contextlib.ExitStack() as stack:
        out = Servers([], [], database_pid, carrier_pid)
        for number, environment in enumerate(environments):
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


@dataclass
class Figures:
    """CPU microseconds a token: of the servers, of PostgreSQL and of Redis; and what else is to be known."""

    server: float
    database: float
    carrier: float
    frames: float = 0.0


@contextlib.contextmanager
def counted(s: Servers) -> Iterator[Callable[[float], Figures]]:
    """Counts CPU from here on; what is given makes figures of it, for so many tokens."""
    pids = (s.pids, [s.database_pid], [s.carrier_pid])
    before = [sum(map(cpu, of)) for of in pids]
    yield lambda tokens: Figures(*((sum(map(cpu, of)) - b) / tokens * 1e6 for of, b in zip(pids, before, strict=True)))


async def page(s: Servers, chats: int, *, near: bool = False) -> Figures:
    """Page chats at the pace of reading, each of a person of their own."""
    count = len(s.ports)
    people = await s.tokens_of(chats)
    tabs = [
        Tab(s.ports[n % count], people[n], s.ports[(n if near or s.are_strangers else n // count) % count])
        for n in range(chats)
    ]
    await asyncio.gather(*(tab.open() for tab in tabs))
    # A process that has just started prepares statements and makes connections, once.
    await asyncio.gather(*(tab.chat("fast", 10) for tab in tabs))
    await asyncio.sleep(2)
    with counted(s) as figures:
        answers = await asyncio.gather(*(tab.chat("slow", TOKENS) for tab in tabs))
        told = figures(chats * TOKENS)
    await asyncio.gather(*(tab.close() for tab in tabs))
    if not all(answer.whole for answer in answers):
        raise RuntimeError("an answer was not whole")
    told.frames = sum(answer.frames for answer in answers) / chats
    return told


async def near(s: Servers, chats: int) -> Figures:
    return await page(s, chats, near=True)


async def api(s: Servers, chats: int) -> Figures:
    """API streams, four for each chat of the others, a third as many at once as there are chats."""
    body = completion("fast", TOKENS, stream=True)
    clients = [Client(s.ports[n % len(s.ports)], s.token) for n in range(chats // 3)]
    await load(clients, chats, lambda c: c.post("/api/chat/completions", body))
    with counted(s) as figures:
        answers = await load(clients, chats * 4, lambda c: c.post("/api/chat/completions", body))
        return figures(sum(answer.chunks for answer in answers))


async def rest(s: Servers, _chats: int) -> Figures:
    """Milliseconds of CPU a second of each process, while nobody asks for anything."""
    with counted(s) as figures:
        await asyncio.sleep(REST_SECONDS)
        return figures(REST_SECONDS * 1e3 * len(s.ports))


async def idle(s: Servers) -> float:
    """Memory in MB of a process with many sockets of one person each, which do nothing. Prints the rest."""
    resource.setrlimit(resource.RLIMIT_NOFILE, (IDLE + 1_000, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))
    people = await s.tokens_of(IDLE // 250)
    [pid] = s.pids
    before, used = memory_mb(pid), cpu(pid)
    tabs = await _opened(s, people)
    opening, used = cpu(pid) - used, cpu(pid)
    await asyncio.sleep(30)
    rest = cpu(pid) - used
    memory = memory_mb(pid)
    if not all(tab.is_open for tab in tabs):
        raise RuntimeError("a socket was closed")
    answered = sorted([await tabs[n * 37 % IDLE].ask() for n in range(200)])
    used = cpu(pid)
    await asyncio.gather(*(tab.close() for tab in tabs))
    leaving, last = 0.0, -1.0
    while leaving - last > 0.1:
        await asyncio.sleep(1)
        leaving, last = cpu(pid) - used, leaving
    tabs = await _opened(s, people)
    used = cpu(pid)
    os.kill(pid, signal.SIGTERM)
    while psutil.Process(pid).status() != psutil.STATUS_ZOMBIE:  # noqa: ASYNC110 - it tells nobody
        await asyncio.sleep(0.01)
    stopping = sum(psutil.Process(pid).cpu_times()[:2]) - used
    await asyncio.gather(*(tab.close() for tab in tabs))
    print(
        f"idle   {(memory - before) / IDLE * 1024:.1f} KB a socket; CPU: {opening / IDLE * 1e6:.0f} us to open one,"
        f" {rest / 0.3:.1f}% of a core at rest, {leaving:.1f} s when all leave, {stopping:.1f} s to stop with all;"
        f" an event answered in {answered[100] * 1e3:.1f} ms, p99 {answered[198] * 1e3:.1f} ms"
    )
    return memory


async def _opened(s: Servers, people: list[str]) -> list[Tab]:
    """Many sockets, a hundred at a time."""
    tabs = [Tab(s.ports[0], people[n % len(people)]) for n in range(IDLE)]
    for at in range(0, IDLE, 100):
        await asyncio.gather(*(tab.open() for tab in tabs[at : at + 100]))
    return tabs


SCENARIOS = {"page": page, "near": near, "api": api, "rest": rest}
# Processes, times of the load, and how they hear of each other.
KINDS = {
    "listen": (1, 1, "LISTEN"),
    "one": (1, 1, "Redis"),
    "strangers": (2, 2, "nothing"),
    "same each": (2, 2, "Redis"),
    "same in all": (2, 1, "Redis"),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--chats", type=int, default=60)
    parser.add_argument("--only", nargs="+", default=[*SCENARIOS, "idle"])
    parser.add_argument("--kinds", nargs="+", default=list(KINDS))
    given = parser.parse_args()
    database = postgres.start()
    carrier = redis_support.Redis()
    carrier.start()
    provider_port = free_port()
    numbers = itertools.count()

    @contextlib.contextmanager
    def fresh(count: int, hearing: str) -> Iterator[Servers]:
        """So many processes on a database and channels of their own, warm."""
        name = f"bench_{next(numbers)}"
        asyncio.run(database.execute(f"CREATE DATABASE {name}"))
        env = {
            "HOST": "127.0.0.1", "PYTHONPATH": str(ROOT / "src"), "DATABASE_URL": database.url(name),
            "WEBUI_SECRET_KEY": "a secret that is long enough for benchmarks", "GLOBAL_LOG_LEVEL": "WARNING",
            "OPENAI_API_BASE_URLS": f"http://127.0.0.1:{provider_port}/v1", "OPENAI_API_KEYS": "none",
            "MAX_CONNECTIONS_PER_ADDRESS": "20000",
        }  # fmt: skip
        if hearing != "LISTEN":
            env["REDIS_URL"] = carrier.url
        envs = [env | {"REDIS_KEY_PREFIX": f"{name}_{n if hearing == 'nothing' else 0}"} for n in range(count)]
        with servers(envs, database.process.pid, carrier.pid) as s:
            s.are_strangers = hearing == "nothing"
            asyncio.run(ready(s))
            yield s

    figures: dict[tuple[str, str], list[Figures]] = {}
    wanted = [name for name in SCENARIOS if name in given.only]
    provider = ["benchmarks/provider.py", str(provider_port)], provider_port, "/v1/models"
    try:
        with contextlib.ExitStack() as stack:
            stack.enter_context(process(*provider))
            kinds = {k: stack.enter_context(fresh(KINDS[k][0], KINDS[k][2])) for k in given.kinds if wanted}
            for _ in range(given.rounds):
                for name, (kind, s) in itertools.product(wanted, kinds.items()):
                    found = asyncio.run(SCENARIOS[name](s, given.chats * KINDS[kind][1]))
                    figures.setdefault((name, kind), []).append(found)
                    print(f"  {name} {kind}: {found}", file=sys.stderr, flush=True)
        if "idle" in given.only:
            with process(*provider), fresh(1, "Redis") as s:
                print(f"idle  {asyncio.run(idle(s)):.0f} MB PSS with {IDLE:,} sockets")
    finally:
        carrier.stop()
        database.stop()
    report(figures)


def report(figures: dict[tuple[str, str], list[Figures]]) -> None:
    """A line for each scenario and kind: the median and the range; what one process with Redis takes over it, by the
    medians and by the least of each, since other work on the machine only ever adds to what is counted.
    """
    for (name, kind), found in figures.items():
        used = [one.server for one in found]
        told = (
            f"{statistics.median(used):6.1f} {'ms/s' if name == 'rest' else 'us'} ({min(used):.1f} to {max(used):.1f})"
        )
        if one := [f.server for f in figures.get((name, "one"), ())]:
            told += f"  {statistics.median(one) / statistics.median(used):.2f} ({min(one) / min(used):.2f})"
        database, carrier, frames = (
            statistics.median(getattr(f, part) for f in found) for part in ("database", "carrier", "frames")
        )
        print(f"{name:5} {kind:12} {told}  PostgreSQL {database:.1f}, Redis {carrier:.1f}, frames a chat {frames:.0f}")


if __name__ == "__main__":
    main()
