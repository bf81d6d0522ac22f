"""Other people's ids in every field of a chat turn, its tasks and its side questions: refused, and nothing stored."""

import asyncio
from collections.abc import AsyncIterator
from logging import INFO
from typing import Any

import pytest

from tests.open_webui.chat.page import Page, open_page, rebuilt
from tests.support.live import Actor, Live
from tests.support.script import fixed_text
from tests.support.upstream import Upstream


@pytest.fixture
async def owner(live: Live, admin: Actor) -> AsyncIterator[Page]:
    """Whose things are aimed at. An admin, so that every model is theirs to use."""
    async with open_page(admin.client, admin.token) as page:
        yield page


@pytest.fixture
async def intruder(live: Live, admin: Actor, user: Actor) -> AsyncIterator[Page]:
    for model in ("echo", "fixed", "gated", "stall"):
        # A row of the model that everybody may read lets users have it.
        reply = await admin.client.post(
            "/api/v1/models/create",
            json={"id": model, "base_model_id": None, "name": model, "meta": {}, "params": {},
                  "access_grants": [{"principal_type": "user", "principal_id": "*", "permission": "read"}]},
        )  # fmt: skip
        assert reply.status_code == 200, reply.text
    async with open_page(user.client, user.token) as page:
        yield page


async def victim_chat(owner: Page) -> tuple[str, dict[str, Any], dict[str, Any]]:
    """A finished chat of the owner: its id, what was sent, and how it is stored."""
    body = owner.ask("echo", "A secret")
    chat_id = (await owner.post(body))["chat_id"]
    await owner.idle(chat_id)
    return chat_id, body, await owner.stored(chat_id)


async def refused(page: Page, body: dict[str, Any]) -> None:
    reply = await page.http.post("/api/chat/completions", json=body)
    assert reply.status_code in {400, 401, 403, 404}, reply.text
    assert "secret" not in reply.text


async def mine(page: Page) -> list[dict[str, Any]]:
    listed: list[dict[str, Any]] = (await page.http.get("/api/v1/chats/?page=1")).json()
    return listed


async def test_somebody_elses_chat(owner: Page, intruder: Page, upstream: Upstream) -> None:
    chat_id, asked, before = await victim_chat(owner)
    asks = len(upstream.chats)
    answer, question = asked["id"], asked["user_message"]["id"]
    await refused(intruder, intruder.ask("echo", "Mine now", chat_id=chat_id, parent_id=answer))
    await refused(intruder, intruder.ask("echo", "Mine now", chat_id=chat_id))
    again = intruder.ask(
        "echo", "x", chat_id=chat_id, id=answer, message_ids=[{"model_id": "echo", "message_id": answer}]
    )
    await refused(intruder, again)
    await refused(intruder, again | {"assistant_message_id": answer, "message_ids": None, "user_message": None})
    over = intruder.ask("echo", "Overwritten", chat_id=chat_id)
    over["user_message"]["id"] = question
    await refused(intruder, over)
    assert await owner.stored(chat_id) == before
    assert await mine(intruder) == []
    assert len(upstream.chats) == asks


async def test_somebody_elses_messages_in_ones_own_chat(owner: Page, intruder: Page, upstream: Upstream) -> None:
    """Message ids count within their chat only: the same ids elsewhere are other messages, and nothing is drawn in."""
    chat_id, asked, before = await victim_chat(owner)
    body = intruder.ask("echo", "What was said?", parent_id=asked["id"], id=asked["id"],
                        message_ids=[{"model_id": "echo", "message_id": asked["id"]}])  # fmt: skip
    reply = await intruder.http.post("/api/chat/completions", json=body)
    if reply.status_code == 200:
        await intruder.idle(reply.json()["chat_id"])
        sent = upstream.chats[-1].body["messages"]
        assert "secret" not in str(sent)
        assert reply.json()["chat_id"] != chat_id
    assert await owner.stored(chat_id) == before


async def test_somebody_elses_folder(owner: Page, intruder: Page) -> None:
    folder = (await owner.http.post("/api/v1/folders/", json={"name": "Private"})).json()["id"]
    await refused(intruder, intruder.ask("echo", "Put me there", folder_id=folder))
    await refused(intruder, intruder.ask("echo", "Put me there", folder_id="no-such-folder"))
    assert await mine(intruder) == []


async def test_somebody_elses_session(owner: Page, intruder: Page) -> None:
    """A session id names a tab of one's own; events go to the asker, whatever it says."""
    body = intruder.ask("echo", "Hello", session_id=owner.sid)
    reply = await intruder.http.post("/api/chat/completions", json=body)
    if reply.status_code == 200:
        await intruder.idle(reply.json()["chat_id"])
    assert owner.events == []


