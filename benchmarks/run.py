"""Measures what the README claims, on this machine, and prints a table.

    python benchmarks/run.py [--only NAME ...] [--database-url URL]

Starts the server and a provider of its own on free ports of 127.0.0.1, over a fresh data folder. CPU figures are seconds
of the server's process tree per unit of work; machines are noisy, so where another process does comparable work (the
provider) the figure is a ratio within one run. RESULTS.md holds figures with their method.
"""

import argparse
import asyncio
import contextlib
import json
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from measure import Client, cpu, load, memory_mb, percentile
from tabs import Tab

ROOT = Path(__file__).resolve().parent.parent
ADMIN = {"name": "Bench", "email": "bench@example.com", "password": "correct-horse-9"}


def free_port() -> int:
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return int(s.getsockname()[1])


@contextlib.contextmanager
def process(
    arguments: list[str], port: int, ready: str, env: dict[str, str] | None = None
) -> Iterator[tuple[int, float]]:
    """A child process that serves on a port: its pid, and how long it took until this path answered."""
    started = time.perf_counter()
    child = subprocess.Popen([sys.executable, *arguments], env={**os.environ, **(env or {})}, cwd=ROOT)
    try:
        while True:
            with contextlib.suppress(OSError), urllib.request.urlopen(f"http://127.0.0.1:{port}{ready}", timeout=5):
                break
            if child.poll() is not None or time.perf_counter() - started > 30:
                raise RuntimeError(f"{arguments} did not start")
            time.sleep(0.005)
        yield child.pid, time.perf_counter() - started
    finally:
        child.send_signal(signal.SIGTERM)
        child.wait(15)


@dataclass
class Bench:
    """A running server with an admin signed in, and the provider behind it."""

    port: int
    pid: int
    provider_port: int
    provider_pid: int
    token: str
    results: dict[str, str]
    people: list[str] = field(default_factory=list)

    def client(self) -> Client:
        return Client(self.port, self.token)

    def clients(self, count: int) -> list[Client]:
        return [self.client() for _ in range(count)]

    async def tokens_of(self, count: int) -> list[str]:
        """Session tokens of so many people, who are added when they are needed."""
        while len(self.people) < count:
            form = ADMIN | {"email": f"person{len(self.people)}@example.com", "role": "admin"}
            self.people.append((await self.client().post("/api/v1/auths/add", form)).json()["token"])
        return self.people[:count]

    def report(self, name: str, text: str) -> None:
        self.results[name] = text
        print(f"{name:14} {text}", flush=True)


def completion(model: str, tokens: int, *, stream: bool) -> dict[str, Any]:
    messages = [{"role": "user", "content": "Tell me a story."}]
    return {"model": model, "stream": stream, "max_tokens": tokens, "messages": messages}


async def stream(b: Bench) -> None:
    """CPU per chunk of an API stream over the provider's own, in one run."""
    body = completion("fast", 200, stream=True)
    ratios = []
    for _ in range(3):
        straight = [Client(b.provider_port) for _ in range(20)]
        before = cpu(b.provider_pid)
        answers = await load(straight, 200, lambda c: c.post("/v1/chat/completions", body))
        direct = (cpu(b.provider_pid) - before) / sum(a.chunks for a in answers)
        before = cpu(b.pid)
        answers = await load(b.clients(20), 200, lambda c: c.post("/api/chat/completions", body))
        ours = (cpu(b.pid) - before) / sum(a.chunks for a in answers)
        # The last word, the counts and the terminator come after the 200 words.
        if not all(a.whole and a.chunks == 203 for a in answers):
            raise RuntimeError("a stream was not whole")
        ratios.append((ours / direct, ours, direct))
    ratio, ours, direct = sorted(ratios)[1]
    b.report("stream", f"{ratio:.2f} x the provider's CPU per chunk ({ours * 1e6:.1f} us over {direct * 1e6:.1f} us)")


async def one(b: Bench) -> None:
    """CPU of an API request that is answered by one chunk."""
    body = completion("fast", 1, stream=True)
    await per_request(b, "one", 1000, 10, lambda c: c.post("/api/chat/completions", body))


