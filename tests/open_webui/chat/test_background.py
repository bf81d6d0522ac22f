"""Sub-agents that go on after the answer: what they find comes into the chat, with the rights of who asked, or not at all."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest

from open_webui.chat import background, subagents
from open_webui.chat.background import KIND
from open_webui.chat.context.subagents import NAME
from tests.open_webui.chat.page import Page, open_page
from tests.open_webui.chat.test_shared import share
from tests.open_webui.chat.test_subagents import CALLED, SAID, TASK, outputs, steps, switch, tools_of
from tests.support.live import Actor, Live
from tests.support.script import Event, Gate, Text, ToolCall
from tests.support.upstream import Upstream

SQLITE = pytest.mark.parametrize("database_kind", ["sqlite"], indirect=True)
Body = dict[str, Any]


@pytest.fixture
async def live(make_live: Callable[..., Awaitable[Live]], connections: None, monkeypatch: pytest.MonkeyPatch) -> Live:
    monkeypatch.delenv("ENABLE_BUILTIN_TOOLS")
    monkeypatch.setattr(background, "LOOK_SECONDS", 0.05)
    monkeypatch.setattr(background, "DELIVER_SECONDS", 0.05)
    monkeypatch.setattr(background, "AGAIN_SECONDS", 0.05)
    return await make_live(bypass_model_access_control=True)


@pytest.fixture
async def page(live: Live, admin: Actor, user: Actor) -> AsyncIterator[Page]:
    await switch(admin, SUBAGENTS_BACKGROUND_ENABLED=True)
    async with open_page(user.client, user.token) as opened:
        yield opened


def hands_over(*tasks: str, last: tuple[Event, ...] = (Text("I have begun."), SAID)) -> list[list[Event]]:
    given = [json.dumps({"task": task, "background": True}) for task in tasks]
    return [[*(ToolCall(NAME, (text,), f"call_{n}") for n, text in enumerate(given)), CALLED], list(last)]


async def handed(page: Page, upstream: Upstream, *tasks: str, **fields: Any) -> tuple[str, Body]:
    """A chat whose answer has handed these tasks over and is complete, and what was asked."""
    upstream.rounds = hands_over(*tasks)
    body = page.ask("rounds", "What is the river?", **fields)
    chat_id = (await page.post(body))["chat_id"]
    await page.until(lambda p: any(d.get("done") for d in p.data("chat:completion", body["id"])))
    return chat_id, body


async def reloaded(page: Page, count: int = 1) -> None:
    await page.until(lambda p: len([e for e in p.events if e["data"]["type"] == "chat:reload"]) >= count)


async def left(live: Live) -> int:
    """How many of the jobs wait or run."""
    state = live.app.state.oui
    async with state.database.read() as connection:
        query = f"SELECT count(*) FROM job WHERE kind = '{KIND}' AND state IN ('waiting', 'running')"
        return int((await connection.exec_driver_sql(query)).scalar_one())


async def none_left(live: Live) -> None:
    async with asyncio.timeout(30):
        while await left(live):  # noqa: ASYNC110 - it is a row of the database
            await asyncio.sleep(0.02)


async def test_what_it_finds_comes_into_the_chat(page: Page, upstream: Upstream, live: Live) -> None:
    upstream.rounds_of[TASK] = [[Gate(), Text("It is the Danube."), SAID]]
    chat_id, body = await handed(page, upstream, TASK)
    message = await page.message(chat_id, body["id"])
    assert message["content"] == "I have begun."
    assert outputs(message)[0].startswith("The sub-agent works on it in the background as task ")
    assert steps(message) == [f'Sub-agent "{TASK}": works in the background']
    # The chat is free meanwhile.
    await page.idle(chat_id)
    assert (await page.http.get(f"/api/tasks/chat/{chat_id}")).json() == {"task_ids": []}
    upstream.release()
    await reloaded(page)
    told = next(event for event in page.events if event["data"]["type"] == "chat:reload")
    assert (told["chat_id"], told["message_id"], told["data"]) == (chat_id, body["id"], {"type": "chat:reload"})
    message = await page.message(chat_id, body["id"])
    assert (outputs(message), message["content"]) == (["It is the Danube."], "I have begun.")
    assert steps(message)[-1] == f'Sub-agent "{TASK}": done'
    assert await left(live) == 0
    # What its model was asked: the task alone, without what needs a page, and without handing on.
    part = next(r.body for r in upstream.chats if r.body["messages"][-1]["content"] == TASK)
    assert [m["role"] for m in part["messages"]] == ["system", "user"]
    assert not {NAME, subagents.CHECK, "create_automation"} & tools_of(part)
    # The next question tells the model what was found.
    upstream.rounds, upstream.rounds_of = [[Text("The Danube it is."), SAID]], {}
    again = page.ask("rounds", "And?", chat_id=chat_id, parent_id=body["id"])
    await page.post(again)
    await page.until(lambda p: any(d.get("done") for d in p.data("chat:completion", again["id"])))
    heard = [m["content"] for m in upstream.chats[-1].body["messages"] if m["role"] == "tool"]
    assert heard == ["It is the Danube."]


@SQLITE
async def test_a_result_waits_for_the_end_of_the_answer(page: Page, upstream: Upstream, live: Live) -> None:
    upstream.rounds_of[TASK] = [[Text("The Danube."), SAID]]
    upstream.rounds = [*hands_over(TASK)[:1], [Gate(), Text("That is all."), SAID]]
    body = page.ask("rounds", "What is the river?")
    chat_id = (await page.post(body))["chat_id"]
    state = live.app.state.oui
    async with asyncio.timeout(30):
        while True:
            async with state.database.read() as connection:
                found = (await connection.exec_driver_sql("SELECT payload FROM job WHERE key LIKE 'sub-agent%'")).all()
            if found and '"text":"The Danube."' in found[0][0]:
                break
            await asyncio.sleep(0.02)
    assert page.data("chat:reload") == []
    # The model could ask for it meanwhile.
    turn = next(iter(state.running.all())).turn
    assert "The Danube." in await state.background.look(turn, None)
    assert "The Danube." in await state.background.look(turn, json.loads(found[0][0])["id"])
    assert (await state.background.look(turn, "other")).startswith("There is no task other")
    upstream.release()
    await reloaded(page)
    assert outputs(await page.message(chat_id, body["id"])) == ["The Danube."]
    assert await state.background.look(turn, None) == background.NONE


async def test_a_stop_of_the_chat_ends_it_and_says_so(page: Page, upstream: Upstream, live: Live) -> None:
    upstream.rounds_of[TASK] = [[Text("I begin"), Gate(), Text("never heard"), SAID]]
    chat_id, body = await handed(page, upstream, TASK)
    await page.idle(chat_id)
    reply = await page.http.post(f"/api/tasks/chat/{chat_id}/stop")
    assert reply.status_code == 200
    message = await page.message(chat_id, body["id"])
    assert outputs(message) == ["The sub-agent did not finish: it was stopped."]
    assert steps(message)[-1].endswith(": failed")
    assert await left(live) == 0
    assert "never heard" not in json.dumps(message)


@SQLITE
async def test_others_stop_nothing_and_know_nothing(page: Page, upstream: Upstream, live: Live, other: Actor) -> None:
    upstream.rounds_of[TASK] = [[Gate(), Text("The Danube."), SAID]]
    chat_id, body = await handed(page, upstream, TASK)
    assert (await other.client.post(f"/api/tasks/chat/{chat_id}/stop")).status_code == 404
    assert await left(live) == 1
    async with open_page(other.client, other.token) as foreign:
        upstream.release()
        await reloaded(page)
        assert foreign.data("chat:reload") == []
    assert outputs(await page.message(chat_id, body["id"])) == ["The Danube."]


@SQLITE
async def test_what_nobody_wants_any_more_is_ended(page: Page, upstream: Upstream, live: Live, admin: Actor) -> None:
    upstream.rounds_of[TASK] = [[Text("I begin"), Gate(), Text("never heard"), SAID]]
    chat_id, _ = await handed(page, upstream, TASK)
    assert (await page.http.delete(f"/api/v1/chats/{chat_id}")).status_code == 200
    await none_left(live)
    upstream.rounds_of[TASK] = [[Text("I begin"), Gate(), Text("never heard"), SAID]]
    await handed(page, upstream, TASK)
    await switch(admin, SUBAGENTS_BACKGROUND_ENABLED=False)
    await none_left(live)
    assert page.data("chat:reload") == []


@SQLITE
async def test_who_may_not_write_there_any_more_stores_nothing(
    page: Page, upstream: Upstream, live: Live, admin: Actor, user: Actor
) -> None:
    async with open_page(admin.client, admin.token) as owner:
        first = owner.ask("echo", "One")
        chat_id = (await owner.post(first))["chat_id"]
        await owner.idle(chat_id)
        await share(owner, chat_id, user.id, "read", "write")
        upstream.rounds_of[TASK] = [[Text("The Danube."), SAID]]
        _, kept = await handed(page, upstream, TASK, chat_id=chat_id, parent_id=first["id"])
        # A visitor's comes into the chat, and its owner is told.
        await reloaded(owner)
        assert outputs(await owner.message(chat_id, kept["id"])) == ["The Danube."]
        part = next(r.body for r in upstream.chats if r.body["messages"][-1]["content"] == TASK)
        assert not {"search_calendar_events", "search_chats"} & tools_of(part)
        upstream.rounds_of[TASK] = [[Gate(), Text("The Rhine."), SAID]]
        _, lost = await handed(page, upstream, TASK, chat_id=chat_id, parent_id=kept["id"])
        await share(owner, chat_id, user.id, "read")
        await none_left(live)
        upstream.release()
        assert outputs(await owner.message(chat_id, lost["id"]))[0].startswith("The sub-agent works on it")


@SQLITE
async def test_bounds(
    page: Page, upstream: Upstream, live: Live, admin: Actor, monkeypatch: pytest.MonkeyPatch
) -> None:
    await switch(admin, SUBAGENTS_BACKGROUND_ENABLED=True, SUBAGENTS_MAX_ASYNC=2)
    monkeypatch.setattr(background, "AT_ONCE_OF_ONE", 1)
    for n in range(3):
        upstream.rounds_of[f"task {n}"] = [[Text(f"result {n}"), Gate(), SAID]]
    chat_id, body = await handed(page, upstream, "task 0", "task 1", "task 2")
    message = await page.message(chat_id, body["id"])
    assert background.TOO_MANY.format(2) in outputs(message)
    await page.idle(chat_id)
    upstream.release(2)
    await reloaded(page, 2)
    said = outputs(await page.message(chat_id, body["id"]))
    assert sorted(text for text in said if text.startswith("result")) in (
        ["result 0", "result 1"], ["result 0", "result 2"], ["result 1", "result 2"],
    )  # fmt: skip


@SQLITE
async def test_what_goes_wrong_is_told(
    page: Page, upstream: Upstream, live: Live, admin: Actor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(background, "SECONDS", 0.2)
    upstream.rounds_of[TASK] = [[Gate(), Text("never heard"), SAID]]
    chat_id, body = await handed(page, upstream, TASK)
    await reloaded(page)
    assert outputs(await page.message(chat_id, body["id"])) == [f"The sub-agent did not finish: {background.TOO_LATE}"]


@SQLITE
async def test_a_result_that_has_no_place_is_left_out(page: Page, upstream: Upstream, live: Live) -> None:
    upstream.rounds_of[TASK] = [[Gate(), Text("The Danube."), SAID]]
    chat_id, body = await handed(page, upstream, TASK)
    await page.idle(chat_id)
    upstream.rounds_of, upstream.rounds = {}, [[Text("Another answer."), SAID]]
    again = page.ask("rounds", "What is the river?", chat_id=chat_id, id=body["id"], message_ids=...,
                     user_message=body["user_message"])  # fmt: skip
    await page.post(again)
    await page.until(lambda p: len([d for d in p.data("chat:completion", body["id"]) if d.get("done")]) >= 2)
    upstream.release()
    await none_left(live)
    message = await page.message(chat_id, body["id"])
    assert (outputs(message), message["content"], page.data("chat:reload")) == ([], "Another answer.", [])


@SQLITE
async def test_who_gets_it(page: Page, upstream: Upstream, admin: Actor) -> None:
    async def offered(**fields: Any) -> tuple[bool, bool]:
        upstream.rounds = [[Text("Hello."), SAID]]
        body = page.ask("rounds", "Hello", **fields)
        await page.post(body)
        await page.until(lambda p: any(d.get("done") for d in p.data("chat:completion", body["id"])))
        sent = [request.body for request in upstream.chats if request.model == "rounds"][-1]
        shown = next(t["function"] for t in sent["tools"] if t["function"]["name"] == NAME)
        return "background" in shown["parameters"]["properties"], subagents.CHECK in tools_of(sent)

    assert await offered() == (True, True)
    temporary = [{"role": "user", "content": "Hello"}]
    assert await offered(chat_id=f"temporary:{page.sid}", messages=temporary) == (False, False)
    await switch(admin, SUBAGENTS_BACKGROUND_ENABLED=True, SUBAGENTS_MAX_ASYNC=0)
    assert await offered() == (False, False)
    await switch(admin, SUBAGENTS_BACKGROUND_ENABLED=False, SUBAGENTS_MAX_ASYNC=5)
    assert await offered() == (False, False)
