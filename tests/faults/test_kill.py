"""kill -9 and SIGTERM in the middle of answers: what was acknowledged is there, the rest is marked, the chat goes on."""

import asyncio
import random

import pytest

from tests.faults.conftest import at_page, models_are_there, on_record
from tests.open_webui.chat.page import Page, rebuilt
from tests.support.script import Finish, Gate, Text, ToolCall, fixed_text
from tests.support.server import Server
from tests.support.turns import slowness, watched_stalls
from tests.support.upstream import Upstream

pytestmark = [pytest.mark.fault, pytest.mark.timeout(900)]
ROUNDS = 20
# Ids of a chat, a question and its answer; what the page saw of that; and how many words of it may be missing.
Running = tuple[str, str, str, str, float]


async def stored_text(page: Page, chat_id: str, message_id: str) -> str:
    text: str = (await page.message(chat_id, message_id))["content"]
    return text


@pytest.mark.slow
@pytest.mark.parametrize("database_kind", ["sqlite"], indirect=True)
async def test_killed_at_random_moments(server: Server, upstream: Upstream) -> None:
    moments = random.Random(20_260_101)
    done: list[tuple[str, str, str]] = []
    running: list[Running] = []
    slow = slowness()
    for number in range(ROUNDS):
        if number:
            server.start()
        async with at_page(server, new=number == 0) as page:
            await models_are_there(page)
            await check(page, done, running)
            quick = page.ask("echo", f"Question {number}")
            chat_id = (await page.post(quick))["chat_id"]
            await page.until(lambda p, i=quick["id"]: any(d.get("done") for d in p.data("chat:completion", i)))
            done.append((chat_id, quick["id"], f"Question {number}"))
            asked = []
            async with watched_stalls() as stalls:
                for _ in range(2):
                    body = page.ask("slow", f"Long question {number}", max_tokens=200)
                    asked.append(((await page.post(body))["chat_id"], body["user_message"]["id"], body["id"]))
                await asyncio.sleep(moments.uniform(0.0, 1.6))
            seen = {answer: rebuilt([], page.of(answer)) for _, _, answer in asked}
            server.kill()
            # 50 words a second: what the page saw but for the last second, with room for a machine that is busy.
            room = 60 * max(slow, slowness()) + 50 * stalls.seconds
            running = [(c, q, a, seen[a], room) for c, q, a in asked]
    server.start()
    async with at_page(server) as page:
        await check(page, done, running)


async def check(page: Page, done: list[tuple[str, str, str]], running: list[Running]) -> None:
    """Everything acknowledged is there; what ran has all but its last second, its mark and its reason, and goes on."""
    for chat_id, answer, text in done[-3:]:
        kept = await page.message(chat_id, answer)
        assert (kept["content"], kept["done"]) == (text, True)
        assert not kept.get("error")
    for chat_id, question, answer, seen, room in running:
        assert (await page.message(chat_id, question))["content"].startswith("Long question")
        kept = await page.message(chat_id, answer)
        assert kept["done"] is True
        assert kept["meta"]["interrupted"] is True
        assert len(kept["error"]["content"]) > 20
        assert fixed_text(200).startswith(kept["content"])
        missing = len(seen.split()) - len(kept["content"].split())
        assert missing <= room, (missing, room)
    if running:
        chat_id, question, answer, _, _ = running[0]
        more = page.ask("fixed", "", chat_id=chat_id, parent_id=question, id=answer, assistant_message_id=answer,
                        message_ids=..., user_message=...)  # fmt: skip
        before = await stored_text(page, chat_id, answer)
        await page.post(more)
        await page.until(lambda p: any(d.get("done") for d in p.data("chat:completion", answer)))
        kept = await page.message(chat_id, answer)
        assert kept["content"] == before + fixed_text()
        assert not kept.get("error")
        assert not kept["meta"].get("interrupted")


