"""Resources and prompts of MCP servers: as tools of models, and for people, who see and use them with the rights of the tools."""

import json
import sys
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from open_webui.tools.mcp import sessions as sessions_module
from tests.open_webui.tools.talking import files, outputs, say, set_up
from tests.open_webui.tools.test_mcp_in_a_chat import ID, entry, folder_of, grant
from tests.support.live import Actor, Live
from tests.support.mcp_server import Everything, open_everything
from tests.support.script import ToolCall
from tests.support.upstream import Upstream

pytestmark = pytest.mark.xdist_group("mcp")
ROOT = Path(__file__).resolve().parents[3]
API = "/api/v1/mcp"
ODD = "server:mcp:odd"


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


def odd(kind: str, **more: Any) -> dict[str, Any]:
    program = {"command": sys.executable, "args": ["-m", "tests.support.mcp_odd", kind], "cwd": str(ROOT)}
    return program | {"access_grants": [grant("*")]} | more


def programs(live: Live, **servers: dict[str, Any]) -> None:
    (folder_of(live) / "mcp.json").write_text(json.dumps({"mcpServers": servers}))


def call(name: str, number: int = 1, **arguments: Any) -> ToolCall:
    return ToolCall(name, json.dumps(arguments), f"c{number}")


async def post(actor: Actor, door: str, status: int = 200, **form: Any) -> Any:
    reply = await actor.client.post(f"{API}/{door}", json=form, timeout=60)
    assert reply.status_code == status, reply.text
    return reply.json() if status == 200 else reply.json()["detail"]


async def offered(actor: Actor, upstream: Upstream, *ids: str) -> dict[str, Any]:
    """The functions that a model was told of."""
    await say(actor, upstream, tool_ids=ids)
    bodies = [r.body for r in upstream.received if isinstance(r.body, dict) and r.body.get("messages")]
    return {tool["function"]["name"]: tool["function"] for tool in bodies[-1].get("tools", ())}


# Models


async def test_a_model_lists_and_reads_resources(
    admin: Actor, user: Actor, upstream: Upstream, live: Live, everything: Everything
) -> None:
    await set_up(admin, entry(everything, access_grants=[grant("*")]))
    template = "demo://resource/dynamic/text/{resourceId}"
    message = await say(
        user,
        upstream,
        call("list_resources", 1),
        call("list_resources", 2, query="dynamic TEXT"),
        call("list_resources", 3, query="nothing like it"),
        call("read_resource", 4, uri="demo://resource/dynamic/text/3"),
        call("read_resource", 5, uri=template, arguments={"resourceId": "4"}),
        call("read_resource", 6, uri=template),
        call("read_resource", 7, uri="demo://nothing"),
        call("read_resource", 8),
        tool_ids=(ID,),
    )
    listed, found, none, read, made, unfilled, unknown, missing = outputs(message)
    assert listed.startswith("# Everything (server: every)\n- demo://resource/static/")
    assert template in listed
    assert found.count("\n- ") == 1
    assert template in found
    assert "Nothing that fits." in none
    assert read.startswith("Resource 3")
    assert made.startswith("Resource 4")
    assert "is a template" in unfilled
    assert "not found" in unknown.lower()
    assert "'uri' is missing" in missing
    # The session is the one of the tools.
    sessions = live.app.state.oui.tool_servers.mcp.sessions
    assert [key[0] for key in sessions._sessions] == [user.id]


async def test_pictures_and_long_texts_of_resources(admin: Actor, upstream: Upstream, live: Live) -> None:
    programs(live, odd=odd("fine"))
    message = await say(
        admin,
        upstream,
        call("read_resource", 1, uri="odd://picture.png"),
        call("read_resource", 2, uri="odd://page"),
        call("read_resource", 3, uri="odd://blob"),
        call("read_resource", 4, uri="odd://long"),
        call("read_resource", 5, uri="odd://nothing"),
        tool_ids=(ODD,),
    )
    picture, page, blob, long, nothing = outputs(message)
    assert picture == "A picture, which the person sees."
    kept = files(message)
    assert kept[0][0]["url"].startswith("/api/v1/files/")
    # HTML is a text like any other; nothing of it is shown as a page.
    assert page == "<h1>Hello</h1><script>alert(1)</script>"
    assert not any("embeds" in item for item in message["output"])
    assert "application/pdf" in blob
    assert "1,000,0" in long
    assert "Read on with read_tool_result" in long
    assert kept[3][0]["name"] == "read_resource.txt"
    assert nothing == "The resource is empty."


