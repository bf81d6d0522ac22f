"""R11: wrong types in every field of every body and query are answered, never fail, and leave nothing stored when refused."""

import asyncio
import contextlib
import itertools
import sqlite3
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import httpx
import msgspec
import pytest

from open_webui.internal.db_errors import NO_DATABASE
from tests.security import matrix
from tests.security.matrix import World
from tests.security.matrix_schemas import Operation, operations, places, replaced
from tests.support.live import Live
from tests.support.upstream import Upstream

ENDS = {"/api/v1/auths/signout", "/api/v1/auths/signin", "/api/v1/auths/signup", "/api/v1/models/delete/all"}
# Told apart from a failure of ours: what a provider could not do.
OF_A_PROVIDER = {502, 503, 504}
HUGE = b"184467440737095516160000"
WRONG: list[Any] = [
    None, True, -1, msgspec.Raw(HUGE), msgspec.Raw(b"1e999"), "", "a\x00b", msgspec.Raw(b'"\\ud800"'), "x" * 3_000, [],
    {"a": [{}]},
]  # fmt: skip
WRONG_WITHIN: list[Any] = [None, msgspec.Raw(HUGE), "a\x00b", [], {}]
TEXTS = [
    "",
    "\x00",
    "%",
    "' OR 1=1 --",
    "9" * 30,
    "-1",
    "1e5",
    "../../etc/passwd",
    "x" * 2_100,
    "\u202e\U0001f600",
    "[]",
    "NaN",
]
WHOLE = [
    b"", b"null", b"[]", b'"x"', b"0", b"{", b"\xff\xfe", b'{"a":\x00}', b'{"id":"a","id":"b","chat":{},"chat":1}',
    b'{"\\ud800":1}', b"[" * 5_000 + b"]" * 5_000, b'{"a":' * 3_000 + b"1" + b"}" * 3_000, b"nan", b'{"name":"\xed\xa0\x80"}',
]  # fmt: skip
JSON = {"content-type": "application/json"}


@pytest.fixture
def database_kind() -> str:
    """SQLite tells cheaply whether anything was stored; what only PostgreSQL refuses has a test of its own."""
    return "sqlite"


@pytest.fixture
async def world(live: Live, upstream: Upstream) -> AsyncIterator[World]:
    made = await matrix.make_world(live, upstream)
    yield made
    await matrix.close(made)


@pytest.fixture
def stored(tmp_path: Path) -> Iterator["Stored"]:
    with contextlib.closing(sqlite3.connect(tmp_path / "webui.db")) as connection:
        yield Stored(connection)


