"""R11: while each hostile request is worked on, nobody else waits for more than 100 ms of the loop's work, nor gets a failure.

Judged by the CPU time of the event loop's longest turn, which the server measures itself and logs: how long /health took
says as much about what else ran on this machine.
"""

import http.client
import json
import re
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, Self

import httpx
import pytest

from tests.security import matrix
from tests.support.pictures import data_url
from tests.support.server import Server
from tests.support.turns import slowness, slowness_of_large
from tests.support.upstream import Upstream

# CPU seconds of a turn, on a machine that does `slowness`' work in NOMINAL seconds. The rule for all but the largest is half
# of it.
LIMIT = 0.1
# CPU time grows where others use the same caches: what is long each time is the server's doing.
TRIES = 5
# So long nobody waits on any machine, unless the loop stands still without working.
HANGS = 20.0
MB = 2**20
PASSWORD = "correct horse battery"


class Watch(threading.Thread):
    """Asks /health again and again over one connection, and notes how long each answer took."""

    def __init__(self, port: int) -> None:
        super().__init__(name="health watch", daemon=True)
        self._port = port
        self._over = threading.Event()
        self._begun = threading.Event()
        self.times: list[float] = []
        self.failed: list[str] = []

    def run(self) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=20)
        connection.connect()
        while not self._over.is_set():
            started = time.perf_counter()
            try:
                connection.request("GET", "/health")
                reply = connection.getresponse()
                if reply.status != 200 or not reply.read():
                    self.failed.append(str(reply.status))
            except OSError as error:
                self.failed.append(repr(error))
                connection.close()
            self.times.append(time.perf_counter() - started)
            self._begun.set()
            self._over.wait(0.002)
        connection.close()

    def __enter__(self) -> Self:
        self.start()
        self._begun.wait(10)
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self.join(30)


@dataclass(slots=True)
class Target:
    """The running server, an account on it, and what is in its database."""

    server: Server
    client: httpx.Client
    ids: dict[str, str] = field(default_factory=dict)

    def metrics(self) -> str:
        return self.client.get("/metrics").text

    def rows(self) -> list[int]:
        connection = sqlite3.connect(self.server.folder / "data" / "webui.db")
        try:
            return [
                connection.execute(f"SELECT count(*) FROM {t}").fetchone()[0]
                for t in ("chat", "chat_message", "folder", "tag")
            ]
        finally:
            connection.close()


@pytest.fixture(scope="module")
def target(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Target]:
    provider = Upstream().start()
    server = Server(
        tmp_path_factory.mktemp("hostile"),
        {"OPENAI_API_BASE_URLS": provider.openai_url, "OPENAI_API_KEYS": "sk-upstream"},
    ).start()
    with httpx.Client(base_url=server.url, timeout=60, trust_env=False) as client:
        form = {"name": "Admin", "email": "admin@example.com", "password": PASSWORD}
        client.headers["Authorization"] = "Bearer " + client.post("/api/v1/auths/signup", json=form).json()["token"]
        client.cookies.clear()
        made = Target(server, client)
        small = {
            "title": "one",
            "history": {"messages": {"m": {"id": "m", "parentId": None, "role": "user", "content": "hi"}}},
        }
        made.ids["chat"] = client.post("/api/v1/chats/new", json={"chat": small}).json()["id"]
        made.ids["folder"] = client.post("/api/v1/folders/", json={"name": "one"}).json()["id"]
        for n in range(50):
            client.post("/api/v1/chats/new", json={"chat": small | {"title": f"aaaa {n} " + "a" * 500}})
        large = client.post(NEW, content=chat(messages(1, lambda _: None, "x" * LONG))).json()["id"]
        client.post(f"/api/v1/chats/{large}/archive")
        yield made
    server.kill()
    provider.stop()


def raw(value: Any) -> bytes:
    return json.dumps(value).encode()


def nested(depth: int, kind: str = "[") -> bytes:
    return b"[" * depth + b"]" * depth if kind == "[" else b'{"a":' * depth + b"1" + b"}" * depth


def messages(count: int, parent: Callable[[int], int | None], content: str = "hi") -> dict[str, Any]:
    out: dict[str, Any] = {}
    for n in range(count):
        above = parent(n)
        out[f"m{n}"] = {"id": f"m{n}", "parentId": None if above is None else f"m{above}", "childrenIds": [],
                        "role": "user" if n % 2 == 0 else "assistant", "content": content}  # fmt: skip
    return out


