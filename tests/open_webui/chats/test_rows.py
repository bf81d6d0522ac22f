"""Messages as rows: what is saved is read back, only differences are written, and broken rows do no harm."""

import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from open_webui.env import Settings
from open_webui.errors import BadRequest
from open_webui.internal.db import Database, open_database
from open_webui.models import chats, histories, messages, tables
from open_webui.models.chats import ChatRow
from open_webui.principal import Principal
from tests.support.turns import spent

USER = Principal(id="11111111-1111-4111-8111-111111111111", role="user", name="One", email="one@example.com")
OTHER = Principal(id="22222222-2222-4222-8222-222222222222", role="user", name="Two", email="two@example.com")


@asynccontextmanager
async def opened(given_: Settings) -> AsyncIterator[Database]:
    database = open_database(given_)
    async with database.write() as unit:
        for who in (USER, OTHER):
            await unit.connection.execute(
                tables.user.insert().values(
                    id=who.id, email=who.email, name=who.name, role="user", last_active_at=0, created_at=0, updated_at=0
                )
            )
    try:
        yield database
    finally:
        await database.close()


@pytest.fixture
async def database(settings: Settings) -> AsyncIterator[Database]:
    async with opened(settings) as made:
        yield made


def said(i: str, parent: str | None, content: Any = "x", **more: Any) -> dict[str, Any]:
    return {"id": i, "parentId": parent, "role": "user", "content": content, "timestamp": 1} | more


async def create(database: Database, *given_: dict[str, Any]) -> ChatRow:
    async with database.write() as unit:
        return await chats.create(unit.connection, USER.id, title="t", body={}, messages=given_)


async def history(database: Database, chat: ChatRow) -> dict[str, dict[str, Any]]:
    async with database.read() as connection:
        rows = [messages._row(r) async for page in messages.raw_pages(connection, chat, 100) for r in page]
        parents = await messages.links(connection, chat)
    kids = messages.children(parents)
    wire = {row.id: row.wire(kids[row.id]) for row in rows}
    for i, message in wire.items():
        message["parentId"] = parents[i]
    return wire


async def save(database: Database, chat: ChatRow, given_: dict[str, Any], author: str = USER.id) -> None:
    async with database.write() as unit:
        await histories.replace(
            unit.connection, chat, author, messages.fields_of({**m, "id": i} for i, m in given_.items())
        )


IDS = st.sampled_from("abcdefgh")
VALUES = (
    st.none()
    | st.booleans()
    | st.integers(-(2**53), 2**53)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=5)
)
EXTRA = st.dictionaries(st.sampled_from(["modelName", "x", "usage"]), VALUES | st.lists(VALUES, max_size=3), max_size=3)


@st.composite
def forests(draw: Callable[[st.SearchStrategy[Any]], Any]) -> dict[str, Any]:
    ids = draw(st.lists(IDS, unique=True))
    out: dict[str, Any] = {}
    for k, i in enumerate(ids):
        role = draw(st.sampled_from(["user", "assistant"]))
        parent = draw(st.none() | st.sampled_from(ids[:k])) if k else None
        message = said(i, parent, draw(st.text(max_size=20)), role=role) | draw(EXTRA)
        if role == "assistant":
            message |= {"done": True, "model": draw(st.sampled_from(["m1", "m2"]))}
        out[i] = message
    for i, message in out.items():
        message["childrenIds"] = [c for c, m in out.items() if m["parentId"] == i]
    return out


def without_nul(value: Any) -> Any:
    if isinstance(value, str):
        return value.replace("\x00", "")
    if isinstance(value, list):
        return [without_nul(v) for v in value]
    return {without_nul(k): without_nul(v) for k, v in value.items()} if isinstance(value, dict) else value


def exactly(value: Any) -> str:
    """Tells 1 from True and from 1.0."""
    return (
        repr(without_nul(value))
        if not isinstance(value, dict)
        else repr(sorted((k, exactly(v)) for k, v in without_nul(value).items()))
    )


@pytest.mark.parametrize("database_kind", ["sqlite"], indirect=True)
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(first=forests(), second=forests())
async def test_what_is_saved_is_read_back(database: Database, first: dict[str, Any], second: dict[str, Any]) -> None:
    chat = await create(database, *first.values())
    assert exactly(await history(database, chat)) == exactly(first)
    await save(database, chat, second)
    read = await history(database, chat)
    for message in (*read.values(), *second.values()):
        # Brothers that were there before keep their order.
        message["childrenIds"] = sorted(message["childrenIds"])
    assert exactly(read) == exactly(second)


