"""Terminal servers: who may use them, and requests that go through to them."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import httpx
import pytest

from open_webui.errors import BadRequest
from open_webui.services.oauth import forwarding
from open_webui.services.terminals import addresses, proxy, watch
from tests.open_webui.chat.page import open_page
from tests.open_webui.tools.talking import descriptions, outputs, say
from tests.support.live import Actor, Live
from tests.support.script import ToolCall
from tests.support.terminal_server import FILES, KEY, TerminalServer, open_terminal_server
from tests.support.upstream import Upstream


@pytest.fixture
def database_kind() -> str:
    """Nothing here depends on it."""
    return "sqlite"


CONFIG, API = "/api/v1/configs/terminal_servers", "/api/v1/terminals"
RUN = ToolCall("run_command", ('{"command": "hello"}',), "c1")


@pytest.fixture
async def server() -> AsyncIterator[TerminalServer]:
    async with open_terminal_server() as found:
        yield found


@pytest.fixture
async def live(make_live: Callable[..., Awaitable[Live]], connections: None) -> Live:
    return await make_live(bypass_model_access_control=True, max_body_mb=8)


def granted(*actors: Actor) -> dict[str, Any]:
    grants = [{"principal_type": "user", "principal_id": actor.id, "permission": "read"} for actor in actors]
    return {"config": {"access_grants": grants}}


async def set_up(admin: Actor, *entries: dict[str, Any]) -> httpx.Response:
    return await admin.client.post(CONFIG, json={"TERMINAL_SERVER_CONNECTIONS": list(entries)})


async def test_a_server_is_for_whom_it_is_granted(
    admin: Actor, user: Actor, other: Actor, pending: Actor, server: TerminalServer
) -> None:
    entry = server.entry(**granted(user), extra={"kept": True})
    shut = server.entry(id="shut", config={"contexts": {"chat": False}})
    reply = await set_up(admin, entry, server.entry(id="off", enabled=False), server.entry(id="mine"), shut)
    assert reply.status_code == 200, reply.text
    stored = reply.json()["TERMINAL_SERVER_CONNECTIONS"]
    assert stored[0] == {
        "path": "/openapi.json", "enabled": True, "forward_cookies": False, "server_type": None, "policy_id": None,
    } | entry  # fmt: skip
    assert (await admin.client.get(CONFIG)).json() == reply.json()
    listed = {actor.name: (await actor.client.get(f"{API}/")).json() for actor in (admin, user, other)}
    box = {"id": "box", "url": f"{API}/box", "name": "Box"}
    assert listed == {admin.name: [box, box | {"id": "mine", "url": f"{API}/mine"}], user.name: [box], other.name: []}
    assert [(await actor.client.get(f"{API}/box/echo")).status_code for actor in (admin, user, other, pending)] == [
        200, 200, 404, 401,
    ]  # fmt: skip
    assert (await user.client.get(f"{API}/mine/echo")).status_code == 404
    for away in ("off", "shut"):
        assert (await admin.client.get(f"{API}/{away}/echo")).status_code == 404
    assert (await user.client.get(CONFIG)).status_code == 401
    assert (await user.client.get("/api/config")).json()["features"]["enable_terminal_servers"] is True
    # A right that was taken away ends with the next request.
    await set_up(admin, server.entry(**granted(other)))
    assert [(await actor.client.get(f"{API}/box/echo")).status_code for actor in (user, other)] == [404, 200]


BAD: list[tuple[dict[str, Any], int]] = [
    ({}, 422),
    ({"url": "ftp://a"}, 400),
    ({"url": "http://u:p@a"}, 400),
    ({"url": "http://a", "forward_cookies": True}, 400),
    ({"url": "http://a", "id": "../x"}, 400),
    ({"url": "http://a", "id": ".."}, 400),
    ({"url": "http://a", "auth_type": "oauth_2.1"}, 400),
    ({"url": "http://a", "policy_id": ".."}, 400),
    ({"url": "http://a", "key": "k\u0000\n"}, 400),
    ({"url": "http://a", "config": {"access_grants": [{"principal_type": "dog"}]}}, 400),
    ({"url": "http://a", "name": "x" * 300_000}, 422),
    ({"url": "http://a", "config": []}, 422),
    ({"url": "http://good", "id": "good"}, 400),
]


async def test_bad_settings_are_refused_and_nothing_is_stored(admin: Actor) -> None:
    for entry, status in BAD:
        reply = await set_up(admin, {"url": "http://good", "id": "good"}, entry)
        assert reply.status_code == status, (entry, reply.text)
    assert (await admin.client.get(CONFIG)).json() == {"TERMINAL_SERVER_CONNECTIONS": []}


async def test_the_environment_sets_them_up(
    make_live: Callable[..., Awaitable[Live]], monkeypatch: pytest.MonkeyPatch, server: TerminalServer
) -> None:
    monkeypatch.setenv("TERMINAL_SERVER_CONNECTIONS", json.dumps([server.entry(), {"url": "nonsense"}, 7]))
    live = await make_live()
    assert [found.id for found in live.app.state.oui.terminals.all()] == ["box"]


async def test_an_admin_asks_servers(admin: Actor, user: Actor, server: TerminalServer) -> None:
    verify = f"{CONFIG}/verify"
    found = (await admin.client.post(verify, json=server.entry())).json()
    assert found == {"status": True, "type": "terminal", "config": {"features": {"terminal": True}}}
    for bad in (server.entry(key="wrong"), server.entry(url="http://127.0.0.1:9")):
        reply = await admin.client.post(verify, json=bad)
        assert reply.status_code == 400
        assert "127.0.0.1" in reply.json()["detail"]
    absent = {"url": server.url, "key": KEY, "policy_id": "new"}
    assert (await admin.client.post(f"{CONFIG}/policy", json=absent)).status_code == 404
    server.policies = {"policies": [{"id": "default"}]}
    found = (await admin.client.post(verify, json=server.entry())).json()
    assert found == {"status": True, "type": "orchestrator", "policies": [{"id": "default"}]}
    policy = {"url": server.url, "key": KEY, "policy_id": "a/b"}
    assert (await admin.client.post(f"{CONFIG}/policy", json=policy)).json() == server.policies
    put = await admin.client.post(f"{CONFIG}/lifecycle", json=policy | {"lifecycle_data": {"reset": None}})
    assert put.json() == {"reset": None}
    assert server.received[-1][:2] == ("PUT", "/api/v1/policies/a%2Fb/lifecycle")
    assert (await admin.client.post(f"{CONFIG}/policy", json=policy | {"policy_id": ".."})).status_code == 400
    assert (await admin.client.post(f"{CONFIG}/refresh", json={"url": server.url, "key": KEY})).status_code == 404
    assert (await user.client.post(verify, json=server.entry())).status_code == 401


async def test_a_request_goes_through_with_the_servers_key_and_who_asks(
    admin: Actor, user: Actor, server: TerminalServer
) -> None:
    await set_up(admin, server.entry(**granted(user)))
    user.client.cookies.set("token", user.token)
    for method in ("GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"):
        content = b'{"a": 1}' if method in {"POST", "PUT", "PATCH"} else None
        reply = await user.client.request(
            method, f"{API}/box/echo?a=b%20c&user_id=somebody&token=t&%75ser_id=x",
            content=content, headers={"x-session-id": "s-1", "x-user-id": "somebody", "x-forwarded-for": "1.2.3.4"},
        )  # fmt: skip
        assert reply.json() == {"method": method, "query": "a=b%20c", "body": (content or b"").decode()}
    head = await user.client.head(f"{API}/box/data.bin")
    assert (head.status_code, head.headers["content-length"], head.content) == (200, str(256 * 4096), b"")
    for _, _, headers in server.asked("/echo"):
        assert (headers["authorization"], headers["x-user-id"], headers["x-session-id"]) == (
            f"Bearer {KEY}", user.id, "s-1",
        )  # fmt: skip
        assert headers.keys() & {"cookie", "x-forwarded-for", "origin", "referer"} == set()
        assert user.token not in str(headers)


async def test_nothing_that_comes_back_is_active_here(admin: Actor, server: TerminalServer) -> None:
    await set_up(admin, server.entry())
    kinds = {}
    for path, (_, body) in FILES.items():
        reply = await admin.client.get(f"{API}/box{path}")
        assert (reply.status_code, reply.content) == (200, body)
        kinds[path] = reply.headers["content-type"]
        policy = reply.headers["content-security-policy"]
        assert "sandbox" in policy
        assert "default-src 'none'" in policy
        assert "allow-" not in policy
        assert reply.headers["x-content-type-options"] == "nosniff"
        assert reply.headers["cache-control"] == "private, no-store"
        assert reply.headers.keys() & {
            "set-cookie", "access-control-allow-origin", "clear-site-data", "service-worker-allowed", "refresh",
        } == set()  # fmt: skip
        assert reply.headers["etag"] == '"1"'
    assert kinds == {
        "/page.html": "text/html; charset=utf-8", "/picture.svg": "image/svg+xml", "/code.js": "text/plain",
        "/style.css": "text/plain", "/data.bin": "application/octet-stream",
    }  # fmt: skip


async def test_what_goes_wrong_is_a_sentence(admin: Actor, server: TerminalServer) -> None:
    await set_up(
        admin, server.entry(), server.entry(id="wrong", key="wrong"), server.entry(id="gone", url="http://127.0.0.1:9"),
        server.entry(id="site", auth_type="system_oauth"),
    )  # fmt: skip
    said = {}
    for path in ("wrong/echo", "gone/echo", "site/echo", "box/away", "box/broken", "box/nothing", "never/echo"):
        reply = await admin.client.get(f"{API}/{path}")
        said[path] = (reply.status_code, reply.json()["detail"])
    assert said == {
        "wrong/echo": (502, proxy.NOT_IN.format("Box")),
        "gone/echo": (502, "The terminal server 'Box' can't be reached. It may not be running."),
        "site/echo": (502, forwarding.NONE),
        "box/away": (502, "The terminal server 'Box' sends one on to another site."),
        "box/broken": (502, "The terminal server 'Box' can't be reached. It closed the connection."),
        "box/nothing": (404, "Not Found"),
        "never/echo": (404, "There is no such terminal server, or it is not for you."),
    }  # fmt: skip
    moved = await admin.client.get(f"{API}/box/here")
    assert (moved.status_code, moved.headers["location"]) == (307, f"{API}/box/there?a=1")


@pytest.mark.parametrize(
    "path",
    [
        "../x",
        "a/../b",
        "..",
        ".",
        "a/./b",
        "%2e%2e/x",
        "a%2f..%2fb",
        "a\\..\\b",
        "%252e%252e/x",
        "a\x00b",
        "a%0ab",
        "x" * 9_000,
    ],
)
def test_a_path_that_leads_out_is_refused(path: str) -> None:
    with pytest.raises(BadRequest):
        addresses.below(path)


@pytest.mark.parametrize(
    ("path", "sent"),
    [("a b/ü?#.txt", "a%20b/%C3%BC%3F%23.txt"), ("files/serve//home", "files/serve//home"), ("", ""), ("a/...", "a/..."),
     ("100%", "100%25"), ("@evil.example/x", "@evil.example/x")],
)  # fmt: skip
def test_a_path_stays_below(path: str, sent: str) -> None:
    assert addresses.below(path) == sent


async def test_paths_that_lead_out_do_so_for_nobody(live: Live, admin: Actor, server: TerminalServer) -> None:
    await set_up(admin, server.entry(server_type="orchestrator"))
    assert (await admin.client.get(f"{API}/box/echo")).status_code == 200
    for path in ("..%2f..%2fapi%2fv1%2fpolicies", "%2e%2e/%2e%2e/api/v1/policies", "a%00b"):
        reader, writer = await asyncio.open_connection("127.0.0.1", int(live.url.rpartition(":")[2]))
        head = f"GET {API}/box/{path} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {admin.token}\r\nConnection: close\r\n\r\n"
        writer.write(head.encode())
        assert (await reader.read()).startswith(b"HTTP/1.1 400")
        writer.close()
    assert {path for _, path, _ in server.received} == {"/p/default/echo"}


async def test_pages_of_other_sites_do_nothing_with_a_cookie(live: Live, admin: Actor, server: TerminalServer) -> None:
    await set_up(admin, server.entry())
    async with live.client() as browser:
        browser.cookies.set("token", admin.token)
        for site, status in (("same-origin", 200), ("none", 200), ("cross-site", 403), ("same-site", 403)):
            reply = await browser.get(f"{API}/box/echo", headers={"sec-fetch-site": site})
            assert reply.status_code == status, site
        reply = await browser.post(f"{API}/box/echo", headers={"origin": "https://evil.example"}, json={})
        assert reply.status_code == 403


async def test_a_chat_is_named_by_whose_it_is(admin: Actor, user: Actor, other: Actor, server: TerminalServer) -> None:
    await set_up(admin, server.entry(**granted(user, other)))
    document = {"chat": {"title": "mine", "history": {"currentId": None, "messages": {}}}}
    chat = (await user.client.post("/api/v1/chats/new", json=document)).json()["id"]
    path = f"{API}/box/chats/{chat}/echo"
    assert (await user.client.post(path, json={})).status_code == 200
    assert server.received[-1][2]["x-session-id"] == chat
    for actor in (other, admin):
        assert (await actor.client.get(path)).status_code == 404
    for odd in ("nothing", "a%00b", "local:1"):
        assert (await user.client.get(f"{API}/box/chats/{odd}/echo")).status_code in {400, 404}
    assert len(server.asked("/echo")) == 1


async def test_bodies_go_through_in_pieces(live: Live, admin: Actor, server: TerminalServer) -> None:
    await set_up(admin, server.entry())

    async def pieces(count: int) -> AsyncIterator[bytes]:
        for _ in range(count):
            yield bytes(100_000)

    reply = await admin.client.post(f"{API}/box/upload", content=pieces(40))
    assert reply.json() == {"size": 4_000_000}
    too_large = live.settings.max_body_mb * 2**20 + 1
    for body in (bytes(too_large), pieces(too_large // 100_000 + 1)):
        reply = await admin.client.post(f"{API}/box/upload", content=body)
        assert reply.status_code == 413
    async with admin.client.stream("GET", f"{API}/box/slow") as stream:
        lines = stream.aiter_lines()
        assert await anext(lines) == "data: 1"
        server.gate.set()
        assert [line async for line in lines if line] == ["data: 2"]


async def test_an_answer_ends_with_its_client_and_with_the_right_to_it(
    admin: Actor, user: Actor, server: TerminalServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    await set_up(admin, server.entry(**granted(user)))
    async with user.client.stream("GET", f"{API}/box/slow") as stream:
        arriving = stream.aiter_lines()
        await anext(arriving)
    await asyncio.wait_for(server.gone.wait(), 30)
    server.gone.clear()
    async with user.client.stream("GET", f"{API}/box/slow") as stream:
        lines = stream.aiter_lines()
        await anext(lines)
        assert (await admin.client.delete(f"/api/v1/users/{user.id}")).status_code == 200
        with pytest.raises(httpx.HTTPError):
            async for _ in lines:
                pass
    await asyncio.wait_for(server.gone.wait(), 30)
    monkeypatch.setattr(proxy, "MOST", 0)
    reply = await admin.client.get(f"{API}/box/echo")
    assert (reply.status_code, reply.json()["detail"]) == (429, watch.MANY.format(0, "requests"))


async def test_a_model_works_on_a_terminal(
    admin: Actor, user: Actor, upstream: Upstream, server: TerminalServer
) -> None:
    await set_up(admin, server.entry(**granted(user)))
    message = await say(user, upstream, RUN, tool_ids=(), terminal_id="box")
    assert outputs(message) == ['{"output": "HELLO"}']
    ((_, _, headers),) = server.asked("/execute")
    assert (headers["authorization"], headers["x-user-id"]) == (f"Bearer {KEY}", user.id)
    assert headers["x-session-id"] != ""
    assert all(message["role"] != "system" for message in upstream.chats[-1].body["messages"])
    # What it says of itself stands behind the system prompt.
    server.prompt = "You work on a box. " + "x" * 30_000
    await say(user, upstream, tool_ids=(), terminal_id="box", params={"system": "Be brief."})
    system = upstream.chats[-1].body["messages"][0]
    assert (system["role"], len(system["content"])) == ("system", len("Be brief.\n\n") + 20_000)
    assert system["content"].startswith("Be brief.\n\nYou work on a box.")
    # Files that lie there are told by their paths, and pages hear what was done.
    there = {"type": "filesystem", "id": "/a.csv", "path": "/a.csv", "url": "/a.csv", "name": "a.csv", "size": 1}
    heard: list[dict[str, Any]] = []
    message = await say(
        user, upstream, RUN, tool_ids=(), terminal_id="box", files=[there, there | {"path": 7}], answers=heard.append
    )
    assert (message["content"], message.get("error")) == ("Done.", None)
    assert upstream.chats[-1].body["messages"][0]["content"].endswith("tools:\n- /a.csv")
    assert [event["data"] for event in heard if event["type"] == "terminal:run_command"] == [{}]
    # One that is not there, or for others, stops no chat.
    await set_up(admin, server.entry())
    message = await say(user, upstream, tool_ids=(), terminal_id="box")
    assert (message["content"], descriptions(message)) == (
        "Done.",
        ["The terminal 'box' is not there, or is not for you."],
    )
    async with open_page(user.client, user.token) as page:
        for odd in ({"a": 1}, "x" * 1_000, "a\x00b", 7):
            reply = await user.client.post("/api/chat/completions", json=page.ask("rounds", "Hi", terminal_id=odd))
            assert reply.status_code == 400


async def test_a_terminal_of_ones_own_is_called_by_the_page(admin: Actor, upstream: Upstream) -> None:
    form = {"ENABLE_DIRECT_CONNECTIONS": False, "ENABLE_DIRECT_INTEGRATIONS": True, "ENABLE_BASE_MODELS_CACHE": True}
    assert (await admin.client.post("/api/v1/configs/connections", json=form)).status_code == 200
    spec = {"name": "run_command", "description": "Runs", "parameters": {"type": "object", "properties": {}}}
    own = {"url": "http://localhost:9", "specs": [spec]}
    message = await say(
        admin,
        upstream,
        RUN,
        tool_ids=(),
        answers=lambda _: "mine",
        tool_servers=[own],
        terminal_id="http://localhost:9",
    )
    assert (outputs(message), descriptions(message)) == (["mine"], [])
