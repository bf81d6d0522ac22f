"""Resources, prompts and completions of MCP servers in the process with the sessions: fine servers, and odd ones."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest
from aiohttp import web

from open_webui.tools.mcp import sessions as sessions_module
from open_webui.tools.mcp.frames import Target
from open_webui.tools.mcp.process import Refused
from open_webui.tools.mcp.sessions import Sessions, Way
from tests.open_webui.tools.test_mcp_conformance import served
from tests.open_webui.tools.test_mcp_sessions import ANN, CHANGING, Hears, at, program, text, until, way
from tests.support.mcp_server import Everything, open_everything

pytestmark = pytest.mark.xdist_group("mcp")
LISTS: Any = ("resources/list", "resources/templates/list", "prompts/list")


@pytest.fixture(scope="module")
def everything() -> Iterator[Everything]:
    with open_everything() as server:
        yield server


@pytest.fixture
async def sessions(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Sessions]:
    monkeypatch.setattr(sessions_module, "OPENING", 50.0)
    made = Sessions()
    yield made
    await made.close()


def odd(kind: str) -> Way:
    return program("-m", "tests.support.mcp_odd", kind)


async def read(sessions: Sessions, way: Way, uri: str, **arguments: Any) -> dict[str, Any]:
    value = await sessions.call(ANN, way, uri, arguments, Hears(), "resources/read")
    (content,) = value["contents"]
    found: dict[str, Any] = content
    return found


async def test_resources_of_the_protocols_own_server(sessions: Sessions, everything: Everything) -> None:
    listing = await sessions.listing(ANN, at(everything))
    assert set(listing.offers) == {"resources", "prompts", "completions"}
    listed = await sessions.items(ANN, at(everything), "resources/list")
    assert all(one["uri"].startswith("demo://resource/static/") for one in listed)
    (page, *_) = listed
    assert (await read(sessions, at(everything), page["uri"]))["text"]
    templates = await sessions.items(ANN, at(everything), "resources/templates/list")
    addresses = {one["uriTemplate"] for one in templates}
    assert {"demo://resource/dynamic/text/{resourceId}", "demo://resource/dynamic/blob/{resourceId}"} <= addresses
    made = await read(sessions, at(everything), "demo://resource/dynamic/text/{resourceId}", resourceId="7")
    assert "Resource 7" in made["text"]
    assert (await read(sessions, at(everything), "demo://resource/dynamic/blob/{resourceId}", resourceId=8))["blob"]
    with pytest.raises(Refused, match="resourceId"):
        await read(sessions, at(everything), "demo://resource/dynamic/text/{resourceId}", other="7")
    with pytest.raises(Refused, match="Unclosed"):
        await read(sessions, at(everything), "demo://resource/dynamic/text/{resourceId", resourceId="7")
    with pytest.raises(Refused, match=r"(?i)not found|unknown|invalid"):
        await read(sessions, at(everything), "demo://nothing")
    # All of it in one session, which goes on.
    assert len(sessions) == 1


async def test_prompts_and_completions_of_the_protocols_own_server(sessions: Sessions, everything: Everything) -> None:
    prompts = {one["name"]: one for one in await sessions.items(ANN, at(everything), "prompts/list")}
    wanted = {argument["name"]: argument["required"] for argument in prompts["args-prompt"]["arguments"]}
    assert wanted == {"city": True, "state": False}
    said = await sessions.call(ANN, at(everything), "args-prompt", {"city": "Ulm"}, None, "prompts/get")
    assert said["messages"][0]["content"]["text"] == "What's weather in Ulm?"
    for name, given in (("args-prompt", {}), ("nothing", {})):
        with pytest.raises(Refused):
            await sessions.call(ANN, at(everything), name, given, None, "prompts/get")
    asked = {"kind": "prompt", "argument": {"name": "department", "value": "S"}, "context": {}}
    found = await sessions.call(ANN, at(everything), "completable-prompt", asked, None, "completion/complete")
    assert found["completion"]["values"] == ["Sales", "Support"]
    asked = {"argument": {"name": "name", "value": ""}, "context": {"department": "Sales"}, "kind": "prompt"}
    found = await sessions.call(ANN, at(everything), "completable-prompt", asked, None, "completion/complete")
    assert found["completion"]["values"] == ["David", "Eve", "Frank"]
    template = "demo://resource/dynamic/text/{resourceId}"
    asked = {"kind": "template", "argument": {"name": "resourceId", "value": "12"}}
    found = await sessions.call(ANN, at(everything), template, asked, None, "completion/complete")
    assert found["completion"]["values"] == ["12"]


async def test_lists_are_kept_until_the_server_says_that_they_changed(sessions: Sessions) -> None:
    before = await sessions.items(ANN, CHANGING, "resources/list")
    assert before == []
    assert await sessions.items(ANN, CHANGING, "prompts/list") == []
    # Two who want it at once, one reading; and none later.
    both = await asyncio.gather(*(sessions.items(ANN, CHANGING, "resources/list") for _ in range(2)))
    assert both[0] is both[1]
    assert await sessions.items(ANN, CHANGING, "resources/list") is both[0]
    await sessions.call(ANN, CHANGING, "note", {"name": "milk"}, Hears())

    async def knows() -> bool:
        resources = await sessions.items(ANN, CHANGING, "resources/list")
        prompts = await sessions.items(ANN, CHANGING, "prompts/list")
        return [one["uri"] for one in resources] == ["note://milk"] and [one["name"] for one in prompts] == ["milk"]

    await until(knows)
    assert (await read(sessions, CHANGING, "note://milk"))["text"] == "A note of milk."


async def test_lists_without_an_end_end(sessions: Sessions) -> None:
    for method in LISTS:
        assert len(await sessions.items(ANN, odd("endless"), method)) == 50
    for method in LISTS:
        assert len(await sessions.items(("bob", "circling"), odd("circling"), method)) == 1


async def test_a_list_that_never_comes(sessions: Sessions, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sessions_module, "READING", 0.3)
    hanging = odd("hanging")
    asked = [sessions.items(ANN, hanging, method) for method in LISTS]
    for answer in await asyncio.gather(*asked, return_exceptions=True):
        assert isinstance(answer, Refused)
        assert "did not list" in answer.detail
    # Its tools go on.
    assert text(await sessions.call(ANN, hanging, "nothing", {}, Hears())) == "Nothing was done."
    assert len(sessions) == 1


async def test_what_is_not_as_the_protocol_has_it(sessions: Sessions) -> None:
    for method in LISTS:
        with pytest.raises(Refused, match="not as the protocol has it"):
            await sessions.items(ANN, odd("wrong"), method)
    with pytest.raises(Refused, match="not as the protocol has it"):
        await read(sessions, odd("wrong"), "odd://x")
    assert text(await sessions.call(ANN, odd("wrong"), "nothing", {}, Hears())) == "Nothing was done."


async def test_a_server_with_tools_alone(sessions: Sessions) -> None:
    assert (await sessions.listing(ANN, odd("bare"))).offers == ()
    with pytest.raises(Refused, match="no such method"):
        await read(sessions, odd("bare"), "odd://x")


async def test_what_is_listed_has_bounds(sessions: Sessions) -> None:
    listed = {one["uri"]: one for one in await sessions.items(ANN, odd("fine"), "resources/list")}
    # An address that had to be cut would lead elsewhere.
    assert set(listed) == {"odd://page", "odd://picture.png", "odd://nothing", "odd://long"}
    assert len(listed["odd://long"]["description"]) == 1_000
    assert (await read(sessions, odd("fine"), "odd://made/{id}{?page}", id="a b/c"))["uri"] == "odd://made/a%20b%2Fc"
    assert (await read(sessions, odd("fine"), "odd://made/{id}{?page}", id="1", page="2"))[
        "uri"
    ] == "odd://made/1?page=2"


async def test_a_resource_of_100_mb(sessions: Sessions) -> None:
    with pytest.raises(Refused, match="sent more than"):
        await read(sessions, odd("large"), "odd://x")
    assert text(await sessions.call(ANN, odd("large"), "nothing", {}, Hears())) == "Nothing was done."


async def test_a_reply_of_100_mb(sessions: Sessions) -> None:
    async def sends(request: web.Request) -> web.StreamResponse:
        given = await request.json()
        if given.get("method") == "initialize":
            about = {
                "protocolVersion": "2025-11-25",
                "capabilities": {"resources": {}},
                "serverInfo": {"name": "l", "version": "1"},
            }
            return web.json_response({"jsonrpc": "2.0", "id": given["id"], "result": about})
        if "id" not in given:
            return web.Response(status=202)
        if given["method"] != "resources/read":
            refusal = {"code": -32601, "message": "There is no such method."}
            return web.json_response({"jsonrpc": "2.0", "id": given["id"], "error": refusal})
        out = web.StreamResponse(headers={"content-type": "application/json"})
        await out.prepare(request)
        await out.write(b'{"jsonrpc": "2.0", "id": 1, "result": {"contents": [{"uri": "x:y", "text": "')
        # The client goes away in the middle.
        with contextlib.suppress(ConnectionError):
            for _ in range(1_600):
                await out.write(b"x" * 65_536)
        return out

    async with served(sends) as port:
        with pytest.raises(Refused, match="sent more than"):
            await read(sessions, way(Target(url=f"http://127.0.0.1:{port}/mcp")), "x:y")


async def test_a_server_sends_the_person_to_a_page_before_a_call(sessions: Sessions, everything: Everything) -> None:
    arguments = {"url": "https://example.com/a", "message": "Sign in.", "errorPath": True}
    hears = Hears({"action": "accept"})
    result = await sessions.call(ANN, at(everything), "trigger-url-elicitation", arguments, hears)
    assert "completed the URL elicitation" in text(result)
    modes = [(ask.params["mode"], ask.params["url"]) for ask in hears.questions]
    assert modes == [("url", "https://modelcontextprotocol.io"), ("url", "https://example.com/a")]
    declined = arguments | {"url": "https://example.com/b"}
    with pytest.raises(Refused, match="browser-based"):
        await sessions.call(ANN, at(everything), "trigger-url-elicitation", declined, Hears({"action": "decline"}))
