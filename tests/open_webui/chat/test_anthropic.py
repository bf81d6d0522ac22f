"""Anthropic's messages for any model: whole and streamed, with tools of the client and of this server."""

import json
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from open_webui.chat.anthropic import MessageForm, parse
from open_webui.errors import BadRequest, OuiError
from open_webui.services.builtin.source import BuiltIns
from open_webui.services.toolbox import Toolbox
from tests.open_webui.chat.test_api_tools import Source
from tests.open_webui.chat.test_rounds import CALLED, SAID, Weather, call
from tests.open_webui.models.test_workspace import form as model_form
from tests.open_webui.plugins.test_tools import say
from tests.open_webui.skills.test_skills import create as create_skill
from tests.support.live import Actor, Live
from tests.support.script import Reasoning, Text, ToolCall
from tests.support.upstream import Upstream

OWN = {"name": "lookup", "input_schema": {"type": "object", "properties": {}}}
ASK: dict[str, Any] = {"model": "rounds", "max_tokens": 50, "messages": [{"role": "user", "content": "Weather?"}]}


@pytest.fixture
def database_kind() -> str:
    """Nothing here depends on it."""
    return "sqlite"


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


async def post(actor: Actor, path: str = "/api/v1/messages", **fields: Any) -> Any:
    return await actor.client.post(path, json=ASK | fields)


def events(text: str) -> list[dict[str, Any]]:
    """The events of a stream, each named twice the same."""
    out = []
    for block in text.strip().split("\n\n"):
        name, _, data = block.partition("\n")
        event = json.loads(data.removeprefix("data: "))
        assert name == f"event: {event['type']}"
        out.append(event)
    return out


@pytest.mark.parametrize("path", ["/api/v1/messages", "/api/message"])
async def test_a_message_as_it_is_answered(user: Actor, upstream: Upstream, path: str) -> None:
    said = [
        {"role": "user", "content": "Hi"},
        {"role": "assistant", "content": [{"type": "thinking", "thinking": "Hm."}, {"type": "text", "text": "Ho"}]},
        {"role": "user", "content": [{"type": "text", "text": "Again"}]},
    ]
    reply = await post(user, path, model="echo", messages=said, system="Be kind.", metadata={"user_id": "x"})
    assert reply.status_code == 200, reply.text
    body = reply.json()
    assert (body["type"], body["role"], body["model"], body["stop_reason"]) == (
        "message",
        "assistant",
        "echo",
        "end_turn",
    )
    assert body["content"] == [{"type": "text", "text": "Again"}]
    assert body["usage"]["input_tokens"] > 0
    sent = upstream.chats[-1].body
    assert [m["content"] for m in sent["messages"]] == ["Be kind.", "Hi", "Ho", "Again"]
    # Thinking goes back only to those that want it, and who asks is for administrators to say.
    assert not any("reasoning_content" in m for m in sent["messages"])
    assert (sent["max_tokens"], "user" in sent) == (50, False)


async def test_a_stream_has_a_beginning_parts_and_an_end(user: Actor, upstream: Upstream) -> None:
    upstream.rounds = [[Reasoning("Hm."), Text("Sun"), Text("ny."), SAID]]
    reply = await post(user, stream=True)
    assert reply.headers["content-type"].startswith("text/event-stream")
    told = [event for event in events(reply.text) if event["type"] != "ping"]
    assert [event["type"] for event in told] == [
        "message_start", "content_block_start", "content_block_delta", "content_block_stop", "content_block_start",
        "content_block_delta", "content_block_delta", "content_block_stop", "message_delta", "message_stop",
    ]  # fmt: skip
    assert [e["delta"].get("text") for e in told if e["type"] == "content_block_delta"] == [None, "Sun", "ny."]
    assert (told[-2]["delta"]["stop_reason"], told[-2]["usage"]["output_tokens"]) == ("end_turn", 2)


@pytest.mark.parametrize("stream", [True, False])
async def test_this_servers_tools_are_run(user: Actor, upstream: Upstream, tool: Weather, stream: bool) -> None:
    upstream.rounds = [[Text("Looking. "), call("Rome", "c1"), CALLED], [Text("Sunny."), SAID]]
    reply = await post(user, tool_ids=["sky"], stream=stream)
    if stream:
        told = events(reply.text)
        said = "".join(e["delta"].get("text", "") for e in told if e["type"] == "content_block_delta")
        end, usage = told[-2]["delta"]["stop_reason"], told[-2]["usage"]
        assert not any(e.get("content_block", {}).get("type") == "tool_use" for e in told)
    else:
        body = reply.json()
        said = "".join(block["text"] for block in body["content"] if block["type"] == "text")
        end, usage = body["stop_reason"], body["usage"]
        assert {block["type"] for block in body["content"]} == {"text"}
    assert (said, end) == ("Looking. Sunny.", "end_turn")
    # The sum of all rounds.
    assert (usage["input_tokens"], usage["output_tokens"]) == (15, 5)
    assert tool.asked == [{"city": "Rome"}]
    assert "tool_ids" not in upstream.chats[0].body


