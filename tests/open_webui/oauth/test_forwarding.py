"""The token of a person's provider goes to the servers that an administrator lets have it, renewed once at a time."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx
import pytest
from aiohttp import web

from open_webui.internal.oauth import SignInFailed, SignInGone
from open_webui.models import provider_sessions
from open_webui.services.oauth import forwarding
from open_webui.services.oauth.forwarding import ProviderTokens
from open_webui.tools.port import Asked
from tests.open_webui.tools.test_tool_servers import CONFIG
from tests.support.fake_oidc import FakeProvider, sign_in, who
from tests.support.live import Actor, Live
from tests.support.tool_server import ToolServer, open_tool_server
from tests.support.upstream import Upstream

pytestmark = pytest.mark.parametrize("database_kind", ["sqlite"], indirect=True)


@pytest.fixture
async def server() -> AsyncIterator[ToolServer]:
    async with open_tool_server() as running:
        yield running


@asynccontextmanager
async def person(
    live: Live, admin: Actor, provider: FakeProvider, name: str, role: str = "user"
) -> AsyncIterator[httpx.AsyncClient]:
    """Somebody who has signed in by the provider and was let in."""
    provider.person = {"sub": name, "email": f"{name}@example.com", "email_verified": True, "name": name}
    async with live.client() as browser:
        await sign_in(browser)
        me = await who(browser)
        form = {"role": role, "name": name, "email": me["email"], "profile_image_url": "/user.png"}
        assert (await admin.client.post(f"/api/v1/users/{me['id']}/update", json=form)).status_code == 200
        yield browser


async def held(live: Live, browser: httpx.AsyncClient) -> str:
    return await live.app.state.oui.provider_sign_in.tokens.of_person((await who(browser))["id"])


async def test_a_tool_server_gets_the_askers_own(
    live: Live, admin: Actor, provider: FakeProvider, server: ToolServer
) -> None:
    entry = server.entry(auth_type="system_oauth", config={"enable": True, "access_grants": []})
    set_up = await admin.client.post(CONFIG, json={"TOOL_SERVER_CONNECTIONS": [entry]})
    assert set_up.status_code == 200, set_up.text
    state = live.app.state.oui
    found = state.tool_servers.by_id("server:adder")
    async with person(live, admin, provider, "ann") as ann, person(live, admin, provider, "bob") as bob:
        for browser, name in ((ann, "ann"), (bob, "bob")):
            token = browser.cookies["token"]
            asked = Asked(principal=await state.identify(token))
            await state.tool_servers.fetch(found, asked)
            sent = server.received[-1][2]["authorization"].removeprefix("Bearer ")
            assert provider.tokens[sent]["sub"] == name
    # Who signs in by a password has none, and is told.
    with pytest.raises(SignInGone, match="sign in by that site"):
        await state.tool_servers.fetch(found, Asked(principal=await state.identify(admin.token)))
    # An administrator who tries an address out is who asks.
    verify = "/api/v1/configs/tool_servers/verify"
    assert (await admin.client.post(verify, json=entry)).status_code == 400
    async with person(live, admin, provider, "cyd", "admin") as cyd:
        reply = await cyd.post(verify, json=entry, headers={"origin": live.url})
        assert reply.status_code == 200, reply.text
    sent = server.received[-1][2]["authorization"].removeprefix("Bearer ")
    assert provider.tokens[sent]["sub"] == "cyd"
    # Where the server itself asks, it has nobody's.
    await state.tool_servers.fetch(found)
    assert "authorization" not in server.received[-1][2]


async def test_a_connection_gets_the_askers_own(
    live: Live, admin: Actor, provider: FakeProvider, upstream: Upstream
) -> None:
    form = {
        "ENABLE_OPENAI_API": True, "OPENAI_API_BASE_URLS": [upstream.openai_url], "OPENAI_API_KEYS": ["sk-unused"],
        "OPENAI_API_CONFIGS": {"0": {"auth_type": "system_oauth", "model_ids": ["fixed"]}},
    }  # fmt: skip
    assert (await admin.client.post("/openai/config/update", json=form)).status_code == 200
    question = {"model": "fixed", "messages": [{"role": "user", "content": "hi"}], "stream": False}
    reply = await admin.client.post("/api/chat/completions", json=question)
    assert (reply.status_code, "sign in by that site" in reply.text) == (502, True)
    async with person(live, admin, provider, "ann", "admin") as ann:
        reply = await ann.post("/api/chat/completions", json=question, headers={"origin": live.url})
        assert reply.status_code == 200, reply.text
    (sent,) = upstream.chats
    headers = {name.lower(): value for name, value in sent.headers.items()}
    assert provider.tokens[headers["authorization"].removeprefix("Bearer ")]["sub"] == "ann"
    # An administrator who tries an address out is who asks.
    tried = {"url": upstream.openai_url, "key": "", "config": {"auth_type": "system_oauth"}}
    reply = await admin.client.post("/openai/verify", json=tried)
    assert (reply.status_code, "sign in by that site" in reply.text) == (502, True)
    async with person(live, admin, provider, "bob", "admin") as bob:
        reply = await bob.post("/openai/verify", json=tried, headers={"origin": live.url})
        assert reply.status_code == 200, reply.text
    headers = {name.lower(): value for name, value in upstream.received[-1].headers.items()}
    assert provider.tokens[headers["authorization"].removeprefix("Bearer ")]["sub"] == "bob"


async def test_it_is_made_anew_once_however_many_ask(live: Live, admin: Actor, provider: FakeProvider) -> None:
    provider.lasts, provider.wait = 30, 0.0
    async with person(live, admin, provider, "ann") as ann:
        user_id = (await who(ann))["id"]
        state = live.app.state.oui
        provider.wait = 0.3
        # As in another process: nothing of it is shared but the database.
        others = ProviderTokens(state, state.provider_sign_in.discovery)
        mine = state.provider_sign_in.tokens
        got = await asyncio.gather(*(tokens.of_person(user_id) for tokens in (mine, others) for _ in range(5)))
        assert len(set(got)) == 1
        assert provider.tokens[got[0]]["sub"] == "ann"
        assert provider.renewed == 1
        # It lasts now.
        assert await mine.of_person(user_id) == got[0]
        assert provider.renewed == 1


@pytest.mark.parametrize(
    ("status", "body", "wrong", "stays"),
    [
        (400, {"error": "invalid_grant", "error_description": "revoked"}, SignInGone, False),
        (200, {"access_token": "a\nb"}, SignInGone, False),
        (200, {"token_type": "Bearer"}, SignInGone, False),
        (503, {"error": "busy"}, SignInFailed, True),
        (200, None, SignInFailed, True),
    ],
)
async def test_where_it_can_not_be_made_anew(
    live: Live, admin: Actor, provider: FakeProvider, monkeypatch: pytest.MonkeyPatch,
    status: int, body: Any, wrong: type[Exception], stays: bool,
) -> None:  # fmt: skip
    monkeypatch.setattr(forwarding, "RENEWING", 1)
    provider.lasts = 30
    async with person(live, admin, provider, "ann") as ann:
        provider.renewal = web.Response(text="{") if body is None else web.json_response(body, status=status)
        with pytest.raises(wrong):
            await held(live, ann)
        async with live.app.state.oui.database.read() as connection:
            (session,) = await provider_sessions.of_user(connection, (await who(ann))["id"])
        assert bool(session.sealed) is stays
        # The session itself goes on either way.
        assert (await who(ann))["name"] == "ann"
        asked = provider.renewed
        if not stays:
            with pytest.raises(SignInGone, match="sign in by that site"):
                await held(live, ann)
            assert provider.renewed == asked


@pytest.mark.parametrize("lasts", [None, "soon", -5, 1e300, True])
async def test_odd_ends_of_tokens(live: Live, admin: Actor, provider: FakeProvider, lasts: Any) -> None:
    """A token of which nobody can say when it ends is used as it is."""
    provider.lasts = lasts
    async with person(live, admin, provider, "ann") as ann:
        assert provider.tokens[await held(live, ann)]["sub"] == "ann"
    assert provider.renewed == 0


async def test_it_goes_with_the_session_that_brought_it(live: Live, admin: Actor, provider: FakeProvider) -> None:
    """Also where all sessions are ended at once, and others begin: it is not sent on behalf of those."""
    async with person(live, admin, provider, "ann") as ann:
        user_id = (await who(ann))["id"]
        await held(live, ann)
        assert (await admin.client.post(f"/api/v1/users/{user_id}/sessions/revoke")).status_code == 200
        with pytest.raises(SignInGone, match="sign in by that site"):
            await live.app.state.oui.provider_sign_in.tokens.of_person(user_id)
    async with person(live, admin, provider, "ann") as ann:
        # Who ends the others keeps their own.
        reply = await ann.request("DELETE", "/api/v1/auths/sessions", headers={"origin": live.url})
        assert reply.status_code == 200, reply.text
        assert provider.tokens[await held(live, ann)]["sub"] == "ann"
