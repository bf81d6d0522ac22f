"""The same with a provider of other people's making (npm `oidc-provider`), which holds its clients to the letter."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable

import httpx
import pytest

from open_webui.models import provider_sessions
from tests.support.fake_oidc import problem, query_of, who
from tests.support.live import Live, sign_up
from tests.support.oidc_server import CLIENT, SECRET, StrictProvider, strict_provider
from tests.support.process import free_port

pytestmark = [
    pytest.mark.parametrize("database_kind", ["sqlite"], indirect=True),
    pytest.mark.xdist_group("mcp"),
]


@pytest.fixture
async def served(
    make_live: Callable[..., Awaitable[Live]], monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[tuple[Live, StrictProvider]]:
    port = free_port()
    given = {
        "OPENID_PROVIDER_URL": f"http://127.0.0.1:{port}", "OAUTH_CLIENT_ID": CLIENT, "OAUTH_CLIENT_SECRET": SECRET,
        "ENABLE_OAUTH_SIGNUP": "true", "ENABLE_OAUTH_GROUP_MANAGEMENT": "true", "ENABLE_OAUTH_GROUP_CREATION": "true",
        "OAUTH_ALLOWED_DOMAINS": "example.com", "ENABLE_OAUTH_TOKEN_EXCHANGE": "true",
    }  # fmt: skip
    for name, value in given.items():
        monkeypatch.setenv(name, value)
    live = await make_live()
    with strict_provider(port, live.url) as provider:
        yield live, provider


async def walked(browser: httpx.AsyncClient, outside: httpx.AsyncClient, live: Live) -> httpx.Response:
    """There and back; `outside` has what the browser keeps of the provider's."""
    url = (await browser.get("/oauth/oidc/login")).headers["location"]
    while not url.startswith(live.url):
        reply = await outside.get(url)
        assert reply.status_code in {302, 303}, reply.text
        url = str(httpx.URL(url).join(reply.headers["location"]))
    assert query_of(url).get("iss"), url
    return await browser.get(url)


async def test_in_and_out(served: tuple[Live, StrictProvider]) -> None:
    live, provider = served
    admin = await sign_up(live, "Admin One")
    async with live.client() as browser, httpx.AsyncClient(trust_env=False, verify=False) as outside:
        provider.person(sub="eva", email="eva@example.com", email_verified=True, name="Eva", groups=["Staff"])
        back = await walked(browser, outside, live)
        assert back.headers["location"] == "/", problem(back)
        me = await who(browser)
        assert (me["email"], me["name"]) == ("eva@example.com", "Eva")
        groups = (await admin.client.get(f"/api/v1/users/{me['id']}/groups")).json()
        assert [one["name"] for one in groups] == ["Staff"]
        # Signing out here leads there, with all that it asks for.
        said = (await browser.post("/api/v1/auths/signout", headers={"origin": live.url})).json()
        page = await outside.get(said["redirect_url"])
        assert page.status_code == 200, page.text
        assert "form" in page.text
        # Signing out there ends the session here.
        assert (await walked(browser, outside, live)).headers["location"] == "/"
        assert isinstance(await who(browser), dict)
        state = live.app.state.oui
        async with state.database.read() as connection:
            (session,) = await provider_sessions.of_user(connection, me["id"])
        await asyncio.to_thread(provider.sign_out, "eva", session.sid)
        assert await who(browser) == 401
    await admin.client.aclose()


async def test_who_is_refused_hears_why_and_so_does_the_admin(served: tuple[Live, StrictProvider]) -> None:
    live, provider = served
    admin = await sign_up(live, "Admin One")
    provider.person(sub="mal", email="mal@evil.example", email_verified=True, name="Mal")
    async with live.client() as browser, httpx.AsyncClient(trust_env=False, verify=False) as outside:
        assert "your domain" in problem(await walked(browser, outside, live))
        assert await who(browser) == 401
    (noted,) = (await admin.client.get("/api/v1/auths/admin/sign-ins")).json()
    assert (noted["allowed"], noted["email"], noted["user_id"]) == (False, "mal@evil.example", None)
    assert noted["steps"][-1]["rule"] == "OAUTH_ALLOWED_DOMAINS"
    await admin.client.aclose()
