"""Accounts and identities: joined, linked, taken away, with roles and groups that follow the provider."""

import asyncio
import io
import zipfile
from typing import Any

import pytest

from open_webui.models import accounts, identities, users
from tests.open_webui.oauth.conftest import Serve
from tests.support.fake_oidc import SECRET, FakeProvider, at_provider, make, problem, sign_in, signed, there, who
from tests.support.live import Actor, Live, sign_up

SQLITE = pytest.mark.parametrize("database_kind", ["sqlite"], indirect=True)
OWN = "/api/v1/auths/identities"


async def linked(actor: Actor) -> Any:
    """What comes of linking from somebody's settings."""
    begun = await actor.client.post(f"{OWN}/oidc/link")
    assert begun.status_code == 200, begun.text
    return await actor.client.get(await at_provider(begun.json()["url"]))


@SQLITE
async def test_linking_and_unlinking(
    live: Live, admin: Actor, user: Actor, other: Actor, provider: FakeProvider
) -> None:
    assert (await user.client.get(OWN)).json() == []
    assert (await linked(user)).headers["location"] == "/"
    mine = (await user.client.get(OWN)).json()
    assert [(one["provider"], one["label"], one["email"], one["removable"]) for one in mine] == [
        ("oidc", "SSO", "ann@example.com", True)
    ]
    # The person of the provider has this account now, and no other one gets it.
    assert "another account" in problem(await linked(other))
    async with live.client() as browser:
        assert (await sign_in(browser)).headers["location"] == "/"
        assert (await who(browser))["id"] == user.id
        assert (await browser.get(OWN)).json()[0]["id"] == mine[0]["id"]
        # Nobody takes another's, nor what isn't there.
        for actor, identity in ((other, mine[0]["id"]), (admin, mine[0]["id"]), (user, "nope")):
            assert (await actor.client.delete(f"{OWN}/{identity}")).status_code == 404
        assert (await user.client.delete(f"{OWN}/{mine[0]['id']}")).json() is True
        # Sessions that it began are over, those by password are not.
        assert await who(browser) == 401
    assert (await user.client.get(OWN)).json() == []


@SQLITE
async def test_a_link_is_of_who_began_it(live: Live, user: Actor, other: Actor, provider: FakeProvider) -> None:
    begun = await user.client.post(f"{OWN}/oidc/link")
    back = await at_provider(begun.json()["url"])
    for name, value in user.client.cookies.items():
        if name.startswith("sign_in_"):
            other.client.cookies.set(name, value)
    assert "Somebody else is signed in" in problem(await other.client.get(back))
    assert (await other.client.get(OWN)).json() == (await user.client.get(OWN)).json() == []
    # A page of another site can't begin one, and a key neither begins nor ends any.
    headers = {"origin": "https://evil.example", "cookie": f"token={user.token}"}
    async with live.client() as page:
        assert (await page.post(f"{OWN}/oidc/link", headers=headers)).status_code == 403
    assert (await user.client.post(f"{OWN}/nope/link")).status_code == 404


async def test_the_last_way_in_stays(live: Live, admin: Actor, provider: FakeProvider) -> None:
    browser = await make(live, provider, sub="eva")
    (mine,) = (await browser.get(OWN)).json()
    assert mine["removable"] is False
    assert "only way in" in (await browser.delete(f"{OWN}/{mine['id']}")).json()["detail"]
    provider.person = {"sub": "eva2", "email": "eva2@example.com"}
    begun = await browser.post(f"{OWN}/oidc/link")
    assert (await browser.get(await at_provider(begun.json()["url"]))).headers["location"] == "/"
    both = (await browser.get(OWN)).json()
    assert [one["removable"] for one in both] == [True, True]
    # Two at once leave one.
    token = browser.cookies["token"]
    async with live.client(token) as one, live.client(token) as two:
        replies = await asyncio.gather(*(c.delete(f"{OWN}/{i['id']}") for c, i in zip((one, two), both, strict=True)))
    async with live.app.state.oui.database.read() as connection:
        left = await identities.of_user(connection, (await users.get_by_email(connection, "eva@example.com")).id)  # type: ignore[union-attr]
    assert len(left) == 1, [reply.text for reply in replies]
    await browser.aclose()


