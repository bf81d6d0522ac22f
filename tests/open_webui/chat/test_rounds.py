"""A turn in rounds: the model calls scripted tools, is asked again with their results, and what is stored and told of it."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest
from msgspec.structs import replace

from open_webui.chat.context import STAGES, StageContext
from open_webui.chat.context.history import NOT_CARRIED_OUT
from open_webui.chat.loop import ENDLESS, Pipeline
from open_webui.chat.running import RunningAnswer
from open_webui.chat.turn import Draft, Turn
from open_webui.errors import BadRequest
from open_webui.tools.port import Progress, ToolResult
from tests.open_webui.chat.page import Page, open_page
from tests.support.live import Actor, Live
from tests.support.script import Event, Finish, Gate, Reasoning, Text, ToolCall
from tests.support.upstream import Upstream

CALLED = Finish("tool_calls", {"prompt_tokens": 10, "completion_tokens": 3, "total_tokens": 13})
SAID = Finish("stop", {"prompt_tokens": 5, "completion_tokens": 2, "total_tokens": 7})


class Weather:
    """A tool for the tests: it notes what it was asked, and does what `act` does."""

    seconds = 5.0

    def __init__(self) -> None:
        self.definition: dict[str, Any] = {
            "name": "weather",
            "description": "The weather of a city",
            "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
        }
        self.asked: list[dict[str, Any]] = []
        self.act: Callable[[dict[str, Any]], Awaitable[ToolResult]] = self._sunny

    async def _sunny(self, arguments: dict[str, Any]) -> ToolResult:
        return ToolResult(text=f"Sunny in {arguments['city']}")

    async def run(self, arguments: dict[str, Any], progress: Progress) -> ToolResult:
        self.asked.append(arguments)
        await progress.add_status({"action": "weather", "description": "Looking out", "done": True})
        await progress.add_source({"source": {"name": "sky"}, "document": ["blue"], "metadata": [{"source": "sky"}]})
        return await self.act(arguments)


@pytest.fixture
def tool() -> Weather:
    return Weather()


@pytest.fixture
async def page(live: Live, admin: Actor, tool: Weather) -> AsyncIterator[Page]:
    async def offer(_turn: Turn, draft: Draft, _context: StageContext) -> Draft:
        return replace(draft, tools={"weather": tool})

    live.app.state.oui.starter.pipeline = Pipeline(stages=(*STAGES, offer), max_rounds=3)
    async with open_page(admin.client, admin.token) as opened:
        yield opened


def call(city: str, call_id: str) -> ToolCall:
    # In two pieces, as providers stream them; all calls of the provider say that they are number 0.
    return ToolCall("weather", ('{"city":', f'"{city}"}}'), call_id)


async def asked(page: Page, upstream: Upstream, *rounds: list[Event], **fields: Any) -> tuple[str, str]:
    """A question, answered in these rounds: the chat's id and the answer's."""
    upstream.rounds = list(rounds)
    body = page.ask("rounds", "What is the weather?", **fields)
    chat_id = (await page.post(body))["chat_id"]
    await page.idle(chat_id)
    return chat_id, body["id"]


def sent(upstream: Upstream) -> list[dict[str, Any]]:
    return [request.body for request in upstream.chats if request.model == "rounds"]


async def test_tools_run_and_the_model_is_asked_again(page: Page, upstream: Upstream, tool: Weather) -> None:
    chat_id, answer_id = await asked(
        page, upstream,
        [Reasoning("Two cities."), Text("Looking. "), call("Rome", "c1"), call("Oslo", "c2"), CALLED],
        [Text("Sunny everywhere."), SAID],
    )  # fmt: skip
    assert sorted(a["city"] for a in tool.asked) == ["Oslo", "Rome"]
    first, second = sent(upstream)
    assert first["tools"] == [{"type": "function", "function": tool.definition}]
    assert second["messages"][-3:] == [
        {
            "role": "assistant",
            "content": "Looking. ",
            "tool_calls": [
                {"id": i, "type": "function", "function": {"name": "weather", "arguments": f'{{"city":"{city}"}}'}}
                for i, city in (("c1", "Rome"), ("c2", "Oslo"))
            ],
        },
        {"role": "tool", "tool_call_id": "c1", "content": "Sunny in Rome"},
        {"role": "tool", "tool_call_id": "c2", "content": "Sunny in Oslo"},
    ]
    message = await page.message(chat_id, answer_id)
    kinds = "reasoning message function_call function_call function_call_output function_call_output message"
    assert [item["type"] for item in message["output"]] == kinds.split()
    assert [item["output"] for item in message["output"] if item["type"] == "function_call_output"] == [
        [{"type": "input_text", "text": "Sunny in Rome"}], [{"type": "input_text", "text": "Sunny in Oslo"}],
    ]  # fmt: skip
    assert message["content"] == "Looking. Sunny everywhere."
    assert message["done"] is True
    assert {item["status"] for item in message["output"]} == {"completed"}


async def test_usage_is_the_sum_of_the_rounds_and_each_call_is_counted(
    page: Page, upstream: Upstream, live: Live
) -> None:
    chat_id, answer_id = await asked(page, upstream, [call("Rome", "c1"), CALLED], [Text("Sunny."), SAID])
    usage = (await page.message(chat_id, answer_id))["usage"]
    assert (usage["prompt_tokens"], usage["completion_tokens"], usage["total_tokens"]) == (15, 5, 20)
    assert page.data("chat:completion", answer_id)[-1]["usage"] == usage


async def test_what_tools_tell_is_shown_and_stored(page: Page, upstream: Upstream) -> None:
    chat_id, answer_id = await asked(page, upstream, [call("Rome", "c1"), CALLED], [Text("Sunny."), SAID])
    message = await page.message(chat_id, answer_id)
    assert [s["description"] for s in message["statusHistory"]] == ["Looking out"]
    assert [s["source"]["name"] for s in message["sources"]] == ["sky"]
    assert [s["description"] for s in page.data("status", answer_id)] == ["Looking out"]
    assert [s["document"] for s in page.data("source", answer_id)] == [["blue"]]


async def test_the_frames_say_what_is_stored(page: Page, upstream: Upstream) -> None:
    chat_id, answer_id = await asked(
        page, upstream, [Text("One. "), call("Rome", "c1"), CALLED], [Text("Two. "), call("Oslo", "c2"), CALLED],
        [Text("Three."), SAID],
    )  # fmt: skip
    done = page.data("chat:completion", answer_id)[-1]
    assert done["output"] == (await page.message(chat_id, answer_id))["output"]
    frames = [d for d in page.data("response:completion", answer_id) if "type" in d]
    added = [f["item"]["type"] for f in frames if f["type"] == "response.output_item.added"]
    assert added == ["function_call", "function_call_output"] * 2
    said = "".join(f["delta"] for f in frames if f["type"] == "response.output_text.delta")
    assert said == "One. Two. Three."


async def test_the_same_call_id_in_two_rounds_is_two_calls(page: Page, upstream: Upstream, tool: Weather) -> None:
    """Some providers number the calls of each request anew."""
    chat_id, answer_id = await asked(
        page, upstream, [call("Rome", "call_0"), CALLED], [call("Oslo", "call_0"), CALLED], [Text("Done."), SAID]
    )
    assert [a["city"] for a in tool.asked] == ["Rome", "Oslo"]
    output = (await page.message(chat_id, answer_id))["output"]
    ids = [item["call_id"] for item in output if item["type"] == "function_call"]
    assert len(set(ids)) == 2
    assert [item["call_id"] for item in output if item["type"] == "function_call_output"] == ids


async def test_the_next_question_sends_calls_and_results_again(page: Page, upstream: Upstream) -> None:
    chat_id, answer_id = await asked(page, upstream, [call("Rome", "c1"), CALLED], [Text("Sunny."), SAID])
    upstream.rounds = [[Text("Yes."), SAID]]
    body = page.ask("rounds", "Sure?", chat_id=chat_id, parent_id=answer_id)
    await page.post(body)
    await page.until(lambda p: any(d.get("done") for d in p.data("chat:completion", body["id"])))
    roles = [message["role"] for message in sent(upstream)[-1]["messages"]]
    assert roles == ["user", "assistant", "tool", "assistant", "user"]


async def test_a_tool_that_fails_is_an_answer_to_the_model(page: Page, upstream: Upstream, tool: Weather) -> None:
    async def refuse(_arguments: dict[str, Any]) -> ToolResult:
        raise BadRequest("No such city.")

    tool.act = refuse
    chat_id, answer_id = await asked(page, upstream, [call("Atlantis", "c1"), CALLED], [Text("Sorry."), SAID])
    assert sent(upstream)[-1]["messages"][-1]["content"] == "No such city."
    message = await page.message(chat_id, answer_id)
    assert (message["content"], message.get("error")) == ("Sorry.", None)


async def test_a_model_that_never_stops_calling_is_stopped(page: Page, upstream: Upstream, tool: Weather) -> None:
    chat_id, answer_id = await asked(page, upstream, [call("Rome", "c1"), CALLED])
    assert len(tool.asked) == 3
    *_, last = sent(upstream)
    assert last["tool_choice"] == "none"
    assert len(sent(upstream)) == 4
    message = await page.message(chat_id, answer_id)
    assert message["error"] == {"content": ENDLESS.format(3)}
    assert message["done"] is True


def lost(call_id: str, city: str = "Oslo") -> ToolCall:
    return ToolCall("horoscope", (f'{{"city":"{city}"}}',), call_id)


async def test_a_round_that_repeats_the_calls_of_missing_tools_word_by_word_is_left_out(
    page: Page, upstream: Upstream, tool: Weather
) -> None:
    chat_id, answer_id = await asked(
        page, upstream, [Text("Looking."), lost("c1"), CALLED], [Text("Looking."), lost("c2"), CALLED]
    )
    assert len(sent(upstream)) == 2
    assert "weather" in sent(upstream)[-1]["messages"][-1]["content"]
    message = await page.message(chat_id, answer_id)
    assert [item["type"] for item in message["output"]] == ["message", "function_call", "function_call_output"]
    assert (message["content"], message.get("error"), message["done"]) == ("Looking.", None, True)
    assert page.data("chat:completion", answer_id)[-1]["output"] == message["output"]
    assert message["usage"]["total_tokens"] == 26
    assert tool.asked == []


async def test_a_round_with_other_words_stays_and_is_the_last(page: Page, upstream: Upstream) -> None:
    chat_id, answer_id = await asked(
        page, upstream, [Text("Looking."), lost("c1"), CALLED], [Text(" Again."), lost("c2"), CALLED]
    )
    assert len(sent(upstream)) == 2
    message = await page.message(chat_id, answer_id)
    kinds = ["message", "function_call", "function_call_output"]
    assert [item["type"] for item in message["output"]] == kinds * 2
    assert (message["content"], message.get("error")) == ("Looking. Again.", None)


@pytest.mark.parametrize(
    "second", [[lost("c2", "Rome"), CALLED], [call("Oslo", "c2"), CALLED], [lost("c2"), call("Oslo", "c3"), CALLED]]
)
async def test_who_calls_something_else_is_asked_again(page: Page, upstream: Upstream, second: list[Event]) -> None:
    chat_id, answer_id = await asked(page, upstream, [lost("c1"), CALLED], second, [Text("Well."), SAID])
    assert len(sent(upstream)) == 3
    assert (await page.message(chat_id, answer_id))["content"] == "Well."


async def test_a_stop_ends_a_tool_and_keeps_what_there_was(page: Page, upstream: Upstream, tool: Weather) -> None:
    here, ended = asyncio.Event(), asyncio.Event()

    async def hang(_arguments: dict[str, Any]) -> ToolResult:
        here.set()
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()
        return ToolResult(text="")

    tool.act = hang
    upstream.rounds = [[Text("Looking. "), call("Rome", "c1"), CALLED]]
    body = page.ask("rounds", "What is the weather?")
    chat_id = (await page.post(body))["chat_id"]
    await asyncio.wait_for(here.wait(), 10)
    assert (await page.http.post(f"/api/tasks/chat/{chat_id}/stop")).status_code == 200
    assert ended.is_set()
    message = await page.message(chat_id, body["id"])
    assert (message["content"], message["done"]) == ("Looking. ", True)
    await page.idle(chat_id)
    # The call was not carried out, and the model is told so with the next question.
    upstream.rounds = [[Text("Fine."), SAID]]
    again = page.ask("rounds", "And now?", chat_id=chat_id, parent_id=body["id"])
    await page.post(again)
    await page.until(lambda p: any(d.get("done") for d in p.data("chat:completion", again["id"])))
    assert sent(upstream)[-1]["messages"][-2]["content"] == NOT_CARRIED_OUT


async def test_a_whole_answer_goes_the_same_way(page: Page, upstream: Upstream, tool: Weather) -> None:
    chat_id, answer_id = await asked(
        page, upstream, [Text("Looking. "), call("Rome", "c1"), CALLED], [Text("Sunny."), SAID], stream=False
    )
    assert [a["city"] for a in tool.asked] == ["Rome"]
    assert (await page.message(chat_id, answer_id))["content"] == "Looking. Sunny."


async def test_a_finisher_has_the_last_word(page: Page, upstream: Upstream, live: Live) -> None:
    async def shout(running: RunningAnswer, _context: StageContext) -> None:
        text = running.answer.text.upper()
        await running.replace_text("replace", text, {"content": text})

    live.app.state.oui.starter.pipeline = Pipeline(finishers=(shout,))
    chat_id, answer_id = await asked(page, upstream, [Text("Quiet."), SAID])
    assert (await page.message(chat_id, answer_id))["content"] == "QUIET."
    assert page.data("replace", answer_id) == [{"content": "QUIET."}]


async def test_a_continued_answer_may_call_tools(page: Page, upstream: Upstream, tool: Weather) -> None:
    upstream.rounds = [[Text("Let me "), Gate(), Text("never"), SAID]]
    body = page.ask("rounds", "What is the weather?")
    chat_id = (await page.post(body))["chat_id"]
    await page.until(
        lambda p: any(d.get("type", "").endswith("delta") for d in p.data("response:completion", body["id"]))
    )
    await page.http.post(f"/api/tasks/chat/{chat_id}/stop")
    await page.idle(chat_id)
    page.events.clear()
    upstream.rounds = [[Text("look. "), call("Rome", "c1"), CALLED], [Text("Sunny."), SAID]]
    again = {k: v for k, v in body.items() if k not in {"message_ids", "user_message"}}
    await page.post(again | {"chat_id": chat_id, "assistant_message_id": body["id"]})
    await page.idle(chat_id)
    assert (await page.message(chat_id, body["id"]))["content"] == "Let me look. Sunny."
    messages = sent(upstream)[-1]["messages"]
    assert [m["content"] for m in messages if m["role"] == "assistant"] == ["Let me ", "look. "]
