"""People sign in at an MCP server, each for themselves."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest

from open_webui.tools import oauth
from open_webui.tools.mcp import sessions as sessions_module
from tests.open_webui.tools.talking import descriptions, outputs, say, set_up
from tests.support.live import Actor, Live
from tests.support.oauth_mcp import OAuthMCP, open_oauth_mcp
from tests.support.script import ToolCall
from tests.support.upstream import Upstream

pytestmark = pytest.mark.xdist_group("mcp")
REGISTER = "/api/v1/configs/oauth/clients/register"
AUTHORIZE = "/oauth/clients/mcp:signed/authorize"
CALLBACK = "/oauth/clients/mcp:signed/callback"
CALL = ToolCall("signed_whoami", ("{}",), "c1")
ID = "server:mcp:signed"
EVERYBODY = [{"principal_type": "user", "principal_id": "*", "permission": "read"}]


@pytest.fixture
async def live(make_live: Callable[..., Awaitable[Live]], connections: None) -> Live:
    return await make_live(bypass_model_access_control=True)


@pytest.fixture
async def server(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[OAuthMCP]:
    monkeypatch.setattr(sessions_module, "OPENING", 50.0)
    monkeypatch.setattr(sessions_module, "AWAY", 0.0)
    async with open_oauth_mcp() as found:
        yield found


async def registered(admin: Actor, server: OAuthMCP, **form: Any) -> dict[str, Any]:
    """The entry of the server, with this one's registration in it."""
    reply = await admin.client.post(
        REGISTER, params={"type": "mcp"}, json={"url": server.mcp_url, "client_id": "signed"} | form
    )
    assert reply.status_code == 200, reply.text
    assert reply.json()["status"] is True
    info = {"id": "signed", "name": "Signed", "oauth_client_info": reply.json()["oauth_client_info"]}
    entry = {
        "url": server.mcp_url, "path": "", "type": "mcp", "auth_type": "oauth_2.1", "key": "",
        "config": {"enable": True, "access_grants": EVERYBODY}, "info": info,
    }  # fmt: skip
    await set_up(admin, entry)
    return entry


async def signed_in(actor: Actor, server: OAuthMCP, name: str, way: str = AUTHORIZE) -> httpx.Response:
    """What comes of a person's way there and back."""
    server.person = name
    there = await actor.client.get(way)
    assert there.status_code == 302, there.text
    async with httpx.AsyncClient(trust_env=False, verify=False) as browser:
        back = await browser.get(there.headers["location"])
    assert back.status_code == 302, back.text
    address = urlsplit(back.headers["location"])
    assert address.path == CALLBACK
    return await actor.client.get(f"{address.path}?{address.query}")


async def authenticated(live: Live, actor: Actor) -> Any:
    state = live.app.state.oui
    rows = await state.tool_servers.listed_for(await state.identify(actor.token))
    return [row["authenticated"] for row in rows]


async def test_each_person_signs_in_for_themselves(
    admin: Actor, user: Actor, upstream: Upstream, live: Live, server: OAuthMCP
) -> None:
    entry = await registered(admin, server)
    assert "client-" not in str(entry)
    verified = await admin.client.post("/api/v1/configs/tool_servers/verify", json=entry)
    assert verified.json() == {"status": True, "specs": []}
    first = await say(user, upstream, tool_ids=(ID,))
    assert descriptions(first) == [f"Signed is left out: Sign in there first: open {AUTHORIZE}"]
    assert await authenticated(live, user) == [False]
    back = await signed_in(user, server, "Ursula")
    assert (back.status_code, back.headers["location"]) == (302, "/")
    assert outputs(await say(user, upstream, CALL, tool_ids=(ID,))) == ["You are Ursula."]
    assert await authenticated(live, user) == [True]
    # Nothing of that is another person's, not even an admin's.
    assert await authenticated(live, admin) == [False]
    assert outputs(await say(admin, upstream, CALL, tool_ids=(ID,))) == []
    await signed_in(admin, server, "Adam")
    assert outputs(await say(admin, upstream, CALL, tool_ids=(ID,))) == ["You are Adam."]
    assert outputs(await say(user, upstream, CALL, tool_ids=(ID,))) == ["You are Ursula."]


async def test_a_way_back_is_of_who_went_there(admin: Actor, user: Actor, live: Live, server: OAuthMCP) -> None:
    await registered(admin, server)
    there = await admin.client.get(AUTHORIZE)
    state = parse_qs(urlsplit(there.headers["location"]).query)["state"][0]
    async with live.client() as nobody:
        for who in (user.client, nobody):
            reply = await who.get(CALLBACK, params={"code": "code-1", "state": state})
            assert reply.status_code == 403, reply.text
    for wrong in ({}, {"code": "x"}, {"code": "x", "state": "y"}, {"code": "x", "state": state[:-8]}):
        assert (await admin.client.get(CALLBACK, params=wrong)).status_code == 403
    # A code that the server does not know, and a no of the person's.
    assert (await admin.client.get(CALLBACK, params={"code": "code-99", "state": state})).status_code == 502
    refused = await admin.client.get(CALLBACK, params={"error": "access_denied"})
    assert (refused.status_code, refused.json()["detail"]) == (400, "The sign-in there failed: access_denied")
    other = await admin.client.get("/oauth/clients/mcp:other/callback", params={"code": "x", "state": state})
    assert other.status_code == 404
    assert await authenticated(live, admin) == [False]


