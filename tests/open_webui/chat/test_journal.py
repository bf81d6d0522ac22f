"""The journal: one commit for all that is due, patient while the database refuses, and not stopped by one bad value."""

import asyncio
import itertools
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
import sqlalchemy as sa

from llamaforge.events import Text, Usage
from open_webui.chat import journal
from open_webui.chat.assemble import Answer
from open_webui.chat.delivery.sender import AnswerSender
from open_webui.chat.journal import Journal
from open_webui.chat.running import RunningAnswer
from open_webui.chat.usage_log import UsageLog
from open_webui.connections.calls import Call
from open_webui.env import Settings
from open_webui.events import Audience
from open_webui.internal.db import Database, UnitOfWork, dumps, loads, open_database
from open_webui.internal.load import Load
from open_webui.internal.supervise import restarts
from open_webui.models import accounts, chats, generation_parts, generations, messages, tables, users
from open_webui.utils.answer_parts import Rebuilt
from tests.open_webui.chat.conftest import Notes, make_turn

PICTURE = "data:image/png;base64,QQ=="
ADDRESS = "/api/v1/files/1/content"


class Moody(Database):
    """The real database, which can be told to refuse writing, and counts its commits."""

    refuses = False
    commits = 0
    refused: asyncio.Event

    @asynccontextmanager
    async def write(self) -> AsyncIterator[UnitOfWork]:
        if self.refuses:
            self.refused.set()
            raise sa.exc.OperationalError("COMMIT", {}, OSError("disk full"))
        async with super().write() as unit:
            yield unit
        self.commits += 1


class Desk:
    """A journal over a stored chat, and the answers that are being written in it."""

    def __init__(self, database: Moody, chat: chats.ChatRow) -> None:
        self.database = database
        self.chat = chat
        self.running: list[RunningAnswer] = []
        self.usage = UsageLog()
        self.journal = Journal(database, 0.02, lambda: self.running, self.usage)
        self._numbers = itertools.count(1)

    async def answer(self, text: str) -> RunningAnswer:
        """An answer that has begun and says this so far."""
        number = next(self._numbers)
        wire = {
            "id": f"a{number}",
            "role": "assistant",
            "parentId": None,
            "content": "",
            "done": False,
            "meta": {"x": 1},
        }
        async with self.database.write() as unit:
            [row] = await messages.put(unit.connection, self.chat, "ann", [wire])
            begun = {"task_id": f"t{number}", "chat_id": self.chat.id, "message_id": row.id, "user_id": "ann"}
            await generations.begin(unit.connection, [begun], "here")
        turn = make_turn(task_id=f"t{number}", chat_id=self.chat.id, message_id=row.id, row=row.n, body=row.body)
        room = AnswerSender(Notes(), Load(), Audience(frozenset({"ann"})), self.chat.id, row.id)
        live = RunningAnswer(turn=turn, answer=Answer(lambda: 0.0), sender=room, store=self.journal, body=row.body)
        say(live, text)
        self.running.append(live)
        return live

    async def end(self, live: RunningAnswer, extra: dict[str, Any] | None = None) -> None:
        live.answer.close()
        await live.finish(extra)
        self.running.remove(live)

    async def stored(self, live: RunningAnswer) -> messages.MessageRow:
        async with self.database.read() as connection:
            row = await messages.get(connection, self.chat.id, live.turn.message_id)
        assert row is not None
        return row

    async def written(self, live: RunningAnswer) -> Rebuilt | None:
        """What the journal holds of a running answer."""
        async with self.database.read() as connection:
            return await generation_parts.of_task(connection, live.turn.task_id)

    async def until(self, live: RunningAnswer, content: str) -> Rebuilt:
        async with asyncio.timeout(30):
            while True:
                found = await self.written(live)
                if found is not None and found.content == content:
                    return found
                await asyncio.sleep(0.01)

    async def parts(self) -> list[str]:
        async with self.database.read() as connection:
            rows = await connection.execute(
                sa.select(tables.generation_part.c.data).order_by(tables.generation_part.c.seq)
            )
            return [row[0] for row in rows]

    async def count(self, table: sa.Table) -> int:
        async with self.database.read() as connection:
            return int(await connection.scalar(sa.select(sa.func.count()).select_from(table)) or 0)

    def call(self) -> Call:
        return Call(user_id="ann", model_id="m", connection="c", kind="chat", started=0.0)


class Bucket:
    """context.PictureReader: a place for pictures that takes its time over each, and has what it was given when it is open."""

    def __init__(self) -> None:
        self.is_open = asyncio.Event()
        self.asked = asyncio.Event()

    async def keep(self, value: Any) -> Any:
        self.asked.set()
        await self.is_open.wait()
        return loads(dumps(value).replace(PICTURE, ADDRESS))