async def per_request(b: Bench, name: str, count: int, width: int, call: Callable[[Client], Awaitable[Any]]) -> None:
    clients = b.clients(width)
    await load(clients, width * 3, call)
    before = cpu(b.pid)
    await load(clients, count, call)
    b.report(name, f"{(cpu(b.pid) - before) / count * 1000:.2f} ms CPU")


async def models(b: Bench) -> None:
    """CPU of /api/models."""
    await per_request(b, "models", 2000, 10, lambda c: c.get("/api/models"))


async def config(b: Bench) -> None:
    """CPU of /api/config."""
    await per_request(b, "config", 2000, 10, lambda c: c.get("/api/config"))


async def page(b: Bench) -> None:
    """A chat as the page has it: stored, asked, told over the socket, read back. CPU per token."""
    import socketio

    chats, tokens, width = 80, 200, 10
    whole = frames = 0
    left = iter(range(chats))

    async def signed_in(number: int) -> Client:
        mail = f"bench{number}@example.com"
        http = b.client()
        await http.post("/api/v1/auths/add", ADMIN | {"email": mail, "role": "admin"})
        http.token = (await http.post("/api/v1/auths/signin", ADMIN | {"email": mail})).json()["token"]
        return http

    async def person(http: Client) -> None:
        nonlocal whole, frames
        waiting: dict[str, asyncio.Future[None]] = {}
        sio = socketio.AsyncClient(reconnection=False)

        @sio.on("events")
        async def events(event: dict[str, Any]) -> None:
            nonlocal frames
            frames += 1
            data = event.get("data", {})
            done = waiting.get(event.get("message_id", ""))
            if done and data.get("type") == "chat:completion" and data.get("data", {}).get("done"):
                done.set_result(None)

        address = f"http://127.0.0.1:{b.port}"
        await sio.connect(address, socketio_path="/ws/socket.io", auth={"token": http.token}, transports=["websocket"])
        for _ in left:
            asked, answered = str(uuid.uuid4()), str(uuid.uuid4())
            question = {"id": asked, "parentId": None, "childrenIds": [answered], "role": "user", "content": "Go on."}
            waiting[answered] = asyncio.get_running_loop().create_future()
            body = {
                "stream": True, "model": "fast", "params": {"max_tokens": tokens}, "session_id": sio.get_sid(),
                "id": answered, "parent_id": None, "user_message": question, "background_tasks": {},
            }  # fmt: skip
            reply = (await http.post("/api/chat/completions", body)).json()
            await asyncio.wait_for(waiting[answered], 60)
            saved = (await http.get(f"/api/v1/chats/{reply['chat_id']}")).json()
            whole += len(saved["chat"]["history"]["messages"][answered]["content"].split()) == tokens
        await sio.disconnect()

    # Hashing their passwords is not what is measured.
    people = [person(await signed_in(n)) for n in range(width)]
    before = cpu(b.pid)
    started = time.perf_counter()
    await asyncio.gather(*people)
    used = cpu(b.pid) - before
    if whole != chats:
        raise RuntimeError(f"only {whole} of {chats} answers were saved whole")
    took = time.perf_counter() - started
    per_chat = frames / chats
    b.report("page", f"{used / chats / tokens * 1e6:.0f} us CPU per token, {per_chat:.0f} frames a chat, {took:.1f} s")


WORDS = [
    a + z for a in "ka ti mo ra su le no vi pe du sha gri blo tru fen".split() for z in "ra lin tor mes vik".split()
]


def saved_chat(number: int, messages: int, words: int, rnd: random.Random) -> dict[str, Any]:
    ids = [str(uuid.UUID(int=rnd.getrandbits(128))) for _ in range(messages)]
    history = {
        mid: {
            "id": mid,
            "parentId": ids[k - 1] if k else None,
            "childrenIds": ids[k + 1 : k + 2],
            "role": "assistant" if k % 2 else "user",
            "content": " ".join(rnd.choices(WORDS, k=words)),
            "timestamp": 1_790_000_000 + number * 60 + k,
            "models": ["fast"],
        }
        for k, mid in enumerate(ids)
    }
    chat = {"title": f"Chat {number} about {rnd.choice(WORDS)}", "models": ["fast"], "params": {}, "tags": []}
    return {"chat": chat | {"history": {"messages": history, "currentId": ids[-1]}, "messages": list(history.values())}}


