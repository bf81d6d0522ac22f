"""Somebody signs in by a provider: the way there and back, and whose account it is then."""

import asyncio

import pytest

from tests.open_webui.oauth.conftest import Serve
from tests.support.fake_oidc import FakeProvider, at_provider, problem, query_of, sign_in, there, who
from tests.support.live import Actor, Live

SQLITE = pytest.mark.parametrize("database_kind", ["sqlite"], indirect=True)


@SQLITE
async def test_there_and_back(live: Live, admin: Actor, provider: FakeProvider) -> None:
    provider.person |= {"picture": f"{provider.url}/p.png"}
    async with live.client() as browser:
        shown = (await browser.get("/api/config")).json()
        assert shown["oauth"] == {"providers": {"oidc": "SSO"}, "auto_redirect": False}
        away = await browser.get("/oauth/oidc/login")
        asked = query_of(away.headers["location"])
        assert asked["code_challenge_method"] == "S256"
        assert asked["redirect_uri"] == f"{live.url}/oauth/oidc/callback"
        assert len(asked["state"]) > 40
        assert "HttpOnly" in away.headers["set-cookie"]
        assert "lax" in away.headers["set-cookie"].lower()
        back = await sign_in(browser)
        assert (back.status_code, back.headers["location"]) == (302, "/")
        me = await who(browser)
        assert (me["email"], me["name"], me["role"]) == ("ann@example.com", "Ann", "pending")
        assert (await browser.get(f"/api/v1/users/{me['id']}/profile/image")).status_code in {200, 401}
        # The second time it is the same account.
        assert (await sign_in(browser)).headers["location"] == "/"
        assert (await who(browser))["id"] == me["id"]
    listed = (await admin.client.get("/api/v1/users/")).json()
    assert listed["total"] == 2
    sessions = (await admin.client.get(f"/api/v1/users/{me['id']}/oauth/sessions")).json()
    assert [one["provider"] for one in sessions] == ["oidc", "oidc"]
    # What the provider gave, and the secret of the client, are nowhere to be read.
    assert "access-" not in str(sessions)
    async with live.client() as stranger:
        reply = await stranger.post("/api/v1/auths/signin", json={"email": "ann@example.com", "password": ""})
        assert reply.status_code in {400, 422}


@SQLITE
async def test_where_one_goes_on_is_a_path_of_ours(live: Live, admin: Actor) -> None:
    outside = [
        "https://evil.example/",
        "//evil.example",
        "/\\evil.example",
        "javascript:alert(1)",
        "/x\r\nset-cookie: a=b",
    ]
    for wanted, got in [("/c/1?x=2", "/c/1?x=2"), *((one, "/") for one in outside)]:
        async with live.client() as browser:
            away = await browser.get("/oauth/oidc/login", params={"redirect": wanted})
            back = await browser.get(await at_provider(away.headers["location"]))
            assert back.headers["location"] == got, wanted


@SQLITE
async def test_a_way_back_is_of_one_browser_and_good_once(live: Live, admin: Actor, provider: FakeProvider) -> None:
    async with live.client() as browser, live.client() as other:
        address = await there(browser)
        # In another browser, with another begun there too.
        await other.get("/oauth/oidc/login")
        assert "another browser" in problem(await other.get(address))
        assert await who(other) == 401
        assert provider.asked("/token") == 0
        # Without a state, with a wrong one, and with none begun.
        for wrong in ("/oauth/oidc/callback?code=x", "/oauth/oidc/callback?code=x&state=y", "/oauth/oidc/callback"):
            assert "another browser" in problem(await browser.get(wrong))
        cookies = dict(browser.cookies)
        assert (await browser.get(address)).headers["location"] == "/"
        # Once more, with the browser's cookie as it was.
        headers = {"cookie": "; ".join(f"{name}={value}" for name, value in cookies.items())}
        async with live.client() as again:
            assert "used already" in problem(await again.get(address, headers=headers))
        # The provider says no.
        refused = query_of(await there(browser))["state"]
        reply = await browser.get(
            f"/oauth/oidc/callback?error=access_denied&error_description=No%0Away&state={refused}"
        )
        assert "Noway" in problem(reply)


@SQLITE
async def test_of_many_that_were_begun_the_first_are_dropped(live: Live, admin: Actor) -> None:
    async with live.client() as browser:
        ways = [await there(browser) for _ in range(8)]
        assert len([name for name in browser.cookies if name.startswith("sign_in_")]) <= 6
        assert (await browser.get(ways[-1])).headers["location"] == "/"
        assert "another browser" in problem(await browser.get(ways[0]))