async def pictured(desk: Desk, bucket: Any, text: str) -> RunningAnswer:
    """An answer with a picture in it, beside its text."""
    live = await desk.answer(text)
    live.pictures = bucket
    live.append("files", [{"type": "image", "url": PICTURE}])
    return live


def say(live: RunningAnswer, text: str) -> None:
    live.say(live.answer.feed([Text(text)]))


@pytest.fixture
async def desk(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Desk]:
    monkeypatch.setattr(journal, "RETRY_SECONDS", (0.01,))
    plain = open_database(settings)
    database = Moody(plain._readers, plain._writer, plain.dialect)
    database.refused = asyncio.Event()
    async with database.write() as unit:
        person = {"id": "ann", "name": "Ann", "email": "ann@example.com", "role": "user"}
        await users.insert(unit.connection, person)
        await accounts.insert_credential(unit.connection, "ann", None)
        chat = await chats.create(unit.connection, "ann", title="T", body={})
    made = Desk(database, chat)
    made.journal.open()
    yield made
    await made.journal.close()
    await database.close()


async def test_what_is_said_is_written_while_it_is_said(desk: Desk) -> None:
    live = await desk.answer("One ")
    found = await desk.until(live, "One ")
    assert found.body["meta"] == {"x": 1, "sequence_number": live.answer.version}
    row = await desk.stored(live)
    assert (row.content, row.done) == ("", False), "the row is written at the end"
    say(live, "two")
    await desk.until(live, "One two")
    commits = desk.database.commits
    await asyncio.sleep(0.1)
    assert desk.database.commits == commits, "nothing new was said, nothing is written"


async def test_the_end_is_written_before_anybody_is_told(desk: Desk) -> None:
    live = await desk.answer("One")
    await desk.end(live, {"error": {"content": "x"}})
    row = await desk.stored(live)
    assert (row.content, row.done, row.body["error"], row.body["meta"]) == ("One", True, {"content": "x"}, {"x": 1})
    assert await desk.count(tables.generation) == 0
    await asyncio.sleep(0.1)
    assert (await desk.stored(live)).done is True


async def test_many_ends_are_few_commits(desk: Desk) -> None:
    lives = [await desk.answer(f"Number {n}") for n in range(30)]
    before = desk.database.commits
    await asyncio.gather(*(desk.end(live) for live in lives))
    assert desk.database.commits - before <= 5
    assert all([(await desk.stored(live)).done for live in lives])


async def test_an_end_waits_for_a_database_that_refuses(desk: Desk) -> None:
    live = await desk.answer("One")
    desk.usage.count(desk.call(), 200, {"prompt_tokens": 3})
    desk.database.refuses = True
    ending = asyncio.create_task(desk.end(live))
    await desk.database.refused.wait()
    await asyncio.sleep(0.1)
    assert not ending.done()
    desk.database.refuses = False
    await asyncio.wait_for(ending, 30)
    assert (await desk.stored(live)).content == "One"
    assert await desk.count(tables.usage) == 1


async def test_closing_writes_what_is_left(desk: Desk) -> None:
    live = await desk.answer("One")
    desk.usage.count(desk.call(), 200, None)
    say(live, " two")
    await desk.journal.close()
    found = await desk.written(live)
    assert found is not None
    assert found.content == "One two"
    assert await desk.count(tables.usage) == 1


async def test_closing_does_not_wait_for_ever(desk: Desk) -> None:
    live = await desk.answer("One")
    desk.database.refuses = True
    ending = asyncio.create_task(desk.end(live))
    await desk.database.refused.wait()
    await asyncio.wait_for(desk.journal.close(), 30)
    with pytest.raises(sa.exc.OperationalError):
        await ending
    # What the next start marks as interrupted is still noted.
    assert await desk.count(tables.generation) == 1


async def test_one_bad_value_costs_only_its_own_answer(desk: Desk) -> None:
    good, bad, running = [await desk.answer(text) for text in ("good", "bad", "running")]
    bad.body["unstorable"] = object()
    ends = asyncio.gather(desk.end(good), desk.end(bad), return_exceptions=True)
    results = await asyncio.wait_for(ends, 30)
    assert results[0] is None
    assert isinstance(results[1], Exception)
    assert (await desk.stored(good)).done is True
    await desk.until(running, "running")
    desk.running.remove(bad)
    say(running, " on")
    await desk.until(running, "running on")


