"""MCP servers in a chat: what a model, a page and an admin see of them."""

import json
import sys
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from open_webui.tools.mcp import sessions as sessions_module
from tests.open_webui.tools.talking import CONFIG, descriptions, files, outputs, say, set_up
from tests.support.live import Actor, Live
from tests.support.mcp_server import Everything, open_everything
from tests.support.script import ToolCall
from tests.support.upstream import Upstream

pytestmark = pytest.mark.xdist_group("mcp")
ROOT = Path(__file__).resolve().parents[3]
ID = "server:mcp:every"


@pytest.fixture(scope="module")
def everything() -> Iterator[Everything]:
    with open_everything() as server:
        yield server


@pytest.fixture
async def live(make_live: Callable[..., Awaitable[Live]], connections: None) -> Live:
    return await make_live(bypass_model_access_control=True)


@pytest.fixture(autouse=True)
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sessions_module, "OPENING", 50.0)


def entry(server: Everything, **config: Any) -> dict[str, Any]:
    return {
        "url": server.url, "path": "", "type": "mcp", "auth_type": "bearer", "key": "sekret",
        "config": {"enable": True} | config, "info": {"id": "every", "name": "Everything", "description": "all"},
    }  # fmt: skip


async def test_a_model_calls_a_server(
    admin: Actor, user: Actor, upstream: Upstream, live: Live, everything: Everything
) -> None:
    (stored,) = await set_up(admin, entry(everything, access_grants=[grant("*")]))
    assert stored["key"] == "sekret"
    calls = (
        ToolCall("every_echo", ('{"message": "hi"}',), "c1"),
        ToolCall("every_get-tiny-image", ("{}",), "c2"),
        ToolCall("every_get-structured-content", ('{"location": "New York"}',), "c3"),
        ToolCall("every_trigger-long-running-operation", ('{"duration": 0.2, "steps": 2}',), "c4"),
        ToolCall("every_get-sum", ('{"a": "no number"}',), "c5"),
        ToolCall("every_get-resource-reference", ('{"resourceType": "Text", "resourceId": 1}',), "c6"),
    )
    message = await say(user, upstream, *calls, tool_ids=(ID,))
    echoed, picture, structured, long, wrong, resource = outputs(message)
    assert echoed == "Echo: hi"
    assert "A picture, which the person sees." in picture
    assert files(message)[1][0]["url"].startswith(("/api/v1/files/", "data:image/png"))
    assert json.loads(structured)["conditions"] == "Cloudy"
    assert "completed" in long
    assert "should be a number" in wrong
    assert "demo://resource/dynamic/text/1" in resource
    assert descriptions(message)[0] == "trigger-long-running-operation is at 1 of 2"
    assert descriptions(message)[-1] == "trigger-long-running-operation is over"
    # The next question uses the same session; another person has one of their own.
    sessions = live.app.state.oui.tool_servers.mcp.sessions
    assert outputs(await say(user, upstream, calls[0], tool_ids=(ID,))) == ["Echo: hi"]
    assert {key[0] for key in sessions._sessions} == {user.id}
    assert outputs(await say(admin, upstream, calls[0], tool_ids=(ID,))) == ["Echo: hi"]
    assert {key[0] for key in sessions._sessions} == {user.id, admin.id}
    # Nobody but admins sees how the server is signed in to.
    state = live.app.state.oui
    assert "sekret" not in str(state.tool_servers.listed(await state.identify(user.token)))
    assert (await user.client.get(CONFIG)).status_code == 401


def folder_of(live: Live) -> Path:
    folder: Path = live.app.state.oui.settings.data_dir
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def grant(who: str) -> dict[str, str]:
    return {"principal_type": "user", "principal_id": who, "permission": "read"}


async def test_a_server_asks_the_page(admin: Actor, upstream: Upstream, everything: Everything) -> None:
    await set_up(admin, entry(everything))
    asked = []

    def answers(data: dict[str, Any]) -> Any:
        if data["type"] != "request:elicitation":
            return None
        asked.append(data["data"])
        return {"action": "accept", "content": {"name": "Ann", "check": True}}

    call = ToolCall("every_trigger-elicitation-request", ("{}",), "c1")
    message = await say(admin, upstream, call, tool_ids=(ID,), answers=answers)
    assert "provided the requested information" in outputs(message)[0]
    (question,) = asked
    assert question["requestedSchema"]["type"] == "object"
    assert question["server"] == {"id": "every", "name": "Everything"}
    assert (question["timeout_ms"], bool(question["interaction_id"])) == (120_000, True)
    # What is no answer is a no.
    message = await say(admin, upstream, call, tool_ids=(ID,), answers=lambda _: {"action": "rob"})
    assert "cancelled" in outputs(message)[0]


