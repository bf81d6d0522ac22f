"""The server owns a running answer: it can be watched, left, come back to and stopped from anywhere."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from tests.open_webui.chat.page import Page, open_page, rebuilt
from tests.support.live import Actor, Live
from tests.support.script import fixed_text
from tests.support.upstream import Upstream


@pytest.fixture
async def page(live: Live, admin: Actor) -> AsyncIterator[Page]:
    async with open_page(admin.client, admin.token) as opened:
        yield opened


async def gated(page: Page, upstream: Upstream, words: int, **fields: Any) -> tuple[str, str]:
    """Starts an answer and waits until the page has seen so many words. Returns the ids of chat and answer."""
    body = page.ask("gated", "Slowly, please", **fields)
    chat_id = (await page.post(body))["chat_id"]
    upstream.release(words)
    await page.until(lambda p: rebuilt([], p.of(body["id"])) == fixed_text(words))
    return chat_id, body["id"]


@pytest.mark.parametrize("words", [0, 1, 7, 19])
async def test_a_reload_in_the_middle_misses_nothing_and_doubles_nothing(
    page: Page, live: Live, admin: Actor, upstream: Upstream, words: int
) -> None:
    chat_id, answer = await gated(page, upstream, words)
    async with open_page(admin.client, admin.token) as reloaded:
        upstream.release(max(0, min(3, 20 - words)))  # these arrive while the page fetches
        kept = await reloaded.message(chat_id, answer)
        assert kept["done"] is False
        upstream.release(20)
        await reloaded.until(lambda p: any(d.get("done") for d in p.data("chat:completion", answer)))
        whole = rebuilt(kept.get("output") or [], reloaded.of(answer), kept["meta"].get("sequence_number", 0))
        assert whole == fixed_text()
        # Who takes all frames without counting would have words twice or miss some, had the numbers no meaning.
        assert kept["content"] == fixed_text()[: len(kept["content"])]
    assert (await page.message(chat_id, answer))["content"] == fixed_text()


async def test_a_second_tab_sees_everything(page: Page, admin: Actor, upstream: Upstream) -> None:
    async with open_page(admin.client, admin.token) as second:
        chat_id, answer = await gated(page, upstream, 5)
        upstream.release(20)
        await asyncio.gather(page.idle(chat_id), second.idle(chat_id))
        assert [e["data"] for e in second.events] == [e["data"] for e in page.events]
        assert rebuilt([], second.of(answer)) == fixed_text()


async def test_the_answer_goes_on_when_nobody_watches(page: Page, admin: Actor, upstream: Upstream) -> None:
    chat_id, answer = await gated(page, upstream, 3)
    await page.socket.disconnect()
    upstream.release(20)
    async with open_page(admin.client, admin.token) as later:
        for _ in range(100):
            kept = await later.message(chat_id, answer)
            if kept["done"]:
                break
            await asyncio.sleep(0.02)
    assert (kept["content"], kept["done"]) == (fixed_text(), True)
    assert "sequence_number" not in kept["meta"]


async def test_a_stop_from_another_session_keeps_the_text(
    page: Page, live: Live, admin: Actor, upstream: Upstream
) -> None:
    chat_id, answer = await gated(page, upstream, 6)
    async with live.client(admin.token) as elsewhere:
        running = (await elsewhere.get(f"/api/tasks/chat/{chat_id}")).json()
        assert len(running["task_ids"]) == 1
        assert (await elsewhere.get("/api/tasks")).json()["tasks"] == running["task_ids"]
        stopped = await elsewhere.post(f"/api/tasks/chat/{chat_id}/stop")
        assert stopped.json()["status"] is True
        kept = await page.message(chat_id, answer)
        assert (kept["content"], kept["done"]) == (fixed_text(6), True)
        assert kept["output"][-1]["status"] == "incomplete"
        assert not kept.get("error")
        assert (await elsewhere.get(f"/api/tasks/chat/{chat_id}")).json() == {"task_ids": []}
    await page.idle(chat_id)
    first, second = page.data("chat:tasks:cancel")
    assert first["output"] == kept["output"]
    assert second is None
    assert page.kinds()[-2:] == ["chat:tasks:cancel", "chat:active false"]
    # The provider was let go too.
    await upstream.wait_for_async(lambda u: u.chats[0].disconnected)


async def test_a_stop_by_task(page: Page, admin: Actor, upstream: Upstream) -> None:
    chat_id, answer = await gated(page, upstream, 2)
    [task] = (await page.http.get(f"/api/tasks/chat/{chat_id}")).json()["task_ids"]
    assert (await page.http.post(f"/api/tasks/stop/{task}")).json()["status"] is True
    assert (await page.message(chat_id, answer))["content"] == fixed_text(2)
    again = await page.http.post(f"/api/tasks/stop/{task}")
    assert (again.status_code, again.json()["status"]) == (200, False)


async def test_stopping_twice_at_once_is_one_stop(page: Page, upstream: Upstream) -> None:
    chat_id, answer = await gated(page, upstream, 2)
    stop = f"/api/tasks/chat/{chat_id}/stop"
    replies = await asyncio.gather(*(page.http.post(stop) for _ in range(5)))
    assert {r.status_code for r in replies} == {200}
    await page.idle(chat_id)
    assert len(page.data("chat:tasks:cancel")) == 2
    assert (await page.message(chat_id, answer))["content"] == fixed_text(2)


async def test_a_stop_at_once_ends_the_answer(page: Page, upstream: Upstream) -> None:
    body = page.ask("gated", "Never mind")
    chat_id = (await page.post(body))["chat_id"]
    assert (await page.http.post(f"/api/tasks/chat/{chat_id}/stop")).status_code == 200
    await page.idle(chat_id)
    kept = await page.message(chat_id, body["id"])
    assert (kept["content"], kept["done"]) == ("", True)


async def test_a_stopped_chat_goes_on(page: Page, upstream: Upstream) -> None:
    chat_id, answer = await gated(page, upstream, 2)
    await page.http.post(f"/api/tasks/chat/{chat_id}/stop")
    after = page.ask("echo", "Next", chat_id=chat_id, parent_id=answer)
    await page.post(after)
    await page.until(lambda p: any(d.get("done") for d in p.data("chat:completion", after["id"])))
    assert [m["content"] for m in upstream.chats[-1].body["messages"]] == ["Slowly, please", fixed_text(2), "Next"]


async def test_the_same_answer_is_not_written_twice_at_once(page: Page, upstream: Upstream) -> None:
    chat_id, answer = await gated(page, upstream, 2)
    message = await page.message(chat_id, answer)
    again = page.ask("fixed", "x", chat_id=chat_id, id=answer, parent_id=message["parentId"], user_message=...,
                     message_ids=[{"model_id": "fixed", "message_id": answer}])  # fmt: skip
    reply = await page.http.post("/api/chat/completions", json=again)
    assert reply.status_code == 409
    upstream.release(20)
    await page.idle(chat_id)
    assert (await page.message(chat_id, answer))["content"] == fixed_text()


async def test_the_journal_holds_what_arrived_within_a_second(page: Page, live: Live, upstream: Upstream) -> None:
    """Read from the database itself, not from what runs."""
    chat_id, answer = await gated(page, upstream, 5)
    from open_webui.models import generation_parts  # the rows as they are

    async with asyncio.timeout(30):
        while True:
            async with live.app.state.oui.database.read() as connection:
                found = (await generation_parts.so_far(connection, chat_id)).get(answer)
            if found is not None and found.content == fixed_text(5):
                break
            await asyncio.sleep(0.05)
    upstream.release(20)
    await page.idle(chat_id)


async def test_a_chat_deleted_while_it_is_answered(page: Page, upstream: Upstream) -> None:
    chat_id, _ = await gated(page, upstream, 2)
    assert (await page.http.delete(f"/api/v1/chats/{chat_id}")).status_code == 200
    upstream.release(20)
    await page.idle(chat_id)
    assert (await page.http.get("/api/v1/chats/?page=1")).json() == []
    # And everything else goes on.
    body = page.ask("echo", "Still there?")
    other = (await page.post(body))["chat_id"]
    await page.idle(other)
    assert (await page.message(other, body["id"]))["content"] == "Still there?"


async def test_many_answers_at_once(page: Page, upstream: Upstream) -> None:
    bodies = [page.ask("slow", f"Number {n}", params={"max_tokens": 10}) for n in range(20)]
    replies = await asyncio.gather(*(page.post(body) for body in bodies))
    for body, reply in zip(bodies, replies, strict=True):
        await page.idle(reply["chat_id"])
        assert rebuilt([], page.of(body["id"])) == fixed_text(10)
        assert (await page.message(reply["chat_id"], body["id"]))["content"] == fixed_text(10)


@pytest.mark.parametrize("door", ["chat", "all"])
async def test_a_chat_that_is_removed_is_not_answered_any_more(
    page: Page, admin: Actor, upstream: Upstream, door: str
) -> None:
    chat_id, _ = await gated(page, upstream, 2)
    reply = await admin.client.delete(f"/api/v1/chats/{chat_id if door == 'chat' else ''}")
    assert reply.json() is True
    asked = upstream.received[-1]
    assert await asyncio.to_thread(asked.ended.wait, 5)
    assert asked.disconnected
    assert (await admin.client.get(f"/api/tasks/chat/{chat_id}")).json() == {"task_ids": []}