async def test_nul_characters_of_a_provider_are_let_go(desk: Desk) -> None:
    live = await desk.answer("a\x00b")
    await desk.end(live)
    row = await desk.stored(live)
    assert row.content == "ab"
    assert row.body["output"][0]["content"][0]["text"] == "ab"


async def test_usage_of_impossible_size_is_let_go(desk: Desk) -> None:
    for usage in (
        {"prompt_tokens": 10**30},
        {"prompt_tokens": -1},
        {"prompt_tokens": True},
        {"prompt_tokens": "7"},
        {},
    ):
        desk.usage.count(desk.call(), 200, usage)
    live = await desk.answer("x")
    live.answer.feed([Usage(raw={"prompt_tokens": 10**30})])
    await desk.end(live)
    assert await desk.count(tables.usage) == 5
    assert (await desk.stored(live)).body["usage"]["prompt_tokens"] == 10**30


async def test_an_answer_whose_chat_was_deleted_ends_quietly(desk: Desk) -> None:
    live = await desk.answer("x")
    async with desk.database.write() as unit:
        await unit.connection.execute(tables.chat.delete())
    await desk.end(live)


async def test_a_temporary_answer_ends_without_a_row(desk: Desk) -> None:
    live = await desk.answer("x")
    turn = make_turn(task_id="gone", row=None)
    ghost = RunningAnswer(turn=turn, answer=Answer(lambda: 0.0), sender=live.sender, store=desk.journal, body={})
    desk.running.append(ghost)
    await asyncio.wait_for(desk.end(ghost), 30)


async def test_a_checkpoint_holds_what_is_new_and_not_what_is_stored(desk: Desk) -> None:
    live = await desk.answer("a" * 100_000)
    await desk.until(live, "a" * 100_000)
    said = "a" * 100_000
    for number in range(5):
        say(live, f" word {number}")
        said += f" word {number}"
        await desk.until(live, said)
    first, *later = [len(part) for part in await desk.parts()]
    assert first > 100_000
    assert len(later) == 5
    assert max(later) < 500
    await desk.end(live)
    assert await desk.parts() == []
    assert (await desk.stored(live)).content == said


async def test_events_are_written_with_the_answer(desk: Desk) -> None:
    live = await desk.answer("One")
    await desk.until(live, "One")
    live.append("statusHistory", [{"description": "a"}])
    live.set(voice={"id": 1})
    say(live, " two")
    await desk.until(live, "One two")
    live.append("statusHistory", [{"description": "b"}])
    await live.append_text(" [note]")
    found = await desk.until(live, "One two [note]")
    assert found.body["statusHistory"] == [{"description": "a"}, {"description": "b"}]
    assert found.body["voice"] == {"id": 1}
    await live.replace_text("replace", "Anew", {"content": "Anew"})
    found = await desk.until(live, "Anew")
    assert found.body["statusHistory"] == [{"description": "a"}, {"description": "b"}]
    say(live, " it goes")
    await desk.until(live, "Anew it goes")


async def test_the_end_is_not_written_over_a_message_that_is_done(desk: Desk) -> None:
    live = await desk.answer("One")
    async with desk.database.write() as unit:
        row = await desk.stored(live)
        await messages.save_answers(unit.connection, [(row.n, "marked elsewhere", {}, True)])
    await desk.end(live)
    assert (await desk.stored(live)).content == "marked elsewhere"


async def test_one_answer_that_cannot_be_written_costs_the_others_nothing(desk: Desk) -> None:
    bad, good = await desk.answer("bad"), await desk.answer("good")
    bad.set(unstorable=object())
    say(bad, "?")
    await desk.until(good, "good")
    say(good, " on")
    await desk.until(good, "good on")
    bad.set(unstorable=None)
    await desk.until(bad, "bad?")


async def test_what_a_refusing_database_lost_comes_with_the_next_part(desk: Desk) -> None:
    """A part that is dropped leaves no hole."""
    live = await desk.answer("One")
    await desk.until(live, "One")
    say(live, " two")
    assert live.take_part() is not None, "taken, and lost"
    live.lose_part()
    await desk.until(live, "One two")
    say(live, " three")
    await desk.until(live, "One two three")


async def test_rows_are_brought_up_to_date_for_who_reads_them(desk: Desk) -> None:
    live = await desk.answer("One")
    other = await desk.answer("Two")
    await desk.journal.store_running(desk.chat.id)
    for running, text in ((live, "One"), (other, "Two")):
        row = await desk.stored(running)
        assert (row.content, row.done) == (text, False)
    await desk.until(live, "One")
    await desk.end(live)
    await desk.journal.store_running(desk.chat.id)
    row = await desk.stored(live)
    assert (row.content, row.done) == ("One", True)


