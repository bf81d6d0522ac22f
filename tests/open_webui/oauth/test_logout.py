"""Signing out: here with a way on to the provider, and there, which ends sessions here."""

import asyncio
import time
from collections.abc import Awaitable, Callable

import pytest

from open_webui.models import provider_sessions
from tests.open_webui.oauth.conftest import Serve
from tests.support.fake_oidc import FakeProvider, environment, make, query_of, signed, who
from tests.support.live import Actor, Live

SQLITE = pytest.mark.parametrize("database_kind", ["sqlite"], indirect=True)
PLACE = "/oauth/backchannel-logout"
EVENT = "http://schemas.openid.net/event/backchannel-logout"


async def told(live: Live, token: str | None) -> tuple[int, str]:
    async with live.client() as provider:
        reply = await provider.post(PLACE, data={} if token is None else {"logout_token": token})
        return reply.status_code, reply.json().get("error_description", "")


@SQLITE
async def test_signing_out_here_leads_to_the_provider(live: Live, admin: Actor, provider: FakeProvider) -> None:
    browser = await make(live, provider, sub="eva")
    said = (await browser.post("/api/v1/auths/signout", headers={"origin": live.url})).json()
    way = query_of(said["redirect_url"])
    assert said["redirect_url"].startswith(f"{provider.url}/end?")
    assert way["post_logout_redirect_uri"] == f"{live.url}/auth"
    assert (way["state"], way["client_id"]) == ("logout", "oui")
    assert way["id_token_hint"].count(".") == 2
    assert await who(browser) == 401
    # A session by password has nowhere else to sign out, nor has one whose provider is gone.
    assert (await admin.client.post("/api/v1/auths/signout")).json() == {"status": True}
    provider.metadata = {"end_session_endpoint": None}
    live.app.state.oui.provider_sign_in.discovery.forget()
    again = await make(live, provider, sub="eva")
    assert (await again.post("/api/v1/auths/signout", headers={"origin": live.url})).json() == {"status": True}
    for one in (browser, again):
        await one.aclose()


@SQLITE
async def test_signing_out_there_ends_sessions_here(live: Live, admin: Actor, provider: FakeProvider) -> None:
    eva, bob = await make(live, provider, sub="eva"), await make(live, provider, sub="bob")
    provider.person = {"sub": "eva"}
    # Of a session that is not there, of a person that is not there, and of somebody else's session.
    for changes in ({"sid": "other"}, {"sub": "nobody"}, {"sub": "bob", "sid": "sid-eva"}):
        assert (await told(live, provider.logout_token(**changes)))[0] == 200
    assert isinstance(await who(eva), dict)
    token = provider.logout_token(sub=None, sid="sid-eva")
    assert (await told(live, token))[0] == 200
    assert await who(eva) == 401
    assert isinstance(await who(bob), dict)
    assert "used already" in (await told(live, token))[1]
    # Of all of a person's.
    second = await make(live, provider, sub="bob")
    assert (await told(live, provider.logout_token(sub="bob")))[0] == 200
    assert await who(bob) == await who(second) == 401
    async with live.app.state.oui.database.read() as connection:
        mine = await live.app.state.oui.identify(admin.token)
        assert await provider_sessions.of_user(connection, mine.id) == []
    for browser in (eva, bob, second):
        await browser.aclose()


@SQLITE
async def test_word_of_a_sign_out_that_is_not_believed(live: Live, admin: Actor, provider: FakeProvider) -> None:
    eva = await make(live, provider, sub="eva")
    provider.person, now = {"sub": "eva"}, int(time.time())
    asked = len(provider.log)
    for junk in (
        None,
        "",
        "x",
        "a.b.c",
        "é",
        "x" * 40_000,
        signed({"aud": "other", "iss": provider.url}),
        signed({"aud": "oui"}),
    ):
        assert (await told(live, junk))[0] == 400, junk
    # None of these had anything fetched.
    assert len(provider.log) == asked
    bad = [
        {"aud": "other"}, {"iss": "https://evil.example"}, {"events": None}, {"events": {"x": {}}}, {"nonce": "n"}, {"jti": None},
        {"iat": now - 3_600}, {"iat": now + 3_600}, {"sub": None}, {"exp": now - 600}, {"events": {EVENT: 1}},
    ]  # fmt: skip
    for changes in bad:
        status, said = await told(live, provider.logout_token(**changes))
        assert (status, bool(said)) == (400, True), changes
    id_token = signed(provider.claims())
    assert (await told(live, id_token))[0] == 400
    provider.signs_with = "k9"
    assert (await told(live, provider.logout_token()))[0] == 400
    assert isinstance(await who(eva), dict)
    assert provider.asked("/jwks") == 1
    async with live.client() as browser:
        # A large body is not read.
        assert (await browser.post(PLACE, content=b"x" * 100_000)).status_code == 413
    await eva.aclose()


@SQLITE
async def test_without_providers_there_is_nobody_to_hear(serve: Serve, provider: FakeProvider) -> None:
    live = await serve(ENABLE_OAUTH="false")
    async with live.client() as client:
        assert (await client.post(PLACE, data={"logout_token": "x"})).status_code == 404


@pytest.mark.parametrize("database_kind", ["postgresql"], indirect=True)
async def test_every_process_hears_of_it(
    make_live: Callable[..., Awaitable[Live]], provider: FakeProvider, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in environment(provider.url).items():
        monkeypatch.setenv(name, value)
    first, second = await make_live(), await make_live()
    browser = await make(first, provider, sub="eva")
    async with second.client(browser.cookies["token"]) as elsewhere:
        assert isinstance(await who(elsewhere), dict)
        assert (await told(first, provider.logout_token()))[0] == 200
        async with asyncio.timeout(5):
            while await who(elsewhere) != 401:  # noqa: ASYNC110 - it tells nobody
                await asyncio.sleep(0.05)
    assert await who(browser) == 401
    await browser.aclose()