async def test_a_model_that_is_not_shared(owner: Page, intruder: Page, upstream: Upstream) -> None:
    await refused(intruder, intruder.ask("reasoning", "Think for me"))
    two = intruder.ask("echo", "Both")
    two["message_ids"].append({"model_id": "reasoning", "message_id": "other", "modelIdx": 1})
    await refused(intruder, two)
    for path in ("/api/chat/completions", "/openai/chat/completions", "/ollama/v1/chat/completions"):
        reply = await intruder.http.post(path, json={"model": "reasoning", "messages": []})
        assert reply.status_code in {400, 404}
    for path in ("/ollama/api/chat", "/ollama/api/generate"):
        reply = await intruder.http.post(path, json={"model": "reasoning", "messages": [], "prompt": "x"})
        assert reply.status_code in {400, 404}
    for kind in ("title", "tags", "follow_up", "queries", "emoji", "image_prompt", "moa"):
        asked = {"model": "reasoning", "messages": [], "prompt": "x", "responses": []}
        reply = await intruder.http.post(f"/api/v1/tasks/{kind}/completions", json=asked)
        assert reply.status_code in {400, 404}, kind
    assert await mine(intruder) == []
    assert upstream.chats == []


async def test_somebody_elses_running_answer(owner: Page, intruder: Page, upstream: Upstream) -> None:
    body = owner.ask("gated", "A secret")
    chat_id = (await owner.post(body))["chat_id"]
    upstream.release(3)
    await owner.until(lambda p: rebuilt([], p.of(body["id"])) == fixed_text(3))
    [task] = (await owner.http.get(f"/api/tasks/chat/{chat_id}")).json()["task_ids"]
    assert (await intruder.http.get(f"/api/tasks/chat/{chat_id}")).json() == {"task_ids": []}
    assert (await intruder.http.post(f"/api/tasks/chat/{chat_id}/stop")).status_code in {401, 403, 404}
    assert (await intruder.http.get("/api/tasks")).status_code in {401, 403}
    assert (await intruder.http.post(f"/api/tasks/stop/{task}")).status_code in {401, 403}
    busy = intruder.ask("echo", "x", chat_id=chat_id, id=body["id"],
                        message_ids=[{"model_id": "echo", "message_id": body["id"]}])  # fmt: skip
    await refused(intruder, busy)
    upstream.release(20)
    await owner.idle(chat_id)
    assert (await owner.message(chat_id, body["id"]))["content"] == fixed_text()
    assert intruder.events == []


async def test_a_temporary_chat_with_somebody_elses_id(owner: Page, intruder: Page, upstream: Upstream) -> None:
    """Its id is made up by the page, so two people can have the same one: they stay apart all the same."""
    chat_id = f"local:{owner.sid}"
    said = [{"role": "user", "content": "A secret"}]
    body = owner.ask("gated", "A secret", chat_id=chat_id, messages=said)
    await owner.post(body)
    other = intruder.ask("gated", "Mine", chat_id=chat_id, messages=[{"role": "user", "content": "Mine"}])
    await intruder.post(other)
    await upstream.wait_for_async(lambda u: len(u.chats) == 2)
    assert len((await intruder.http.get(f"/api/tasks/chat/{chat_id}")).json()["task_ids"]) == 1
    assert (await intruder.http.post(f"/api/tasks/chat/{chat_id}/stop")).status_code == 200
    await intruder.until(lambda p: len(p.data("chat:tasks:cancel")) == 2)
    assert len((await owner.http.get(f"/api/tasks/chat/{chat_id}")).json()["task_ids"]) == 1
    upstream.release(20)
    await owner.until(lambda p: any(d.get("done") for d in p.data("chat:completion")))
    assert rebuilt([], owner.of(body["id"])) == fixed_text()
    assert intruder.of(body["id"]) == []
    assert owner.of(other["id"]) == []


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("message_ids", "x"), ("message_ids", [{}]), ("chat_id", 7), ("user_message", []),
        ("user_message", {"id": "q", "content": {"a": 1}}), ("params", []), ("params", {"stop": 7}), ("files", "x"),
        ("model", ["m"]), ("parent_id", {}), ("folder_id", 1), ("variables", []), ("background_tasks", []),
        ("chat_variables", 3), ("assistant_message_id", "other"), ("messages", [1]), ("session_id", {"a": 1}),
    ],
)  # fmt: skip
async def test_wrong_types_store_nothing(owner: Page, field: str, value: Any) -> None:
    reply = await owner.http.post("/api/chat/completions", json=owner.ask("echo", "x") | {field: value})
    if field == "params" and reply.status_code == 200:
        await owner.idle(reply.json()["chat_id"])
        assert owner.data("chat:message:error")
        return
    assert reply.status_code in {400, 404, 422}, reply.text
    assert isinstance(reply.json()["detail"], str)
    assert await mine(owner) == []


