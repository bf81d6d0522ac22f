"""The server as an MCP server: what the official library's client gets of it, who may speak with it, and what is refused."""

import asyncio
import json
import os
import re
import secrets
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import httpx2
import pytest
from mcp.client import Client
from mcp.client.streamable_http import streamable_http_client
from mcp.shared.exceptions import MCPError
from mcp_types import PromptReference

from open_webui.internal.bus.memory import Hub, MemoryBus
from open_webui.services.mcp_endpoint.calls import RunningCalls
from open_webui.services.mcp_endpoint.messages import Problem
from tests.open_webui.chat.test_documents import put_base, put_file
from tests.support.live import Actor, Live, sign_up
from tests.support.plugins import until

pytestmark = [pytest.mark.xdist_group("mcp"), pytest.mark.parametrize("database_kind", ["sqlite"], indirect=True)]
STEPS = '''
import asyncio

class Tools:
    async def steps(self, count: int, __event_emitter__=None, __user__: dict = {}) -> str:
        """
        Tells steps, and whose they are.
        :param count: How many
        """
        for n in range(count):
            await __event_emitter__({"type": "status", "data": {"description": f"step {n + 1}", "done": False}})
        await __event_emitter__({"type": "message", "data": {"content": "Said besides."}})
        return __user__["name"]

    async def endless(self, __event_emitter__=None) -> str:
        """Goes on for ever."""
        await __event_emitter__({"type": "status", "data": {"description": "begun", "done": False}})
        await asyncio.sleep(3600)

    async def asking(self, __event_call__=None) -> str:
        """Asks the person."""
        return str(await __event_call__({"type": "input", "data": {"title": "Well?"}}))

    def broken(self) -> str:
        """Fails."""
        raise ValueError("no such luck")
'''
MANUAL = Path(__file__).resolve().parents[3] / "docs" / "mcp.md"
HEADERS = {"content-type": "application/json", "accept": "application/json, text/event-stream"}
PING = {"jsonrpc": "2.0", "id": 1, "method": "ping"}


@pytest.fixture
async def live(make_live: Callable[..., Awaitable[Live]], connections: None, monkeypatch: pytest.MonkeyPatch) -> Live:
    monkeypatch.delenv("ENABLE_BUILTIN_TOOLS")
    monkeypatch.setenv("ENABLE_MCP_SERVER", "true")
    return await make_live()


@asynccontextmanager
async def connected(live: Live, actor: Actor) -> AsyncIterator[Client]:
    """The official library's client, signed in as somebody."""
    headers = {"authorization": f"Bearer {actor.token}"}
    async with (
        httpx2.AsyncClient(headers=headers, timeout=30, verify=False) as http,
        Client(streamable_http_client(f"{live.url}/mcp", http_client=http)) as client,
    ):
        yield client


async def post(actor: Actor, message: Any, **headers: str) -> httpx.Response:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    content = message if isinstance(message, bytes) else json.dumps(message).encode()
    return await actor.client.post("/mcp", content=content, headers=HEADERS | named)


async def ask(actor: Actor, method: str, **params: Any) -> dict[str, Any]:
    """The answer to a request."""
    reply = await post(actor, {"jsonrpc": "2.0", "id": "a", "method": method, "params": params})
    assert reply.status_code == 200, reply.text
    answer: dict[str, Any] = reply.json()
    assert (answer["jsonrpc"], answer["id"]) == ("2.0", "a")
    return answer


async def keep_steps(actor: Actor) -> None:
    form = {"id": "steps", "name": "Steps", "content": STEPS, "meta": {"description": ""}}
    reply = await actor.client.post("/api/v1/tools/create", json=form)
    assert reply.status_code == 200, reply.text


async def make_chat(actor: Actor, title: str, text: str) -> str:
    message = {"id": "m1", "parentId": None, "childrenIds": [], "role": "user", "content": text, "timestamp": 1}
    chat = {"title": title, "history": {"messages": {"m1": message}, "currentId": "m1"}}
    reply = await actor.client.post("/api/v1/chats/new", json={"chat": chat})
    assert reply.status_code == 200, reply.text
    made: str = reply.json()["id"]
    return made