async def test_only_what_differs_is_written(database: Database) -> None:
    chat = await create(database, *(said(f"m{k}", f"m{k - 1}" if k else None, f"text {k}") for k in range(500)))
    before = await history(database, chat)
    async with database.read() as connection:
        versions = await connection.execute(sa.select(tables.message.c.n, tables.message.c.updated_at))
        numbers = [row[0] for row in versions]
    async with database.write() as unit:
        await unit.connection.execute(tables.message.update().values(updated_at=1))
    changed = dict(before)
    changed["m7"] = changed["m7"] | {"content": "new"}
    del changed["m499"]
    changed["more"] = said("more", "m498")
    await save(database, chat, changed)
    async with database.read() as connection:
        rows = (await connection.execute(sa.select(tables.message.c.id, tables.message.c.updated_at))).all()
        last = await connection.scalar(sa.select(sa.func.max(tables.message.c.n)))
    assert {i for i, at in rows if at != 1} == {"m7", "more"}
    assert {i for i, _ in rows} == set(changed)
    # The number of the removed last row is not used again.
    assert last == max(numbers) + 1


async def test_an_answer_in_the_making_is_left_alone_with_its_ancestors(database: Database) -> None:
    chat = await create(
        database, said("u", None), said("a", "u", "half an ans", role="assistant", done=False), said("old", None)
    )
    async with database.write() as unit:
        await unit.connection.execute(
            tables.generation.insert().values(
                task_id="t", chat_id=chat.id, message_id="a", user_id=USER.id, instance="i"
            )
        )
    await save(database, chat, {"a": said("a", None, "stale", role="assistant", done=True)})
    read = await history(database, chat)
    assert set(read) == {"u", "a"}
    assert read["a"]["content"] == "half an ans"
    assert read["a"]["done"] is False
    assert read["a"]["parentId"] == "u"
    await save(database, chat, {})
    assert set(await history(database, chat)) == {"u", "a"}


async def test_a_part_of_a_chat_that_is_saved_is_added(database: Database) -> None:
    """As calls save what was spoken: what it answers to is stored, and not given."""
    chat = await create(database, said("u", None), said("a", "u"), said("other", "u"))
    await save(database, chat, {"v": said("v", "a", "spoken"), "w": said("w", "v", "answered")})
    read = await history(database, chat)
    assert {i: m["parentId"] for i, m in read.items()} == {"u": None, "a": "u", "other": "u", "v": "a", "w": "v"}
    assert (read["v"]["content"], read["w"]["content"]) == ("spoken", "answered")
    # One that is given moves under another, and all others stay.
    await save(database, chat, {"w": said("w", "a", "moved")})
    read = await history(database, chat)
    assert (set(read), read["w"]["parentId"], read["w"]["content"]) == ({"u", "a", "other", "v", "w"}, "a", "moved")
    # What answers to nothing that is stored is all of it, as ever.
    await save(database, chat, {"v": said("v", "unknown", "alone")})
    assert set(await history(database, chat)) == {"v"}


async def test_a_page_that_missed_the_end_of_an_answer_does_not_undo_it(database: Database) -> None:
    chat = await create(database, said("u", None), said("a", "u", "whole", role="assistant", done=True))
    await save(database, chat, {"u": said("u", None), "a": said("a", "u", "who", role="assistant", done=False)})
    assert (await history(database, chat))["a"]["content"] == "whole"


async def test_a_guest_changes_only_what_is_the_guests(database: Database) -> None:
    chat = await create(database, said("u", None, "mine"))
    async with database.write() as unit:
        await messages.put(unit.connection, chat, OTHER.id, [said("g", "u", "theirs")])
    await save(
        database, chat, {"u": said("u", None, "hacked"), "g": said("g", "u", "better"), "n": said("n", "g")}, OTHER.id
    )
    read = await history(database, chat)
    assert [read[i]["content"] for i in ("u", "g", "n")] == ["mine", "better", "x"]
    assert [m.get("user_id") for m in read.values()] == [None, OTHER.id, OTHER.id]
    await save(database, chat, {}, OTHER.id)
    assert set(await history(database, chat)) == {"u"}


async def test_put_merges_by_id_and_cuts_cycles(database: Database) -> None:
    chat = await create(database, said("a", None), said("b", "a"), said("c", "b"))
    async with database.write() as unit:
        rows = await messages.put(
            unit.connection,
            chat,
            USER.id,
            [{"id": "a", "parentId": "c"}, {"id": "d", "parentId": "nobody"}, {"id": "b", "x": 1}],
        )
    assert [row.id for row in rows] == ["a", "d", "b"]
    read = await history(database, chat)
    assert read["b"]["x"] == 1
    assert read["b"]["content"] == "x"
    assert read["d"]["parentId"] is None
    assert sum(m["parentId"] is None for m in read.values()) == 2
    async with database.read() as connection:
        branch, _ = await messages.branch(connection, chat.id, "c", 1000)
    assert branch[-1].id == "c"


