"""What many people do together: a channel with 1,000 sockets, two who type in one note, and what the home page asks for.

    python benchmarks/together.py [--only channel notes home] [--seconds 20] [--minutes 10] [--rate 20]

Starts a server of its own over a fresh data folder.

`channel`: 200 people with five tabs each, in one channel; one of them posts `--rate` messages a second for `--seconds`. Every tab
looks at the numbers of the messages that it hears: all, in order, once. Latency is from the moment before the request that posts
until a tab has the frame; it holds this process' own delays, which reads all 1,000 sockets. CPU is the server's, over the time
in which messages are posted.

`notes`: two editors type ten characters a second each for `--minutes`, and the server is killed (SIGKILL) in the middle and
started again. What was acknowledged must be there afterwards, and both editors must have the same text.

`home`: the calls by which the official page begins, recorded from it, one after the other by each of five clients; CPU of all
calls of one load.
"""

import argparse
import asyncio
import itertools
import os
import random
import resource
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import socketio
from measure import Client, cpu, load, percentile
from run import ADMIN, free_port, process, saved_chat
from tabs import Tab

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from tests.support.editor import Editor  # noqa: E402 - found beside this folder

PEOPLE, TABS_EACH = 200, 5
SERVE = ["-m", "open_webui.cli", "serve"]
HOME = (
    "/api/config", "/api/version", "/api/v1/auths/", "/api/config", "/api/v1/users/{id}/profile/image", "/api/v1/configs/banners",
    "/api/v1/users/user/settings", "/api/v1/tools/", "/api/v1/channels/", "/api/v1/chats/?page=1", "/api/v1/chats/all/tags",
    "/api/v1/chats/pinned", "/api/v1/notes/pinned", "/api/models", "/api/v1/terminals/", "/api/v1/folders/",
    "/api/v1/folders/shared", "/api/v1/functions/", "/api/v1/skills/",
)  # fmt: skip
# What a client of a server that is away fails with.
_AWAY = (OSError, TimeoutError, socketio.exceptions.SocketIOError)
_MARK = b'"content":"number '


class Listener(Tab):
    """A tab that keeps the numbers of the messages it hears in a channel, and how long each was on its way."""

    def __init__(self, port: int, token: str, sent: dict[int, float]) -> None:
        super().__init__(port, token)
        self._sent = sent
        self.numbers: list[int] = []
        self.took: list[float] = []

    async def _read(self) -> None:
        while True:
            try:
                message = await self._message()
            except asyncio.IncompleteReadError:
                return
            if message == b"2":
                self._send("3")
                continue
            at = message.find(_MARK)
            if at < 0 or b'"events:channel"' not in message[:32]:
                continue
            number = int(message[at + len(_MARK) : at + len(_MARK) + 6])
            self.numbers.append(number)
            self.took.append(time.perf_counter() - self._sent[number])


@dataclass
class Place:
    """A data folder and the server over it. people: their tokens."""

    folder: str
    port: int = field(default_factory=free_port)
    token: str = ""
    id: str = ""
    people: list[str] = field(default_factory=list)

    @property
    def environment(self) -> dict[str, str]:
        return {
            "DATA_DIR": self.folder, "PORT": str(self.port), "HOST": "127.0.0.1", "PYTHONPATH": str(ROOT / "src"),
            "GLOBAL_LOG_LEVEL": "WARNING", "WEBUI_SECRET_KEY": "together" * 6,
        }  # fmt: skip

    def start(self) -> subprocess.Popen[bytes]:
        return subprocess.Popen([sys.executable, *SERVE], env={**os.environ, **self.environment}, cwd=ROOT)

    async def sign_up(self) -> None:
        signed = (await Client(self.port).post("/api/v1/auths/signup", ADMIN)).json()
        self.token, self.id = signed["token"], signed["id"]

    async def add_people(self, count: int) -> None:
        client = Client(self.port, self.token)
        for number in range(count):
            form = ADMIN | {"email": f"person{number}@example.com", "role": "user"}
            self.people.append((await client.post("/api/v1/auths/add", form)).json()["token"])

    async def switch_channels_on(self) -> None:
        client = Client(self.port, self.token)
        settings = (await client.get("/api/v1/auths/admin/config")).json()
        await client.post("/api/v1/auths/admin/config", settings | {"ENABLE_CHANNELS": True})


async def channel(place: Place, pid: int, given: argparse.Namespace) -> None:
    """1,000 sockets in one channel."""
    resource.setrlimit(resource.RLIMIT_NOFILE, (4_096, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))
    await place.sign_up()
    await place.add_people(PEOPLE)
    await place.switch_channels_on()
    client = Client(place.port, place.token)
    grants = [{"principal_type": "user", "principal_id": "*", "permission": p} for p in ("read", "write")]
    made = (await client.post("/api/v1/channels/create", {"name": "all", "access_grants": grants})).json()
    sent: dict[int, float] = {}
    tabs = [Listener(place.port, token, sent) for token in place.people for _ in range(TABS_EACH)]
    for start in range(0, len(tabs), 100):
        await asyncio.gather(*(tab.open() for tab in tabs[start : start + 100]))
    await asyncio.sleep(2)
    count = int(given.seconds * given.rate)
    authors = [Client(place.port, token) for token in place.people[:10]]
    before, began = cpu(pid), time.perf_counter()
    for number in range(count):
        await asyncio.sleep(max(0, began + number / given.rate - time.perf_counter()))
        sent[number] = time.perf_counter()
        body = {"content": f"number {number:06}"}
        # One after the other, so that their order is known: the next is posted when this one is stored.
        answer = await authors[number % 10].post(f"/api/v1/channels/{made['id']}/messages/post", body)
        if answer.status != 200:
            raise RuntimeError(f"{answer.status}: {answer.body[:200]!r}")
    took = time.perf_counter() - began
    async with asyncio.timeout(30):
        while any(len(tab.numbers) < count for tab in tabs):  # noqa: ASYNC110 - tabs tell nobody
            await asyncio.sleep(0.05)
    used = cpu(pid) - before
    whole = sum(tab.numbers == list(range(count)) for tab in tabs)
    times = [t for tab in tabs for t in tab.took]
    await asyncio.gather(*(tab.close() for tab in tabs))
    print(
        f"channel  {whole} of {len(tabs)} sockets heard all {count} messages in order and once; p50"
        f" {percentile(times, 0.5) * 1e3:.0f} ms, p99 {percentile(times, 0.99) * 1e3:.0f} ms; {used / took * 100:.0f}% of a core,"
        f" {used / count / len(tabs) * 1e6:.1f} us a frame",
        flush=True,
    )