@pytest.mark.parametrize("raw", [b"", b"[]", b"null", b"{", b'{"model": "a\\ud800"}', b"\xff", b"[" * 100_000])
async def test_bodies_that_are_no_objects(admin: Actor, raw: bytes) -> None:
    for path in ("/api/chat/completions", "/api/v1/tasks/title/completions", "/ollama/api/chat"):
        reply = await admin.client.post(path, content=raw, headers={"Content-Type": "application/json"})
        assert reply.status_code == (400 if raw else 422), reply.text


@pytest.mark.parametrize(
    "change",
    [{"messages": "x"}, {"messages": [1]}, {"model": None}, {"model": 7}, {"prompt": 7},
     {"messages": [{"role": ["user"], "content": {"a": 1}}]}],
)  # fmt: skip
async def test_side_questions_with_wrong_types(admin: Actor, live: Live, change: dict[str, Any]) -> None:
    body = {"model": "fixed", "messages": [{"role": "user", "content": "Hi"}], "prompt": "x"} | change
    reply = await admin.client.post("/api/v1/tasks/title/completions", json=body)
    assert reply.status_code == (200 if isinstance(change.get("messages"), list) and change["messages"] != [1] else 400)
    assert (await admin.client.post("/api/v1/tasks/nonsense/completions", json=body)).status_code == 404


class TestStreamsEnd:
    """An API stream ends with the right to it; how soon: see `test_all_ends_within_five_seconds`."""

    async def stream(self, live: Live, actor: Actor, upstream: Upstream, path: str = "/api/chat/completions") -> Any:
        body = {"model": "stall", "messages": [{"role": "user", "content": "Hi"}], "stream": True}

        async def read() -> None:
            async with live.client(actor.token) as client, client.stream("POST", path, json=body) as reply:
                assert reply.status_code == 200
                async for _ in reply.aiter_raw():
                    pass

        task = asyncio.create_task(read())
        await upstream.wait_for_async(lambda u: bool(u.chats))
        return task

    async def over(self, task: "asyncio.Task[None]", upstream: Upstream) -> None:
        async with asyncio.timeout(30):
            await asyncio.wait({task})
        await upstream.wait_for_async(lambda u: u.chats[0].disconnected)
        assert task.exception() is not None

    @pytest.mark.parametrize("path", ["/api/chat/completions", "/openai/chat/completions", "/ollama/api/chat"])
    async def test_after_signing_out(
        self, live: Live, admin: Actor, upstream: Upstream, path: str, caplog: pytest.LogCaptureFixture
    ) -> None:
        task = await self.stream(live, admin, upstream, path)
        assert (await admin.client.post("/api/v1/auths/signout")).status_code == 200
        await self.over(task, upstream)
        # It was ended on purpose: no operator is told of a mistake.
        assert [
            record.msg for record in caplog.records if record.name == "uvicorn.error" and record.levelno > INFO
        ] == []

    @pytest.mark.usefixtures("intruder")
    async def test_after_a_demotion(self, live: Live, admin: Actor, user: Actor, upstream: Upstream) -> None:
        task = await self.stream(live, user, upstream)
        form = {"role": "pending", "name": user.name, "email": user.email, "profile_image_url": ""}
        reply = await admin.client.post(f"/api/v1/users/{user.id}/update", json=form)
        assert reply.status_code == 200, reply.text
        await self.over(task, upstream)

    @pytest.mark.usefixtures("intruder")
    async def test_after_the_account_is_gone(self, live: Live, admin: Actor, user: Actor, upstream: Upstream) -> None:
        task = await self.stream(live, user, upstream)
        assert (await admin.client.delete(f"/api/v1/users/{user.id}")).status_code == 200
        await self.over(task, upstream)


async def test_an_answer_stops_with_its_askers_account(
    live: Live, admin: Actor, intruder: Page, user: Actor, upstream: Upstream
) -> None:
    await intruder.post(intruder.ask("gated", "Go on for ever"))
    await upstream.wait_for_async(lambda u: bool(u.chats))
    form = {"role": "pending", "name": user.name, "email": user.email, "profile_image_url": ""}
    assert (await admin.client.post(f"/api/v1/users/{user.id}/update", json=form)).status_code == 200
    await upstream.wait_for_async(lambda u: u.chats[0].disconnected)
    for _ in range(1_500):
        if not live.app.state.oui.running.all_tasks():
            return
        await asyncio.sleep(0.02)
    raise AssertionError("the answer still runs")