async def test_calls_of_the_clients_own_tools_are_handed_over(user: Actor, upstream: Upstream, tool: Weather) -> None:
    upstream.rounds = [[call("Rome", "c1"), ToolCall("lookup", ('{"a": 1}',), "c2"), CALLED]]
    body = (await post(user, tool_ids=["sky"], tools=[OWN])).json()
    assert body["stop_reason"] == "tool_use"
    assert body["content"] == [{"type": "tool_use", "id": "c2", "name": "lookup", "input": {"a": 1}}]
    assert tool.asked == []
    assert [t["function"]["name"] for t in upstream.chats[0].body["tools"]] == ["lookup", "weather"]
    # Its result comes back in Anthropic's form.
    upstream.rounds = [[Text("It is so."), SAID]]
    result = {"type": "tool_result", "tool_use_id": "c2", "content": "found"}
    said = [*ASK["messages"], {"role": "assistant", "content": body["content"]}, {"role": "user", "content": [result]}]
    assert (await post(user, tools=[OWN], messages=said)).status_code == 200
    assert upstream.chats[-1].body["messages"][-1] == {"role": "tool", "tool_call_id": "c2", "content": "found"}


async def test_skills_are_told(user: Actor, admin: Actor, upstream: Upstream) -> None:
    everybody = {"principal_type": "user", "principal_id": "*", "permission": "read"}
    await create_skill(admin, access_grants=[everybody])
    assert (await post(user, model="fixed", skill_ids=["baking"])).status_code == 200
    assert "<content>\n# Bake\n</content>" in upstream.chats[-1].body["messages"][0]["content"]
    assert (await post(user, model="fixed", skill_ids=["none"])).status_code == 404


async def test_a_models_prompt_and_parameters_count(user: Actor, admin: Actor, upstream: Upstream) -> None:
    everybody = {"principal_type": "user", "principal_id": "*", "permission": "read"}
    params = {"system": "You are a baker.", "temperature": 0.3}
    body = model_form("baker", base_model_id="fixed", params=params, meta={}, access_grants=[everybody])
    assert (await say(admin, "POST", "/api/v1/models/create", body))[0] == 200
    assert (await post(user, model="baker", system="Be kind.")).status_code == 200
    sent = upstream.chats[-1].body
    assert (sent["temperature"], sent["messages"][0]["content"].startswith("You are a baker.")) == (0.3, True)


def asking(*blocks: Any, role: str = "user") -> dict[str, Any]:
    return {"messages": [{"role": role, "content": list(blocks)}]}


ODD: list[dict[str, Any]] = [
    {"model": None}, {"model": 7}, {"model": "x" * 999}, {"messages": []}, {"messages": "hi"}, asking(role="dog"),
    {"max_tokens": 0}, {"max_tokens": None}, {"stream": "yes"}, {"tools": [{"name": "bash", "type": "bash_20250124"}]},
    {"tools": [{"name": "a"}]}, {"tool_choice": {"type": "tool"}, "tools": [OWN]}, {"mcp_servers": [{"url": "http://x"}]},
    {"tool_ids": "sky"}, {"tool_ids": [7]}, {"skill_ids": {"a": 1}},
    asking({"type": "image", "source": {"type": "url", "url": "http://x"}}),
    asking({"type": "image", "source": {"type": "base64", "data": "?", "media_type": "image/png"}}),
    asking({"type": "tool_use", "id": "a", "name": "b", "input": {}}), asking({"type": "spell"}), asking(7),
]  # fmt: skip


@pytest.mark.parametrize("odd", ODD, ids=lambda odd: str(odd)[:60])
async def test_odd_requests_are_refused(user: Actor, upstream: Upstream, odd: dict[str, Any]) -> None:
    reply = await post(user, **odd)
    assert (reply.status_code, isinstance(reply.json()["detail"], str)) == (400, True), reply.text
    assert upstream.chats == []


async def test_what_may_not_be_had(client: Any, user: Actor, pending: Actor) -> None:
    assert (await client.post("/api/v1/messages", json=ASK)).status_code == 401
    assert (await post(pending)).status_code == 401
    reply = await post(user, model="nobody's")
    assert (reply.status_code, reply.json()) == (400, {"detail": "Model not found"})
    assert (await post(user, model="error429")).status_code == 429
    assert (await post(user, model="error429", stream=True)).status_code == 429


async def test_an_error_in_the_middle_is_told_in_the_stream(user: Actor) -> None:
    told = events((await post(user, model="drop", stream=True)).text)
    assert told[0]["type"] == "message_start"
    assert (told[-1]["type"], isinstance(told[-1]["error"]["message"], str)) == ("error", True)


def test_an_answer_that_fails_before_its_first_word_has_a_beginning() -> None:
    told = MessageForm("m").error(OuiError("No.", status=502)).decode()
    assert [event["type"] for event in events(told) if event["type"] != "ping"] == ["message_start", "error"]
    with pytest.raises(BadRequest):
        parse({"model": "m"})