async def test_the_official_client_uses_ones_own_things(live: Live, admin: Actor, user: Actor) -> None:
    await keep_steps(admin)
    chat_id = await make_chat(admin, "Of fish", "Do fish sleep?")
    file_id = "f1"
    await put_file(live, admin, file_id, "The Danube is a river.", name="rivers.txt")
    await put_base(live, admin, "b1", file_id)
    async with connected(live, admin) as client:
        assert client.server_info is not None
        assert client.server_info.name == "oui-backend"
        names = {tool.name for tool in (await client.list_tools()).tools}
        assert names >= {"steps", "asking", "search_chats", "view_chat", "view_knowledge_file", "get_current_timestamp"}
        # What needs a page, or a chat that is answered, is not there.
        assert not names & {"ask_user", "create_tasks", "update_task", "read_tool_result", "create_automation"}
        told: list[tuple[float, str | None]] = []

        async def progressed(progress: float, total: float | None, text: str | None) -> None:
            assert total is None
            told.append((progress, text))

        result = await client.call_tool("steps", {"count": 3}, progress_callback=progressed)
        assert [block.text for block in result.content] == ["Said besides.", admin.name]
        assert told == [(1, "step 1"), (2, "step 2"), (3, "step 3")]
        seen = await client.call_tool("view_chat", {"chat_id": chat_id})
        assert "Do fish sleep?" in seen.content[0].text
        broken = await client.call_tool("broken", {})
        assert broken.is_error
        assert "no such luck" in broken.content[0].text
        misfit = await client.call_tool("steps", {"count": "many"})
        assert "count" in misfit.content[0].text
        asking = await client.call_tool("asking", {})
        assert "an MCP client is none" in asking.content[0].text
        listed = {str(one.uri): one.name for one in (await client.list_resources()).resources}
        assert listed == {f"oui://file/{file_id}": "rivers.txt", f"oui://chat/{chat_id}": "Of fish"}
        texts = [(await client.read_resource(uri)).contents[0].text for uri in listed]
        assert texts[0] == "The Danube is a river."
        assert "Do fish sleep?" in texts[1]
        assert len((await client.list_resource_templates()).resource_templates) == 2
    # Somebody else has none of it.
    async with connected(live, user) as client:
        assert "steps" not in {tool.name for tool in (await client.list_tools()).tools}
        with pytest.raises(MCPError, match="Unknown tool"):
            await client.call_tool("steps", {"count": 1})
        assert (await client.call_tool("view_chat", {"chat_id": chat_id})).is_error
        assert (await client.list_resources()).resources == []
        for uri in listed:
            with pytest.raises(MCPError, match="no such resource"):
                await client.read_resource(uri)


async def test_ones_calendar_automations_and_channels_are_there_where_one_may_have_them(
    live: Live, admin: Actor, user: Actor
) -> None:
    await live.app.state.oui.save_config({"channels.enable": True})
    readers = {"search_calendar_events", "list_automations", "search_channels", "search_channel_messages"}
    changers = {"create_calendar_event", "update_calendar_event", "delete_calendar_event", "toggle_automation"}
    async with connected(live, admin) as client:
        tools = {tool.name: tool for tool in (await client.list_tools()).tools}
        # An automation asks the model of the chat in which it is set up, and here is none.
        assert readers | changers <= tools.keys()
        assert "create_automation" not in tools
        assert {name for name in readers | changers if tools[name].annotations.read_only_hint} == readers
        made = await client.call_tool("create_calendar_event", {"title": "Dentist", "start": "2026-04-01T09:00"})
        assert json.loads(made.content[0].text)["title"] == "Dentist"
        wrong = await client.call_tool("delete_calendar_event", {"event_id": "nothing"})
        assert (wrong.is_error, "no such event" in wrong.content[0].text) == (True, True)
    async with connected(live, user) as client:
        # At first, people may have no automations.
        names = {tool.name for tool in (await client.list_tools()).tools}
        assert names & {"search_calendar_events", "list_automations"} == {"search_calendar_events"}
        found = await client.call_tool("search_calendar_events", {"query": "Dentist"})
        assert json.loads(found.content[0].text)["events"] == []


