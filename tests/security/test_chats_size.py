"""R11 over chats: while large and hostile documents are sent and read, the server answers everybody else."""

import asyncio
import json
import time
from typing import Any

import pytest

from tests.support.live import Actor, Live

CHATS = "/api/v1/chats"
# The loop is this test's too: building and reading the bodies happens outside what is measured.
LIMIT = 0.5


def chain(count: int, text: str, cycle: bool = False) -> bytes:
    messages: dict[str, Any] = {
        f"m{k}": {"id": f"m{k}", "parentId": f"m{k - 1}" if k else None, "role": "user", "content": text}
        for k in range(count)
    }
    if cycle:
        messages["m0"]["parentId"] = f"m{count - 1}"
    return json.dumps({"chat": {"history": {"messages": messages, "currentId": f"m{count - 1}"}}}).encode()


async def slowest_turn(work: "asyncio.Task[Any]") -> float:
    """The longest that the loop was held while the work went on."""
    worst = 0.0
    while not work.done():
        started = time.perf_counter()
        await asyncio.sleep(0.001)
        worst = max(worst, time.perf_counter() - started)
    return worst


@pytest.mark.parametrize("database_kind", ["sqlite"], indirect=True)
@pytest.mark.parametrize(("count", "size", "cycle"), [(10_000, 500, False), (20_000, 10, True), (5, 1_000_000, False)])
async def test_a_large_chat_holds_nobody_up(user: Actor, live: Live, count: int, size: int, cycle: bool) -> None:
    body = chain(count, "word " * (size // 5), cycle)
    client = user.client

    async def go() -> str:
        head = {"content-type": "application/json"}
        async with client.stream("POST", f"{CHATS}/new", content=body, headers=head) as reply:
            assert reply.status_code == 200
            parts = [part async for part in reply.aiter_raw()]
        return str(len(parts))

    work = asyncio.ensure_future(go())
    worst = await slowest_turn(work)
    await work
    rows = (await client.get(f"{CHATS}/?page=1")).json()
    assert len(rows) == 1
    assert worst < LIMIT, worst


@pytest.mark.parametrize("database_kind", ["sqlite"], indirect=True)
@pytest.mark.parametrize(
    "body",
    [
        b'{"chat": {"x": ' + b"[" * 100_000 + b"]" * 100_000 + b"}}",
        b'{"chat": {"history": {"messages": {"a": {"x": ' + b'{"a":' * 50_000 + b"1" + b"}" * 50_000 + b"}}}}}",
        b'{"chat": ' * 10_000,
        b'{"chat": {"title": "\\ud800"}}',
        b"\xff\xfe",
        b"",
        b'{"chat": {"history": {"messages": {' + b",".join(b'"%d":{}' % k for k in range(100_001)) + b"}}}}",
    ],
    ids=["deep list", "deep message", "unclosed", "lone surrogate", "no utf-8", "empty", "too many messages"],
)
async def test_hostile_documents_are_refused_quickly(user: Actor, body: bytes) -> None:
    started = time.perf_counter()
    reply = await user.client.post(f"{CHATS}/new", content=body, headers={"content-type": "application/json"})
    assert time.perf_counter() - started < 1
    assert 400 <= reply.status_code < 500, reply.text[:300]
    assert (await user.client.get(f"{CHATS}/")).json() == []
