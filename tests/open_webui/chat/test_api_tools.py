"""Tools that the server runs for API clients, where an admin has switched that on."""

import json
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import pytest

from open_webui.services.builtin.source import BuiltIns
from open_webui.services.toolbox import Toolbox
from open_webui.tools.port import Asked, Tool
from tests.open_webui.chat.test_rounds import CALLED, SAID, Weather, call
from tests.support.live import Actor, Live
from tests.support.script import Reasoning, Text, ToolCall
from tests.support.upstream import Upstream

pytestmark = pytest.mark.parametrize("database_kind", ["sqlite"], indirect=True)
OWN = {"type": "function", "function": {"name": "lookup", "parameters": {"type": "object", "properties": {}}}}
QUESTION = [{"role": "user", "content": "Weather?"}]


class Source:
    def __init__(self, tool: Weather) -> None:
        self.tool = tool

    async def tools(self, asked: Asked) -> Sequence[Tool]:
        return [self.tool] if "sky" in asked.ids else []


@pytest.fixture
def tool() -> Weather:
    return Weather()


@pytest.fixture
async def live(
    make_live: Callable[..., Awaitable[Live]], connections: None, monkeypatch: pytest.MonkeyPatch, tool: Weather
) -> Live:
    monkeypatch.setenv("ENABLE_API_TOOLS", "true")
    live = await make_live(bypass_model_access_control=True)
    state = live.app.state.oui
    state._toolbox = Toolbox((Source(tool),), BuiltIns(state))
    return live


async def post(user: Actor, path: str = "/api/chat/completions", **fields: Any) -> Any:
    body = {"model": "rounds", "messages": QUESTION, "tool_ids": ["sky"]} | fields
    return await user.client.post(path, json=body)


async def test_calls_are_run_and_the_client_gets_the_answer(user: Actor, upstream: Upstream, tool: Weather) -> None:
    upstream.rounds = [[Text("Looking. "), call("Rome", "c1"), CALLED], [Text("Sunny."), SAID]]
    reply = (await post(user)).json()
    (choice,) = reply["choices"]
    assert (choice["message"]["content"], choice["finish_reason"]) == ("Looking. Sunny.", "stop")
    assert "tool_calls" not in choice["message"]
    assert reply["usage"]["total_tokens"] == 20
    assert tool.asked == [{"city": "Rome"}]
    first, second = (r.body for r in upstream.chats)
    assert "tool_ids" not in first
    assert [m["role"] for m in second["messages"]] == ["user", "assistant", "tool"]
    assert second["messages"][-1]["content"] == "Sunny in Rome"


@pytest.mark.parametrize("path", ["/api/chat/completions", "/openai/chat/completions", "/api/v1/chat/completions"])
async def test_a_stream_has_the_words_of_all_rounds_and_one_end(
    user: Actor, upstream: Upstream, tool: Weather, path: str
) -> None:
    upstream.rounds = [[Reasoning("Hm."), Text("A "), call("Rome", "c1"), CALLED], [Text("B"), SAID]]
    reply = await post(user, path, stream=True)
    lines = [line.removeprefix("data: ") for line in reply.text.splitlines() if line.startswith("data: ")]
    assert lines[-1] == "[DONE]"
    chunks = [json.loads(line) for line in lines[:-1]]
    assert "".join(c["choices"][0]["delta"].get("content", "") for c in chunks) == "A B"
    assert [c["choices"][0]["finish_reason"] for c in chunks if c["choices"][0]["finish_reason"]] == ["stop"]
    assert not any("tool_calls" in c["choices"][0]["delta"] for c in chunks)
    assert len(tool.asked) == 1


async def test_calls_of_the_clients_own_tools_are_handed_over(user: Actor, upstream: Upstream, tool: Weather) -> None:
    upstream.rounds = [[call("Rome", "c1"), ToolCall("lookup", ("{}",), "c2"), CALLED]]
    (choice,) = (await post(user, tools=[OWN])).json()["choices"]
    assert choice["finish_reason"] == "tool_calls"
    assert [c["function"]["name"] for c in choice["message"]["tool_calls"]] == ["lookup"]
    assert tool.asked == []
    assert [t["function"]["name"] for t in upstream.chats[0].body["tools"]] == ["lookup", "weather"]