@SQLITE
async def test_the_answer_of_another_provider_is_not_taken(live: Live, admin: Actor, provider: FakeProvider) -> None:
    provider.iss = "https://other.example"
    async with live.client() as browser:
        assert "another provider" in problem(await sign_in(browser))
        provider.iss = provider.url
        assert (await sign_in(browser)).headers["location"] == "/"
        provider.iss, provider.metadata = None, {"authorization_response_iss_parameter_supported": True}
        live.app.state.oui.provider_sign_in.discovery.forget()
        assert "does not say which provider" in problem(await sign_in(browser))


@SQLITE
async def test_nobody_is_let_in_by_what_is_not_set_up(live: Live, admin: Actor, provider: FakeProvider) -> None:
    async with live.client() as browser:
        for path in ("/oauth/google/login", "/oauth/github/callback?code=x&state=y", "/oauth/nope/login"):
            assert (await browser.get(path)).status_code == 404, path
        old = await browser.get("/oauth/oidc/login/callback?code=a&state=b")
        assert old.headers["location"] == "/oauth/oidc/callback?code=a&state=b"
        await admin.client.post("/api/v1/auths/admin/config/oauth", json={"OAUTH_PROVIDER_NAME": "Ours"})
        assert (await browser.get("/api/config")).json()["oauth"]["providers"] == {"oidc": "Ours"}
    assert provider.log == []


@SQLITE
async def test_who_has_no_account_needs_leave_for_one(serve: Serve, provider: FakeProvider) -> None:
    live = await serve(ENABLE_OAUTH_SIGNUP="false")
    async with live.client() as browser:
        assert "makes none" in problem(await sign_in(browser))
        assert await who(browser) == 401
        assert (await browser.get("/api/config")).json()["onboarding"] is True


async def test_the_first_is_the_administrator_and_only_one_is(serve: Serve, provider: FakeProvider) -> None:
    live = await serve()
    browsers = [live.client() for _ in range(6)]
    ways = []
    for number, browser in enumerate(browsers):
        away = await browser.get("/oauth/oidc/login")
        provider.person = {"sub": f"p{number}", "email": f"p{number}@example.com", "name": f"P{number}"}
        ways.append((browser, away.headers["location"]))
    provider.twist = lambda claims: claims
    # Each of them is another person: by what the code was given for.
    people: dict[str, dict[str, str]] = {}
    backs = [(browser, await at_provider(url)) for browser, url in ways]

    def person_of(claims: dict[str, str]) -> dict[str, str]:
        number = len(people)
        people[claims["nonce"]] = claims
        mine = {"sub": f"p{number}", "email": f"p{number}@example.com", "name": f"P{number}"}
        return claims | mine

    provider.twist = person_of  # type: ignore[assignment]
    provider.metadata = {"userinfo_endpoint": None}
    live.app.state.oui.provider_sign_in.discovery.forget()
    form = {"name": "Pat", "email": "pat@example.com", "password": "correct horse battery"}

    async def by_password() -> object:
        async with live.client() as browser:
            return (await browser.post("/api/v1/auths/signup", json=form)).status_code

    await asyncio.gather(by_password(), *(browser.get(path) for browser, path in backs))
    roles = [found["role"] for browser in browsers if isinstance(found := await who(browser), dict)]
    by_form = await by_password_role(live, form)
    assert [*roles, by_form].count("admin") == 1
    assert len(roles) == 6
    for browser in browsers:
        await browser.aclose()


async def by_password_role(live: Live, form: dict[str, str]) -> str:
    async with live.client() as browser:
        reply = await browser.post("/api/v1/auths/signin", json={"email": form["email"], "password": form["password"]})
        return str(reply.json()["role"]) if reply.status_code == 200 else ""


async def test_one_person_twice_at_once_has_one_account(live: Live, admin: Actor, provider: FakeProvider) -> None:
    browsers = [live.client() for _ in range(4)]
    ways = [(browser, await there(browser)) for browser in browsers]
    replies = await asyncio.gather(*(browser.get(path) for browser, path in ways))
    assert {reply.headers["location"] for reply in replies} == {"/"}, [problem(reply) for reply in replies]
    assert len({(await who(browser))["id"] for browser in browsers}) == 1
    assert (await admin.client.get("/api/v1/users/")).json()["total"] == 2
    for browser in browsers:
        await browser.aclose()