async def test_a_branch_ends_where_the_length_does(database: Database) -> None:
    chat = await create(database, *(said(f"m{k}", f"m{k - 1}" if k else None, "x" * 10) for k in range(10)))
    async with database.read() as connection:

        async def ids(limit: int, leaf: str = "m9") -> tuple[list[str], bool]:
            rows, left_out = await messages.branch(connection, chat.id, leaf, limit)
            return [row.id for row in rows], left_out

        assert await ids(1000) == ([f"m{k}" for k in range(10)], False)
        assert await ids(100) == ([f"m{k}" for k in range(10)], False)
        assert await ids(99) == ([f"m{k}" for k in range(1, 10)], True)
        assert await ids(30) == (["m7", "m8", "m9"], True)
        assert await ids(1) == (["m9"], True)
        assert await ids(1, "m0") == (["m0"], False)
        assert await ids(10, "nobody") == ([], False)


async def test_answers_are_saved_by_number(database: Database) -> None:
    chat = await create(database, said("u", None), said("a", "u", "", role="assistant", done=False))
    async with database.write() as unit:
        row = await messages.get(unit.connection, chat.id, "a")
        assert row is not None
        await messages.save_answers(
            unit.connection, [(row.n, "te\x00xt", {"usage": {"n": 1}}, True), (1, "gone", {}, True)]
        )
    read = (await history(database, chat))["a"]
    assert (read["content"], read["done"], read["usage"]) == ("text", True, {"n": 1})


async def poison(database: Database, chat: ChatRow, rows: list[dict[str, Any]]) -> None:
    base = {
        "chat_id": chat.id,
        "owner": "x",
        "role": "user",
        "content": "c",
        "done": True,
        "body": {},
        "created_at": 0,
        "updated_at": 0,
    }
    async with database.write() as unit:
        for k, row in enumerate(rows):
            await unit.connection.execute(tables.message.insert().values(base | {"n": (chat.n << 20) + 100 + k} | row))


async def test_cyclic_and_orphaned_rows_are_read_and_repaired(database: Database) -> None:
    chat = await create(database, said("a", None))
    ring = [{"id": f"r{k}", "parent_id": f"r{(k + 1) % 3000}"} for k in range(3000)]
    await poison(database, chat, [*ring, {"id": "o", "parent_id": "nobody"}, {"id": "s", "parent_id": "s"}])
    with spent(time.process_time) as cost:
        read = await history(database, chat)
        async with database.read() as connection:
            branch, _ = await messages.branch(connection, chat.id, "r5", 10**9)
            document = await chats.document(connection, chat)
    assert cost.seconds < 2
    assert len(branch) == 3000
    assert read["o"]["parentId"] is None
    assert read["s"]["parentId"] is None
    assert document["chat"]["history"]["currentId"] == "a"
    await save(database, chat, read)
    async with database.read() as connection:
        stored = (await connection.execute(sa.select(tables.message.c.id, tables.message.c.parent_id))).all()
    assert dict(stored) == {i: m["parentId"] for i, m in read.items()}


@pytest.mark.parametrize("text", ["null", "[1]", '"x"', "7", "{}"])
async def test_bodies_of_a_wrong_type_are_empty(database: Database, text: str) -> None:
    chat = await create(database, said("a", None))
    value = ":text" if database.is_sqlite else "CAST(:text AS json)"
    async with database.write() as unit:
        for table in ("chat_message", "chat"):
            await unit.connection.execute(sa.text(f"UPDATE {table} SET body = {value}"), {"text": text})
    async with database.read() as connection:
        found = await chats.get(connection, USER, chat.id)
        assert found is not None
        document = await chats.document(connection, found)
        row = await messages.get(connection, chat.id, "a")
    assert row is not None
    assert row.body == {}
    assert document["chat"]["history"]["messages"]["a"]["content"] == "x"


@pytest.mark.parametrize("database_kind", ["sqlite"], indirect=True)
async def test_columns_of_a_wrong_type_are_read(database: Database) -> None:
    chat = await create(database, said("a", None))
    async with database.write() as unit:
        await unit.connection.execute(
            sa.text(
                "UPDATE chat_message SET content = 7, role = x'ff', body = '{broken', model_id = 3, created_at = 'x'"
            )
        )
        await unit.connection.execute(
            sa.text("UPDATE chat SET title = 5, meta = 'no json', body = '[', updated_at = 'x'")
        )
    async with database.read() as connection:
        found = await chats.get(connection, USER, chat.id)
        assert found is not None
        document = await chats.document(connection, found)
        branch, _ = await messages.branch(connection, chat.id, "a", 100)
    assert document["title"] == "5"
    assert document["chat"]["history"]["messages"]["a"]["content"] == "7"
    assert branch[0].content == "7"


async def test_a_full_chat_says_so(database: Database) -> None:
    chat = await create(database, said("a", None))
    chat.next_position = messages.POSITIONS
    async with database.write() as unit:
        with pytest.raises(BadRequest, match="full"):
            await messages.put(unit.connection, chat, USER.id, [said("b", "a")])
