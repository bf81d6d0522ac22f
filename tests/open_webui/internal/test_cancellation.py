"""Cancel anywhere, nothing is half there: every unit of work of a chat turn, cancelled at each of its suspensions.

Afterwards all of it is stored or none, what follows the commit has happened with it and only with it, no transaction is
open, every connection is back in its pool, and the next unit works.
"""

import asyncio
import contextlib
import re
import sqlite3
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import asyncpg
import msgspec
import pytest
import sqlalchemy as sa

from open_webui.chat.request import parse_page_request
from open_webui.chat.store import TurnStorage, store
from open_webui.config import DEFAULT_PERMISSIONS, permission_paths
from open_webui.env import Settings
from open_webui.internal.db import Database, open_database
from open_webui.internal.prepared import Prepared
from open_webui.models import (
    accounts,
    chats,
    generation_parts,
    generations,
    messages,
    tables,
    tags,
    turn_updates,
    usages,
    users,
)
from open_webui.principal import Principal
from open_webui.schemas.chats import ChatBody, EventForm, MessageForm
from open_webui.services import chats as chat_service
from open_webui.services import new_chats, saving
from tests.open_webui.chat.conftest import Notes
from tests.support.cancel import CancelledAt

# Random ids and points in time, which differ from run to run.
_RANDOM = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}|\b\d{10,13}\b")
# Columns that do.
_VOLATILE = re.compile(r"^n$|_at$|^next_position$")
WATCHED = (tables.user, tables.chat, tables.message, tables.generation, tables.generation_part, tables.usage,
           tables.tag, tables.chat_tag, tables.shared_chat, tables.access_grant)  # fmt: skip


class NobodyWrites:
    """services.chats.Running: every message is the database's."""

    others = None

    async def owner_of(self, chat_id: str, message_id: str) -> None:  # noqa: ARG002
        return None


class World:
    """One person with a chat: q1 and its answer a1, and q2 whose answer a2 is being written. Ids end in the world's number."""

    def __init__(self, database: Database, settings: Settings, number: int) -> None:
        self.database = database
        self.settings = settings
        self.emitter = Notes()
        self.number = f"{number:05}"
        self.chat_id = self.id("chat")
        self.principal = Principal(
            id=self.id("user"),
            role="user",
            name="Ann",
            email=f"{self.number}@example.com",
            permissions=permission_paths(DEFAULT_PERMISSIONS),
        )
        self.chat: Any = None
        self.answer: Any = None

    def id(self, name: str) -> str:
        return f"{name}-{self.number}"

    @property
    def place(self) -> TurnStorage:
        return TurnStorage(self.database, "instance", 10**6)

    active_chats = staticmethod(frozenset)
    running = NobodyWrites()

    async def overlays(self, _chat_id: str) -> dict[str, Any]:
        return {}

    async def store_running(self, _chat_id: str) -> None:
        """No answer runs here."""

    def asked(self, question: str, answer: str, parent: str | None, *, new: bool = False) -> Any:
        return parse_page_request(
            {
                "model": "m",
                "session_id": "s",
                "id": self.id(answer),
                "parent_id": parent,
                "user_message": {"id": self.id(question), "role": "user", "content": "Hi", "parentId": parent},
            }
            | ({} if new else {"chat_id": self.chat_id})
        )

    async def store(self) -> "World":
        """Stores it."""
        account = {"id": self.principal.id, "email": self.principal.email, "name": "Ann", "role": "user"}
        async with self.database.write() as unit:
            await users.insert(unit.connection, account)
            await accounts.insert_credential(unit.connection, self.principal.id, None)
            said = [
                {"id": self.id("q1"), "role": "user", "content": "Hi", "parentId": None},
                {"id": self.id("a1"), "role": "assistant", "content": "Hello", "parentId": self.id("q1")},
                {"id": self.id("q2"), "role": "user", "content": "And?", "parentId": self.id("a1")},
                {"id": self.id("a2"), "role": "assistant", "content": "", "parentId": self.id("q2"), "done": False},
            ]
            await chats.create(
                unit.connection,
                self.principal.id,
                title="A chat",
                body={"models": ["m"]},
                messages=said,
                id=self.chat_id,
            )
            row = {"task_id": self.id("task"), "chat_id": self.chat_id, "message_id": self.id("a2")}
            await generations.begin(unit.connection, [row | {"user_id": self.principal.id}], "instance")
            await generation_parts.append(unit.connection, [(self.id("task"), 1, '{"version":1,"body":{}}')])
            self.chat = await chats.own(unit.connection, self.principal.id, self.chat_id)
            self.answer = await messages.get(unit.connection, self.chat_id, self.id("a2"))
        return self


