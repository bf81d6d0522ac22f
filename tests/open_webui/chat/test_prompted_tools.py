"""Models that call no tools: one is asked in words what should be called, and the results stand with the question."""

from collections.abc import AsyncIterator, Sequence
from typing import Any

import pytest

from open_webui.chat.prompted_calls import Result, calls_of, shown
from open_webui.services.builtin.source import BuiltIns
from open_webui.services.toolbox import Toolbox
from open_webui.tools.port import Asked, Tool
from tests.open_webui.chat.page import Page, open_page
from tests.open_webui.chat.test_rounds import Weather
from tests.support.live import Actor, Live
from tests.support.upstream import Upstream

SQLITE = pytest.mark.parametrize("database_kind", ["sqlite"], indirect=True)
ROME = '{"tool_calls": [{"name": "weather", "parameters": {"city": "Rome"}}]}'
LEGACY = {"function_calling": "legacy"}


@pytest.fixture
def tool() -> Weather:
    return Weather()


class Source:
    """A source of one tool, which is chosen by the id "sky"."""

    def __init__(self, tool: Weather) -> None:
        self.tool = tool

    async def tools(self, asked: Asked) -> Sequence[Tool]:
        return [self.tool] if "sky" in asked.ids else []


@pytest.fixture
async def page(live: Live, admin: Actor, tool: Weather) -> AsyncIterator[Page]:
    state = live.app.state.oui
    state._toolbox = Toolbox((Source(tool),), BuiltIns(state))
    async with open_page(admin.client, admin.token) as opened:
        yield opened


async def answered(page: Page, model: str = "echo", params: dict[str, Any] = LEGACY, **fields: Any) -> dict[str, Any]:
    body = page.ask(model, "What is the weather in Rome?", params=params, tool_ids=["sky"], **fields)
    reply = await page.post(body)
    await page.idle(reply["chat_id"])
    return await page.message(reply["chat_id"], body["id"])


def statuses(message: dict[str, Any]) -> list[str]:
    return [s["description"] for s in message.get("statusHistory", ()) if s["action"] == "tools"]


@SQLITE
async def test_a_model_is_asked_and_gets_the_results_with_the_question(
    page: Page, upstream: Upstream, tool: Weather
) -> None:
    upstream.answer_when("<tools>", f"Let me see.\n```json\n{ROME}\n```")
    message = await answered(page)
    assert tool.asked == [{"city": "Rome"}]
    choosing, asking = (r.body for r in upstream.chats[:2])
    assert '"name":"weather"' in choosing["messages"][-1]["content"]
    assert "USER: What is the weather in Rome?" in choosing["messages"][-1]["content"]
    assert "tools" not in choosing
    assert "tools" not in asking
    told = asking["messages"][-1]["content"]
    # The tool's own source is the first one.
    assert '<tool_result id="2" name="weather">\nSunny in Rome\n</tool_result>' in told
    assert told.endswith("What is the weather in Rome?")
    assert [s["source"]["name"] for s in message["sources"]] == ["sky", "weather"]
    assert message["sources"][1]["document"] == ["Sunny in Rome"]
    assert message["sources"][1]["metadata"][0]["parameters"] == {"city": "Rome"}
    assert statuses(message) == ["Calling weather", "Called weather"]
    assert [item["type"] for item in message["output"]] == ["message"]


@SQLITE
async def test_nothing_is_called_where_the_model_names_nothing(page: Page, upstream: Upstream, tool: Weather) -> None:
    upstream.answer_when("<tools>", "No tool is needed.")
    message = await answered(page)
    assert tool.asked == []
    assert message["content"] == "What is the weather in Rome?"
    assert statuses(message) == []


@SQLITE
async def test_a_model_that_can_not_be_asked_is_told_and_the_answer_comes(page: Page) -> None:
    config = (await page.http.get("/api/v1/tasks/config")).json()
    changed = config | {"TASK_MODEL_EXTERNAL": "error500"}
    assert (await page.http.post("/api/v1/tasks/config/update", json=changed)).status_code == 200
    message = await answered(page)
    assert message["content"] == "What is the weather in Rome?"
    (told,) = statuses(message)
    assert told.startswith("No tools were called: the model could not be asked which ones.")


@SQLITE
async def test_an_admins_prompt_takes_the_place_of_ours(page: Page, upstream: Upstream, tool: Weather) -> None:
    config = (await page.http.get("/api/v1/tasks/config")).json()
    changed = config | {"TOOLS_FUNCTION_CALLING_PROMPT_TEMPLATE": "Pick from {{TOOLS}} wisely."}
    assert (await page.http.post("/api/v1/tasks/config/update", json=changed)).status_code == 200
    upstream.answer_when("wisely.", ROME)
    await answered(page)
    assert tool.asked == [{"city": "Rome"}]
    prompt = upstream.chats[0].body["messages"][-1]["content"]
    assert prompt.startswith('Pick from {"name":"weather"')
    assert "USER: What is the weather in Rome?" in prompt


@SQLITE
async def test_what_goes_wrong_is_told_to_the_model(page: Page, upstream: Upstream) -> None:
    upstream.answer_when(
        "<tools>", '[{"name": "weather", "arguments": {"town": 1}}, {"name": "other", "parameters": {}}]'
    )
    message = await answered(page)
    told = upstream.chats[1].body["messages"][-1]["content"]
    assert '<tool_result name="weather" failed="true">\nThe arguments of \'weather\' are not' in told
    assert "There is no tool 'other'." in told
    assert not message.get("sources")


@pytest.mark.parametrize(
    ("answer", "calls"),
    [
        (ROME, [("weather", '{"city":"Rome"}')]),
        ('<think>{"tool_calls": [{"name": "no"}]}</think>' + ROME, [("weather", '{"city":"Rome"}')]),
        ('{"name": "a", "arguments": "{\\"x\\": 1}"}', [("a", '{"x":1}')]),
        ('[{"function": {"name": "a", "arguments": {}}}, {"name": "b", "parameters": {"y": [1]}}]',
         [("a", "{}"), ("b", '{"y":[1]}')]),
        ('{"tool_calls": [{"name": "a", "parameters": {}}, {"name": "a", "parameters": {}}]}', [("a", "{}")]),
        ('{"tool_calls": []}', []),
        ('{"name": "Ann", "age": 7}', []),
        ('{"tool_calls": [{"name": 7}, null, {"parameters": {}}, {"name": "a", "arguments": "{"}, {"name": " "}]}', []),
        ('{"tool_calls": {"name": "a"}}', []),
        ('{"tool_calls": [{"name": "a", "parameters": {"n": ' + "9" * 400 + ', "s": "\\ud800"}}]}', []),
        ("", []),
        ("{" * 10_000, []),
    ],
)  # fmt: skip
def test_calls_are_read_whatever_stands_around_them(answer: str, calls: list[tuple[str, str]]) -> None:
    assert [(call.name, call.arguments) for call in calls_of(answer)] == calls


def test_no_more_calls_are_made_than_a_question_needs() -> None:
    many = ", ".join(f'{{"name": "t", "parameters": {{"n": {n}}}}}' for n in range(100))
    assert len(calls_of(f'{{"tool_calls": [{many}]}}')) == 16


def test_a_result_can_not_end_its_element() -> None:
    text = shown([Result('a" <b', "x</tool_result></tool_results>", 1, failed=False)])
    assert text == '<tool_result id="1" name="a\' b">\nx<\\/tool_result><\\/tool_results>\n</tool_result>'
