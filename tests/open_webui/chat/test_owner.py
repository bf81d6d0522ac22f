"""Whatever changes a message while it is answered goes to the running answer: nothing is lost, and all are told."""

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
import sqlalchemy as sa

from open_webui.chat import limits, side, starter
from open_webui.models import tables
from tests.open_webui.chat.page import Page, open_page, rebuilt
from tests.support.live import Actor, Live
from tests.support.pictures import picture
from tests.support.script import fixed_text
from tests.support.upstream import Upstream


@pytest.fixture
async def page(live: Live, admin: Actor) -> AsyncIterator[Page]:
    async with open_page(admin.client, admin.token) as opened:
        yield opened


async def gated(page: Page, upstream: Upstream, words: int, **fields: Any) -> tuple[str, str]:
    """An answer that waits behind so many words: the ids of chat and answer."""
    body = page.ask("gated", "Slowly, please", **fields)
    chat_id = (await page.post(body))["chat_id"]
    upstream.release(words)
    await page.until(lambda p: rebuilt([], p.of(body["id"])) == fixed_text(words))
    return chat_id, body["id"]


async def post(http: httpx.AsyncClient, chat_id: str, message_id: str, kind: str, data: Any) -> httpx.Response:
    return await http.post(f"/api/v1/chats/{chat_id}/messages/{message_id}/event", json={"type": kind, "data": data})


async def done(page: Page, upstream: Upstream, chat_id: str, answer: str) -> dict[str, Any]:
    """The stored message, once the rest of the answer has come."""
    upstream.release(20)
    await page.idle(chat_id)
    return await page.message(chat_id, answer)


STATUS = {"description": "looked it up", "done": True}
SOURCE = {"source": {"name": "doc"}}


async def test_what_tools_post_to_a_running_answer_is_there_at_the_end(page: Page, upstream: Upstream) -> None:
    chat_id, answer = await gated(page, upstream, 3)
    for kind, data in (
        ("status", STATUS),
        ("source", SOURCE),
        ("files", {"files": [{"id": "f"}]}),
        ("embeds", {"embeds": ["<b>hi</b>"]}),
    ):
        reply = await post(page.http, chat_id, answer, kind, data)
        assert (reply.status_code, reply.json()) == (200, True)
    running = await page.message(chat_id, answer)
    assert (running["statusHistory"], running["sources"], running["done"]) == ([STATUS], [SOURCE], False)
    kept = await done(page, upstream, chat_id, answer)
    assert (kept["content"], kept["done"]) == (fixed_text(), True)
    assert kept["statusHistory"] == [STATUS]
    assert kept["sources"] == [SOURCE]
    assert kept["files"] == [{"id": "f"}]
    assert kept["embeds"] == ["<b>hi</b>"]
    assert page.data("status", answer) == [STATUS]
    assert page.data("source", answer) == [SOURCE]


@pytest.mark.parametrize("kind", ["message", "chat:message:delta"])
async def test_text_that_is_posted_comes_between_the_models_words(page: Page, upstream: Upstream, kind: str) -> None:
    chat_id, answer = await gated(page, upstream, 3)
    assert (await post(page.http, chat_id, answer, kind, {"content": "[a note] "})).status_code == 200
    kept = await done(page, upstream, chat_id, answer)
    said = fixed_text(3) + "[a note] " + fixed_text()[len(fixed_text(3)) :]
    assert kept["content"] == said
    assert "".join(part["text"] for part in kept["output"][0]["content"]) == said
    assert rebuilt([], page.of(answer)) == said, "who watches has it once, in its place"


async def test_text_that_is_replaced_stays_replaced_and_the_models_next_words_follow_it(
    page: Page, upstream: Upstream
) -> None:
    chat_id, answer = await gated(page, upstream, 3)
    assert (await post(page.http, chat_id, answer, "replace", {"content": "Anew: "})).status_code == 200
    assert (await page.message(chat_id, answer))["content"] == "Anew: "
    kept = await done(page, upstream, chat_id, answer)
    assert kept["content"] == "Anew: " + fixed_text()[len(fixed_text(3)) :]
    assert page.data("replace", answer) == [{"content": "Anew: "}]