Work = Callable[[World], Awaitable[Any]]


async def a_question_in_a_new_chat(w: World) -> None:
    request = w.asked("q3", "a3", None, new=True)
    await store(w.place, w.principal, request, [(request.asks[0], w.id("task3"))])


async def a_question_in_a_chat(w: World) -> None:
    request = w.asked("q3", "a3", w.id("a1"))
    await store(w.place, w.principal, request, [(request.asks[0], w.id("task3"))])


async def a_round_of_the_journal(w: World) -> None:
    async with w.database.write() as unit:
        with unit.together():
            await generation_parts.append(unit.connection, [(w.id("task"), 2, '{"version":2}')])


async def the_end_of_an_answer(w: World) -> None:
    call = {
        "user_id": w.principal.id, "model_id": "m", "connection": "c", "kind": "chat", "chat_id": w.chat_id,
        "message_id": w.id("a2"), "status": 200, "duration_ms": 3, "created_at": 1, **usages.tokens({"prompt_tokens": 1}),
    }  # fmt: skip
    async with w.database.write() as unit:
        with unit.together():
            await messages.save_answers(unit.connection, [(w.answer.n, "the whole", {"output": []}, True)])
            await generations.end(unit.connection, [w.id("task")])
            await turn_updates.touch(unit.connection, [w.chat_id])
            await usages.add(unit.connection, [call])


async def a_title_tags_and_follow_ups(w: World) -> None:
    async with w.database.write() as unit:
        held = await chats.lock_for_server(unit.connection, w.chat_id)
        assert held is not None
        await turn_updates.set_title(unit.connection, held, "A better title")
        await tags.replace(unit.connection, held, ["one", "two"])
        await turn_updates.patch_body(unit.connection, held, w.id("a1"), {"followUps": ["Why?"]})


async def a_document_is_saved(w: World) -> None:
    said = {
        w.id("q1"): {"id": w.id("q1"), "role": "user", "content": "Hi!", "parentId": None},
        w.id("new"): {"id": w.id("new"), "role": "assistant", "content": "Ho", "parentId": w.id("q1")},
    }
    given = {"title": "Saved", "params": {"seed": 1}, "history": {"currentId": w.id("new"), "messages": said}}
    body = msgspec.json.decode(msgspec.json.encode({"chat": given}), type=ChatBody)
    await saving.update(w, w.principal, w.chat_id, body)


async def a_chat_is_made(w: World) -> None:
    said = {w.id("x"): {"id": w.id("x"), "role": "user", "content": "Hi!", "parentId": None}}
    given = {"title": "New", "history": {"currentId": w.id("x"), "messages": said}}
    await new_chats.create(w, w.principal, msgspec.json.decode(msgspec.json.encode({"chat": given}), type=ChatBody))


async def a_message_is_edited(w: World) -> None:
    await chat_service.set_message(w, w.principal, w.chat_id, w.id("a1"), MessageForm(content="Edited"))


async def a_message_is_deleted(w: World) -> None:
    await chat_service.delete_message(w, w.principal, w.chat_id, w.id("a1"))


async def an_event_is_posted(w: World) -> None:
    await chat_service.add_event(
        w, w.principal, w.chat_id, w.id("a1"), EventForm(type="status", data={"description": "x"})
    )


async def parameters_are_set(w: World) -> None:
    await chat_service.set_params(w, w.principal, w.chat_id, {"seed": 2})


async def a_chat_is_cloned(w: World) -> None:
    await new_chats.clone(w, w.principal, w.chat_id, None)


async def a_chat_is_deleted(w: World) -> None:
    await chat_service.delete(w, w.principal, w.chat_id)


UNITS: list[Work] = [
    a_question_in_a_new_chat,
    a_question_in_a_chat,
    a_round_of_the_journal,
    the_end_of_an_answer,
    a_title_tags_and_follow_ups,
    a_document_is_saved,
    a_chat_is_made,
    a_message_is_edited,
    a_message_is_deleted,
    an_event_is_posted,
    parameters_are_set,
    a_chat_is_cloned,
    a_chat_is_deleted,
]