async def test_tokens_that_end_are_made_anew_once(
    admin: Actor, upstream: Upstream, live: Live, server: OAuthMCP
) -> None:
    await registered(admin, server)
    server.lasts = 1
    await signed_in(admin, server, "Adam")
    server.lasts = 3_600
    state = live.app.state.oui
    principal = await state.identify(admin.token)
    (found,) = state.tool_servers.usable(principal)
    tokens = await asyncio.gather(*(state.tool_servers.sign_in.token(principal, found) for _ in range(5)))
    assert len({token.access_token for token in tokens}) == 1
    assert server.log == ["authorization_code", "refresh_token"]
    assert outputs(await say(admin, upstream, CALL, tool_ids=(ID,))) == ["You are Adam."]


async def test_a_sign_in_that_was_withdrawn_is_asked_for_again(
    admin: Actor, upstream: Upstream, live: Live, server: OAuthMCP
) -> None:
    await registered(admin, server)
    server.lasts, server.refused = 1, True
    await signed_in(admin, server, "Adam")
    message = await say(admin, upstream, tool_ids=(ID,))
    assert descriptions(message) == [f"Signed is left out: Sign in there first: open {AUTHORIZE}"]
    assert await authenticated(live, admin) == [False]


async def test_a_token_that_is_void_in_the_middle_opens_the_session_anew(
    admin: Actor, upstream: Upstream, server: OAuthMCP
) -> None:
    await registered(admin, server)
    await signed_in(admin, server, "Adam")
    assert outputs(await say(admin, upstream, CALL, tool_ids=(ID,))) == ["You are Adam."]
    server.access.clear()
    await signed_in(admin, server, "Eve")
    assert outputs(await say(admin, upstream, CALL, tool_ids=(ID,))) == ["You are Eve."]


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"pkce": ["plain"]}, "PKCE"),
        ({"registers": False}, "no registrations"),
        ({"issuer": "https://evil.example"}, "somebody else"),
    ],
)
async def test_a_server_that_does_not_do_its_part(
    admin: Actor, server: OAuthMCP, change: dict[str, Any], says: str
) -> None:
    for name, value in change.items():
        setattr(server, name, value)
    reply = await admin.client.post(REGISTER, json={"url": server.mcp_url, "client_id": "signed"})
    assert reply.status_code == 502
    assert says in reply.json()["detail"]


async def test_who_may_register_and_sign_in(admin: Actor, user: Actor, live: Live, server: OAuthMCP) -> None:
    form = {"url": server.mcp_url, "client_id": "signed"}
    assert (await user.client.post(REGISTER, json=form)).status_code == 401
    assert (await admin.client.post(REGISTER, json={})).status_code == 422
    assert (await admin.client.post(REGISTER, params={"type": "x"}, json=form)).status_code == 400
    assert (await admin.client.post(REGISTER, json=form | {"url": "http://127.0.0.1:9"})).status_code == 502
    assert (await admin.client.get(AUTHORIZE)).status_code == 404
    entry = await registered(admin, server)
    await set_up(admin, entry | {"config": {"enable": True}})
    assert (await user.client.get(AUTHORIZE)).status_code == 404
    async with live.client() as nobody:
        assert (await nobody.get(AUTHORIZE)).status_code == 401
    await set_up(admin, entry | {"info": {"id": "signed", "oauth_client_info": "broken"}})
    assert (await admin.client.get(AUTHORIZE)).status_code == 400


async def test_only_the_servers_own_host_may_be_private() -> None:
    metadata = {
        "registration_endpoint": "http://127.0.0.1:9/register", "authorization_endpoint": "https://a", "token_endpoint": "https://a",
        "resource": "https://a", "scope": "", "local": "tools.example",
    }  # fmt: skip
    with pytest.raises(oauth.SignInFailed, match="no public address"):
        await oauth.register(metadata, "https://me", "me")


async def test_who_has_too_few_rights_signs_in_anew(
    admin: Actor, user: Actor, upstream: Upstream, server: OAuthMCP
) -> None:
    await registered(admin, server)
    assert (await signed_in(user, server, "Ann")).status_code == 302
    server.wants = "tools:write"
    message = await say(user, upstream, CALL, tool_ids=(ID,))
    (refused,) = outputs(message)
    assert "Signed wants more rights for this than you have there (tools:write)." in refused
    assert refused in descriptions(message)
    way = refused.partition("open ")[2]
    # The link is that person's own, and of no use when it is changed.
    for actor, link, asks in ((user, way, True), (admin, way, False), (user, f"{AUTHORIZE}?more=x", False)):
        there = (await actor.client.get(link)).headers["location"]
        assert ("tools:write" in parse_qs(urlsplit(there).query)["scope"][0].split()) is asks
    assert (await signed_in(user, server, "Ann", way)).status_code == 302
    assert outputs(await say(user, upstream, CALL, tool_ids=(ID,))) == ["You are Ann."]