def chat(given: dict[str, Any], **fields: Any) -> bytes:
    return json.dumps({"chat": {"title": "t", "history": {"currentId": "m0", "messages": given}} | fields}).encode()


def pictures(count: int, size: int) -> bytes:
    """A chat with a message of so many pictures of so many bytes, no two of them the same."""
    urls = (data_url(b"\x89PNG\r\n\x1a\n" + n.to_bytes(8, "big") + bytes(size)) for n in range(count))
    message = {"id": "m", "role": "user", "content": "", "files": [{"type": "image", "url": url} for url in urls]}
    return chat({"m": message})


def refused(status: int) -> bool:
    return 400 <= status < 500


def taken(status: int) -> bool:
    return status == 200


def answered(status: int) -> bool:
    return status < 500


@dataclass(frozen=True, slots=True)
class Attack:
    """A request: where it goes, what it brings (made when it is needed), and which answers are right."""

    path: str
    body: Callable[[], bytes] = bytes
    method: str = "POST"
    params: dict[str, str] = field(default_factory=dict)
    right: Callable[[int], bool] = refused
    stores: bool = False


NEW, SETTINGS, COMPLETIONS, SEARCH = (
    "/api/v1/chats/new", "/api/v1/users/user/settings/update", "/api/chat/completions", "/api/v1/chats/search",
)  # fmt: skip
LONG = 20 * MB


ANSWERS = [{"model_id": "fixed", "message_id": str(n)} for n in range(10_000)]


def prompt(text: str) -> bytes:
    return json.dumps({"model": "fixed", "messages": [{"role": "user", "content": text}], "stream": False}).encode()


TOOL = "/api/v1/tools/create"
# Models of 40 fields, each of the next one.
GROWING = "".join(
    f"class C{n}(BaseModel):\n" + "".join(f"    f{k}: C{n + 1}\n" for k in range(40)) for n in range(7, -1, -1)
)


def tool(text: str) -> bytes:
    """A tool with a text before its class."""
    content = f"{text}\nclass Tools:\n    def run(self, c: C0): ...\n"
    return raw({"id": "hostile", "name": "H", "content": content, "meta": {}})


