"""Answers of several processes on one PostgreSQL database: each has one owner, and who dies leaves nothing half done."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from typing import Any

import httpx
import pytest
import sqlalchemy as sa

from open_webui.chat import limits
from open_webui.chat.endings import INTERRUPTED
from open_webui.chat.recovery import recover
from open_webui.models import processes, tables
from open_webui.state import State
from tests.open_webui.chat.page import Page, open_page, rebuilt
from tests.support.live import Actor, Live
from tests.support.script import fixed_text
from tests.support.upstream import Upstream

pytestmark = pytest.mark.parametrize("database_kind", ["postgresql"], indirect=True)
TAKEN = "This answer is being written already. Stop it first."


class Two:
    """Two processes. here, there: the same person's pages at the one and the other."""

    def __init__(self, live: Live, other: Live, here: Page, there: Page) -> None:
        self.here, self.there = here, there
        self.state: State = live.app.state.oui
        self.other: State = other.app.state.oui

    async def age(self, seconds: int, instance: str) -> None:
        """A process has beaten, and beats since, so much earlier."""
        process = tables.process
        async with self.state.database.write() as unit:
            await unit.connection.execute(
                process.update()
                .where(process.c.instance == instance)
                .values({name: process.c[name] - seconds for name in ("beat_at", "steady_at")})
            )

    async def take(self) -> None:
        """The other process takes this one for dead, and ends its answers."""
        other = self.other.bus.instance
        await self.age(60, self.state.bus.instance)
        await self.age(7, other)
        async with self.state.database.write() as unit:
            await unit.connection.execute(
                tables.process.update().where(tables.process.c.instance == other).values(beat_at=processes.NOW)
            )
        assert await recover(self.other.database, other) >= 1

    async def generations(self) -> list[Any]:
        async with self.state.database.read() as connection:
            return list(await connection.execute(sa.select(tables.generation)))


@pytest.fixture
async def two(
    live: Live, make_live: Callable[..., Awaitable[Live]], connections: None, admin: Actor
) -> AsyncIterator[Two]:
    other = await make_live()
    async with AsyncExitStack() as stack:
        client = await stack.enter_async_context(other.client(admin.token))
        here = await stack.enter_async_context(open_page(admin.client, admin.token))
        there = await stack.enter_async_context(open_page(client, admin.token))
        yield Two(live, other, here, there)


async def begun(page: Page, upstream: Upstream, words: int = 3, **fields: Any) -> tuple[str, str]:
    """An answer that waits behind so many words: the ids of chat and answer."""
    body = page.ask("gated", "Slowly, please", **fields)
    chat_id = (await page.post(body))["chat_id"]
    upstream.release(words)
    await page.until(lambda p: rebuilt([], p.of(body["id"])).endswith(fixed_text(words)))
    return chat_id, body["id"]


async def test_an_answer_that_was_taken_is_told_as_it_is_stored(two: Two, upstream: Upstream) -> None:
    """The process was only slow. It finds that its generation is gone, and ends the answer as the other did."""
    chat_id, answer = await begun(two.here, upstream)
    await two.take()
    await two.state.running.give_up_taken(two.state.bus.instance)
    await two.here.until(lambda p: p.data("chat:message:error", answer) != [])
    assert two.here.data("chat:message:error", answer) == [{"error": {"content": INTERRUPTED}, "done": True}]
    assert two.state.running.all_tasks() == []
    kept = await two.here.message(chat_id, answer)
    assert (kept["done"], kept["error"]) == (True, {"content": INTERRUPTED})
    assert two.state.running.load.answers == 0


async def test_an_end_does_not_write_over_what_another_stored(two: Two, upstream: Upstream) -> None:
    chat_id, answer = await begun(two.here, upstream)
    await two.take()
    taken = await two.here.message(chat_id, answer)
    assert taken["done"] is True
    upstream.release(20)
    await two.here.until(lambda p: p.data("chat:message:error", answer) != [])
    assert two.here.kinds()[-1] != "chat:completion done"
    kept = await two.here.message(chat_id, answer)
    assert (kept["content"], kept["error"], kept["meta"]) == (taken["content"], taken["error"], taken["meta"])


async def test_nor_over_the_answer_that_is_written_in_its_place(two: Two, upstream: Upstream) -> None:
    chat_id, answer = await begun(two.here, upstream)
    await two.take()
    again = two.there.ask("fixed", "ignored", chat_id=chat_id, id=answer, parent_id=None, user_message=None)
    again["message_ids"][0]["message_id"] = answer
    await two.there.post(again)
    await two.there.idle(chat_id)
    upstream.release(20)
    async with asyncio.timeout(10):
        await asyncio.gather(*(entry.task for entry in two.state.running.entries() if entry.task is not None))
    kept = await two.there.message(chat_id, answer)
    assert (kept["content"], kept["done"], kept.get("error")) == (fixed_text(), True, None)


async def test_one_message_has_one_answer(two: Two, upstream: Upstream) -> None:
    """Two processes that are asked at once, and one that is asked later: one answer, and one sentence."""
    body = two.here.ask("gated", "Slowly, please")
    chat_id = (await two.here.post(body))["chat_id"]
    reply = await two.there.http.post("/api/chat/completions", json=body | {"chat_id": chat_id})
    assert (reply.status_code, reply.json()["detail"]) == (409, TAKEN)
    for _ in range(4):
        again = two.here.ask("gated", "Next", chat_id=chat_id)
        replies: list[httpx.Response] = await asyncio.gather(
            *(page.http.post("/api/chat/completions", json=again) for page in (two.here, two.there))
        )
        assert sorted(r.status_code for r in replies) == [200, 409]
        assert [r.json()["detail"] for r in replies if r.status_code == 409] == [TAKEN]
    assert len(await two.generations()) == 5


async def test_answers_of_a_person_count_over_all_processes(two: Two, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "MAX_RUNNING_PER_USER", 3)
    for page in (two.here, two.there, two.here):
        await page.post(page.ask("gated", "Hi"))
    for page in (two.here, two.there):
        body = page.ask("gated", "One more")
        reply = await page.http.post("/api/chat/completions", json=body)
        assert (reply.status_code, "3 answers" in reply.json()["detail"]) == (429, True)
    assert len(await two.generations()) == 3
    async with two.state.database.read() as connection:
        count = await connection.scalar(sa.select(sa.func.count()).select_from(tables.chat))
    assert count == 3, "what is refused stores nothing"


async def test_a_clean_end_gives_the_lease_back(two: Two) -> None:
    async def leases() -> set[str]:
        async with two.state.database.read() as connection:
            return set(await connection.scalars(sa.select(tables.process.c.instance)))

    assert await leases() == {two.state.bus.instance, two.other.bus.instance}
    await two.other.lease.close()
    assert await leases() == {two.state.bus.instance}
