"""Tool servers over the API and in a chat, against a real one."""

import json
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest

from open_webui.principal import Principal
from open_webui.services import tool_servers
from open_webui.tools.port import Asked
from tests.open_webui.tools.talking import CONFIG, descriptions, files, outputs, say, set_up
from tests.support.live import Actor, Live
from tests.support.script import ToolCall
from tests.support.tool_server import ToolServer, open_tool_server
from tests.support.upstream import Upstream


@pytest.fixture
async def server() -> AsyncIterator[ToolServer]:
    async with open_tool_server() as found:
        yield found


async def test_the_settings_are_kept_as_the_wire_has_them(admin: Actor, user: Actor, server: ToolServer) -> None:
    entry = server.entry(key="sekret", extra={"kept": True})
    (stored,) = await set_up(admin, entry)
    assert stored == entry | {"forward_cookies": False, "headers": None}
    assert (await admin.client.get(CONFIG)).json() == {"TOOL_SERVER_CONNECTIONS": [stored]}
    assert (await user.client.get(CONFIG)).status_code == 401
    assert (await user.client.post(CONFIG, json={"TOOL_SERVER_CONNECTIONS": []})).status_code == 401


@pytest.mark.parametrize(
    ("entry", "status"),
    [
        ({}, 422),
        ({"url": "http://a", "path": "", "auth_type": None, "key": None, "config": []}, 422),
        ({"url": "ftp://a", "path": "", "auth_type": None, "key": None, "config": None}, 400),
        ({"url": "http://a", "path": "", "auth_type": None, "key": None, "config": None, "forward_cookies": True}, 400),
        ({"url": "http://a", "path": "", "auth_type": None, "key": None, "config": None, "spec": "x" * 4_300_000}, 422),
        ({"url": "http://a", "path": "", "auth_type": None, "key": "k\u0000\n", "config": None}, 400),
    ],
)
async def test_bad_settings_are_refused_and_nothing_is_stored(admin: Actor, entry: dict[str, Any], status: int) -> None:
    good = {"url": "http://good", "path": "", "auth_type": None, "key": None, "config": None}
    reply = await admin.client.post(CONFIG, json={"TOOL_SERVER_CONNECTIONS": [good, entry]})
    assert reply.status_code == status, reply.text
    assert (await admin.client.get(CONFIG)).json() == {"TOOL_SERVER_CONNECTIONS": []}


async def test_a_server_is_verified(admin: Actor, user: Actor, server: ToolServer) -> None:
    server.key = "k"
    good = server.entry(auth_type="bearer", key="k")
    reply = await admin.client.post(f"{CONFIG}/verify", json=good)
    assert (reply.status_code, reply.json()) == (200, server.document)
    for bad in (good | {"key": "wrong"}, good | {"url": "http://127.0.0.1:9"}, good | {"path": "nothing"}):
        reply = await admin.client.post(f"{CONFIG}/verify", json=bad)
        assert reply.status_code == 400
        assert reply.json()["detail"].startswith(tool_servers.CAN_NOT_CONNECT)
    assert (await user.client.post(f"{CONFIG}/verify", json=good)).status_code == 401


async def test_a_model_calls_a_server(admin: Actor, upstream: Upstream, server: ToolServer) -> None:
    server.key = "k"
    await set_up(admin, server.entry(auth_type="bearer", key="k", headers={"X-Who": "{{USER_NAME}}"}))
    message = await say(
        admin,
        upstream,
        ToolCall("add", ('{"a":2,', '"b":3}'), "c1"),
        ToolCall("echo", ('{"name": "a/../b?c#d", "tags": ["x", "y&z"], "X-Mood": "g\\u00fct\\n"}',), "c2"),
        ToolCall("fails", ("{}",), "c3"),
        ToolCall("away", ("{}",), "c4"),
        ToolCall("picture", ("{}",), "c5"),
    )
    added, echoed, failed, away, picture = outputs(message)
    assert added == '{"sum": 5}'
    assert echoed == '{"path": "/echo/a/../b?c#d", "tags": ["x", "y&z"]}'
    assert failed == "The server answered with status 500. it is broken"
    assert "sends one on to 127.0.0.2" in away
    assert picture == "A picture, which the person sees."
    (shown,) = files(message)[4]
    assert shown["url"].startswith("/api/v1/files/")
    assert (await admin.client.get(shown["url"])).status_code == 200
    ((_, path, headers, _),) = server.asked("/echo/a%2F..%2Fb%3Fc%23d")
    assert path.endswith("?tags=x&tags=y%26z")
    assert (headers["x-who"], headers["x-mood"]) == (admin.name, "g%C3%BCt%0A")


