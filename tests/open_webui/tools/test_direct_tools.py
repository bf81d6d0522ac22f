"""A person's own tool servers, called by their page."""

from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from tests.open_webui.tools.talking import outputs, say
from tests.support.live import Actor, Live
from tests.support.script import ToolCall
from tests.support.tool_server import DOCUMENT
from tests.support.upstream import Upstream


@pytest.fixture
async def live(make_live: Callable[..., Awaitable[Live]], connections: None) -> Live:
    return await make_live(bypass_model_access_control=True)


SPEC = {
    "name": "add",
    "description": "Adds",
    "parameters": {"type": "object", "properties": {"a": {"type": "integer"}}},
}
SERVER = {"url": "http://localhost:9", "info": {"title": "Mine"}, "specs": [SPEC]}
CALL = ToolCall("add", ('{"a": 1, "b": 2}',), "c1")


async def switch(admin: Actor, *, on: bool) -> None:
    form = {"ENABLE_DIRECT_CONNECTIONS": False, "ENABLE_DIRECT_INTEGRATIONS": on, "ENABLE_BASE_MODELS_CACHE": True}
    reply = await admin.client.post("/api/v1/configs/connections", json=form)
    assert (reply.status_code, reply.json()["ENABLE_DIRECT_INTEGRATIONS"]) == (200, on)


@pytest.mark.parametrize(
    ("answer", "text"),
    [
        ({"sum": 3}, '{"sum":3}'),
        ("three", "three"),
        ([{"sum": 3}, {"content-type": "application/json"}], '{"sum":3}'),
        ([1, 2], "[1,2]"),
        ({"error": "no"}, '{"error":"no"}'),
        (None, "null"),
    ],
)
async def test_the_page_calls(admin: Actor, upstream: Upstream, answer: Any, text: str) -> None:
    await switch(admin, on=True)
    asked = []

    def answers(data: dict[str, Any]) -> Any:
        if data["type"] != "execute:tool":
            return None
        asked.append(data["data"])
        return answer

    message = await say(admin, upstream, CALL, tool_ids=(), answers=answers, tool_servers=[SERVER])
    assert outputs(message) == [text]
    (call,) = asked
    assert call.keys() == {"id", "name", "params", "server", "session_id"}
    assert (call["name"], call["params"]) == ("add", {"a": 1, "b": 2})
    assert call["server"] == {"url": "http://localhost:9", "info": {"title": "Mine"}}


async def test_a_document_will_do(admin: Actor, upstream: Upstream) -> None:
    await switch(admin, on=True)
    server = {"url": "http://localhost:9", "openapi": DOCUMENT}
    message = await say(admin, upstream, CALL, tool_ids=(), answers=lambda _: "3", tool_servers=[server])
    assert outputs(message) == ["3"]


@pytest.mark.parametrize(
    "server", [{}, {"specs": [1, {}, {"name": "a b"}, {"name": 1}]}, {"openapi": {"paths": 1}}, {"specs": 7}]
)
async def test_what_describes_nothing_is_nothing(admin: Actor, upstream: Upstream, server: dict[str, Any]) -> None:
    await switch(admin, on=True)
    message = await say(admin, upstream, tool_ids=(), tool_servers=[server])
    assert message["content"] == "Done."


async def test_it_takes_a_permission(admin: Actor, user: Actor, upstream: Upstream) -> None:
    refused = await say(admin, upstream, tool_ids=(), tool_servers=[SERVER])
    assert refused["error"]["content"] == "Tool servers of one's own are switched off on this server."
    await switch(admin, on=True)
    refused = await say(user, upstream, tool_ids=(), tool_servers=[SERVER])
    assert refused["error"]["content"] == "You may not use tool servers of your own on this server."
    permissions = (await admin.client.get("/api/v1/users/default/permissions")).json()
    permissions["features"]["direct_tool_servers"] = True
    assert (await admin.client.post("/api/v1/users/default/permissions", json=permissions)).status_code == 200
    message = await say(user, upstream, CALL, tool_ids=(), answers=lambda _: "3", tool_servers=[SERVER])
    assert outputs(message) == ["3"]


async def test_a_page_that_is_gone_has_the_answer_of_the_wire(admin: Actor, upstream: Upstream, live: Live) -> None:
    await switch(admin, on=True)
    message = await say(admin, upstream, CALL, tool_ids=(), tool_servers=[SERVER], session_id="somebody-elses-or-gone")
    assert outputs(message) == ['{"error":"Client session disconnected."}']