class _Typist:
    """Types one known text, and remembers how much of it the server has acknowledged."""

    def __init__(self, place: Place, note_id: str, sign: str) -> None:
        self.sign, self.said = sign, 0
        self._place, self._note_id = place, note_id
        self.editor = self._new()

    def _new(self) -> Editor:
        return Editor(f"http://127.0.0.1:{self._place.port}", self._place.token, self._note_id)

    async def come_back(self) -> None:
        """A new connection with the same document, as pages have it: what was not acknowledged is sent again."""
        doc, root = self.editor.doc, self.editor.root
        await self.editor.close()
        self.editor = self._new()
        self.editor.doc, self.editor.root = doc, root
        while True:
            try:
                await self.editor.open()
                await self.editor.stored(doc.get_update())
                return
            except _AWAY:
                await self.editor.close()
                await asyncio.sleep(0.2)

    async def type(self, seconds: float) -> None:
        began = time.perf_counter()
        for number in itertools.count():
            due = began + number / 10
            if due > began + seconds:
                return
            await asyncio.sleep(max(0, due - time.perf_counter()))
            update = self.editor.typing(self.sign, 0 if self.sign == "a" else 1)
            self.said += 1
            try:
                await self.editor.stored(update)
            except _AWAY:
                await self.come_back()


async def notes(place: Place, given: argparse.Namespace) -> None:
    """Two editors of one note, and a crash in the middle. Starts its servers itself."""
    server = place.start()
    await _up(place)
    await place.sign_up()
    made = (await Client(place.port, place.token).post("/api/v1/notes/create", {"title": "Together"})).json()
    typists = [_Typist(place, made["id"], sign) for sign in "ab"]
    for typist in typists:
        await typist.editor.open()
    seconds = given.minutes * 60
    typing = asyncio.gather(*(typist.type(seconds) for typist in typists))
    await asyncio.sleep(seconds / 2)
    server.send_signal(signal.SIGKILL)
    server.wait()
    server = place.start()
    await _up(place)
    await typing
    one, two = (typist.editor for typist in typists)
    await one.until(lambda _: one.text == two.text)
    reader = await Editor(one.url, place.token, made["id"]).open()
    await reader.until(lambda editor: editor.text == one.text)
    lost = [typist.said - one.text.count(typist.sign) for typist in typists]
    for editor in (one, two, reader):
        await editor.close()
    server.send_signal(signal.SIGTERM)
    server.wait()
    print(
        f"notes    {[t.said for t in typists]} characters typed in {given.minutes:g} min, a crash amid; lost: {lost}",
        flush=True,
    )


async def _up(place: Place) -> None:
    async with asyncio.timeout(60):
        while True:
            try:
                await Client(place.port).get("/health")
                return
            except OSError:
                await asyncio.sleep(0.05)


async def home(place: Place, pid: int) -> None:
    """What the official page asks for when it opens."""
    await place.sign_up()
    chance = random.Random(3)
    for number in range(100):
        await Client(place.port, place.token).post("/api/v1/chats/new", saved_chat(number, 4, 20, chance))
    paths = [path.format(id=place.id) for path in HOME]
    by_path = {}

    async def one_load(client: Client) -> Any:
        for path in paths:
            answer = await client.get(path)
            if answer.status >= 400:
                raise RuntimeError(f"{path}: {answer.status}")
        return answer

    clients = [Client(place.port, place.token) for _ in range(5)]
    await load(clients, 20, one_load)
    before = cpu(pid)
    await load(clients, 200, one_load)
    whole = (cpu(pid) - before) / 200
    for path in dict.fromkeys(paths):
        before = cpu(pid)
        await load(clients, 200, lambda c, path=path: c.get(path))
        by_path[path.split("?")[0].replace(place.id, "id")] = (cpu(pid) - before) / 200
    dearest = sorted(by_path.items(), key=lambda item: -item[1])[:4]
    told = ", ".join(f"{path} {seconds * 1e3:.2f}" for path, seconds in dearest)
    print(
        f"home     {whole * 1e3:.1f} ms CPU for the {len(paths)} calls of one load; the dearest: {told} ms", flush=True
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", default=["channel", "home", "notes"])
    parser.add_argument("--seconds", type=float, default=20)
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--rate", type=float, default=20)
    given = parser.parse_args()
    for name in given.only:
        with tempfile.TemporaryDirectory(prefix="oui-bench-") as folder:
            place = Place(folder)
            if name == "notes":
                asyncio.run(notes(place, given))
                continue
            with process(SERVE, place.port, "/health", place.environment) as (pid, _):
                asyncio.run(channel(place, pid, given) if name == "channel" else home(place, pid))


if __name__ == "__main__":
    main()