async def seed(b: Bench) -> None:
    """2,000 chats of 20 messages through the API; then the list and a search over them."""
    rnd = random.Random(7)
    jobs = [saved_chat(n, 20, 60, rnd) for n in range(2000)]
    started = time.perf_counter()
    await load(b.clients(8), len(jobs), lambda c: c.post("/api/v1/chats/new", jobs.pop()))
    b.report("seed", f"{2000 / (time.perf_counter() - started):.0f} chats/s")
    await per_request(b, "list", 500, 10, lambda c: c.get("/api/v1/chats/?page=1"))
    await per_request(b, "search common", 100, 4, lambda c: c.get("/api/v1/chats/search?text=kara&page=1"))
    await per_request(b, "search rare", 100, 4, lambda c: c.get("/api/v1/chats/search?text=1234&page=1"))


async def reading(b: Bench) -> None:
    """Chats at the pace of reading, each of a person of their own: CPU per token at 1, 100 and 300 of them."""
    for width in (1, 100, 300):
        await at_reading_pace(b, f"reading {width}", await b.tokens_of(width))


async def tabs(b: Bench) -> None:
    """The same with many tabs of one person, each with a chat of its own."""
    for width in (100, 180):
        await at_reading_pace(b, f"tabs {width}", [b.token] * width)


async def at_reading_pace(b: Bench, name: str, tokens: list[str]) -> None:
    """One answer of 200 tokens in each tab, all begun at once."""
    length = 200
    opened = [Tab(b.port, token) for token in tokens]
    await asyncio.gather(*(tab.open() for tab in opened))
    before = cpu(b.pid)
    async with health_asked(b, often=len(tokens) > 1) as health:
        chats = await asyncio.gather(*(tab.chat("slow", length) for tab in opened))
    used = cpu(b.pid) - before
    up = sum(tab.is_open for tab in opened)
    frames = sum(chat.frames for chat in chats) / len(chats)
    foreign = sum(tab.foreign for tab in opened) / len(chats)
    await asyncio.gather(*(tab.close() for tab in opened))
    whole = sum(chat.whole for chat in chats)
    if (whole, up) != (len(chats), len(chats)):
        raise RuntimeError(f"{name}: {whole} of {len(chats)} answers were whole, {up} sockets stayed open")
    first, last = percentile((c.first for c in chats), 0.5), percentile((c.total for c in chats), 0.99)
    told = f"first token p50 {first * 1000:.0f} ms, whole p99 {last:.1f} s, {frames:.0f} frames a chat, {foreign:.0f} foreign"
    if health:
        told += f", /health p99 {percentile(health, 0.99):.0f} ms"
    b.report(name, f"{used / len(chats) / length * 1e6:.0f} us CPU per token, {told}")


async def rounds(b: Bench) -> None:
    """100 chats at once, each with three rounds in which a tool in Python is called, and /health meanwhile."""
    content = 'class Tools:\n    async def add(self, a: int, b: int) -> str:\n        """Adds."""\n        return str(a + b)\n'
    grants = [{"principal_type": "user", "principal_id": "*", "permission": "read"}]
    tool = {"id": "adder", "name": "Adder", "content": content, "meta": {}, "access_grants": grants}
    await b.client().post("/api/v1/tools/create", tool)
    opened = [Tab(b.port, token) for token in await b.tokens_of(100)]
    await asyncio.gather(*(tab.open() for tab in opened))
    # The first call starts what runs plugins.
    await opened[0].chat("tools", 20, tool_ids=["adder"])
    before = cpu(b.pid)
    async with health_asked(b) as health:
        chats = await asyncio.gather(*(tab.chat("tools", 20, tool_ids=["adder"]) for tab in opened))
    used = cpu(b.pid) - before
    await asyncio.gather(*(tab.close() for tab in opened))
    whole, last = sum(chat.whole and chat.results == 3 for chat in chats), percentile((c.total for c in chats), 0.99)
    told = f"{whole} of 100 whole, {used * 10:.1f} ms CPU a chat, whole p99 {last:.1f} s"
    b.report("rounds", f"{told}, /health p99 {percentile(health, 0.99):.0f} ms, the longest {max(health):.0f} ms")


