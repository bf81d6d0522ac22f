"""What a process leaves when it dies: answers with all that had arrived, a mark and a reason, also where no trace is left."""

from collections.abc import AsyncIterator
from typing import Any

import msgspec
import pytest
import sqlalchemy as sa

from open_webui.chat.endings import INTERRUPTED
from open_webui.chat.recovery import recover
from open_webui.env import Settings
from open_webui.internal.db import Database, open_database
from open_webui.models import accounts, chats, generation_parts, generations, messages, processes, tables, users
from open_webui.models.base import now
from open_webui.utils.answer_parts import Part
from tests.support.interleaving import both


class Left:
    """A chat with answers of processes that are gone."""

    def __init__(self, database: Database, chat: Any) -> None:
        self.database = database
        self.chat = chat

    async def answer(self, name: str, *parts: Part, content: str = "", generation: bool = True, **body: Any) -> None:
        """An answer that is not done, and what was written of it."""
        wire = {"id": name, "role": "assistant", "parentId": None, "content": content, "done": False, **body}
        async with self.database.write() as unit:
            chat = await chats.lock_for_server(unit.connection, self.chat.id)
            assert chat is not None
            await messages.put(unit.connection, chat, "ann", [wire])
            if generation:
                begun = {"task_id": f"t-{name}", "chat_id": self.chat.id, "message_id": name, "user_id": "ann"}
                await generations.begin(unit.connection, [begun], "gone")
            rows = [(f"t-{name}", k, msgspec.json.encode(part).decode()) for k, part in enumerate(parts)]
            await generation_parts.append(unit.connection, rows)

    async def beat(self, *instances: str) -> None:
        async with self.database.write() as unit:
            for instance in instances:
                await processes.beat(unit.connection, instance, "a host")

    async def pass_by(self, seconds: int, *alive: str) -> None:
        """Time goes by, in which these processes beat."""
        for _ in range(seconds):
            await self.age(1)
            await self.beat(*alive)

    async def age(self, seconds: int) -> None:
        """Everything is so much older."""
        process = tables.process
        async with self.database.write() as unit:
            await unit.connection.execute(
                process.update().values({name: process.c[name] - seconds for name in ("beat_at", "steady_at")})
            )
            await unit.connection.execute(
                tables.message.update().values(updated_at=tables.message.c.updated_at - seconds)
            )

    async def stored(self, name: str) -> messages.MessageRow:
        async with self.database.read() as connection:
            row = await messages.get(connection, self.chat.id, name)
        assert row is not None
        return row

    async def generations(self) -> int:
        async with self.database.read() as connection:
            count = await connection.scalar(sa.select(sa.func.count()).select_from(tables.generation))
            parts = await connection.scalar(sa.select(sa.func.count()).select_from(tables.generation_part))
        assert count or not parts
        return int(count or 0)


@pytest.fixture
async def left(settings: Settings) -> AsyncIterator[Left]:
    database = open_database(settings)
    async with database.write() as unit:
        await users.insert(unit.connection, {"id": "ann", "name": "Ann", "email": "ann@example.com", "role": "user"})
        await accounts.insert_credential(unit.connection, "ann", None)
        chat = await chats.create(unit.connection, "ann", title="T", body={})
    yield Left(database, chat)
    await database.close()


def said(text: str, place: int = 0) -> dict[str, Any]:
    return {
        "type": "response.output_text.delta",
        "item_id": "m",
        "output_index": place,
        "content_index": 0,
        "delta": text,
    }


BEGIN = Part(version=3, body={"meta": {"x": 1}, "statusHistory": [1]}, output=[], frames=[said("One ")])
MORE = Part(version=5, frames=[said("two")], append={"statusHistory": [2]}, set={"sources": [{"name": "doc"}]})


async def test_the_parts_are_put_together_and_marked(left: Left) -> None:
    await left.answer("a", BEGIN, MORE)
    await left.answer("b")
    assert await recover(left.database, None) == 2
    row = await left.stored("a")
    assert (row.content, row.done) == ("One two", True)
    assert row.body["statusHistory"] == [1, 2]
    assert row.body["sources"] == [{"name": "doc"}]
    assert row.body["error"] == {"content": INTERRUPTED}
    assert row.body["meta"] == {"x": 1, "interrupted": True}
    [item] = row.body["output"]
    assert (item["status"], item["content"]) == ("incomplete", [{"type": "output_text", "text": "One two"}])
    assert (await left.stored("b")).body["meta"]["interrupted"] is True
    assert await left.generations() == 0
    assert await recover(left.database, None) == 0, "once is enough"


async def test_a_row_that_was_stored_after_the_last_part_is_kept(left: Left) -> None:
    await left.answer("a", BEGIN, content="One two three", meta={"sequence_number": 9})
    await recover(left.database, None)
    row = await left.stored("a")
    assert (row.content, row.body["meta"]) == ("One two three", {"interrupted": True})


async def test_what_cannot_be_read_does_not_keep_the_server_from_starting(left: Left) -> None:
    await left.answer("a", content="kept")
    async with left.database.write() as unit:
        await generation_parts.append(unit.connection, [("t-a", 1, '{"version": "x"')])
    assert await recover(left.database, None) == 1
    row = await left.stored("a")
    assert (row.content, row.done) == ("kept", True)