async def test_a_document_is_fetched_once(admin: Actor, upstream: Upstream, server: ToolServer) -> None:
    await set_up(admin, server.entry())
    for _ in range(3):
        assert outputs(await say(admin, upstream, ToolCall("add", ('{"a":1,"b":1}',), "c1"))) == ['{"sum": 2}']
    assert len(server.asked("/openapi.json")) == 1
    # Settings that changed ask anew.
    await set_up(admin, server.entry(headers={"X-New": "1"}))
    await say(admin, upstream, ToolCall("add", ('{"a":1,"b":1}',), "c1"))
    assert len(server.asked("/openapi.json")) == 2


async def test_a_server_that_is_away_stops_no_chat(admin: Actor, upstream: Upstream, server: ToolServer) -> None:
    server.status = 503
    await set_up(admin, server.entry(), server.entry(url="http://127.0.0.1:9", info={"id": "gone", "name": "Gone"}))
    message = await say(admin, upstream, tool_ids=("server:adder", "server:gone", "server:never"))
    assert message["content"] == "Done."
    assert sorted(descriptions(message)) == [
        "Adder is left out: 127.0.0.1 answered with status 503 where its document should be.",
        "Gone is left out: 127.0.0.1 can't be reached (ClientConnectorError).",
        "The tool server 'never' is not there, or is not for you.",
    ]


async def test_a_server_is_for_whom_it_is_granted(
    admin: Actor, user: Actor, upstream: Upstream, server: ToolServer, live: Live
) -> None:
    grants = [{"principal_type": "user", "principal_id": user.id, "permission": "read"}]
    allowed = server.entry(config={"access_grants": grants})
    other = server.entry(info={"id": "other", "name": "Other"}, key="sekret", auth_type="bearer")
    await set_up(admin, allowed, other, server.entry(info={"id": "off"}, config={"enable": False}))
    state = live.app.state.oui
    people = {actor.id: await state.identify(actor.token) for actor in (admin, user)}
    listed = {who: state.tool_servers.listed(principal) for who, principal in people.items()}
    assert [row["id"] for row in listed[admin.id]] == ["server:adder", "server:other"]
    assert [row["id"] for row in listed[user.id]] == ["server:adder"]
    assert "sekret" not in str(listed)
    assert listed[user.id][0] | {"created_at": 0, "updated_at": 0} == {
        "version_id": None, "id": "server:adder", "user_id": "server:adder", "name": "Adder",
        "meta": {"i18n": None, "description": "adds", "manifest": {}, "has_user_valves": False},
        "access_grants": [], "updated_at": 0, "created_at": 0, "user": None,
    }  # fmt: skip
    tools = await state.tool_servers.tools(Asked(principal=people[user.id], ids=("server:adder", "server:other")))
    assert {tool._tool._server.id for tool in tools} == {"adder"}
    everything = await state.tool_servers.tools(Asked(principal=people[user.id], ids=("server:other",)))
    assert everything == []


async def test_a_session_is_passed_on_as_a_token_that_ends_soon(
    admin: Actor, upstream: Upstream, server: ToolServer, live: Live
) -> None:
    await set_up(admin, server.entry(auth_type="session"))
    await say(admin, upstream, ToolCall("add", ('{"a":1,"b":1}',), "c1"))
    ((_, _, headers, _),) = server.asked("/add")
    token = headers["authorization"].removeprefix("Bearer ")
    assert token != admin.token
    claims = live.app.state.oui.tokens.verify(token)
    assert (claims.id, claims.exp - claims.iat) == (admin.id, 300)
    async with live.client(token) as holder:
        assert (await holder.get("/api/v1/auths/")).status_code == 200


async def test_they_can_be_switched_off(
    make_live: Callable[..., Awaitable[Live]], monkeypatch: pytest.MonkeyPatch, server: ToolServer
) -> None:
    monkeypatch.setenv("TOOL_SERVER_CONNECTIONS", json.dumps([server.entry(), {"url": "nonsense"}, 7]))
    ann = Principal(id="ann", role="admin", name="Ann", email="ann@example.com")
    # What the environment has wrong is left out.
    live = await make_live()
    assert [row["id"] for row in live.app.state.oui.tool_servers.listed(ann)] == ["server:adder"]
    live = await make_live(enable_tool_servers=False)
    assert live.app.state.oui.tool_servers.listed(ann) == []