async def test_who_may_speak(live: Live, admin: Actor, pending: Actor, client: httpx.AsyncClient) -> None:
    nobody = await client.post("/mcp", json=PING)
    assert (nobody.status_code, nobody.headers["www-authenticate"]) == (401, 'Bearer realm="oui-backend"')
    wrong = await client.post("/mcp", json=PING, headers={"authorization": "Bearer wrong"})
    assert (wrong.status_code, 'error="invalid_token"' in wrong.headers["www-authenticate"]) == (401, True)
    # A cookie is a page's, and a page is not meant here.
    by_cookie = await client.post("/mcp", json=PING, headers={"cookie": f"token={admin.token}"})
    assert (by_cookie.status_code, "Cookies" in by_cookie.json()["detail"]) == (401, True)
    assert (await post(pending, PING)).status_code == 403
    for origin, status in (
        ("http://evil.example", 403),
        ("null", 403),
        ("http://[", 403),
        (live.url, 200),
        (live.url.replace("127.0.0.1", "localhost"), 403),
    ):
        assert (await post(admin, PING, origin=origin)).status_code == status, origin
    # A name that somebody has led to this machine is not believed.
    assert (await post(admin, PING, origin="http://evil.example", host="evil.example")).status_code == 403
    for method in ("GET", "DELETE"):
        reply = await admin.client.request(method, "/mcp", headers={"accept": "text/event-stream"})
        assert (reply.status_code, reply.headers["allow"]) == (405, "POST")
    assert (await post(admin, PING, content_type="text/plain")).status_code == 415
    state = live.app.state.oui
    await state.save_config({"auth.enable_api_keys": True})
    key = (await admin.client.post("/api/v1/auths/api_key")).json()["api_key"]
    signed = {"authorization": f"Bearer {key}"}
    assert (await client.post("/mcp", json=PING, headers=signed)).json() == {"jsonrpc": "2.0", "id": 1, "result": {}}
    await state.save_config({"auth.api_key.endpoint_restrictions": True, "auth.api_key.allowed_endpoints": "/api"})
    assert (await client.post("/mcp", json=PING, headers=signed)).status_code == 403


async def test_the_commands_of_the_manual_work(live: Live, admin: Actor) -> None:
    await live.app.state.oui.save_config({"auth.enable_api_keys": True})
    key = (await admin.client.post("/api/v1/auths/api_key")).json()["api_key"]
    page = MANUAL.read_text()
    (program,) = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    (command,) = re.findall(r"```\n(curl .*?)```", page, re.DOTALL)
    environment = {"PATH": os.environ["PATH"], "OUI_KEY": key, "OUI_URL": live.url}
    for run in ([sys.executable, "-c", program], ["bash", "-c", command]):
        process = await asyncio.create_subprocess_exec(
            *run, env=environment, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
        )
        said = (await process.communicate())[0].decode()
        assert (process.returncode, "get_current_timestamp" in said) == (0, True), said


async def test_it_is_off_unless_an_admin_switches_it_on(
    make_live: Callable[..., Awaitable[Live]], connections: None
) -> None:
    live = await make_live()
    admin = await sign_up(live, "Admin One")
    async with admin.client:
        reply = await post(admin, PING)
        assert (reply.status_code, "ENABLE_MCP_SERVER" in reply.json()["detail"]) == (404, True)
        await live.app.state.oui.save_config({"mcp.server.enable": True})
        assert (await post(admin, PING)).status_code == 200


async def test_versions_are_agreed_on(admin: Actor) -> None:
    for wanted, spoken in (
        ("2025-11-25", None),
        ("2025-06-18", None),
        ("2025-03-26", None),
        ("1999-01-01", "2025-11-25"),
    ):
        about = {"protocolVersion": wanted, "capabilities": {}, "clientInfo": {"name": "c", "version": "1"}}
        reply = await post(admin, {"jsonrpc": "2.0", "id": 0, "method": "initialize", "params": about})
        assert reply.json()["result"]["protocolVersion"] == (spoken or wanted)
        assert len(reply.headers["mcp-session-id"]) == 32
    assert (await post(admin, PING, mcp_protocol_version="2025-06-18")).status_code == 200
    unknown = await post(admin, PING, mcp_protocol_version="2099-01-01")
    assert (unknown.status_code, unknown.json()["error"]["code"]) == (400, -32022)
    many = [PING, {"jsonrpc": "2.0", "method": "notifications/initialized"}, PING | {"id": "2", "method": "none"}]
    batch = await post(admin, many)
    assert [(one["id"], "result" in one) for one in batch.json()] == [(1, True), ("2", False)]
    assert (await post(admin, many, mcp_protocol_version="2025-06-18")).status_code == 400
    assert (await post(admin, [PING] * 21)).status_code == 400
    assert (await post(admin, [many[1]])).status_code == 202