async def test_a_bug_in_a_round_ends_neither_the_journal_nor_a_wait(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    live, other = await desk.answer("One"), await desk.answer("Two")
    store, tries = desk.journal._store, []

    async def buggy(work: Any) -> None:
        tries.append(work)
        if len(tries) == 1:
            raise RuntimeError("a bug")
        await store(work)

    monkeypatch.setattr(desk.journal, "_store", buggy)
    before = restarts["journal"]
    with pytest.raises(RuntimeError):
        await asyncio.wait_for(desk.end(live), 30)
    await desk.until(other, "Two")
    assert restarts["journal"] == before + 1
    await asyncio.wait_for(desk.end(other), 30)


# Pictures


async def test_a_bucket_that_hangs_stops_no_other_answer(desk: Desk) -> None:
    bucket = Bucket()
    ended, other, third = await pictured(desk, bucket, "A picture"), await desk.answer("One"), await desk.answer("x")
    ending = asyncio.create_task(desk.end(ended))
    await asyncio.wait_for(bucket.asked.wait(), 30)
    say(other, " two")
    await desk.until(other, "One two")
    await asyncio.wait_for(desk.end(third), 30)
    assert (await desk.stored(third)).done
    found = await desk.until(ended, "A picture")
    assert found.body["files"] == [{"type": "image", "url": PICTURE}], "what it said last is safe meanwhile"
    say(other, " three")
    await desk.until(other, "One two three")
    assert not ending.done()
    bucket.is_open.set()
    await asyncio.wait_for(ending, 30)
    row = await desk.stored(ended)
    assert (row.done, row.body["files"]) == (True, [{"type": "image", "url": ADDRESS}])
    assert [part for part in await desk.parts() if "A picture" in part] == []


async def test_pictures_that_take_too_long_stay_in_the_row(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(journal, "KEEP_SECONDS", 0.05)
    live = await pictured(desk, Bucket(), "A picture")
    await asyncio.wait_for(desk.end(live, {"error": {"content": "x"}}), 30)
    row = await desk.stored(live)
    assert (row.content, row.done, row.body["error"]) == ("A picture", True, {"content": "x"})
    assert row.body["files"] == [{"type": "image", "url": PICTURE}]


async def test_a_bug_in_keeping_pictures_costs_no_answer(desk: Desk) -> None:
    class Buggy:
        async def keep(self, _value: Any) -> Any:
            raise RuntimeError("a bug")

    live = await pictured(desk, Buggy(), "A picture")
    await asyncio.wait_for(desk.end(live), 30)
    assert (await desk.stored(live)).body["files"] == [{"type": "image", "url": PICTURE}]


@pytest.mark.parametrize("closes_first", [False, True])
async def test_closing_waits_shortly_for_pictures(
    desk: Desk, monkeypatch: pytest.MonkeyPatch, *, closes_first: bool
) -> None:
    monkeypatch.setattr(journal, "LAST_KEEP_SECONDS", 0.05)
    bucket = Bucket()
    live = await pictured(desk, bucket, "A picture")
    if closes_first:
        desk.journal.begin_shutdown()
    ending = asyncio.create_task(desk.end(live))
    await asyncio.wait_for(bucket.asked.wait(), 30)
    await asyncio.wait_for(desk.journal.close(), 30)
    await asyncio.wait_for(ending, 30)
    row = await desk.stored(live)
    assert (row.content, row.done, row.body["files"]) == ("A picture", True, [{"type": "image", "url": PICTURE}])


async def test_a_unit_of_work_that_began_in_time_is_not_cut(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(journal, "LAST_KEEP_SECONDS", 0)
    commit, mine = UnitOfWork.commit, []

    class Slow:
        async def keep(self, _value: Any) -> Any:
            async with desk.database.write() as unit:
                mine.append(unit)
                blob = {"hash": "h", "size": 1, "mime": "image/png", "created_at": 1, "touched_at": 1}
                await unit.connection.execute(tables.blob.insert().values(blob))
            raise AssertionError("time was up")

    async def slowly(unit: UnitOfWork) -> None:
        if unit in mine:
            desk.journal.begin_shutdown()
            await asyncio.sleep(0.05)
        await commit(unit)

    monkeypatch.setattr(UnitOfWork, "commit", slowly)
    live = await pictured(desk, Slow(), "A picture")
    await asyncio.wait_for(desk.end(live), 30)
    assert await desk.count(tables.blob) == 1
    assert (await desk.stored(live)).done