@contextlib.asynccontextmanager
async def health_asked(b: Bench, *, often: bool = True) -> AsyncIterator[list[float]]:
    """Asks /health meanwhile, twenty times a second unless told not to; the list has the times in ms afterwards.

    A process of its own asks: this one is busy and would measure its own delays.
    """
    times: list[float] = []
    if not often:
        yield times
        return
    probe = await asyncio.create_subprocess_exec(
        sys.executable, str(ROOT / "benchmarks/probe.py"), str(b.port), stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    yield times
    times += json.loads((await probe.communicate(b""))[0])


async def many(b: Bench) -> None:
    """500 slow streams at once through one process, and /health meanwhile."""
    body = completion("slow", 200, stream=True)
    before = cpu(b.pid)
    async with health_asked(b) as health:
        answers = await load(b.clients(500), 500, lambda c: c.post("/api/chat/completions", body))
    used = cpu(b.pid) - before
    first = percentile((a.first for a in answers), 0.99)
    whole = sum(a.whole and a.chunks == 203 for a in answers)
    took = max(a.total for a in answers)
    told = f"first token p99 {first:.2f} s, /health p99 {percentile(health, 0.99):.0f} ms"
    b.report("many", f"{whole} of 500 whole, {told}, {took:.1f} s in all, {used:.1f} s CPU")


async def long(b: Bench) -> None:
    """A turn in a chat of 10,000 messages (50 MB) against one in an empty chat: time until the reply."""
    client = b.client()
    small = (await client.post("/api/v1/chats/new", saved_chat(1, 2, 10, random.Random(1)))).json()
    answer = await client.post("/api/v1/chats/new", saved_chat(2, 10_000, 390, random.Random(2)))
    big = json.loads(answer.body)
    took = {}
    for name, chat in (("small", small), ("big", big)):
        parent = chat["chat"]["history"]["currentId"]
        times = []
        for _ in range(7):
            asked, answered = str(uuid.uuid4()), str(uuid.uuid4())
            question = {"id": asked, "parentId": parent, "childrenIds": [answered], "role": "user", "content": "Go on."}
            body = {
                "stream": True, "model": "fast", "params": {"max_tokens": 1}, "session_id": "none", "id": answered,
                "chat_id": chat["id"], "parent_id": parent, "user_message": question, "background_tasks": {},
            }  # fmt: skip
            times.append((await client.post("/api/chat/completions", body)).total)
            parent = answered
            await asyncio.sleep(0.5)
        took[name] = sorted(times)[3]
    b.report("long", f"{(took['big'] - took['small']) * 1000:.0f} ms added by 10,000 messages")


SCENARIOS = {"stream": stream, "one": one, "models": models, "config": config, "page": page, "seed": seed}
SCENARIOS |= {"reading": reading, "tabs": tabs, "rounds": rounds, "many": many, "long": long}


async def measure(b: Bench, wanted: list[str]) -> None:
    admin = Client(b.port)
    signed = (await admin.post("/api/v1/auths/signup", ADMIN)).json()
    b.token = signed["token"]
    for name in wanted:
        if name in SCENARIOS:
            await SCENARIOS[name](b)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", default=["start", *SCENARIOS])
    parser.add_argument("--database-url", default="")
    given = parser.parse_args()
    folder = tempfile.mkdtemp(prefix="oui-bench-")
    port, provider_port = free_port(), free_port()
    env = {
        "DATA_DIR": folder, "PORT": str(port), "HOST": "127.0.0.1", "PYTHONPATH": str(ROOT / "src"),
        "OPENAI_API_BASE_URLS": f"http://127.0.0.1:{provider_port}/v1", "OPENAI_API_KEYS": "none",
        "DATABASE_URL": given.database_url, "GLOBAL_LOG_LEVEL": "WARNING",
    }  # fmt: skip
    server = ["-m", "open_webui.cli", "serve"]
    try:
        with process(["benchmarks/provider.py", str(provider_port)], provider_port, "/v1/models") as (provider_pid, _):
            with process(server, port, "/health", env):
                pass  # migrates
            with process(server, port, "/health", env) as (pid, took):
                b = Bench(port, pid, provider_port, provider_pid, "", {})
                if "start" in given.only:
                    b.report("start", f"{took:.2f} s until it answers")
                    time.sleep(3)
                    b.report("idle", f"{memory_mb(pid):.0f} MB PSS")
                asyncio.run(measure(b, given.only))
                b.report("after", f"{memory_mb(pid):.0f} MB PSS")
    finally:
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main()