@pytest.mark.parametrize(
    ("message", "code"),
    [
        (b"{", -32700),
        (b"\xff", -32700),
        (b"[" * 5_000, -32700),
        ([], -32600),
        ("text", -32600),
        (PING | {"jsonrpc": "1.0"}, -32600),
        (PING | {"id": None}, -32600),
        (PING | {"id": True}, -32600),
        (PING | {"id": 10**30}, -32600),
        (PING | {"id": 1.5}, -32600),
        (PING | {"method": 5}, -32600),
        (PING | {"params": [1]}, -32602),
        (PING | {"params": {"_meta": {"progressToken": []}}}, -32602),
    ],
)
async def test_what_is_no_message(admin: Actor, message: Any, code: int) -> None:
    reply = await post(admin, message)
    assert (reply.status_code, reply.json()["error"]["code"]) == (400, code)


async def test_odd_requests_are_answered_in_a_sentence(admin: Actor) -> None:
    for method, params, code in (
        ("tools/unknown", {}, -32601),
        ("initialize", {}, -32602),
        ("tools/call", {"name": ["x"]}, -32602),
        ("tools/call", {"name": "view_chat", "arguments": "{}"}, -32602),
        ("tools/call", {"name": "nothing\x00"}, -32602),
        ("tools/list", {"cursor": "²"}, -32602),
        ("tools/list", {"cursor": "99999999"}, -32602),
        ("resources/list", {"cursor": -1}, -32602),
        ("resources/read", {}, -32602),
        ("resources/read", {"uri": "oui://chat/\x00"}, -32002),
        ("resources/read", {"uri": "oui://file/"}, -32002),
        ("resources/read", {"uri": "file:///etc/passwd"}, -32002),
        ("resources/read", {"uri": "x" * 3_000}, -32602),
    ):
        answer = await ask(admin, method, **params)
        assert answer["error"]["code"] == code, (method, params, answer)
        assert answer["error"]["message"]
    for arguments in ({"chat_id": "\x00"}, {"chat_id": 10**30}, {"chat_id": None}, {}):
        assert (await ask(admin, "tools/call", name="view_chat", arguments=arguments))["result"]["isError"] is True
    # Far pages are empty.
    assert (await ask(admin, "tools/list", cursor="9999999"))["result"] == {"tools": []}
    assert (await ask(admin, "resources/list", cursor="999999"))["result"] == {"resources": []}
    assert (await post(admin, b" " * (5 * 2**20))).status_code == 413


async def test_a_call_ends_when_its_client_says_so_or_goes(live: Live, admin: Actor) -> None:
    await keep_steps(admin)
    calls, session = live.app.state.oui.mcp_calls, secrets.token_hex(16)
    call = {"jsonrpc": "2.0", "id": 7, "method": "tools/call"}
    params = {"name": "endless", "arguments": {}, "_meta": {"progressToken": "t"}}
    cancelled = {"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": 7}}
    headers = HEADERS | {"mcp-session-id": session}
    content = json.dumps(call | {"params": params}).encode()
    async with admin.client.stream("POST", "/mcp", content=content, headers=headers) as reply:
        lines = reply.aiter_lines()
        assert await anext(lines) == "event: message"
        begun = json.loads((await anext(lines)).removeprefix("data: "))
        assert begun["params"] == {"progressToken": "t", "progress": 1, "message": "begun"}
        # Not of another session, nor by another id.
        await post(admin, cancelled, mcp_session_id="another")
        await post(admin, cancelled | {"params": {"requestId": "7"}}, mcp_session_id=session)
        assert len(calls._running) == 1
        assert (await post(admin, cancelled, mcp_session_id=session)).status_code == 202
        rest = [json.loads(line.removeprefix("data: ")) async for line in lines if line.startswith("data: ")]
    assert [one["error"]["code"] for one in rest] == [-32800]
    assert not calls._running

    async def over() -> bool:
        return not calls._running and not live.app.state.oui.streams._by_user

    async with admin.client.stream("POST", "/mcp", content=content, headers=headers) as reply:
        arriving = reply.aiter_lines()
        await anext(arriving)
        assert len(calls._running) == 1
    await until(over)