async def test_a_clients_tool_of_the_same_name_is_the_clients(user: Actor, upstream: Upstream, tool: Weather) -> None:
    own = {"type": "function", "function": {"name": "weather"}}
    upstream.rounds = [[call("Rome", "c1"), CALLED]]
    (choice,) = (await post(user, tools=[own])).json()["choices"]
    assert [c["function"]["name"] for c in choice["message"]["tool_calls"]] == ["weather"]
    assert tool.asked == []


async def test_a_refusal_of_the_provider_is_the_answer(user: Actor) -> None:
    assert (await post(user, model="error429")).status_code == 429
    assert (await post(user, model="error429", stream=True)).status_code == 429


@pytest.mark.parametrize("ids", ["sky", [7], {"a": 1}, ["x" * 10_000]])
async def test_odd_ids_are_refused(user: Actor, ids: Any) -> None:
    assert (await post(user, tool_ids=ids)).status_code == 400


async def test_without_the_setting_calls_are_the_clients(
    live: Live, user: Actor, upstream: Upstream, tool: Weather
) -> None:
    config = live.app.state.oui.config
    config._fixed["tools.api.enable"] = False
    config._resolve()
    upstream.rounds = [[call("Rome", "c1"), CALLED]]
    (choice,) = (await post(user, tools=[OWN])).json()["choices"]
    assert choice["finish_reason"] == "tool_calls"
    assert [c["function"]["name"] for c in choice["message"]["tool_calls"]] == ["weather"]
    # The model is told of those that the request names.
    assert [t["function"]["name"] for t in upstream.chats[0].body["tools"]] == ["lookup", "weather"]
    assert tool.asked == []


async def test_the_number_of_rounds_is_a_setting(live: Live, user: Actor, upstream: Upstream, tool: Weather) -> None:
    """After the last one the model is asked not to call; one that calls all the same is stopped with a sentence."""
    config = live.app.state.oui.config
    for most in (2, 0, -5):
        config._fixed["tools.api.max_rounds"] = most
        config._resolve()
        tool.asked.clear()
        upstream.rounds = [[call("Rome", "c1"), CALLED]] * 9
        before = len(upstream.chats)
        reply = await post(user)
        rounds = max(most, 0)
        assert (reply.status_code, len(tool.asked), len(upstream.chats) - before) == (502, rounds, rounds + 1)
        assert f"after {rounds} rounds" in reply.text
        assert upstream.chats[-1].body["tool_choice"] == "none"


@pytest.mark.parametrize("stream", [True, False])
async def test_clients_of_ollamas_interface_have_tools_run_too(
    user: Actor, upstream: Upstream, tool: Weather, stream: bool
) -> None:
    upstream.rounds = [[Text("Looking. "), call("Rome", "c1"), CALLED], [Text("Sunny."), SAID]]
    reply = await post(user, "/ollama/api/chat", stream=stream)
    lines = [json.loads(line) for line in reply.text.splitlines()]
    assert "".join(line["message"]["content"] for line in lines) == "Looking. Sunny."
    assert (lines[-1]["done"], "tool_calls" in lines[-1]["message"]) == (True, False)
    # What all rounds took.
    assert (lines[-1]["prompt_eval_count"], lines[-1]["eval_count"]) == (15, 5)
    assert tool.asked == [{"city": "Rome"}]
    first, second = (r.body for r in upstream.chats)
    assert "tool_ids" not in first
    assert second["messages"][-1]["content"] == "Sunny in Rome"


async def test_ollamas_clients_get_their_own_calls_and_odd_ids_are_refused(
    user: Actor, upstream: Upstream, tool: Weather
) -> None:
    upstream.rounds = [[call("Rome", "c1"), ToolCall("lookup", ("{}",), "c2"), CALLED]]
    reply = await post(user, "/ollama/api/chat", stream=False, tools=[OWN])
    assert [c["function"]["name"] for c in reply.json()["message"]["tool_calls"]] == ["lookup"]
    assert tool.asked == []
    for ids in ("sky", [7], ["x"] * 1_001):
        assert (await post(user, "/ollama/api/chat", tool_ids=ids)).status_code == 400
