"""R11 over chats: while large and hostile documents are sent and read, the server answers everybody else."""

import json
from collections.abc import Iterator
from typing import Any

import pytest

from open_webui.constants import MAX_PART
from tests.support.live import Actor, Live
from tests.support.turns import frozen_heap, slowness

CHATS = "/api/v1/chats"
# CPU seconds of a turn. The loop is this test's too, which sends and reads the bodies in it.
LIMIT = 0.2


@pytest.fixture(autouse=True)
def frozen() -> Iterator[None]:
    with frozen_heap():
        yield


def chain(count: int, text: str, cycle: bool = False) -> bytes:
    messages: dict[str, Any] = {
        f"m{k}": {"id": f"m{k}", "parentId": f"m{k - 1}" if k else None, "role": "user", "content": text}
        for k in range(count)
    }
    if cycle:
        messages["m0"]["parentId"] = f"m{count - 1}"
    return json.dumps({"chat": {"history": {"messages": messages, "currentId": f"m{count - 1}"}}}).encode()


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

    turns = live.app.state.turns
    slow = slowness()
    turns.longest = 0.0
    await go()
    worst = turns.longest
    rows = (await client.get(f"{CHATS}/?page=1")).json()
    assert len(rows) == 1
    assert worst < LIMIT * max(slow, slowness()), worst


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
async def test_hostile_documents_are_refused_quickly(user: Actor, live: Live, body: bytes) -> None:
    slow = slowness()
    live.app.state.turns.longest = 0.0
    reply = await user.client.post(f"{CHATS}/new", content=body, headers={"content-type": "application/json"})
    longest = live.app.state.turns.longest
    assert longest < LIMIT * max(slow, slowness())
    assert 400 <= reply.status_code < 500, reply.text[:300]
    assert (await user.client.get(f"{CHATS}/")).json() == []


@pytest.mark.parametrize("database_kind", ["sqlite"], indirect=True)
async def test_one_message_and_one_value_of_a_chat_have_a_bound(user: Actor) -> None:
    """What is decoded in one go holds up the loop. An import takes the rest of the chat, and says that something is missing."""
    large = "x" * (MAX_PART + 1)
    messages = {
        "m": {"id": "m", "parentId": None, "role": "user", "content": large},
        "n": {"id": "n", "parentId": "m", "role": "user", "content": "small"},
    }
    chat = {"history": {"messages": messages, "currentId": "n"}}
    for given in (chat, {"history": {"messages": {}}, "params": {"system": large}}):
        reply = await user.client.post(f"{CHATS}/new", json={"chat": given})
        assert reply.status_code == 422
        assert "24 MB" in reply.text
        assert len(reply.content) < 10_000
    reply = await user.client.post(f"{CHATS}/import", json={"chats": [{"chat": chat}]})
    assert (reply.status_code, reply.headers["x-mended"]) == (200, "[[0, 1]]")
    stored = (await user.client.get(f"{CHATS}/{reply.json()[0]['id']}")).json()["chat"]["history"]["messages"]
    assert list(stored) == ["n"]
    assert stored["n"]["parentId"] is None