class Stored:
    """Whether anything was committed since one asked last; with `chats`, any chat or message: answers end when they do."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection
        self._last = (0, 0)

    def anything(self, *, chats: bool = False) -> bool:
        if chats:
            now = tuple(
                self._connection.execute(f"SELECT count(*) FROM {t}").fetchone()[0] for t in ("chat", "chat_message")
            )
        else:
            now = (self._connection.execute("PRAGMA data_version").fetchone()[0], 0)
        before, self._last = self._last, now
        return now != before


class Nothing:
    """Where it is not asked whether anything was stored."""

    def anything(self, *, chats: bool = False) -> bool:  # noqa: ARG002 - as Stored has it
        return False


async def judged(
    world: World, stored: Stored | Nothing, client: httpx.AsyncClient, operation: Operation, **request: Any
) -> str | None:
    """What is wrong with the answer to a request, if anything is."""
    answers = operation.bodies[1:] != []
    stored.anything(chats=answers)
    values = {name: world.fill(matrix.parameter(operation.path, name)) for name in operation.parameters}
    path = request.pop("path", None) or operation.address(values)
    reply = await client.request(operation.method, path, **request)
    what = f"{operation.method} {path[:100]} {str(request)[:160]}: {reply.status_code} {reply.text[:160]}"
    if reply.status_code >= 500 and reply.status_code not in OF_A_PROVIDER and "The provider at" not in reply.text:
        return what
    if NO_DATABASE in reply.text:
        return what
    if reply.status_code >= 400 and stored.anything(chats=answers):
        # What an answer before it left to be done is stored a little later: it is the refusal if it comes each time.
        for _ in range(5):
            await world.settle()
            stored.anything(chats=answers)
            await client.request(operation.method, path, **request)
            if not stored.anything(chats=answers):
                return None
            await asyncio.sleep(0.5)
        return f"stored something: {what}"
    return None


def bodies(operation: Operation) -> Iterator[bytes]:
    for body in operation.bodies:
        for at in places(body):
            for wrong in WRONG if len(at) < 3 else WRONG_WITHIN:
                yield msgspec.json.encode(replaced(body, at, wrong))


def offered(world: World) -> list[Operation]:
    """What takes something away comes last."""
    found = []
    for operation in operations(world.live.app):
        # One function takes the same at each of its addresses.
        if operation.path not in ENDS and not any(o.same(operation) for o in found):
            found.append(operation)
    return sorted(found, key=lambda o: (o.method == "DELETE", "users/{user_id}" in o.path))


@pytest.mark.timeout(900)
async def test_wrong_types_in_every_field_of_every_body(world: World, stored: Stored) -> None:
    wrong: list[str] = []
    asked = 0
    for operation in offered(world):
        for body in bodies(operation):
            found = await judged(world, stored, world.admin.client, operation, content=body, headers=JSON)
            asked += 1
            wrong += [found] if found else []
        await world.settle()
    assert not wrong, f"{len(wrong)}\n" + "\n".join(wrong[:40])
    assert asked > 2_000


async def test_whole_bodies_that_are_none(world: World, stored: Stored) -> None:
    wrong: list[str] = []
    for operation in offered(world):
        if operation.method == "GET" or not operation.bodies:
            continue
        for body, media_type in itertools.product(WHOLE, ["application/json"]):
            headers = {"content-type": media_type}
            found = await judged(world, stored, world.admin.client, operation, content=body, headers=headers)
            wrong += [found] if found else []
    assert not wrong, f"{len(wrong)}\n" + "\n".join(wrong[:40])


async def test_odd_texts_in_every_query_and_path(world: World, stored: Stored) -> None:
    wrong: list[str] = []
    for operation in offered(world):
        if operation.method != "GET":
            continue
        for text in TEXTS:
            for name in operation.query:
                params = {**operation.query, name: text}
                found = await judged(world, stored, world.admin.client, operation, params=params)
                wrong += [found] if found else []
        if operation.parameters:
            for raw in (
                "%00",
                "%ff%fe",
                "%ed%a0%80",
                "x" * 3_000,
                "9" * 30,
                "-1",
                "..%2f..%2fetc%2fpasswd",
                "%25",
                "%0d%0a",
            ):
                path = operation.address(dict.fromkeys(operation.parameters, raw))
                found = await judged(world, stored, world.admin.client, operation, path=path)
                wrong += [found] if found else []
    assert not wrong, f"{len(wrong)}\n" + "\n".join(wrong[:40])


@pytest.mark.timeout(900)
@pytest.mark.parametrize("database_kind", ["postgresql"])
async def test_nul_where_the_database_refuses_it(world: World) -> None:
    """PostgreSQL holds no NUL, and no number beyond its columns: that is the caller's mistake and not its absence."""
    wrong: list[str] = []
    odd = ["a\x00b", 2**63 - 1]
    for operation in offered(world):
        requests: list[dict[str, Any]] = [
            {"json": replaced(body, at, value)} for body in operation.bodies for at in places(body) for value in odd
        ]
        requests += [{"params": {**operation.query, name: value}} for name in operation.query for value in odd]
        if operation.parameters:
            requests += [
                {"path": operation.address(dict.fromkeys(operation.parameters, raw))} for raw in ("%00", "9" * 18)
            ]
        for request in requests:
            found = await judged(world, Nothing(), world.admin.client, operation, **request)
            wrong += [found] if found else []
        await world.settle()
    assert not wrong, f"{len(wrong)}\n" + "\n".join(wrong[:40])