async def test_which_servers_the_tools_are_for(admin: Actor, upstream: Upstream, live: Live) -> None:
    programs(
        live,
        bare=odd("bare"),
        odd=odd("fine"),
        more=odd("fine"),
        shut=odd("fine", function_name_filter_list="!read_resource, !list_resources"),
        some=odd("fine", function_name_filter_list="nothing, read_resource"),
    )
    found = await offered(admin, upstream, "server:mcp:bare", "server:mcp:shut")
    assert "bare_nothing" in found
    assert not found.keys() & {"list_resources", "read_resource"}
    found = await offered(admin, upstream, ODD, "server:mcp:bare")
    assert found["read_resource"]["parameters"]["required"] == ["uri"]
    assert "server" not in found["list_resources"]["parameters"]["properties"]
    found = await offered(admin, upstream, ODD, "server:mcp:more", "server:mcp:some")
    assert found["read_resource"]["parameters"]["properties"]["server"]["enum"] == ["odd", "more", "some"]
    assert found["list_resources"]["parameters"]["properties"]["server"]["enum"] == ["odd", "more"]
    message = await say(
        admin,
        upstream,
        call("read_resource", 1, server="more", uri="odd://made/1"),
        call("read_resource", 2, server="shut", uri="odd://made/1"),
        call("list_resources", 3, server="more"),
        tool_ids=(ODD, "server:mcp:more"),
    )
    read, refused, listed = outputs(message)
    assert read == "This is odd://made/1."
    assert "server" in refused
    assert listed.startswith("# more")


async def test_a_list_that_fails_stands_beside_the_others(
    admin: Actor, upstream: Upstream, live: Live, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sessions_module, "READING", 0.3)
    programs(live, odd=odd("fine"), slow=odd("hanging"))
    calls = [call("list_resources", 1), call("list_resources", 2, server="slow"), call("slow_nothing", 3)]
    message = await say(admin, upstream, *calls, tool_ids=(ODD, "server:mcp:slow"))
    both, alone, tool = outputs(message)
    assert "odd://page" in both
    assert both.endswith("# slow (server: slow)\nThe server did not list its things within 0.3 seconds.")
    assert alone == "The server did not list its things within 0.3 seconds."
    assert tool == "Nothing was done."


# People


async def test_people_get_prompts(admin: Actor, user: Actor, live: Live, everything: Everything) -> None:
    await set_up(admin, entry(everything, access_grants=[grant(user.id)]))
    listed = (await user.client.get(f"{API}/prompts", timeout=60)).json()
    assert listed["troubles"] == []
    prompts = {one["command"]: one for one in listed["prompts"]}
    args = prompts["every_args-prompt"]
    assert args["server"] == {"id": ID, "name": "Everything"}
    assert (args["name"], args["title"]) == ("args-prompt", "Arguments Prompt")
    assert [one["name"] for one in args["arguments"] if one["required"]] == ["city"]
    filled = await post(user, "prompts/get", server=ID, name="args-prompt", arguments={"city": "Ulm", "state": ""})
    assert filled == {"description": "", "text": "What's weather in Ulm?", "files": []}
    values = await post(user, "complete", server=ID, name="completable-prompt", argument="department", value="S")
    assert values == {"values": ["Sales", "Support"], "has_more": False}
    context = {"department": "Engineering"}
    values = await post(user, "complete", server=ID, name="completable-prompt", argument="name", context=context)
    assert values["values"] == ["Alice", "Bob", "Charlie"]
    made = await post(
        user, "prompts/get", server=ID, name="resource-prompt", arguments={"resourceType": "Text", "resourceId": "2"}
    )
    assert "demo://resource/dynamic/text/2:\nResource 2" in made["text"]
    # One session for all of it.
    sessions = live.app.state.oui.tool_servers.mcp.sessions
    assert [key[0] for key in sessions._sessions] == [user.id]