async def test_killed_once_on_each_database(server: Server, upstream: Upstream, database_url: str) -> None:
    async with at_page(server, new=True) as page:
        await models_are_there(page)
        body = page.ask("gated", "Hold on")
        chat_id = (await page.post(body))["chat_id"]
        upstream.release(5)
        await page.until(lambda p: rebuilt([], p.of(body["id"])) == fixed_text(5))
        event = {"type": "status", "data": {"description": "looked it up", "done": True}}
        posted = await page.http.post(f"/api/v1/chats/{chat_id}/messages/{body['id']}/event", json=event)
        assert posted.status_code == 200
        await on_record(database_url, fixed_text(5).split()[-1], "looked it up")
        server.kill()
    server.start()
    async with at_page(server) as page:
        kept = await page.message(chat_id, body["id"])
        assert kept["content"] == fixed_text(5)
        assert kept["statusHistory"] == [event["data"]]
        assert (await page.message(chat_id, body["user_message"]["id"]))["content"] == "Hold on"
        assert (await page.http.get(f"/api/tasks/chat/{chat_id}")).json() == {"task_ids": []}
        async with asyncio.timeout(45):
            # On a database that several servers may share, an ended one is taken for lost after some seconds.
            while not kept["done"]:
                await asyncio.sleep(0.5)
                kept = await page.message(chat_id, body["id"])
        assert kept["meta"]["interrupted"] is True
        assert kept["error"]["content"]
        assert kept["content"] == fixed_text(5)
        assert kept["output"][0]["status"] == "incomplete"
        found = (await page.http.get("/api/v1/chats/search", params={"text": fixed_text(5).split()[3]})).json()
        assert [chat["id"] for chat in found] == [chat_id], "what had arrived is found"


@pytest.mark.parametrize("model", ["gated", "stall"])
async def test_a_stop_signal_finishes_the_journal(server: Server, upstream: Upstream, model: str) -> None:
    async with at_page(server, new=True) as page:
        await models_are_there(page)
        body = page.ask(model, "Hold on")
        chat_id = (await page.post(body))["chat_id"]
        upstream.release(5)
        said = fixed_text(5 if model == "gated" else 10)
        await page.until(lambda p: rebuilt([], p.of(body["id"])) == said)
        assert await asyncio.to_thread(server.stop) == 0
    assert "Traceback" not in server.log
    server.start()
    async with at_page(server) as page:
        kept = await page.message(chat_id, body["id"])
        assert (kept["content"], kept["done"]) == (said, True)
        assert kept["meta"]["interrupted"] is True


async def test_a_stop_signal_with_an_api_stream_open(server: Server, upstream: Upstream) -> None:
    async with at_page(server, new=True) as page:
        await models_are_there(page)
        question = {"model": "stall", "messages": [{"role": "user", "content": "Hi"}], "stream": True}
        async with page.http.stream("POST", "/api/chat/completions", json=question) as reply:
            lines = reply.aiter_lines()
            await anext(lines)
            assert await asyncio.to_thread(server.stop) == 0
    assert "Traceback" not in server.log


@pytest.mark.parametrize("database_kind", ["sqlite"], indirect=True)
async def test_a_sub_agent_ends_with_its_process_and_the_answer_says_so(server: Server, upstream: Upstream) -> None:
    upstream.rounds = [
        [ToolCall("delegate_task", ('{"task": "Find the river."}',), "c1"), Finish("tool_calls")],
        [Text("So it is."), Finish("stop")],
    ]
    upstream.rounds_of["Find the river."] = [[Text("I begin"), Gate(), Text("never heard"), Finish("stop")]]
    async with at_page(server, new=True) as page:
        await models_are_there(page)
        address = "/api/v1/configs/subagents"
        shown = (await page.http.get(address)).json()
        assert (await page.http.post(address, json=shown | {"ENABLE_SUBAGENTS": True})).status_code == 200
        body = page.ask("rounds", "What is the river?")
        chat_id = (await page.post(body))["chat_id"]
        async with asyncio.timeout(20):
            while len(upstream.chats) < 2:  # noqa: ASYNC110 - it is another thread's list
                await asyncio.sleep(0.005)
        server.kill()
    upstream.release()
    server.start()
    async with at_page(server) as page:
        kept = await page.message(chat_id, body["id"])
        assert (kept["done"], kept["meta"]["interrupted"]) == (True, True)
        assert [item["type"] for item in kept["output"] if item["type"].startswith("function_call")] == [
            "function_call"
        ]
        await models_are_there(page)
        assert (await page.http.get(f"/api/tasks/chat/{chat_id}")).json()["task_ids"] == []
        assert len(upstream.chats) == 2


