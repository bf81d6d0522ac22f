"""Every way in asks for the second factor: other sites, directories, proxies, tokens of programs."""

from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import httpx
import pytest

from open_webui.access.ldap.directory import Person as InDirectory
from open_webui.access.ldap.servers import servers
from open_webui.models.sessions import NEVER
from open_webui.services import ldap
from tests.open_webui.factors.conftest import switch_on
from tests.support import fake_oidc
from tests.support.authenticator import MFA, Clock, answer, enroll
from tests.support.fake_oidc import FakeProvider, environment, fake_provider, signed, who
from tests.support.live import Live

Make = Callable[..., Awaitable[Live]]


@pytest.fixture
def database_kind() -> str:
    """The SQL of signing in is the subject of the tests of providers."""
    return "sqlite"


@pytest.fixture
async def provider() -> AsyncIterator[FakeProvider]:
    async with fake_provider() as made:
        yield made


@pytest.fixture
async def live(make_live: Make, provider: FakeProvider, monkeypatch: pytest.MonkeyPatch) -> Live:
    more = {
        "ENABLE_OAUTH_TOKEN_EXCHANGE": "true",
        "ENABLE_LDAP": "true",
        "LDAP_SECURITY": "none",
        "LDAP_SEARCH_BASE": "dc=example",
    }
    for name, value in environment(provider.url, **more).items():
        monkeypatch.setenv(name, value)
    return await make_live(webui_auth_trusted_email_header="X-Auth-Email", forwarded_allow_ips="127.0.0.1")


async def test_another_site(live: Live, clock: Clock, browser: httpx.AsyncClient) -> None:
    await switch_on(live)
    away = await browser.get("/oauth/oidc/login", params={"redirect": "/c/1"})
    back = await browser.get(await fake_oidc.at_provider(away.headers["location"]))
    assert (back.status_code, back.headers["location"]) == (302, "/?mfa=1&redirect=%2Fc%2F1")
    assert "token" not in browser.cookies
    assert await who(browser) == 401
    cookie = next(line for line in back.headers.get_list("set-cookie") if line.startswith("sign_in_challenge="))
    assert "HttpOnly" in cookie
    assert "Path=/api/v1/auths/mfa" in cookie
    asked = (await browser.post(f"{MFA}/challenge", headers={"origin": live.url})).json()
    assert 0 < asked["expires_in"] <= 330, "the clock stands at the beginning of a step"
    app, done = await enroll(browser, asked, clock)
    assert done["role"] == "admin", "the first account of all"
    assert (await who(browser))["email"] == "ann@example.com"
    assert "sign_in_challenge" not in browser.cookies
    # The provider can end the session, which has the id that was promised to it.
    sessions = await browser.get(f"/api/v1/users/{done['id']}/oauth/sessions")
    assert [one["provider"] for one in sessions.json()] == ["oidc"]
    again = await fake_oidc.sign_in(browser)
    assert again.headers["location"] == "/?mfa=1"
    asked = (await browser.post(f"{MFA}/challenge", headers={"origin": live.url})).json()
    assert asked["next_step"] == "verify"
    assert (await answer(browser, "verify", asked, code=app.fresh())).status_code == 200


async def test_a_site_that_is_trusted_with_it(live: Live, browser: httpx.AsyncClient) -> None:
    await switch_on(live, allow_oauth_bypass=True)
    assert (await fake_oidc.sign_in(browser)).headers["location"] == "/"
    assert (await who(browser))["role"] == "admin"
    await live.app.state.oui.save_config({"auth.mfa.allow_oauth_bypass": False})
    assert await who(browser) == 401, "its sessions are good as long as it is"


async def test_tokens_of_programs(live: Live, provider: FakeProvider, browser: httpx.AsyncClient) -> None:
    await switch_on(live)
    place = "/api/v1/auths/oauth/oidc/token/exchange"
    reply = await browser.post(place, json={"token": signed(provider.claims())})
    assert reply.json()["next_step"] == "enroll"
    assert "token" not in browser.cookies


@pytest.mark.parametrize("trusted", [False, True])
async def test_a_proxy(live: Live, browser: httpx.AsyncClient, trusted: bool) -> None:
    await switch_on(live, allow_trusted_header_bypass=trusted)
    headers = {"x-auth-email": "ann@example.com"}
    reply = await browser.post("/api/v1/auths/signin", json={"email": "", "password": ""}, headers=headers)
    assert ("token" in reply.json()) is trusted
    assert (reply.json().get("next_step") == "enroll") is not trusted


async def test_a_directory(
    live: Live, browser: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch, clock: Clock
) -> None:
    server = servers(live.app.state.oui.config)[0]

    async def ask(_servers: Any, _user: str, _password: str) -> Any:
        return server, InDirectory(subject="uid-1", username="ann", name="Ann", mails=("ann@example.com",))

    monkeypatch.setattr(ldap, "_ask_each", ask)
    # Neither bypass is a directory's.
    await switch_on(live, allow_oauth_bypass=True, allow_trusted_header_bypass=True)
    form = {"user": "ann", "password": "x"}
    app, done = await enroll(browser, (await browser.post("/api/v1/auths/ldap", json=form)).json(), clock)
    assert done["expires_at"] < NEVER
    asked = (await browser.post("/api/v1/auths/ldap", json=form)).json()
    assert asked["next_step"] == "verify"
    assert (await answer(browser, "verify", asked, code=app.fresh())).status_code == 200
    listed = (await browser.get("/api/v1/auths/sessions")).json()
    assert {one["auth_method"] for one in listed} == {"ldap"}