@pytest.mark.parametrize(
    ("form", "status", "says"),
    [
        ({"name": "args-prompt"}, 400, "needs: city"),
        ({"name": "args-prompt", "arguments": {"city": ""}}, 400, "needs: city"),
        ({"name": "args-prompt", "arguments": {"city": "Ulm", "planet": "Earth"}}, 400, "planet"),
        ({"name": "nothing"}, 404, "no such prompt"),
        ({"name": "resource-prompt", "arguments": {"resourceType": "x", "resourceId": "y"}}, 502, "."),
        ({"name": "simple-prompt", "server": "server:mcp:other"}, 404, "not for you"),
        ({"name": "simple-prompt", "server": "server:every"}, 404, "not for you"),
        ({"name": "simple\n-prompt"}, 422, ""),
        ({"name": "x" * 300}, 422, ""),
        ({"name": "args-prompt", "arguments": {"city": "x" * 20_000}}, 422, ""),
        ({"name": "args-prompt", "arguments": {"city": 5}}, 422, ""),
        ({"name": "args-prompt", "arguments": {str(n): "" for n in range(51)}}, 422, ""),
        ({"name": "args-prompt", "more": 1}, 422, ""),
    ],
)
async def test_prompts_that_can_not_be_had(
    admin: Actor, everything: Everything, form: dict[str, Any], status: int, says: str
) -> None:
    await set_up(admin, entry(everything))
    said = await post(admin, "prompts/get", status, **({"server": ID} | form))
    assert says in str(said)


async def test_who_sees_prompts_and_resources(
    admin: Actor, user: Actor, pending: Actor, client: httpx.AsyncClient, everything: Everything
) -> None:
    shut = ["!simple-prompt", "!read_resource"]
    await set_up(admin, entry(everything, access_grants=[grant(admin.id)], function_name_filter_list=shut))
    for door in ("prompts", "resources"):
        listed = (await user.client.get(f"{API}/{door}")).json()
        assert not any(listed.values())
        assert (await client.get(f"{API}/{door}")).status_code == 401
        assert (await pending.client.get(f"{API}/{door}")).status_code == 401
    hidden = {
        "prompts/get": {"name": "args-prompt", "arguments": {"city": "Ulm"}},
        "complete": {"name": "completable-prompt", "argument": "department"},
        "resources/attach": {"uri": "demo://resource/dynamic/text/1"},
    }
    for door, form in hidden.items():
        assert "not for you" in await post(user, door, 404, server=ID, **form)
    # What an admin has shut is shut for all.
    names = {one["name"] for one in (await admin.client.get(f"{API}/prompts")).json()["prompts"]}
    assert "args-prompt" in names
    assert "simple-prompt" not in names
    assert "no such prompt" in await post(admin, "prompts/get", 404, server=ID, name="simple-prompt")
    assert (await admin.client.get(f"{API}/resources")).json()["resources"] == []
    assert "not for reading" in await post(admin, "resources/attach", 404, server=ID, **hidden["resources/attach"])
    await set_up(admin, entry(everything, enable=False))
    assert (await admin.client.get(f"{API}/prompts")).json()["prompts"] == []


async def test_servers_that_do_not_answer_leave_the_others(
    admin: Actor, live: Live, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sessions_module, "READING", 0.3)
    gone = {"command": "/no/such/program", "access_grants": [grant("*")]}
    programs(live, odd=odd("fine"), bare=odd("bare"), slow=odd("hanging"), wrong=odd("wrong"), gone=gone)
    for door in ("prompts", "resources"):
        listed = (await admin.client.get(f"{API}/{door}", timeout=60)).json()
        assert {one["server"]["name"] for one in listed[door]} == {"odd"}
        assert {one["server"]["name"] for one in listed["troubles"]} == {"slow", "wrong", "gone"}
        assert all(one["detail"] for one in listed["troubles"])
    # A server that completes nothing has nothing to say of it; one that says nonsense has none either.
    values = await post(admin, "complete", server="server:mcp:bare", name="any", argument="x")
    assert values == {"values": [], "has_more": False}
    values = await post(admin, "complete", server=ODD, name="several", argument="who", value="A")
    assert (len(values["values"]), values["has_more"]) == (100, True)
    form = {"server": "server:mcp:wrong", "kind": "template", "name": "odd://x/{id}", "argument": "id"}
    assert "not as the protocol has it" in await post(admin, "complete", 502, **form)