@pytest.mark.parametrize("database_kind", ["sqlite"], indirect=True)
async def test_a_sub_agent_in_the_background_is_begun_anew(server: Server, upstream: Upstream) -> None:
    upstream.rounds = [
        [ToolCall("delegate_task", ('{"task": "Find the river.", "background": true}',), "c1"), Finish("tool_calls")],
        [Text("I have begun."), Finish("stop")],
    ]
    upstream.rounds_of["Find the river."] = [[Text("I begin"), Gate(), Text("never heard"), Finish("stop")]]
    async with at_page(server, new=True) as page:
        await models_are_there(page)
        address = "/api/v1/configs/subagents"
        on = {"ENABLE_SUBAGENTS": True, "SUBAGENTS_BACKGROUND_ENABLED": True}
        shown = (await page.http.get(address)).json()
        assert (await page.http.post(address, json=shown | on)).status_code == 200
        body = page.ask("rounds", "What is the river?")
        chat_id = (await page.post(body))["chat_id"]
        await page.until(lambda p: any(d.get("done") for d in p.data("chat:completion", body["id"])))
        async with asyncio.timeout(20):
            while len(upstream.chats) < 3:  # noqa: ASYNC110 - it is another thread's list
                await asyncio.sleep(0.005)
        server.kill()
    upstream.rounds_of["Find the river."] = [[Text("The Danube."), Finish("stop")]]
    upstream.release()
    server.start()
    async with at_page(server) as page:
        await models_are_there(page)
        async with asyncio.timeout(60):
            while "The Danube." not in str((kept := await page.message(chat_id, body["id"]))["output"]):  # noqa: ASYNC110
                await asyncio.sleep(0.05)
        assert (kept["content"], kept["done"]) == ("I have begun.", True)
        assert [item["type"] for item in kept["output"]].count("function_call_output") == 1


@pytest.mark.parametrize("database_kind", ["sqlite"], indirect=True)
async def test_a_call_that_ran_is_on_record_before_the_model_hears_of_it(server: Server, upstream: Upstream) -> None:
    upstream.rounds = [
        [ToolCall("get_current_timestamp", ("{}",), "c1"), Finish("tool_calls")],
        [Gate(), Text("It is late."), Finish("stop")],
    ]
    async with at_page(server, new=True) as page:
        await models_are_there(page)
        body = page.ask("rounds", "What time is it?")
        chat_id = (await page.post(body))["chat_id"]
        async with asyncio.timeout(20):
            while len(upstream.chats) < 2:  # noqa: ASYNC110 - it is another thread's list
                await asyncio.sleep(0.005)
        server.kill()
    heard = upstream.chats[1].body["messages"][-1]
    assert heard["role"] == "tool"
    upstream.release()
    server.start()
    upstream.rounds = [[Text("It is late."), Finish("stop")]]
    async with at_page(server) as page:
        kept = await page.message(chat_id, body["id"])
        assert kept["meta"]["interrupted"] is True
        results = [item["output"][0]["text"] for item in kept["output"] if item["type"] == "function_call_output"]
        assert results == [heard["content"]]
        # The answer goes on with what the call gave, and without another one.
        await models_are_there(page)
        question = body["user_message"]["id"]
        more = page.ask("rounds", "", chat_id=chat_id, parent_id=question, id=body["id"], assistant_message_id=body["id"],
                        message_ids=..., user_message=...)  # fmt: skip
        await page.post(more)
        await page.until(lambda p: any(d.get("done") for d in p.data("chat:completion", body["id"])))
        assert [m for m in upstream.chats[-1].body["messages"] if m["role"] == "tool"] == [heard]
        whole = await page.message(chat_id, body["id"])
        assert whole["content"].endswith("It is late.")
        assert [item["type"] for item in whole["output"]].count("function_call_output") == 1