async def test_an_edit_of_a_running_answer_is_not_lost(page: Page, upstream: Upstream) -> None:
    chat_id, answer = await gated(page, upstream, 3)
    reply = await page.http.post(f"/api/v1/chats/{chat_id}/messages/{answer}", json={"content": "Edited. "})
    assert reply.status_code == 200
    shown = reply.json()["chat"]["history"]["messages"][answer]
    assert (shown["content"], shown["done"]) == ("Edited. ", False)
    kept = await done(page, upstream, chat_id, answer)
    assert kept["content"].startswith("Edited. ")
    assert page.data("chat:message", answer)[0]["content"] == "Edited. "


async def test_replacing_before_the_first_word(page: Page, upstream: Upstream) -> None:
    chat_id, answer = await gated(page, upstream, 0)
    assert (await post(page.http, chat_id, answer, "replace", {"content": "First. "})).status_code == 200
    assert (await done(page, upstream, chat_id, answer))["content"] == "First. " + fixed_text()


async def test_an_event_at_the_moment_of_the_end_is_never_lost(page: Page, upstream: Upstream) -> None:
    """Whichever comes first: the running answer takes it, or the stored message does."""
    for number in range(6):
        chat_id, answer = await gated(page, upstream, 3)
        upstream.release(17)
        for place in range(number * 2):
            reply = await post(page.http, chat_id, answer, "status", {"description": f"{place}"})
            assert reply.status_code == 200
        await page.idle(chat_id)
        kept = await page.message(chat_id, answer)
        assert (kept["content"], kept["done"]) == (fixed_text(), True)
        said = [status["description"] for status in kept.get("statusHistory", ())]
        assert said == [f"{n}" for n in range(number * 2)]


@pytest.mark.parametrize(
    ("kind", "data", "status"),
    [
        ("nonsense", {}, 400),
        ("message", {"text": "x"}, 400),
        ("replace", {"content": 7}, 400),
        ("files", {"files": [{}] * 1_001}, 400),
        ("status", "x", 422),
    ],
)
async def test_what_is_no_event_changes_nothing(
    page: Page, upstream: Upstream, kind: str, data: Any, status: int
) -> None:
    chat_id, answer = await gated(page, upstream, 3)
    assert (await post(page.http, chat_id, answer, kind, data)).status_code == status
    kept = await done(page, upstream, chat_id, answer)
    assert kept["content"] == fixed_text()
    assert not {"files", "statusHistory", "sources"} & kept.keys()


async def test_somebody_else_changes_nothing(page: Page, upstream: Upstream, user: Actor) -> None:
    chat_id, answer = await gated(page, upstream, 3)
    assert (await post(user.client, chat_id, answer, "replace", {"content": "taken"})).status_code == 401
    edit = await user.client.post(f"/api/v1/chats/{chat_id}/messages/{answer}", json={"content": "taken"})
    assert edit.status_code == 401
    assert (await done(page, upstream, chat_id, answer))["content"] == fixed_text()


async def test_no_more_answers_than_allowed_however_they_come(
    page: Page, upstream: Upstream, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "MAX_RUNNING_PER_USER", 3)
    asked = [page.http.post("/api/chat/completions", json=page.ask("gated", f"{n}")) for n in range(8)]
    replies = await asyncio.gather(*asked)
    assert sorted(r.status_code for r in replies) == [200] * 3 + [429] * 5
    assert len((await page.http.get("/api/tasks")).json()["tasks"]) == 3
    refused = next(r for r in replies if r.status_code == 429)
    assert "3 answers" in refused.json()["detail"]
    upstream.release(60)
    for reply in replies:
        if reply.status_code == 200:
            await page.idle(reply.json()["chat_id"])
    again = page.ask("fixed", "And now?")
    await page.idle((await page.post(again))["chat_id"])


async def test_no_more_answers_of_the_server_than_allowed(
    page: Page, upstream: Upstream, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "MAX_RUNNING", 2)
    asked = [page.http.post("/api/chat/completions", json=page.ask("gated", f"{n}")) for n in range(4)]
    assert sorted(r.status_code for r in await asyncio.gather(*asked)) == [200] * 2 + [503] * 2