async def test_what_prompts_say(admin: Actor, user: Actor, live: Live) -> None:
    programs(live, odd=odd("fine"))
    several = await post(admin, "prompts/get", server=ODD, name="several", arguments={"who": "Ann", "how": "Well."})
    assert several["text"] == "User: I am Ann.\n\nAssistant: Welcome.\n\nUser: Well."
    pictured = await post(admin, "prompts/get", server=ODD, name="pictured")
    # HTML stays a text; the picture is a file of the person's.
    assert pictured["text"] == "odd://page:\n<h1>Hello</h1><script>alert(1)</script>\n\nLook."
    (picture,) = pictured["files"]
    assert (picture["type"], picture["name"]) == ("image", "picture 1")
    assert (await admin.client.get(picture["url"])).headers["content-type"] == "image/png"
    assert (await user.client.get(picture["url"])).status_code == 404
    assert "200,000" in await post(admin, "prompts/get", 400, server=ODD, name="long")
    assert (await post(admin, "prompts/get", server=ODD, name="empty"))["text"] == ""
    state = live.app.state.oui
    permissions = dict(state.config["user.permissions"])
    await state.save_config({"user.permissions": permissions | {"chat": permissions["chat"] | {"file_upload": False}}})
    assert "may not attach" in await post(user, "prompts/get", 403, server=ODD, name="pictured")
    assert "may not upload" in await post(user, "resources/attach", 403, server=ODD, uri="odd://page")


async def test_people_attach_resources(admin: Actor, upstream: Upstream, live: Live) -> None:
    programs(live, odd=odd("fine"), bare=odd("bare"))
    listed = (await admin.client.get(f"{API}/resources", timeout=60)).json()
    assert {one["uri"] for one in listed["resources"]} == {
        "odd://page",
        "odd://picture.png",
        "odd://nothing",
        "odd://long",
    }
    (template,) = listed["templates"]
    assert (template["uri"], template["server"]["id"]) == ("odd://made/{id}{?page}", ODD)
    stored = await post(admin, "resources/attach", server=ODD, uri="odd://made/{id}{?page}", arguments={"id": "7"})
    assert (stored["meta"]["content_type"], stored["meta"]["data"]["source"]) == (
        "text/plain",
        "odd://made/{id}{?page}",
    )
    found = await live.app.state.oui.ingestion.finished(stored["id"])
    assert found.status == "completed"
    content = await admin.client.get(f"/api/v1/files/{stored['id']}/data/content")
    assert content.json()["content"] == "This is odd://made/7."
    # It goes along with a question like any document.
    page = await post(admin, "resources/attach", server=ODD, uri="odd://page")
    assert page["filename"].endswith(".html")
    shown = await admin.client.get(f"/api/v1/files/{page['id']}/content")
    assert "sandbox" in shown.headers["content-security-policy"]
    picture = await post(admin, "resources/attach", server=ODD, uri="odd://picture.png")
    assert picture["meta"]["content_type"] == "image/png"
    for uri, status, says in (
        ("odd://nothing", 400, "nothing in this"),
        ("odd://blob", 400, "decoded"),
        ("odd://made/{id}", 400, "template"),
        ("odd://\n", 422, ""),
        ("", 422, ""),
        ("x" * 3_000, 422, ""),
    ):
        assert says in str(await post(admin, "resources/attach", status, server=ODD, uri=uri))
    assert "not for reading" in await post(admin, "resources/attach", 404, server="server:mcp:bare", uri="odd://page")