async def test_an_answer_that_nobody_writes_is_repaired_without_a_generation(left: Left) -> None:
    """As a second server on the same file left it, or an older release."""
    for number in range(120):
        await left.answer(f"a{number}", content="half", generation=False)
    assert await recover(left.database, None) == 120
    row = await left.stored("a7")
    assert (row.content, row.done, row.body["error"]) == ("half", True, {"content": INTERRUPTED})
    assert row.body["meta"] == {"interrupted": True}


# One process alone has a SQLite database.
on_postgresql = pytest.mark.parametrize("database_kind", ["postgresql"], indirect=True)


@on_postgresql
async def test_other_processes_keep_what_is_theirs(left: Left) -> None:
    """Where others share the database only what is old is taken: a lease of 8 s, a message of 10 minutes."""
    await left.beat("me", "gone")
    await left.age(60)
    await left.beat("me", "gone")
    await left.answer("running", BEGIN)
    await left.answer("stored", content="x", generation=False)
    await left.pass_by(7, "me")
    assert await recover(left.database, "me") == 0, "its lease holds"
    await left.pass_by(2, "me")
    await left.beat("gone")
    assert await recover(left.database, "me") == 0, "it was only slow"
    await left.pass_by(9, "me")
    assert await recover(left.database, "me") == 1
    assert (await left.stored("running")).content == "One "
    assert (await left.stored("stored")).done is False
    await left.pass_by(700, "me")
    assert await recover(left.database, "me") == 1
    assert (await left.stored("stored")).done is True


@on_postgresql
async def test_a_process_without_a_lease_is_dead(left: Left) -> None:
    """It ended without having stored its ends, or had none: as an earlier release."""
    await left.beat("me", "gone")
    await left.answer("running", BEGIN)
    await left.pass_by(6, "me")
    async with left.database.write() as unit:
        await processes.leave(unit.connection, "gone")
    assert await recover(left.database, "me") == 1


@on_postgresql
async def test_while_the_database_was_away_nobody_died(left: Left) -> None:
    """All were silent. After its return a process first beats, and takes nothing before others had time to beat, too."""
    await left.beat("me", "gone")
    await left.answer("running", BEGIN)
    await left.age(20)
    assert await recover(left.database, "me") == 0, "who has no lease judges nobody"
    await left.beat("me")
    assert await recover(left.database, "me") == 0, "the other may not have had the time"
    await left.pass_by(3, "me")
    await left.beat("gone")
    await left.pass_by(4, "me")
    assert await recover(left.database, "me") == 0
    await left.pass_by(5, "me")
    assert await recover(left.database, "me") == 1, "now it had"


@on_postgresql
async def test_leases_are_by_the_databases_clock(left: Left, monkeypatch: pytest.MonkeyPatch) -> None:
    """A host whose clock is an hour late marks nothing, and is not taken for gone."""
    monkeypatch.setattr("time.time", lambda: 1_000.0)
    await left.beat("me", "gone")
    await left.answer("a", BEGIN)
    async with left.database.read() as connection:
        beat = await connection.scalar(sa.select(tables.process.c.beat_at))
    monkeypatch.undo()
    assert abs(beat - now()) < 60
    await left.pass_by(6, "me")
    assert await recover(left.database, "me") == 0


@on_postgresql
async def test_two_that_sweep_at_once_take_each_answer_once(left: Left) -> None:
    await left.beat("me", "you")
    await left.pass_by(6, "me", "you")
    for stop_at in range(12):
        names = [f"a{stop_at}-{number}" for number in range(3)]
        for name in names:
            await left.answer(name, BEGIN)
        found = await both(
            left.database, lambda: recover(left.database, "me"), lambda: recover(left.database, "you"), stop_at
        )
        assert sum(found) == 3, (stop_at, found)
        for name in names:
            row = await left.stored(name)
            assert (row.content, row.body["error"]) == ("One ", {"content": INTERRUPTED})


async def test_a_message_that_is_done_stays_as_it_is(left: Left) -> None:
    await left.answer("a", BEGIN)
    async with left.database.write() as unit:
        row = await left.stored("a")
        await messages.save_answers(unit.connection, [(row.n, "whole", {"meta": {}}, True)])
    await recover(left.database, None)
    row = await left.stored("a")
    assert (row.content, row.body) == ("whole", {"meta": {}})
    assert await left.generations() == 0


async def test_what_another_process_wrote_so_far_is_shown(left: Left) -> None:
    await left.answer("a", BEGIN, MORE)
    async with left.database.read() as connection:
        shown = (await chats.document(connection, left.chat))["chat"]["history"]["messages"]["a"]
        rows, _ = await messages.branch(connection, left.chat.id, "a", 10_000)
        await generation_parts.lay_over_rows(connection, left.chat.id, rows)
    assert (shown["content"], shown["done"], shown["statusHistory"]) == ("One two", False, [1, 2])
    assert (rows[0].content, rows[0].body["sources"]) == ("One two", [{"name": "doc"}])


async def test_a_chat_takes_the_parts_of_its_answers_with_it(left: Left) -> None:
    await left.answer("a", BEGIN)
    async with left.database.write() as unit:
        await unit.connection.execute(tables.chat.delete())
        await generation_parts.append(unit.connection, [("t-a", 7, "{}")])
    assert await left.generations() == 0