async def test_a_server_asks_a_model_as_the_person(admin: Actor, upstream: Upstream, everything: Everything) -> None:
    await set_up(admin, entry(everything))
    asked: list[dict[str, Any]] = []
    allowed = [False, True]

    def answers(data: dict[str, Any]) -> Any:
        if data["type"] != "confirmation":
            return None
        asked.append(data["data"])
        return allowed[len(asked) - 1]

    def sampled() -> list[Any]:
        return [r.body for r in upstream.received if isinstance(r.body, dict) and r.body.get("max_tokens") == 4_000]

    call = ToolCall("every_trigger-sampling-request", ('{"prompt": "Well?", "maxTokens": 99999}',), "c1")
    # Nothing is asked without the person's leave.
    message = await say(admin, upstream, call, tool_ids=(ID,), says="forty-two", answers=answers)
    assert "did not let Everything ask a model" in outputs(message)[0]
    assert sampled() == []
    # Once it is given, it holds for the chat: two calls, one question.
    again = ToolCall(call.name, call.arguments, "c2")
    message = await say(admin, upstream, call, again, tool_ids=(ID,), says="forty-two", answers=answers)
    assert all("forty-two" in output for output in outputs(message))
    assert len(asked) == 2
    assert asked[1]["title"] == "Let Everything ask the model?"
    assert "Well?" in asked[1]["message"]
    assert "Well?" in sampled()[0]["messages"][-1]["content"]
    # An admin's word is enough, too.
    await set_up(admin, entry(everything, sampling="allow"))
    assert "forty-two" in outputs(await say(admin, upstream, call, tool_ids=(ID,), says="forty-two"))[0]
    assert len(asked) == 2


async def test_a_server_that_is_away_stops_no_chat(admin: Actor, upstream: Upstream) -> None:
    away = {"url": "http://127.0.0.1:9/mcp", "path": "", "type": "mcp", "auth_type": "none", "key": "", "config": {}}
    await set_up(admin, away | {"info": {"id": "every", "name": "Everything"}})
    message = await say(admin, upstream, tool_ids=(ID,))
    assert message["content"] == "Done."
    assert descriptions(message) == ["Everything is left out: The server can't be reached."]


async def test_a_server_is_verified(admin: Actor, everything: Everything, live: Live) -> None:
    reply = await admin.client.post(f"{CONFIG}/verify", json=entry(everything), timeout=60)
    assert reply.status_code == 200, reply.text
    assert reply.json()["status"] is True
    assert "every_echo" in {spec["name"] for spec in reply.json()["specs"]}
    assert len(live.app.state.oui.tool_servers.mcp.sessions) == 0
    reply = await admin.client.post(f"{CONFIG}/verify", json=entry(everything) | {"url": "http://127.0.0.1:9/mcp"})
    assert (reply.status_code, reply.json()["detail"]) == (
        400,
        "Failed to connect to the tool server. The server can't be reached.",
    )


async def test_programs_come_from_the_admins_file_only(
    admin: Actor, user: Actor, upstream: Upstream, live: Live, tmp_path: Path
) -> None:
    state = live.app.state.oui
    file = folder_of(live) / "mcp.json"
    clock = {"command": sys.executable, "args": ["-m", "mcp_server_time"], "access_grants": [grant(user.id)]}
    file.write_text(
        json.dumps({"mcpServers": {"clock": clock, "a/b": clock, "none": {}, "off": clock | {"disabled": True}}})
    )
    people = [await state.identify(actor.token) for actor in (admin, user)]
    assert [[row["id"] for row in state.tool_servers.listed(p)] for p in people] == [["server:mcp:clock"]] * 2
    call = ToolCall("clock_get_current_time", ('{"timezone": "Europe/Paris"}',), "c1")
    message = await say(user, upstream, call, tool_ids=("server:mcp:clock",))
    assert "Europe/Paris" in outputs(message)[0]
    # One for all, as long as nothing else is said.
    assert {key[0] for key in state.tool_servers.mcp.sessions._sessions} == {""}
    for text in ("{", "[]", '{"mcpServers": []}'):
        file.write_text(text)
        assert state.tool_servers.listed(people[0]) == []
    file.unlink()
    assert state.tool_servers.listed(people[0]) == []
    program = {
        "url": "http://a",
        "path": "",
        "type": "stdio",
        "auth_type": None,
        "key": None,
        "config": None,
        "command": "id",
    }
    reply = await admin.client.post(CONFIG, json={"TOOL_SERVER_CONNECTIONS": [program]})
    assert reply.status_code == 400


async def test_a_shared_program_asks_nobody(
    admin: Actor, upstream: Upstream, live: Live, everything: Everything
) -> None:
    node = everything.command
    file = folder_of(live) / "mcp.json"
    shared = {"command": node[0], "args": [*node[1:], "stdio"]}
    file.write_text(json.dumps({"mcpServers": {"all": shared, "own": shared | {"per_user": True}}}))
    calls = [ToolCall(f"{name}_trigger-elicitation-request", ("{}",), name) for name in ("all", "own")]
    message = await say(
        admin, upstream, *calls, tool_ids=("server:mcp:all", "server:mcp:own"), answers=lambda _: {"action": "decline"}
    )
    of_all, of_own = outputs(message)
    assert "declined" in of_own
    assert "declined" not in of_all