ATTACKS: dict[str, Attack] = {
    "brackets without end": Attack(NEW, lambda: nested(5 * MB)),
    "objects without end": Attack(SETTINGS, lambda: nested(2 * MB, "{")),
    "objects without end in a chat": Attack(NEW, lambda: b'{"chat":{"x":' + nested(100_000, "{") + b"}}"),
    "depth that parses": Attack(NEW, lambda: b'{"chat":{"params":' + nested(900, "{") + b"}}"),
    "depth in a message": Attack(COMPLETIONS, lambda: b'{"model":"fixed","messages":' + nested(100_000) + b"}"),
    "depth in an import": Attack("/api/v1/chats/import", lambda: b'{"chats":[' + nested(100_000, "{") + b"]}"),
    "20 MB of title": Attack(NEW, lambda: raw({"chat": {"title": "x" * LONG}})),
    "20 MB of folder name": Attack("/api/v1/folders/", lambda: raw({"name": "x" * LONG})),
    "20 MB of password": Attack(
        "/api/v1/auths/signin", lambda: raw({"email": "admin@example.com", "password": "x" * LONG})
    ),
    "20 MB of address": Attack("/api/v1/auths/signin", lambda: raw({"email": "a@" * (LONG // 2), "password": "x"})),
    "20 MB of settings": Attack(SETTINGS, lambda: raw({"ui": {"x": "y" * LONG}})),
    "a million settings": Attack(SETTINGS, lambda: raw({"ui": {f"k{n}": n for n in range(1_000_000)}})),
    "20 MB of tag": Attack("/api/v1/chats/tags", lambda: raw({"name": "x" * LONG})),
    "20 MB of message": Attack(NEW, lambda: chat(messages(1, lambda _: None, "x" * LONG)), right=taken, stores=True),
    "60 MB of message": Attack(NEW, lambda: chat(messages(1, lambda _: None, "x" * 60 * MB))),
    "20 MB of line breaks": Attack(NEW, lambda: chat(messages(1, lambda _: None, "\n" * 10 * MB)), right=taken, stores=True),
    "60 MB of parameters": Attack(NEW, lambda: chat({}, params={"system": "x" * 60 * MB})),
    "60 MB to import": Attack(
        "/api/v1/chats/import",
        lambda: b'{"chats":[' + chat(messages(1, lambda _: None, "x" * 60 * MB)) + b"]}",
        right=taken,
        stores=True,
    ),
    "60 MB of question": Attack(COMPLETIONS, lambda: prompt("x" * 60 * MB), right=answered),
    "an export of 20 MB": Attack("/api/v1/chats/all/archived", method="GET", right=taken),
    "20 MB of parameters": Attack(NEW, lambda: chat({}, params={"system": "x" * LONG}), right=answered, stores=True),
    "20 MB of picture": Attack(
        "/api/v1/models/create",
        lambda: raw(
            {"id": "m", "name": "m", "params": {}, "meta": {"profile_image_url": "data:image/png;base64," + "A" * LONG}}
        ),
    ),
    "20 MB of a picture that is one": Attack(NEW, lambda: pictures(1, LONG), right=taken, stores=True),
    "34 MB of a picture that is one": Attack(NEW, lambda: pictures(1, 34 * MB)),
    "2,000 pictures": Attack(NEW, lambda: pictures(2_000, 2_000), right=taken, stores=True),
    "2,001 pictures": Attack(NEW, lambda: pictures(2_001, 2_000)),
    "4 million beginnings of pictures": Attack(NEW, lambda: chat({}, x="data:" * (LONG // 5)), right=taken, stores=True),
    "a million pictures of nothing": Attack(
        NEW, lambda: chat({}, x='"data:image/png;base64,' * (LONG // 23)), right=taken, stores=True
    ),
    "a table of pictures of nothing": Attack(NEW, lambda: chat({}, x=["data:image/png;base64,AAAA"] * 99_000), right=taken,
                                             stores=True),
    "20 MB of question": Attack(COMPLETIONS, lambda: prompt("x " * (LONG // 2)), right=answered),
    "20 MB of escapes": Attack(COMPLETIONS, lambda: b'{"model":"' + b"\\u0041" * (LONG // 6) + b'"}'),
    "20 MB of numbers": Attack(NEW, lambda: b'{"chat":{"params":{"x":[' + b"1," * (LONG // 2) + b"1]}}}"),
    "20 MB of numbers in a message": Attack(
        NEW, lambda: b'{"chat":{"history":{"messages":{"m":{"role":"user","x":[' + b"1," * (LONG // 2) + b"1]}}}}}"
    ),
    "20 MB of numbers to ask": Attack(COMPLETIONS, lambda: b'{"model":"fixed","x":[' + b"1," * (LONG // 2) + b"1]}"),
    "20 MB of commas and quotes": Attack(NEW, lambda: b'{"chat":{"x":[' + b'"\\",\\\\",' * (LONG // 10) + b'""]}}'),
    "a table of 5 MB": Attack(
        NEW, lambda: chat({}, files=[{"file": {"data": {"content": '1,"2",\\"3\n' * (LONG // 64)}}}]), right=answered, stores=True
    ),
    "one number of a megabyte": Attack(NEW, lambda: b'{"chat":{"x":' + b"9" * MB + b"}}"),
    "one exponent": Attack(NEW, lambda: b'{"chat":{"x":1e' + b"9" * 10_000 + b"}}"),
    "100,000 messages in a ring": Attack(
        NEW, lambda: chat(messages(100_000, lambda n: (n - 1) % 100_000)), right=taken, stores=True
    ),
    "100,001 messages": Attack(NEW, lambda: chat(messages(100_001, lambda n: n - 1 if n else None))),
    "5,000 messages in a line": Attack(
        NEW, lambda: chat(messages(5_000, lambda n: n - 1 if n else None)), right=taken, stores=True
    ),
    "5,000 messages that are their own parents": Attack(
        NEW, lambda: chat(messages(5_000, lambda n: n)), right=taken, stores=True
    ),
    "5,000 children of one": Attack(NEW, lambda: chat(messages(5_000, lambda n: 0 if n else None)), right=taken, stores=True),
    "a megabyte of names in a tool": Attack(TOOL, lambda: tool("a;" * 490_000), right=answered, stores=True),
    "a tool without an end to its depth": Attack(TOOL, lambda: tool("x = a" + ".a" * 400_000)),
    "a tool whose types grow without end": Attack(TOOL, lambda: tool(GROWING)),
    "20 MB of tool": Attack(TOOL, lambda: tool("#" * LONG)),
    "10,001 chats": Attack("/api/v1/chats/import", lambda: raw({"chats": [{"chat": {}}] * 10_001})),
    "9,999 chats and one that is none": Attack(
        "/api/v1/chats/import", lambda: raw({"chats": [{"chat": {"title": "t"}}] * 9_999 + [{"chat": 7}]})
    ),
    "10,000 grants": Attack(
        "/api/v1/chats/shared/{chat}/access/update",
        lambda: raw({"access_grants": [matrix.granted("x")] * 10_000}),
    ),
    "10,000 models": Attack("/api/v1/models/import", lambda: raw({"models": [{"id": "x"}] * 10_000})),
    "10,000 ids of people": Attack("/api/v1/groups/id/none/users/add", lambda: raw({"user_ids": ["x"] * 10_000})),
    "10,000 answers": Attack(
        COMPLETIONS,
        lambda: raw(
            {"model": "fixed", "session_id": "s", "id": "a", "message_ids": ANSWERS}
        ),
    ),
    "10,000 turns": Attack(
        COMPLETIONS, lambda: raw({"model": "fixed", "messages": [{"role": "user", "content": "hi"}] * 10_000}), right=taken
    ),
    "templates in a prompt": Attack(
        "/api/v1/tasks/title/completions", lambda: prompt("{{MESSAGES:START:" * 200_000), right=answered
    ),
    "variables in a prompt": Attack(
        "/api/v1/tasks/title/completions", lambda: prompt("{{prompt:middletruncate:9}}" * 100_000), right=answered
    ),
    "invalid UTF-8": Attack(NEW, lambda: b'{"chat":{"title":"' + b"\xff\xfe\xed\xa0\x80" * 10_000 + b'"}}'),
    "half characters": Attack(NEW, lambda: b'{"chat":{"title":"' + b"\\ud800" * 10_000 + b'"}}'),
    "NUL": Attack(NEW, lambda: b'{"chat":{"title":"' + b"\\u0000" * 500_000 + b'"}}'),
    "one name a hundred thousand times": Attack(NEW, lambda: b'{"chat":1,' + b'"chat":{},' * 100_000 + b'"chat":2}'),
    **{
        f"search {n}": Attack(SEARCH, method="GET", params={"text": text}, right=answered)
        for n, text in enumerate(
            (
                '"' * 900, "(" * 900, "a* " * 400, "NEAR(a b, 999999999)", "a OR " * 300, "NOT " * 400, "{a b}:c", "col:a^*",
                "%" * 1_000, "_" * 1_500, "%a" * 700, "a" * 1_900, "(a+)+$" * 200, ".*" * 900 + "b", "tag:" * 400,
                "folder:" * 250, "\u0130\u0307" * 700, "\x00" * 100, "-a " * 500,
                "' UNION SELECT password_hash FROM credential --",
            )
        )
    },
    "a search of 100 kB": Attack(SEARCH, method="GET", params={"text": "a " * 25_000}),
    "regex in a list's filter": Attack("/api/v1/users/search", method="GET", params={"query": "%a" * 240 + "!"}, right=answered),
}  # fmt: skip


def longest(log: str) -> float:
    """CPU seconds of the longest turn that a server's log tells of; 0 when none was long."""
    return max((float(found) for found in re.findall(r"cpu_seconds=([\d.]+)", log)), default=0.0)


def fire(target: Target, attack: Attack, body: bytes) -> tuple[httpx.Response, Watch]:
    path = attack.path.format(**target.ids)
    with Watch(target.server.port) as watch:
        headers = {"content-type": "application/json"}
        reply = target.client.request(attack.method, path, content=body or None, params=attack.params, headers=headers)
    return reply, watch


# What is asked here is that nobody else waits: the largest of them may take a busy machine longer than the usual minute.
@pytest.mark.timeout(240)
@pytest.mark.parametrize("name", ATTACKS)
def test_others_are_answered_meanwhile(target: Target, name: str) -> None:
    attack = ATTACKS[name]
    body = attack.body()
    before = target.rows()
    for _ in range(TRIES):
        told, limit = len(target.server.log), LIMIT * slowness()
        reply, watch = fire(target, attack, body)
        assert attack.right(reply.status_code), (reply.status_code, reply.text[:300])
        assert watch.failed == []
        assert max(watch.times) < HANGS
        assert len(reply.content) < 200_000 or attack.stores or attack.method == "GET"
        if not attack.stores:
            assert target.rows() == before
        # What is logged is written a moment later than what is counted.
        target.metrics()
        limit = max(limit, LIMIT * slowness())
        took = longest(target.server.log[told:])
        if took <= limit or took <= (limit := max(limit, LIMIT * slowness_of_large())):
            return
    raise AssertionError(f"a turn of the loop was longer than {limit:.3f} s each time:\n{target.server.log[told:]}")