async def stored(observer: Database, world: World) -> str:
    """All that is committed of a world, comparable with that of another."""
    found: dict[str, list[str]] = {}
    async with observer.read() as connection:
        for table in WATCHED:
            columns = [sa.cast(c, sa.Text) for c in table.c if not _VOLATILE.search(c.name)]
            rows = (await connection.execute(sa.select(*columns))).all()
            found[table.name] = sorted(
                _RANDOM.sub("*", text).replace(world.number, "#")
                for row in rows
                if world.number in (text := str(tuple(row)))
            )
    return repr(found)


@pytest.fixture
async def database(settings: Settings) -> AsyncIterator[Database]:
    opened = open_database(settings)
    yield opened
    await opened.close()


@pytest.fixture
async def observer(settings: Settings) -> AsyncIterator[Database]:
    """Another process, so to speak; it does not wait for locks."""
    opened = open_database(settings.model_copy(update={"database_sqlite_pragma_busy_timeout": 0}))
    yield opened
    await opened.close()


t = tables.singleton
_mark = Prepared(t.insert(), ["name", "value"])


async def check_calm(database: Database, observer: Database, marks: list[str]) -> None:
    """Nobody is left in a transaction, every connection is back, and the next unit works and stores just its own."""
    kept = 0 if database._kept is None else database._kept.resting
    for pool, resting in ((database._readers.pool, kept), (database._writer.pool, 0)):
        assert pool.checkedout() == resting, pool.status()  # type: ignore[attr-defined]
    name = f"mark {len(marks):05}"
    async with database.write() as unit:
        await _mark.run(unit.connection, {"name": name, "value": ""})
    marks.append(name)
    async with observer.write() as unit:
        # Fails at once on SQLite while somebody else is in a transaction for writing.
        assert sorted(await unit.connection.scalars(sa.select(t.c.name))) == sorted(marks)
        if not observer.is_sqlite:
            await _await_no_transactions(unit.connection)


async def _await_no_transactions(connection: Any) -> None:
    """A connection that was thrown away takes its server process a moment to end."""
    open_ones = sa.text(
        "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"
        " AND state IN ('idle in transaction', 'idle in transaction (aborted)', 'active')"
    )
    async with asyncio.timeout(10):
        while await connection.scalar(open_ones):
            await connection.execute(sa.text("SELECT pg_stat_clear_snapshot()"))
            await asyncio.sleep(0.01)


@pytest.mark.parametrize("again", [False, True], ids=["once", "again_and_again"])
@pytest.mark.parametrize("work", UNITS, ids=lambda work: work.__name__)
async def test_cancelled_at_any_suspension_all_is_there_or_nothing(
    database: Database, observer: Database, settings: Settings, work: Work, again: bool
) -> None:
    async def world(number: int) -> World:
        return await World(database, settings, number).store()

    whole = await world(0)
    before = await stored(observer, whole)
    await work(whole)
    after = await stored(observer, whole)
    assert before != after
    told = len(whole.emitter.sent)
    marks: list[str] = []
    number = 0
    while True:
        number += 1
        w = await world(number)
        attempt = CancelledAt(work(w), number, again=again)  # type: ignore[arg-type]
        try:
            await attempt
        except asyncio.CancelledError:
            assert attempt.reached
        else:
            assert not attempt.reached, f"the cancellation at suspension {number} was swallowed"
            break
        found = await stored(observer, w)
        assert found in (before, after), f"half is there after a cancellation at suspension {number}"
        if found == before or len(w.emitter.sent) != told:
            assert (found, len(w.emitter.sent)) == (before, 0), f"told, or not, at suspension {number}"
        await check_calm(database, observer, marks)


async def test_the_first_unit_of_a_process_may_be_cancelled_while_it_connects(
    observer: Database, settings: Settings
) -> None:
    marks: list[str] = []
    number, reached = 0, True
    while reached:
        number += 1
        database = open_database(settings)

        async def work(database: Database = database) -> None:
            async with database.write() as unit:
                await _mark.run(unit.connection, {"name": "first", "value": ""})
                raise KeyError

        attempt = CancelledAt(work(), number)
        with pytest.raises((asyncio.CancelledError, KeyError)):
            await attempt
        reached = attempt.reached
        await check_calm(database, observer, marks)
        await database.close()


