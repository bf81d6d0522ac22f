"""Sub-agents: a model hands tasks over; they are done with the person's rights, seen, bounded, and end with the answer."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest
from msgspec.structs import replace

from open_webui.chat import places, subagents
from open_webui.chat.context import STAGES, StageContext
from open_webui.chat.context.history import NOT_CARRIED_OUT
from open_webui.chat.context.subagents import NAME
from open_webui.chat.loop import Pipeline
from open_webui.chat.places import Places
from open_webui.chat.turn import Draft, Turn
from open_webui.errors import Unavailable
from open_webui.tools.port import Progress, ToolResult
from tests.open_webui.chat.page import Page, open_page
from tests.support.live import Actor, Live
from tests.support.script import Event, Finish, Gate, Stall, Text, ToolCall
from tests.support.upstream import Upstream

CONFIG = "/api/v1/configs/subagents"
USED = {"prompt_tokens": 10, "completion_tokens": 3, "total_tokens": 13}
CALLED, SAID = Finish("tool_calls", USED), Finish("stop", USED)
TASK = "Find the river of Vienna."


class River:
    """A tool for the tests: it notes what it was asked, and does what `act` does."""

    seconds = 60.0

    def __init__(self) -> None:
        self.definition: dict[str, Any] = {
            "name": "river",
            "description": "The river of a city",
            "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
        }
        self.asked: list[dict[str, Any]] = []

    async def run(self, arguments: dict[str, Any], progress: Progress) -> ToolResult:
        self.asked.append(arguments)
        await progress.add_status({"description": "Looking at a map", "done": True})
        numbers = await progress.add_source(
            {"source": {"name": "map"}, "document": ["blue"], "metadata": [{"source": "map"}]}
        )
        return ToolResult(text=f"The Danube [{numbers[0]}]")


@pytest.fixture
async def live(make_live: Callable[..., Awaitable[Live]], connections: None, monkeypatch: pytest.MonkeyPatch) -> Live:
    monkeypatch.delenv("ENABLE_BUILTIN_TOOLS")
    return await make_live(bypass_model_access_control=True)


@pytest.fixture
def river() -> River:
    return River()


@pytest.fixture
async def page(live: Live, admin: Actor, user: Actor, river: River) -> AsyncIterator[Page]:
    async def offer(_turn: Turn, draft: Draft, _context: StageContext) -> Draft:
        return replace(draft, tools={**draft.tools, "river": river})

    live.app.state.oui.starter.pipeline = Pipeline(stages=(*STAGES, offer), max_rounds=4)
    await switch(admin)
    async with open_page(user.client, user.token) as opened:
        yield opened


async def switch(admin: Actor, **changes: Any) -> None:
    shown = (await admin.client.get(CONFIG)).json()
    reply = await admin.client.post(CONFIG, json=shown | {"ENABLE_SUBAGENTS": True} | changes)
    assert reply.status_code == 200, reply.text


def hands_over(*tasks: str) -> list[list[Event]]:
    """What the model does that hands these tasks over."""
    calls = [ToolCall(NAME, (json.dumps({"task": task}),), f"call_{n}") for n, task in enumerate(tasks)]
    return [[*calls, CALLED], [Text("So it is."), SAID]]


async def asked(page: Page, upstream: Upstream, *tasks: str, **fields: Any) -> dict[str, Any]:
    """The message of an answer that hands these tasks over."""
    upstream.rounds = hands_over(*tasks)
    body = page.ask("rounds", "What is the river?", **fields)
    chat_id = (await page.post(body))["chat_id"]
    await page.idle(chat_id, 30)
    return await page.message(chat_id, body["id"])


def outputs(message: dict[str, Any]) -> list[str]:
    return [item["output"][0]["text"] for item in message["output"] if item["type"] == "function_call_output"]


def steps(message: dict[str, Any]) -> list[str]:
    return [status["description"] for status in message.get("statusHistory", ()) if status.get("action") == NAME]


def tools_of(request: dict[str, Any]) -> set[str]:
    return {tool["function"]["name"] for tool in request.get("tools", ())}


async def test_a_task_is_done_with_tools_and_its_result_comes_back(
    page: Page, upstream: Upstream, river: River, live: Live
) -> None:
    upstream.rounds_of[TASK] = [
        [Text("I look. "), ToolCall("river", ('{"city":"Vienna"}',), "r1"), CALLED],
        [Text("It is the Danube [1]."), SAID],
    ]
    message = await asked(page, upstream, TASK, params={"temperature": 0.5})
    assert outputs(message) == ["It is the Danube [1]."]
    assert message["content"] == "So it is."
    assert (message["done"], message.get("error")) == (True, None)
    # What people see of it: its steps, and its sources with their numbers.
    name = f'Sub-agent "{TASK}": '
    assert steps(message) == [
        name + step for step in ("waits for its turn", "begins", "calls river", "Looking at a map", "done")
    ]
    assert [status["done"] for status in message["statusHistory"] if status.get("action") == NAME][-1] is True
    assert [source["source"]["name"] for source in message["sources"]] == ["map"]
    assert {status["description"] for status in page.data("status", message["id"])} >= set(steps(message))
    # What its model was asked: the task alone, with all tools but the one that hands over.
    first, part, _, last = [request.body for request in upstream.chats if request.model == "rounds"]
    assert [m["role"] for m in part["messages"]] == ["system", "user"]
    assert part["messages"][0]["content"] == subagents.PROMPT
    assert part["messages"][1]["content"] == TASK
    assert tools_of(first) - tools_of(part) >= {NAME}
    assert {"river", "search_calendar_events", "create_calendar_event"} <= tools_of(part)
    assert not {"search_notes", "create_tasks"} & tools_of(part)
    assert part["temperature"] == 0.5
    assert last["messages"][-1]["content"] == "It is the Danube [1]."


async def test_calls_are_counted_for_the_answer(page: Page, upstream: Upstream, live: Live) -> None:
    upstream.rounds_of[TASK] = [[Text("The Danube."), SAID]]
    message = await asked(page, upstream, TASK)

    assert message["usage"]["total_tokens"] == 26
    state = live.app.state.oui
    async with asyncio.timeout(60):
        while True:
            async with state.database.read() as connection:
                rows = (await connection.exec_driver_sql("SELECT message_id FROM usage")).fetchall()
            if len(rows) >= 3:
                break
            await asyncio.sleep(0.05)
    assert {row[0] for row in rows} == {message["id"]}


async def test_tasks_are_done_side_by_side_and_within_places(page: Page, upstream: Upstream, admin: Actor) -> None:
    await switch(admin, SUBAGENTS_MAX_CONCURRENT=1)
    for n in range(3):
        upstream.rounds_of[f"task {n}"] = [[Text(f"result {n}"), SAID]]
    message = await asked(page, upstream, "task 0", "task 1", "task 2")
    assert outputs(message) == ["result 0", "result 1", "result 2"]
    said = steps(message)
    # One at a time: who begins comes behind who is done.
    turns = [step.rpartition(": ")[2] for step in said if not step.endswith("waits for its turn")]
    assert turns == ["begins", "done"] * 3


async def test_it_is_cut_and_its_rounds_are_bounded(page: Page, upstream: Upstream, admin: Actor, river: River) -> None:
    await switch(admin, SUBAGENTS_MAX_OUTPUT=10, SUBAGENTS_MAX_ITERATIONS=2)
    upstream.rounds_of["long"] = [[Text("0123456789ABC"), SAID]]
    call = [ToolCall("river", ('{"city":"Rome"}',), "r1"), CALLED]
    upstream.rounds_of["endless"] = [call, call, call, call, call]
    message = await asked(page, upstream, "A long one", "An endless one")
    first, second = outputs(message)
    assert first == "0123456789" + subagents.CUT.format(13)
    assert second.startswith("The sub-agent did not finish: The model went on calling tools after 2 rounds")
    assert len(river.asked) == 2
    assert message["content"] == "So it is."


async def test_what_goes_wrong_is_told_to_the_model(page: Page, upstream: Upstream) -> None:
    upstream.rounds_of["breaks"] = [[Text("I had begun"), *(), Finish("content_filter")]]
    message = await asked(page, upstream, "It breaks", " ", "x" * (subagents.LONGEST + 1))
    broken, empty, long = outputs(message)
    assert broken.startswith("The sub-agent did not finish: The provider's content filter")
    assert "I had begun" in broken
    assert empty == "'task' should be a text."
    assert long == subagents.TOO_LONG
    assert steps(message)[-1].endswith(": failed")


@pytest.mark.parametrize("arguments", ["{}", '{"task": null}', "[]", "no json", '{"task": {"a": 1}}'])
async def test_bad_arguments_start_nothing(page: Page, upstream: Upstream, arguments: str) -> None:
    upstream.rounds = [[ToolCall(NAME, (arguments,), "c1"), CALLED], [Text("So it is."), SAID]]
    body = page.ask("rounds", "What is the river?")
    chat_id = (await page.post(body))["chat_id"]
    await page.idle(chat_id, 30)
    message = await page.message(chat_id, body["id"])
    assert (len(outputs(message)), steps(message), message["content"]) == (1, [], "So it is.")


async def test_a_sub_agent_hands_nothing_over(page: Page, upstream: Upstream) -> None:
    upstream.rounds_of[TASK] = hands_over("deeper")
    message = await asked(page, upstream, TASK)
    assert outputs(message) == ["So it is."]
    assert len([request for request in upstream.chats if request.model == "rounds"]) == 4


async def test_an_answer_hands_over_so_many(page: Page, upstream: Upstream, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(subagents, "MOST", 1)
    upstream.rounds_of["task"] = [[Text("done"), SAID]]
    message = await asked(page, upstream, "task 0", "task 1")
    assert sorted(outputs(message)) == sorted(["done", subagents.TOO_MANY])


async def test_too_late_is_told(page: Page, upstream: Upstream, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(subagents.Delegate, "seconds", 3.0)
    upstream.rounds_of[TASK] = [[Text("I "), Stall()]]
    message = await asked(page, upstream, TASK)
    assert outputs(message) == ["The tool did not answer within 3 seconds."]
    assert steps(message)[-1].endswith(": stopped")


async def test_a_stop_ends_it_at_once_and_the_record_says_so(page: Page, upstream: Upstream, user: Actor) -> None:
    upstream.rounds_of[TASK] = [[Text("I begin"), Gate(), Text("never heard"), SAID]]
    upstream.rounds = hands_over(TASK)
    body = page.ask("rounds", "What is the river?")
    chat_id = (await page.post(body))["chat_id"]
    await page.until(lambda p: any(str(s["description"]).endswith(": begins") for s in p.data("status")), 30)
    reply = await user.client.post(f"/api/tasks/chat/{chat_id}/stop")
    assert reply.status_code == 200
    await page.idle(chat_id, 30)
    message = await page.message(chat_id, body["id"])
    assert (message["done"], outputs(message)) == (True, [])
    assert steps(message)[-1].endswith(": stopped")
    assert "never heard" not in json.dumps(message)
    # The next question tells the model that nothing came of the call.
    upstream.rounds = [[Text("Well."), SAID]]
    upstream.rounds_of.clear()
    again = page.ask("rounds", "And now?", chat_id=chat_id, parent_id=body["id"])
    await page.post(again)
    await page.until(lambda p: any(d.get("done") for d in p.data("chat:completion", again["id"])), 30)
    sent = [request.body for request in upstream.chats if request.model == "rounds"][-1]
    assert NOT_CARRIED_OUT in json.dumps(sent["messages"])


async def test_who_gets_the_tool(page: Page, upstream: Upstream, admin: Actor, live: Live) -> None:
    async def offered(**fields: Any) -> bool:
        upstream.rounds = [[Text("Hello."), SAID]]
        body = page.ask("rounds", "Hello", **fields)
        chat_id = (await page.post(body))["chat_id"]
        await page.until(lambda p: any(d.get("done") for d in p.data("chat:completion", body["id"])), 30)
        assert chat_id
        return NAME in tools_of([request.body for request in upstream.chats if request.model == "rounds"][-1])

    assert await offered()
    assert not await offered(params={"function_calling": "legacy"})
    temporary = [{"role": "user", "content": "Hello"}]
    assert await offered(chat_id=f"temporary:{page.sid}", messages=temporary)
    await switch(admin, SUBAGENTS_MAX_CONCURRENT=0)
    assert not await offered()
    await switch(admin, ENABLE_SUBAGENTS=False, SUBAGENTS_MAX_CONCURRENT=5)
    assert not await offered()
    assert (await admin.client.get("/api/config")).json()["features"]["enable_subagents"] is False
    await switch(admin)
    assert (await admin.client.get("/api/config")).json()["features"]["enable_subagents"] is True
    form = {"id": "alone", "name": "Alone", "base_model_id": "rounds", "params": {}, "access_grants": None,
            "meta": {"builtinTools": {"subagents": False}}}  # fmt: skip
    reply = await admin.client.post("/api/v1/models/create", json=form)
    assert reply.status_code == 200, reply.text
    upstream.rounds = [[Text("Hello."), SAID]]
    body = page.ask("alone", "Hello")
    await page.post(body)
    await page.until(lambda p: any(d.get("done") for d in p.data("chat:completion", body["id"])), 30)
    assert NAME not in tools_of([request.body for request in upstream.chats if request.model == "rounds"][-1])


async def test_the_admins_prompt_is_told(page: Page, upstream: Upstream, admin: Actor) -> None:
    await switch(admin, SUBAGENTS_SYSTEM_PROMPT="Be brief.")
    upstream.rounds_of[TASK] = [[Text("The Danube."), SAID]]
    await asked(page, upstream, TASK)
    part = [request.body for request in upstream.chats if request.model == "rounds"][1]
    assert part["messages"][0] == {"role": "system", "content": "Be brief."}


async def test_only_administrators_set_it(user: Actor, live: Live) -> None:
    shown = {
        "ENABLE_SUBAGENTS": True, "SUBAGENTS_BACKGROUND_ENABLED": False, "SUBAGENTS_MAX_CONCURRENT": 1,
        "SUBAGENTS_MAX_ASYNC": 1, "SUBAGENTS_MAX_ITERATIONS": 1, "SUBAGENTS_MAX_OUTPUT": 1, "SUBAGENTS_SYSTEM_PROMPT": "",
    }  # fmt: skip
    assert (await user.client.get(CONFIG)).status_code == 401
    assert (await user.client.post(CONFIG, json=shown)).status_code == 401


async def test_places_are_handed_on_in_order() -> None:
    given, order = Places(), []

    async def work(name: str, go: asyncio.Event) -> None:
        async with given.taken("ann", 1):
            order.append(name)
            await go.wait()

    go = asyncio.Event()
    tasks = [asyncio.create_task(work(name, go)) for name in "abcd"]
    await asyncio.sleep(0)
    tasks[1].cancel()
    async with given.taken("bob", 1):
        go.set()
        await asyncio.gather(*tasks, return_exceptions=True)
    assert order == ["a", "c", "d"]
    assert (given._count, dict(given._working), given._waiting) == (0, {}, {})


async def test_all_places_of_a_process_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(places, "MOST", 1)
    given = Places()
    async with given.taken("ann", 5):
        with pytest.raises(Unavailable):
            async with given.taken("bob", 5):
                raise AssertionError