@SQLITE
async def test_accounts_are_joined_where_an_admin_allows_it(serve: Serve, provider: FakeProvider) -> None:
    live = await serve(OAUTH_MERGE_ACCOUNTS_BY_EMAIL="true")
    admin = await sign_up(live, "Admin One")
    user = await sign_up(live, "User One", role="user", admin=admin)
    for verified, said in ((False, "does not vouch"), (None, "does not vouch"), (True, "")):
        provider.person = {"sub": "u", "email": "User.One@example.com", "email_verified": verified}
        async with live.client() as browser:
            reply = await sign_in(browser)
            assert said in problem(reply) if said else reply.headers["location"] == "/"
            if not said:
                assert (await who(browser))["id"] == user.id
    provider.person = {"sub": "a", "email": "admin.one@example.com", "email_verified": True}
    async with live.client() as browser:
        assert "administrator" in problem(await sign_in(browser))
    for actor in (admin, user):
        await actor.client.aclose()


@SQLITE
async def test_without_that_an_address_stays_whose_it_is(
    live: Live, admin: Actor, user: Actor, provider: FakeProvider
) -> None:
    provider.person = {"sub": "thief", "email": user.email, "email_verified": True}
    async with live.client() as browser:
        assert "an account with this address already" in problem(await sign_in(browser))
        assert await who(browser) == 401
    # An identity stays its account's when the address at the provider changes, be it to somebody else's.
    browser = await make(live, provider, sub="eva")
    mine = await who(browser)
    provider.person = {"sub": "eva", "email": user.email, "email_verified": True}
    assert (await sign_in(browser)).headers["location"] == "/"
    assert (await who(browser))["id"] == mine["id"]
    assert (await who(browser))["email"] == "eva@example.com"
    await browser.aclose()


@SQLITE
async def test_an_account_that_is_switched_off_stays_so(live: Live, admin: Actor, provider: FakeProvider) -> None:
    browser = await make(live, provider, sub="eva")
    mine = await who(browser)
    state = live.app.state.oui
    async with state.database.write() as unit:
        await unit.connection.execute(
            accounts.credential.update().values(active=False).where(accounts.credential.c.user_id == mine["id"])
        )
    assert "switched off" in problem(await sign_in(browser))
    await browser.aclose()
    # Whoever is removed begins anew.
    assert (await admin.client.delete(f"/api/v1/users/{mine['id']}")).json() is True
    browser = await make(live, provider, sub="eva")
    again = await who(browser)
    assert again["id"] != mine["id"]
    # The audit record has who was made by a first sign-in, and each sign-in after it.
    await sign_in(browser)
    found = (await admin.client.get("/api/v1/audit/entries", params={"actor": again["id"]})).json()["items"]
    assert [one["action"] for one in found] == ["sign-in", "sign-in"]
    assert [bool(one["changes"]) for one in found] == [False, True]
    assert {one["email"] for one in found} == {again["email"]}
    await browser.aclose()


@SQLITE
async def test_roles_and_groups_follow_the_provider(serve: Serve, provider: FakeProvider) -> None:
    live = await serve(
        ENABLE_OAUTH_ROLE_MANAGEMENT="true", ENABLE_OAUTH_GROUP_MANAGEMENT="true", ENABLE_OAUTH_GROUP_CREATION="true",
        OAUTH_ROLES_CLAIM="realm_access.roles", OAUTH_BLOCKED_GROUPS='["local-*"]', OAUTH_UPDATE_NAME_ON_LOGIN="true",
        OAUTH_UPDATE_EMAIL_ON_LOGIN="true", OAUTH_UPDATE_PICTURE_ON_LOGIN="true",
    )  # fmt: skip
    admin = await sign_up(live, "Admin One")
    local = await admin.client.post("/api/v1/groups/create", json={"name": "local-x", "description": ""})
    browser = await make(live, provider, sub="eva", realm_access={"roles": ["user"]}, groups=["Staff", "local-y"])
    me = await who(browser)
    assert me["role"] == "user"
    await admin.client.post(f"/api/v1/groups/id/{local.json()['id']}/users/add", json={"user_ids": [me["id"]]})

    async def groups() -> set[str]:
        found = (await admin.client.get(f"/api/v1/users/{me['id']}/groups")).json()
        return {one["name"] for one in found}

    assert await groups() == {"Staff", "local-x"}
    token = browser.cookies["token"]
    provider.person |= {
        "realm_access": {"roles": ["admin"]}, "groups": ["Board"], "name": "Eve", "email": "eve@example.com",
        "email_verified": True, "picture": f"{provider.url}/p.png",
    }  # fmt: skip
    assert (await sign_in(browser)).headers["location"] == "/"
    me = await who(browser)
    assert (me["role"], me["name"], me["email"]) == ("admin", "Eve", "eve@example.com")
    assert await groups() == {"Board", "local-x"}
    # A role that is gone is gone for the sessions that there are.
    provider.person |= {"realm_access": {"roles": ["user"]}, "email": admin.email}
    assert (await sign_in(browser)).headers["location"] == "/"
    async with live.client(token) as old:
        assert (await old.get("/api/v1/auths/admin/config")).status_code == 401
    assert (await who(browser))["email"] == "eve@example.com"
    provider.person |= {"realm_access": {"roles": []}}
    assert "None of your roles" in problem(await sign_in(browser))
    await browser.aclose()
    await admin.client.aclose()