async def test_a_reader_may_be_cancelled_at_any_suspension(
    database: Database, observer: Database, settings: Settings
) -> None:
    marks: list[str] = []
    names = Prepared(sa.select(t.c.name).order_by(t.c.name))
    number, reached = 0, True
    while reached:
        number += 1

        async def work() -> None:
            async with database.read() as connection:
                await names.all(connection, {})
                await connection.execute(sa.select(t.c.name))

        attempt = CancelledAt(work(), number)
        if number == 1:
            await work()
        with contextlib.suppress(asyncio.CancelledError):
            await attempt
        reached = attempt.reached
        await check_calm(database, observer, marks)
        # A connection that still had its old snapshot would miss the last mark.
        for _ in range(10):
            async with database.read() as connection:
                assert [row[0] for row in await names.all(connection, {})] == marks


async def test_what_follows_the_commit_happens_though_the_unit_was_cancelled(
    database: Database, observer: Database
) -> None:
    """Committed and told, or neither, for a cancellation at each suspension of a unit with two actions."""
    told: list[str] = []
    names: list[str] = []
    number, reached, outcomes = 0, True, set()
    while reached:
        number += 1
        name = f"unit {number}"

        async def tell(word: str, name: str = name) -> None:
            await asyncio.sleep(0)
            async with database.read() as connection:
                assert name in set(await connection.scalars(sa.select(t.c.name)))
            told.append(f"{name} {word}")

        async def work(name: str = name, tell: Any = tell) -> None:
            async with database.write() as unit:
                unit.after_commit(lambda: tell("one"))
                unit.after_commit(lambda: tell("two"))
                await _mark.run(unit.connection, {"name": name, "value": ""})

        attempt = CancelledAt(work(), number)
        try:
            await attempt
        except asyncio.CancelledError:
            assert attempt.reached
        reached = attempt.reached
        async with observer.read() as connection:
            names = list(await connection.scalars(sa.select(t.c.name)))
        assert ([f"{name} one", f"{name} two"] == told) == (name in names), number
        assert bool(told) == (name in names)
        outcomes.add(name in names)
        told.clear()
    assert outcomes == {True, False}
    await check_calm(database, observer, sorted(names))


@pytest.mark.parametrize("turns_before", [1, 5, 10, 1000])
async def test_a_query_that_nobody_waits_for_ends(database: Database, observer: Database, turns_before: int) -> None:
    endless = sa.text("WITH RECURSIVE c(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM c) SELECT count(*) FROM c")

    async def work() -> None:
        async with database.read() as connection:
            await connection.execute(endless)

    task = asyncio.create_task(work())
    for _ in range(turns_before):
        await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await check_calm(database, observer, [])


class Holder:
    """Somebody else, who holds what a unit needs: the file's lock on SQLite, the chat's row on PostgreSQL."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._file: sqlite3.Connection | None = None
        self._connection: Any = None

    async def hold(self, chat_id: str) -> None:
        if self._url.startswith("sqlite"):
            self._file = sqlite3.connect(self._url.removeprefix("sqlite:///"), isolation_level=None)
            self._file.execute("BEGIN IMMEDIATE")
        else:
            self._connection = await asyncpg.connect(self._url)
            await self._connection.execute("BEGIN")
            await self._connection.execute("SELECT 1 FROM chat WHERE id = $1 FOR UPDATE", chat_id)

    async def let_go(self) -> None:
        if self._file is not None:
            self._file.execute("ROLLBACK")
            self._file.close()
        if self._connection is not None:
            await self._connection.close()


@pytest.mark.parametrize("turns_before", [*range(1, 12), 15, 20, 30])
@pytest.mark.parametrize(
    "work", [the_end_of_an_answer, a_question_in_a_chat, a_document_is_saved], ids=lambda work: work.__name__
)
async def test_cancelled_while_it_waits_for_somebody_else(
    database: Database, observer: Database, settings: Settings, database_url: str, work: Work, turns_before: int
) -> None:
    whole = await World(database, settings, 0).store()
    await work(whole)
    w = await World(database, settings, 1).store()
    before, after = await stored(observer, w), await stored(observer, whole)
    holder = Holder(database_url)
    await holder.hold(w.chat_id)
    task = asyncio.ensure_future(work(w))
    for _ in range(turns_before):
        await asyncio.sleep(0)
    task.cancel()
    await asyncio.sleep(0)
    await holder.let_go()
    with pytest.raises(asyncio.CancelledError):
        await task
    # All only if the commit was on its way already.
    found = await stored(observer, w)
    assert found in (before, after)
    assert len(w.emitter.sent) == (len(whole.emitter.sent) if found == after else 0)
    await check_calm(database, observer, [])
