"""Answers of several processes on one PostgreSQL database: each has one owner, and who dies leaves nothing half done."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from typing import Any

import httpx
import msgspec
import pytest
import sqlalchemy as sa

from open_webui.chat import journal, limits, others, side
from open_webui.chat.aftermath import KIND
from open_webui.chat.endings import INTERRUPTED
from open_webui.chat.journal import FOLLOW_SECONDS, Journal
from open_webui.chat.recovery import end_for, recover, release_jobs
from open_webui.chat.request import parse_page_request
from open_webui.chat.running import AnswerTaken
from open_webui.chat.usage_log import UsageLog
from open_webui.errors import Conflict
from open_webui.internal.bus.port import PeerLost
from open_webui.models import generation_parts, jobs, processes, tables
from open_webui.models.jobs import Job
from open_webui.state import State
from tests.open_webui.chat.page import ALL_TASKS, Page, open_page, rebuilt
from tests.open_webui.chat.test_aftermath import QUESTIONS, Hanging
from tests.support.interleaving import both
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
        here = self.state.bus.instance
        # A beat may come between, and the other's own look may be the quicker one.
        while any(row.instance == here for row in await self.generations()):
            await self.die()
            await recover(self.other.database, self.other.bus.instance)

    async def die(self) -> None:
        """The other process finds that this one is dead."""
        other = self.other.bus.instance
        await self.age(60, self.state.bus.instance)
        await self.age(7, other)
        async with self.state.database.write() as unit:
            await unit.connection.execute(
                tables.process.update().where(tables.process.c.instance == other).values(beat_at=processes.NOW)
            )

    async def jobs(self) -> list[Job]:
        """What is left to do after answers."""
        async with self.state.database.read() as connection:
            return await jobs.of_kind(connection, KIND)

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


@pytest.fixture
async def other_there(two: Two, live: Live, other: Actor) -> AsyncIterator[httpx.AsyncClient]:
    """Somebody else, at the other process."""
    async with httpx.AsyncClient(
        base_url=two.there.http.base_url, headers={"Authorization": f"Bearer {other.token}"}
    ) as client:
        yield client


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
    taken = await two.there.message(chat_id, answer)
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


async def test_a_chat_that_is_fetched_has_what_another_process_writes(two: Two, upstream: Upstream) -> None:
    """As it is now, not as it was when it was last stored; its frames go on behind that."""
    chat_id, answer = await begun(two.here, upstream)
    shown = await two.there.message(chat_id, answer)
    assert (shown["content"], shown["done"]) == (fixed_text(3), False)
    assert shown["meta"]["sequence_number"] > 0
    for chats in (two.state.active_chats(), two.other.active_chats()):
        assert chats == {chat_id}
    upstream.release(20)
    await two.here.idle(chat_id)
    assert (await two.there.message(chat_id, answer))["content"] == fixed_text()
    assert two.other.active_chats() == frozenset()


async def test_a_chat_in_which_nothing_runs_is_not_asked_for(two: Two, monkeypatch: pytest.MonkeyPatch) -> None:
    body = two.here.ask("fixed", "Hi")
    chat_id = (await two.here.post(body))["chat_id"]
    await two.here.idle(chat_id)
    monkeypatch.setattr(two.other.bus, "call", None)
    assert (await two.there.message(chat_id, body["id"]))["content"] == fixed_text()


async def test_an_answer_is_stopped_from_everywhere(two: Two, upstream: Upstream) -> None:
    chat_id, answer = await begun(two.here, upstream)
    [task] = two.state.running.all_tasks()
    for path in (f"/api/tasks/chat/{chat_id}", "/api/tasks"):
        assert [*(await two.there.http.get(path)).json().values()][0] == [task]  # noqa: RUF015
    reply = await two.there.http.post(f"/api/tasks/chat/{chat_id}/stop")
    assert reply.json() == {"status": True, "message": f"Stopped: {task}."}
    kept = await two.there.message(chat_id, answer)
    assert (kept["content"], kept["done"], kept.get("error")) == (fixed_text(3), True, None)
    await two.here.until(lambda p: len(p.data("chat:tasks:cancel", answer)) == 2)
    assert (await two.there.http.get(f"/api/tasks/chat/{chat_id}")).json() == {"task_ids": []}
    again = await two.there.http.post(f"/api/tasks/chat/{chat_id}/stop")
    assert again.json()["message"] == "Nothing was being written."
    await begun(two.here, upstream, chat_id=chat_id)
    [task] = two.state.running.all_tasks()
    assert (await two.there.http.post(f"/api/tasks/stop/{task}")).json()["status"] is True
    assert two.state.running.all_tasks() == []
    assert (await two.there.http.post(f"/api/tasks/stop/{task}")).json()["status"] is False


async def test_a_temporary_answer_is_its_askers_in_every_process(two: Two, upstream: Upstream, admin: Actor) -> None:
    chat_id = f"temporary:{two.here.sid}"
    messages = [{"role": "user", "content": "Hi"}]
    await two.here.post(two.here.ask("gated", "Hi", chat_id=chat_id, messages=messages, user_message=...))
    [task] = two.state.running.all_tasks()
    assert (await two.there.http.get(f"/api/tasks/chat/{chat_id}")).json() == {"task_ids": [task]}
    reply = await two.there.http.post(f"/api/tasks/chat/{chat_id}/stop")
    assert reply.json()["message"] == f"Stopped: {task}."
    assert two.state.running.all_tasks() == []


async def test_a_stranger_sees_and_stops_nothing(two: Two, upstream: Upstream, other_there: httpx.AsyncClient) -> None:
    chat_id, answer = await begun(two.here, upstream)
    assert (await other_there.get(f"/api/tasks/chat/{chat_id}")).json() == {"task_ids": []}
    assert (await other_there.post(f"/api/tasks/chat/{chat_id}/stop")).status_code == 404
    event = {"type": "replace", "data": {"content": "mine"}}
    path = f"/api/v1/chats/{chat_id}/messages/{answer}"
    assert (await other_there.post(f"{path}/event", json=event)).status_code == 401
    assert (await other_there.post(path, json={"content": "mine"})).status_code == 401
    assert (await two.here.message(chat_id, answer))["content"] == fixed_text(3)


async def test_what_is_posted_anywhere_goes_to_the_one_owner(two: Two, upstream: Upstream) -> None:
    chat_id, answer = await begun(two.here, upstream)
    path = f"/api/v1/chats/{chat_id}/messages/{answer}"
    status = {"description": "looked it up", "done": True}
    reply = await two.there.http.post(f"{path}/event", json={"type": "status", "data": status})
    assert (reply.status_code, reply.json()) == (200, True)
    edited = await two.there.http.post(path, json={"content": "Edited. "})
    assert edited.json()["chat"]["history"]["messages"][answer]["content"] == "Edited. "
    refused = await two.there.http.post(f"{path}/event", json={"type": "message", "data": {"content": 1}})
    assert refused.status_code == 400
    upstream.release(20)
    await two.here.idle(chat_id)
    kept = await two.there.message(chat_id, answer)
    assert kept["statusHistory"] == [status]
    assert kept["content"] == "Edited. " + fixed_text()[len(fixed_text(3)) :]
    # Nobody writes it any more.
    await two.there.http.post(f"{path}/event", json={"type": "message", "data": {"content": " More."}})
    assert (await two.here.message(chat_id, answer))["content"].endswith(" More.")


async def test_a_question_below_an_answer_of_another_process_quotes_it(two: Two, upstream: Upstream) -> None:
    chat_id, answer = await begun(two.here, upstream)
    body = two.there.ask("fixed", "And then?", chat_id=chat_id, parent_id=answer)
    await two.there.post(body)
    await two.there.until(lambda p: any(d.get("done") for d in p.data("chat:completion", body["id"])))
    asked = next(r for r in upstream.received if r.model == "fixed")
    assert [m["content"] for m in asked.body["messages"]] == ["Slowly, please", fixed_text(3), "And then?"]
    assert two.there.data("chat:active")[-1]["active"] is True, "the other still writes in it"
    upstream.release(20)
    await two.here.idle(chat_id)
    copy = (await two.there.http.post(f"/api/v1/chats/{chat_id}/clone", json={})).json()
    assert copy["chat"]["history"]["messages"] != {}


async def test_a_chat_that_is_removed_anywhere_is_answered_nowhere(two: Two, upstream: Upstream) -> None:
    chat_id, answer = await begun(two.here, upstream)
    assert (await two.there.http.delete(f"/api/v1/chats/{chat_id}")).status_code == 200
    assert two.state.running.all_tasks() == []
    await two.here.until(lambda p: p.data("chat:tasks:cancel", answer) != [])


@pytest.fixture
def deaf(two: Two, monkeypatch: pytest.MonkeyPatch) -> None:
    """The other process reaches nobody, although it hears that there is somebody."""

    async def lost(peer: str, *_: Any, **__: Any) -> Any:
        raise PeerLost(peer)

    monkeypatch.setattr(two.other.bus, "call", lost)


async def stored_parts(two: Two, answer: str, text: str) -> None:
    async with asyncio.timeout(10):
        while True:
            async with two.state.database.read() as connection:
                found = await generation_parts.so_far(connection, (await two.generations())[0].chat_id)
            if answer in found and found[answer].content == text:
                return
            await asyncio.sleep(0.05)


async def test_an_owner_that_cannot_be_reached_is_known_by_what_it_wrote(
    two: Two, upstream: Upstream, deaf: None
) -> None:
    chat_id, answer = await begun(two.here, upstream)
    await stored_parts(two, answer, fixed_text(3))
    assert (await two.there.message(chat_id, answer))["content"] == fixed_text(3)
    reply = await two.there.http.post(f"/api/tasks/chat/{chat_id}/stop")
    assert reply.json()["message"].startswith("Stopped: ")
    kept = await two.there.message(chat_id, answer)
    assert (kept["content"], kept["done"], kept.get("error")) == (fixed_text(3), True, None)
    # The owner finds out, and ends it as it was ended.
    await two.here.until(lambda p: len(p.data("chat:tasks:cancel", answer)) == 2)
    assert two.state.running.all_tasks() == []


async def test_a_change_waits_until_a_lost_owners_answer_is_marked(
    two: Two, upstream: Upstream, deaf: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(others, "LOOK_SECONDS", 0.05)
    chat_id, answer = await begun(two.here, upstream)
    path = f"/api/v1/chats/{chat_id}/messages/{answer}/event"
    posting = asyncio.create_task(two.there.http.post(path, json={"type": "status", "data": {"description": "later"}}))
    await asyncio.sleep(0.2)
    assert not posting.done()
    await two.take()
    assert (await posting).json() is True
    kept = await two.there.message(chat_id, answer)
    assert (kept["done"], kept["statusHistory"]) == (True, [{"description": "later"}])
    await two.state.running.give_up_taken(two.state.bus.instance)
    monkeypatch.setattr(others, "LOST_SECONDS", 0.2)
    chat_id, answer = await begun(two.here, upstream)
    reply = await two.there.http.post(f"/api/v1/chats/{chat_id}/messages/{answer}", json={"content": "x"})
    assert (reply.status_code, "can't be reached" in reply.json()["detail"]) == (503, True)


async def test_after_a_broken_link_all_is_known_again(two: Two, upstream: Upstream) -> None:
    chat_id, answer = await begun(two.here, upstream)
    await two.other.bus.close()
    await two.here.until(lambda _: two.state.active_chats() == {chat_id})
    assert two.other.bus.instance not in two.state.bus.peers
    await two.other.bus.open()
    assert (await two.there.message(chat_id, answer))["content"] == fixed_text(3)
    assert two.other.active_chats() == {chat_id}


async def test_the_tabs_of_an_answer_that_is_marked_hear_of_it(two: Two, upstream: Upstream) -> None:
    chat_id, answer = await begun(two.here, upstream)
    await two.age(60, two.state.bus.instance)
    await two.state.lease.close()
    await two.age(7, two.other.bus.instance)
    await two.there.until(lambda p: p.data("chat:message:error", answer) != [])
    assert two.there.data("chat:message:error", answer)[0]["error"] == {"content": INTERRUPTED}
    assert (await two.there.message(chat_id, answer))["done"] is True


async def starting(state: State, actor: Actor, body: dict[str, Any]) -> Any:
    principal = await state.identify(actor.token)
    assert principal is not None
    return await state.starter.start(principal, parse_page_request(body))


@pytest.mark.parametrize("stop_at", range(2, 14, 2))
async def test_two_starts_in_any_order_are_one(two: Two, admin: Actor, upstream: Upstream, stop_at: int) -> None:
    """One process is stopped at a statement, the other goes as far as it can."""
    chat_id, earlier = await begun(two.here, upstream)
    body = two.here.ask("gated", "Next", chat_id=chat_id, parent_id=earlier)
    found = await both(
        two.state.database,
        lambda: starting(two.state, admin, body),
        lambda: starting(two.other, admin, body),
        stop_at,
    )
    refused = [one for one in found if isinstance(one, Conflict)]
    assert ([one["status"] for one in found if isinstance(one, dict)], len(refused)) == ([True], 1), found
    assert len(await two.generations()) == 2
    assert len(two.state.running.all_tasks() + two.other.running.all_tasks()) == 2


@pytest.mark.parametrize("stop_at", range(7))
async def test_an_end_and_a_stop_by_another_in_any_order_are_one(two: Two, upstream: Upstream, stop_at: int) -> None:
    """Neither waits for the other for ever, and what is stored is what the one that came first stored."""
    chat_id, answer = await begun(two.here, upstream)
    [running] = two.state.running.all()
    written: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    content, body = running.snapshot(done=True, extra={"mark": "its own end"})
    work = journal.Work(ends=[journal.End(running, content, body, written)])
    writer = Journal(two.state.database, 60, list, UsageLog())
    task_id = running.turn.task_id
    ended, stopped = await both(
        two.state.database, lambda: writer._write(work), lambda: end_for(two.other.database, [task_id]), stop_at
    )
    assert ended is None, ended
    assert stopped in ([], [task_id])
    kept = await two.there.message(chat_id, answer)
    assert (kept["done"], kept.get("mark")) == (True, None if stopped else "its own end")
    assert await two.generations() == []
    assert written.done() is bool(stopped)
    if stopped:
        assert isinstance(written.exception(), AnswerTaken)


async def test_a_stop_that_comes_while_the_answer_ends(two: Two, upstream: Upstream) -> None:
    for words in range(17, 21):
        body = two.here.ask("gated", "Slowly, please")
        chat_id = (await two.here.post(body))["chat_id"]
        upstream.release(words)
        stop = await two.there.http.post(f"/api/tasks/chat/{chat_id}/stop")
        assert stop.status_code == 200
        upstream.release(20 - words)
        await two.here.until(
            lambda p, i=body["id"]: (
                p.data("chat:tasks:cancel", i) != [] or any(d.get("done") for d in p.data("chat:completion", i))
            )
        )
        kept = await two.there.message(chat_id, body["id"])
        assert kept["done"] is True
        assert fixed_text().startswith(kept["content"])
    async with asyncio.timeout(10):
        await asyncio.gather(*(entry.task for entry in two.state.running.entries() if entry.task is not None))
    assert await two.generations() == []


async def test_a_busy_process_keeps_its_lease(make_live: Callable[..., Awaitable[Live]]) -> None:
    """While all its connections are in use it lives all the same."""
    live = await make_live(database_pool_size=1, database_pool_max_overflow=0)
    state: State = live.app.state.oui
    async with state.database.read() as connection:
        # From now on: what starts beside waits as long as it does elsewhere.
        state.database._readers.pool._timeout = 0.05
        await connection.execute(tables.process.select())
        with pytest.raises(sa.exc.TimeoutError):
            async with state.database.write():
                pass
        await state.lease._beat()


async def test_what_follows_an_answer_of_a_dead_process_is_done_by_another_at_once(
    two: Two, upstream: Upstream, monkeypatch: pytest.MonkeyPatch
) -> None:
    for key, value in QUESTIONS.items():
        upstream.answer_when(f'"{key}"', msgspec.json.encode({key: value}).decode())
    hanging = Hanging()
    monkeypatch.setattr(side, "ask_shaped", hanging)
    body = two.here.ask("fixed", "Tell me of foxes", background_tasks=ALL_TASKS)
    chat_id = (await two.here.post(body))["chat_id"]
    await two.here.until(lambda p: any(data.get("done") for data in p.data("chat:completion")))
    # Who takes it over is answered; the first waits for ever.
    monkeypatch.setattr(side, "ask_shaped", hanging._ask)
    here, other = two.state.bus.instance, two.other.bus.instance
    (job,) = await two.jobs()
    assert job.instance == here
    await release_jobs(two.other.database, other, FOLLOW_SECONDS)
    assert await two.jobs() == [job], "its process lives"
    # A beat may come between.
    while await two.jobs() == [job]:
        await two.die()
        await release_jobs(two.other.database, other, FOLLOW_SECONDS)
    two.other.jobs._tell(None)
    async with asyncio.timeout(20):
        while await two.jobs():  # noqa: ASYNC110 - nobody is told
            await asyncio.sleep(0.02)
    stored = await two.there.stored(chat_id)
    assert stored["title"] == "About Foxes"
    assert stored["chat"]["history"]["messages"][body["id"]]["followUps"] == ["Why?"]
    hanging.go_on.set()
    await two.here.idle(chat_id)
    assert (await two.there.stored(chat_id))["title"] == "About Foxes"