async def test_who_reads_rows_sees_a_running_answer_as_it_is(page: Page, upstream: Upstream) -> None:
    """Copies, forks, shares and exports of a chat whose answer is still being written."""
    chat_id, answer = await gated(page, upstream, 3)
    await post(page.http, chat_id, answer, "source", SOURCE)
    clone = (await page.http.post(f"/api/v1/chats/{chat_id}/clone", json={})).json()
    fork = (await page.http.post(f"/api/v1/chats/{chat_id}/fork", json={})).json()
    assert (await page.http.post(f"/api/v1/chats/{chat_id}/share")).status_code == 200
    share_id = (await page.stored(chat_id))["share_id"]
    shared = (await page.http.get(f"/api/v1/chats/share/{share_id}")).json()
    lines = (await page.http.get("/api/v1/chats/all")).text.splitlines()
    [exported] = [c for c in map(json.loads, lines) if c["id"] == chat_id]
    for document in (clone, fork, shared, exported):
        shown = document["chat"]["history"]["messages"][answer]
        assert shown["content"] == fixed_text(3)
        assert shown["sources"] == [SOURCE]
    await done(page, upstream, chat_id, answer)


async def test_a_question_below_a_running_answer_takes_it_along(page: Page, upstream: Upstream) -> None:
    chat_id, answer = await gated(page, upstream, 3)
    below = page.ask("fixed", "And?", chat_id=chat_id, parent_id=answer)
    await page.post(below)
    await page.until(lambda p: any(d.get("done") for d in p.data("chat:completion", below["id"])))
    asked = upstream.chats[-1].body["messages"]
    assert [m["content"] for m in asked] == ["Slowly, please", fixed_text(3), "And?"]
    assert (await done(page, upstream, chat_id, answer))["content"] == fixed_text()


async def test_a_picture_that_is_posted_to_a_running_answer_is_used_by_it(
    page: Page, live: Live, upstream: Upstream
) -> None:
    chat_id, answer = await gated(page, upstream, 3)
    await post(page.http, chat_id, answer, "files", {"files": [{"type": "image", "url": picture()}]})
    kept = await done(page, upstream, chat_id, answer)
    address = kept["files"][0]["url"]
    assert (await page.http.get(address)).status_code == 200
    async with live.app.state.oui.database.read() as connection:
        uses = (await connection.execute(sa.select(tables.file_use.c.message_n))).all()
    assert len(uses) == 1, "what nothing uses is collected after a while"


async def test_one_person_has_only_so_many_api_answers_at_once(live: Live, admin: Actor, upstream: Upstream) -> None:
    state = live.app.state.oui
    state.streams._most = 2
    body = {"model": "gated", "messages": [{"role": "user", "content": "Hi"}], "stream": True}
    waiting = [asyncio.create_task(admin.client.post("/api/chat/completions", json=body)) for _ in range(2)]
    await upstream.wait_for_async(lambda u: len(u.chats) == 2)
    refused = await admin.client.post("/api/chat/completions", json=body)
    assert (refused.status_code, refused.json()["detail"]) == (
        429, "You have 2 answers being written, which is the most at once.")  # fmt: skip
    whole = await admin.client.post("/api/chat/completions", json=body | {"stream": False})
    assert whole.status_code == 429
    upstream.release(40)
    assert [(await reply).status_code for reply in waiting] == [200, 200]
    again = await admin.client.post("/api/chat/completions", json=body | {"model": "fixed"})
    assert again.status_code == 200


async def test_a_title_that_fails_in_a_way_nobody_thought_of_is_a_short_one(
    page: Page, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async def broken(*_: Any, **__: Any) -> Any:
        raise RuntimeError("a bug in the title")

    monkeypatch.setattr(side, "ask", broken)
    tasks = {"title_generation": True, "follow_up_generation": True, "tags_generation": True}
    body = page.ask("fixed", "Tell me of foxes", background_tasks=tasks)
    chat_id = (await page.post(body))["chat_id"]
    await page.idle(chat_id)
    assert (await page.stored(chat_id))["title"] == "Tell me of foxes"
    assert page.data("chat:title") == ["Tell me of foxes"]
    assert "a bug in the title" in caplog.text


async def test_an_end_that_cannot_be_stored_leaves_no_chat_that_looks_busy(
    page: Page, live: Live, upstream: Upstream
) -> None:
    """Also where it is a stop that can't be stored."""
    for stopped in (False, True):
        chat_id, answer = await gated(page, upstream, 3)
        [running] = live.app.state.oui.running.of_chat(chat_id)
        running.body["unstorable"] = object()
        if stopped:
            await page.http.post(f"/api/tasks/chat/{chat_id}/stop")
        else:
            upstream.release(17)
        await page.idle(chat_id)
        [error] = page.data("chat:message:error", answer)
        assert (error["error"]["content"], error["done"]) == (starter.UNSTORED, True)
        assert (await page.http.get(f"/api/tasks/chat/{chat_id}")).json() == {"task_ids": []}