@pytest.mark.usefixtures("database_kind")
async def test_another_process_cancels_it() -> None:
    hub = Hub()
    buses = [MemoryBus(hub), MemoryBus(hub)]
    here, there = (RunningCalls(bus) for bus in buses)
    for bus in buses:
        await bus.open()
    running = asyncio.create_task(there.run("u", "s", 1, asyncio.sleep(3600)))
    await buses[0].flush()
    here.cancel("u", "s", 1)
    with pytest.raises(Problem, match="cancelled"):
        await running


async def put_skill(actor: Actor, skill_id: str, content: str, **more: Any) -> None:
    form = {"id": skill_id, "name": skill_id.title(), "content": content, "description": "How it goes"} | more
    reply = await actor.client.post("/api/v1/skills/create", json=form)
    assert reply.status_code == 200, reply.text


async def test_prompts_are_skills_and_those_of_ones_servers(live: Live, admin: Actor, user: Actor) -> None:
    folder = live.app.state.oui.settings.data_dir
    folder.mkdir(parents=True, exist_ok=True)
    program = {"command": sys.executable, "args": ["-m", "tests.support.mcp_odd"], "cwd": str(MANUAL.parents[1])}
    servers = {kind: program | {"args": [*program["args"], kind]} for kind in ("fine", "bare")}
    (folder / "mcp.json").write_text(json.dumps({"mcpServers": servers}))
    await put_skill(admin, "review", "# Review\n\nLook at {{everything}}.")
    await put_skill(admin, "asleep", "# Asleep", is_active=False)
    async with connected(live, admin) as client:
        listed = {one.name: one for one in (await client.list_prompts()).prompts}
        assert set(listed) == {"review", "fine_several", "fine_pictured", "fine_long", "fine_empty"}
        assert (listed["review"].title, listed["review"].description) == ("Review", "How it goes")
        assert [(a.name, a.required) for a in listed["fine_several"].arguments or ()] == [("who", True), ("how", False)]
        (said,) = (await client.get_prompt("review")).messages
        assert (said.role, said.content.text) == ("user", "# Review\n\nLook at {{everything}}.")
        several = await client.get_prompt("fine_several", {"who": "Ann"})
        assert [(m.role, m.content.text) for m in several.messages][:2] == [
            ("user", "I am Ann."),
            ("assistant", "Welcome."),
        ]
        pictured = await client.get_prompt("fine_pictured")
        assert [message.content.type for message in pictured.messages] == ["image", "resource", "text"]
        for name, arguments, why in (
            ("review", {"x": "y"}, "no argument"),
            ("fine_several", {}, "needs: who"),
            ("fine_several", {"who": "Ann", "x": "y"}, "no argument"),
            ("asleep", {}, "Unknown prompt"),
            ("fine_nothing", {}, "Unknown prompt"),
            ("bare_several", {}, "Unknown prompt"),
        ):
            with pytest.raises(MCPError, match=why) as failed:
                await client.get_prompt(name, arguments)
            assert failed.value.code == -32602
        completed = (
            await client.complete(PromptReference(name="fine_several"), {"name": "who", "value": "A"})
        ).completion
        assert (completed.values[:2], len(completed.values)) == (["A0", "A1"], 100)
        completed = (await client.complete(PromptReference(name="review"), {"name": "who", "value": "A"})).completion
        assert completed.values == []
    async with connected(live, user) as client:
        assert (await client.list_prompts()).prompts == []
        for name in ("review", "fine_pictured"):
            with pytest.raises(MCPError, match="Unknown prompt"):
                await client.get_prompt(name)