@SQLITE
async def test_tokens_of_programs(serve: Serve, provider: FakeProvider) -> None:
    live = await serve(ENABLE_OAUTH_TOKEN_EXCHANGE="true")
    place = "/api/v1/auths/oauth/oidc/token/exchange"
    async with live.client() as program:
        reply = await program.post(place, json={"token": signed(provider.claims())})
        assert (reply.status_code, reply.json()["role"]) == (200, "admin")
        provider.tokens["access"] = provider.person
        assert (await program.post(place, json={"token": "access"})).json()["id"] == reply.json()["id"]
        for token in (
            "other",
            signed(provider.claims() | {"aud": "another"}),
            signed(provider.claims(), "k9"),
            "eyJ.x.y",
        ):
            assert (await program.post(place, json={"token": token})).status_code >= 400, token
        # Given to another client, or of another person.
        provider.userinfo = {"client_id": "another", "sub": "ann"}
        assert (await program.post(place, json={"token": "access"})).status_code >= 400
        assert (await program.post("/api/v1/auths/oauth/google/token/exchange", json={"token": "x"})).status_code == 404
        assert (await program.post(place, json={})).status_code == 422
    live = await serve(ENABLE_OAUTH_TOKEN_EXCHANGE="false")
    async with live.client() as program:
        assert (await program.post(place, json={"token": signed(provider.claims())})).status_code == 404


@SQLITE
async def test_a_providers_tokens_can_be_taken_away(
    live: Live, admin: Actor, user: Actor, provider: FakeProvider
) -> None:
    browser = await make(live, provider, sub="eva", email_verified=True)
    mine = await who(browser)
    await admin.client.post(
        f"/api/v1/users/{mine['id']}/update",
        json={"role": "user", "name": "Eva", "email": mine["email"], "profile_image_url": ""},
    )
    place = "/api/v1/auths/oauth/sessions/oidc"
    assert (await user.client.delete(place)).json() == {"detail": "No OAuth session found for this provider"}
    assert (await browser.delete(place)).json() is True
    assert (await browser.delete(place)).status_code == 404
    assert (await user.client.delete("/api/v1/auths/oauth/sessions/mcp:x")).status_code == 404
    # The session itself goes on.
    assert (await who(browser))["id"] == mine["id"]
    assert (await there(browser)).startswith("/oauth/oidc/callback")
    await browser.aclose()


@SQLITE
async def test_an_export_says_where_one_signs_in_and_no_more(serve: Serve, provider: FakeProvider) -> None:
    live = await serve(DEFAULT_USER_ROLE="user")
    browser = await make(live, provider, sub="eva")
    reply = await browser.get("/api/v1/users/user/export")
    with zipfile.ZipFile(io.BytesIO(reply.content)) as archive:
        text = b"".join(archive.read(name) for name in archive.namelist())
    assert b'"oidc":{"sub":"eva"}' in text
    for secret in (b"access-", b"eyJ", SECRET.encode()):
        assert secret not in text, secret
    await browser.aclose()


@SQLITE
async def test_a_key_begins_and_ends_no_sign_in(serve: Serve, provider: FakeProvider) -> None:
    live = await serve(ENABLE_API_KEYS="true")
    browser = await make(live, provider, sub="eva")
    key = (await browser.post("/api/v1/auths/api_key", headers={"origin": live.url})).json()["api_key"]
    (mine,) = (await browser.get(OWN)).json()
    async with live.client(key) as program:
        for method, path in (("GET", OWN), ("POST", f"{OWN}/oidc/link"), ("DELETE", f"{OWN}/{mine['id']}")):
            assert (await program.request(method, path)).status_code == 403, path
    await browser.aclose()
