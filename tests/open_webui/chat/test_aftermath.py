"""What follows an answer when its process ends before: another does the rest, once."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import msgspec
import pytest
import sqlalchemy as sa

from open_webui.chat import side
from open_webui.chat.aftermath import KIND, Left
from open_webui.models import jobs, tables
from open_webui.models.jobs import Job
from tests.open_webui.chat.page import ALL_TASKS, Page, open_page
from tests.support.live import Actor, Live
from tests.support.upstream import Upstream

QUESTIONS = {"title": "About Foxes", "tags": ["foxes"], "follow_ups": ["Why?"]}


@pytest.fixture
async def page(live: Live, admin: Actor) -> AsyncIterator[Page]:
    async with open_page(admin.client, admin.token) as opened:
        yield opened


class Hanging:
    """Side questions that nobody answers until they are let go."""

    def __init__(self) -> None:
        self.go_on = asyncio.Event()
        self._ask = side.ask_shaped

    async def __call__(self, *args: Any, **kwargs: Any) -> str:
        await self.go_on.wait()
        return await self._ask(*args, **kwargs)


@pytest.fixture
def hanging(monkeypatch: pytest.MonkeyPatch, upstream: Upstream) -> Hanging:
    for key, value in QUESTIONS.items():
        upstream.answer_when(f'"{key}"', msgspec.json.encode({key: value}).decode())
    made = Hanging()
    monkeypatch.setattr(side, "ask_shaped", made)
    return made


async def left_jobs(live: Live) -> list[Job]:
    async with live.app.state.oui.database.read() as connection:
        return await jobs.of_kind(connection, KIND)


async def run(live: Live, statement: Any) -> None:
    async with live.app.state.oui.database.write() as unit:
        await unit.connection.execute(statement)


async def asked(page: Page) -> tuple[str, str]:
    """A question whose answer has ended, and nothing that follows it has begun to come."""
    body = page.ask("fixed", "Tell me of foxes", background_tasks=ALL_TASKS)
    chat_id = (await page.post(body))["chat_id"]
    await page.until(lambda p: any(data.get("done") for data in p.data("chat:completion")))
    return chat_id, body["id"]


async def until_gone(live: Live) -> None:
    async with asyncio.timeout(20):
        while await left_jobs(live):  # noqa: ASYNC110 - nobody is told
            await asyncio.sleep(0.02)


def side_questions(upstream: Upstream) -> int:
    return len([r.body for r in upstream.chats if not r.body.get("stream")])


async def lost(live: Live) -> None:
    """The process is dead for the others: its lease is over, and a runner looks."""
    await run(live, tables.job.update().where(tables.job.c.kind == KIND).values(due_at=0))
    live.app.state.oui.jobs._tell(None)


async def test_a_job_is_there_from_the_end_of_the_answer_until_all_is_done(
    live: Live, page: Page, hanging: Hanging
) -> None:
    chat_id, message_id = await asked(page)
    (job,) = await left_jobs(live)
    left = msgspec.json.decode(job.payload, type=Left)
    assert (left.chat_id, left.message_id, left.model_id) == (chat_id, message_id, "fixed")
    assert set(left.about) == {"title", "tags", "follow_ups"}
    assert (job.state, job.attempts) == ("running", 1)
    assert job.due_at - job.created_at == 300_000
    hanging.go_on.set()
    await page.idle(chat_id)
    assert await left_jobs(live) == []
    stored = await page.stored(chat_id)
    assert stored["title"] == "About Foxes"


async def test_another_does_what_is_left_and_the_first_stores_nothing_more(
    live: Live, page: Page, hanging: Hanging, upstream: Upstream
) -> None:
    chat_id, message_id = await asked(page)
    # Asked by whoever takes the job over; the first still waits for its answers.
    first, hanging_now = hanging, Hanging()
    hanging_now._ask = hanging._ask
    hanging_now.go_on.set()
    side.ask_shaped = hanging_now  # type: ignore[assignment]  # the fixture puts it back
    await lost(live)
    await until_gone(live)
    stored = await page.stored(chat_id)
    assert stored["title"] == "About Foxes"
    assert stored["chat"]["history"]["messages"][message_id]["followUps"] == ["Why?"]
    assert side_questions(upstream) == 3
    told = [page.data(kind) for kind in ("chat:title", "chat:message:follow_ups", "chat:tags")]
    assert told == [["About Foxes"], [{"follow_ups": ["Why?"]}], [["foxes"]]]
    upstream.answer_when('"title"', '{"title": "Another"}')
    upstream.answer_when('"follow_ups"', '{"follow_ups": ["Another?"]}')
    first.go_on.set()
    await page.idle(chat_id)
    stored = await page.stored(chat_id)
    assert stored["title"] == "About Foxes"
    assert stored["chat"]["history"]["messages"][message_id]["followUps"] == ["Why?"]
    assert [page.data(kind) for kind in ("chat:title", "chat:message:follow_ups", "chat:tags")] == told


async def test_a_title_given_by_hand_stays_while_a_model_is_asked_for_one(
    page: Page, hanging: Hanging, upstream: Upstream
) -> None:
    body = page.ask("gated", "Tell me of foxes", background_tasks={"title_generation": True})
    chat_id = (await page.post(body))["chat_id"]
    reply = await page.http.post(f"/api/v1/chats/{chat_id}", json={"chat": {"title": "By hand"}})
    assert reply.status_code == 200
    hanging.go_on.set()
    async with asyncio.timeout(20):
        while any(task.get_name() == f"title {chat_id}" for task in asyncio.all_tasks()):  # noqa: ASYNC110 - nobody is told
            await asyncio.sleep(0.02)
    assert side_questions(upstream) == 1
    upstream.release(40)
    await page.idle(chat_id)
    # Pages take the chat's name from the last event.
    (done,) = [data for data in page.data("chat:completion", body["id"]) if data.get("done")]
    assert done["title"] == "By hand"
    assert (await page.stored(chat_id))["title"] == "By hand"
    assert page.data("chat:title") == []
    # The end of the answer tells the chat's title, too.
    assert [data["title"] for data in page.data("chat:completion") if data.get("done")] == ["By hand"]


async def put_again(live: Live, chat_id: str, message_id: str, user_id: str, *about: str) -> None:
    """The job as a process leaves it that dies after it has done the rest."""
    queue = live.app.state.oui.jobs
    left = Left(chat_id, message_id, user_id, "fixed", list(about))  # type: ignore[arg-type]  # names of questions
    async with queue.database.write() as unit:
        await queue.enqueue(unit, queue.kinds[KIND], left)


@pytest.mark.parametrize("about", ["tags", "follow_ups"])
async def test_what_is_done_is_not_done_again(
    live: Live, admin: Actor, page: Page, hanging: Hanging, upstream: Upstream, about: str
) -> None:
    hanging.go_on.set()
    chat_id, message_id = await asked(page)
    await page.idle(chat_id)
    upstream.received.clear()
    await put_again(live, chat_id, message_id, admin.id, about, "title")
    await until_gone(live)
    # The chat has its title.
    assert side_questions(upstream) == 1


async def test_nothing_is_done_for_who_is_gone_or_may_no_more(
    live: Live, admin: Actor, user: Actor, page: Page, hanging: Hanging, upstream: Upstream
) -> None:
    hanging.go_on.set()
    chat_id, message_id = await asked(page)
    await page.idle(chat_id)
    upstream.received.clear()
    await run(live, sa.update(tables.chat).where(tables.chat.c.id == chat_id).values(title="New Chat"))
    await put_again(live, chat_id, message_id, user.id, "title", "tags")
    await put_again(live, chat_id, message_id, "nobody", "title", "tags")
    await put_again(live, "no chat", message_id, admin.id, "title", "tags")
    await put_again(live, chat_id, "no message", admin.id, "title", "tags")
    await until_gone(live)
    assert side_questions(upstream) == 0
    assert (await page.stored(chat_id))["title"] == "New Chat"