async def test_addresses_are_completed(live: Live, admin: Actor, user: Actor) -> None:
    chats = [await make_chat(admin, title, "Do fish sleep?") for title in ("Of fish", "Of birds")]
    await put_file(live, admin, "f1", "The Danube is a river.", name="rivers.txt")
    await put_base(live, admin, "b1", "f1")

    async def found(actor: Actor, uri: str, value: str) -> list[str]:
        ref = {"type": "ref/resource", "uri": uri}
        answer = await ask(actor, "completion/complete", ref=ref, argument={"name": "id", "value": value})
        completion = answer["result"]["completion"]
        assert (completion["total"], completion["hasMore"]) == (len(completion["values"]), False)
        values: list[str] = completion["values"]
        return values

    assert sorted(await found(admin, "oui://chat/{id}", "")) == sorted(chats)
    assert await found(admin, "oui://chat/{id}", "FISH") == [chats[0]]
    assert await found(admin, "oui://chat/{id}", chats[1][:20]) == [chats[1]]
    assert await found(admin, "oui://file/{id}", "river") == ["f1"]
    assert await found(user, "oui://chat/{id}", "") == await found(user, "oui://file/{id}", "") == []


async def test_odd_prompts_completions_and_levels(admin: Actor) -> None:
    about, ref = {"name": "id", "value": ""}, {"type": "ref/prompt", "name": "x"}
    for method, params in (
        ("prompts/get", {}),
        ("prompts/get", {"name": "\x00"}),
        ("prompts/get", {"name": "x", "arguments": "y"}),
        ("prompts/get", {"name": "x", "arguments": {"a": 1}}),
        ("prompts/get", {"name": "x", "arguments": {"a": "b" * 20_000}}),
        ("prompts/list", {"cursor": "x"}),
        ("completion/complete", {}),
        ("completion/complete", {"ref": ref}),
        ("completion/complete", {"ref": ref, "argument": about}),
        ("completion/complete", {"ref": ref, "argument": about, "context": 5}),
        ("completion/complete", {"ref": ref, "argument": {"name": "id", "value": 5}}),
        ("completion/complete", {"ref": {"type": "ref/other"}, "argument": about}),
        ("completion/complete", {"ref": {"type": "ref/resource", "uri": "oui://other/{id}"}, "argument": about}),
        (
            "completion/complete",
            {"ref": {"type": "ref/resource", "uri": "oui://chat/{id}"}, "argument": about | {"name": "x"}},
        ),
        ("logging/setLevel", {}),
        ("logging/setLevel", {"level": ["info"]}),
        ("logging/setLevel", {"level": "loud"}),
    ):
        answer = await ask(admin, method, **params)
        assert answer["error"]["code"] == -32602, (method, params, answer)
        assert answer["error"]["message"]
    assert (await ask(admin, "logging/setLevel", level="debug"))["result"] == {}
    assert (await ask(admin, "prompts/list", cursor="9999999"))["result"] == {"prompts": []}


async def test_prompts_of_this_server(live: Live, admin: Actor, user: Actor) -> None:
    tone = 'select:options=["dry","warm"]:default="dry"'
    content = f"Write to {{{{who | text:required}}}} in {{{{tone | {tone}}}}}, as {{{{USER_NAME}}}}. {{{{who}}}}!"
    for command, text in (("letter", content), ("plain", "Just this."), ("review", "Not the skill.")):
        form = {"command": command, "name": command.title(), "content": text}
        reply = await admin.client.post("/api/v1/prompts/create", json=form)
        assert reply.status_code == 200, reply.text
    await put_skill(admin, "review", "# Review")
    async with connected(live, admin) as client:
        listed = {one.name: one for one in (await client.list_prompts()).prompts}
        assert set(listed) == {"letter", "plain", "review"}
        assert [(a.name, a.required) for a in listed["letter"].arguments or ()] == [("who", True), ("tone", False)]
        said = (await client.get_prompt("letter", {"who": "{{tone}}"})).messages[0].content.text
        assert said == f"Write to {{{{tone}}}} in dry, as {admin.name}. {{{{tone}}}}!"
        assert (await client.get_prompt("review")).messages[0].content.text == "Not the skill."
        with pytest.raises(MCPError, match="needs: who"):
            await client.get_prompt("letter")
        completed = (await client.complete(PromptReference(name="letter"), {"name": "tone", "value": "W"})).completion
        assert completed.values == ["warm"]
    async with connected(live, user) as client:
        assert (await client.list_prompts()).prompts == []
        with pytest.raises(MCPError, match="Unknown prompt"):
            await client.get_prompt("plain")
