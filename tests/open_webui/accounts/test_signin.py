"""Signing in: the cookie, old hashes, limits on attempts, and what a session says."""

import re

import bcrypt
import httpx
import pytest
import sqlalchemy as sa
from argon2 import PasswordHasher

from open_webui import constants
from open_webui.access.passwords import DECOY, Passwords
from open_webui.models import tables
from open_webui.services.attempts import PER_ACCOUNT
from tests.support.live import PASSWORD, Actor, Live

SIGNIN, SESSION = "/api/v1/auths/signin", "/api/v1/auths/"


def form(actor: Actor, password: str = PASSWORD) -> dict[str, str]:
    return {"email": actor.email, "password": password}


async def set_hash(live: Live, user_id: str, value: str | None, active: bool = True) -> None:
    async with live.app.state.oui.database.write() as unit:
        await unit.connection.execute(
            tables.credential.update()
            .where(tables.credential.c.user_id == user_id)
            .values(password_hash=value, active=active)
        )


async def stored_hash(live: Live, user_id: str) -> str:
    query = sa.select(tables.credential.c.password_hash).where(tables.credential.c.user_id == user_id)
    async with live.app.state.oui.database.read() as connection:
        return str(await connection.scalar(query))


async def test_a_session_in_body_and_cookie(live: Live, user: Actor, client: httpx.AsyncClient) -> None:
    reply = await client.post(SIGNIN, json=form(user) | {"email": f" {user.email.upper()} "})
    assert reply.status_code == 200
    assert set(reply.json()) == {
        "id", "name", "role", "email", "profile_image_url", "token", "token_type", "expires_at", "permissions",
    }  # fmt: skip
    cookie = reply.headers["set-cookie"]
    assert cookie.startswith(f"token={reply.json()['token']}; ")
    assert "HttpOnly" in cookie
    assert re.search("Max-Age=24(19200|19199);", cookie)
    assert "SameSite=lax" in cookie
    assert "Secure" not in cookie
    assert (await client.get(SESSION)).json()["id"] == user.id


@pytest.mark.parametrize("database_kind", ["sqlite"], indirect=True)
async def test_the_cookie_is_secure_over_https(live: Live, user: Actor) -> None:
    async with live.client() as browser:
        reply = await browser.post(SIGNIN, json=form(user), headers={"x-forwarded-proto": "https"})
    assert "Secure" in reply.headers["set-cookie"]


async def test_a_visit_renews_the_cookie_with_the_same_token(user: Actor) -> None:
    reply = await user.client.get(SESSION)
    assert reply.json()["token"] == user.token
    assert reply.headers["set-cookie"].startswith(f"token={user.token}; ")
    assert reply.headers["cache-control"] == "no-store"


@pytest.mark.parametrize("database_kind", ["sqlite"], indirect=True)
async def test_a_session_without_an_end(live: Live, user: Actor, client: httpx.AsyncClient) -> None:
    await live.app.state.oui.save_config({"auth.jwt_expiry": "-1"})
    reply = await client.post(SIGNIN, json=form(user))
    assert reply.json()["expires_at"] is None
    assert (await client.get(SESSION)).json()["expires_at"] is None
    assert (await client.post("/api/v1/auths/signout")).status_code == 200
    async with live.client(reply.json()["token"]) as again:
        assert (await again.get(SESSION)).status_code == 401


@pytest.mark.parametrize("database_kind", ["sqlite"], indirect=True)
async def test_a_stored_lifetime_that_is_none_means_four_weeks(
    live: Live, user: Actor, client: httpx.AsyncClient
) -> None:
    await live.app.state.oui.save_config({"auth.jwt_expiry": "soon"})
    cookie = (await client.post(SIGNIN, json=form(user))).headers["set-cookie"]
    assert re.search("Max-Age=24(19200|19199);", cookie)


@pytest.mark.parametrize("password", ["", "wrong", PASSWORD.upper(), PASSWORD + " "])
async def test_a_wrong_password(user: Actor, client: httpx.AsyncClient, password: str) -> None:
    reply = await client.post(SIGNIN, json=form(user, password))
    assert (reply.status_code, reply.json()["detail"]) == (400, constants.BAD_CREDENTIALS)
    assert "set-cookie" not in reply.headers


@pytest.mark.parametrize("database_kind", ["sqlite"], indirect=True)
async def test_bad_input(user: Actor, client: httpx.AsyncClient) -> None:
    for body in (
        {},
        {"email": user.email},
        {"email": {}, "password": "x"},
        form(user) | {"password": "p" * 1025},
        [],
        1,
    ):
        reply = await client.post(SIGNIN, json=body)
        assert (reply.status_code, reply.json()["detail"]) == (422, "Invalid authentication request.")


@pytest.mark.usefixtures("real_passwords")
async def test_old_and_weak_hashes_are_replaced(live: Live, user: Actor, client: httpx.AsyncClient) -> None:
    weak = PasswordHasher(time_cost=1, memory_cost=8, parallelism=1).hash(PASSWORD)
    for old in (bcrypt.hashpw(PASSWORD.encode(), bcrypt.gensalt(4)).decode(), weak):
        await set_hash(live, user.id, old)
        assert (await client.post(SIGNIN, json=form(user, "wrong"))).status_code == 400
        assert await stored_hash(live, user.id) == old
        assert (await client.post(SIGNIN, json=form(user))).status_code == 200
        new = await stored_hash(live, user.id)
        assert new.startswith("$argon2id$")
        assert new != old
        assert (await client.post(SIGNIN, json=form(user))).status_code == 200
        assert await stored_hash(live, user.id) == new
    # The sessions from before go on.
    assert (await user.client.get(SESSION)).status_code == 200


@pytest.mark.parametrize("database_kind", ["sqlite"], indirect=True)
@pytest.mark.parametrize("broken", [None, "", "plain", "$2b$", "$argon2id$v=19$m=1,t=1,p=1$x$y"])
async def test_an_account_with_a_broken_hash_stays_closed(
    live: Live, user: Actor, client: httpx.AsyncClient, broken: str | None
) -> None:
    await set_hash(live, user.id, broken)
    for password in (PASSWORD, "", "plain"):
        assert (await client.post(SIGNIN, json=form(user, password))).status_code == 400


async def test_a_switched_off_account_is_refused(live: Live, user: Actor, client: httpx.AsyncClient) -> None:
    await set_hash(live, user.id, await stored_hash(live, user.id), active=False)
    await live.app.state.oui.identifier.forget(user.id)
    assert (await client.post(SIGNIN, json=form(user))).status_code == 403
    assert (await client.post(SIGNIN, json=form(user, "wrong"))).status_code == 400
    assert (await user.client.get(SESSION)).status_code == 401


async def test_attempts_are_limited_for_an_account_known_or_not(user: Actor, client: httpx.AsyncClient) -> None:
    unknown = {"email": "nobody@example.com", "password": "wrong"}
    assert [(await client.post(SIGNIN, json=unknown)).status_code for _ in range(PER_ACCOUNT)] == [400] * PER_ACCOUNT
    refused = await client.post(SIGNIN, json=unknown | {"email": "NOBODY@example.com "})
    assert (refused.status_code, refused.json()["detail"]) == (429, constants.TOO_MANY_ATTEMPTS)
    assert 0 < int(refused.headers["retry-after"]) <= 180
    # Another account at the same address is not held up. One attempt was its fixture's.
    for _ in range(PER_ACCOUNT - 1):
        assert (await client.post(SIGNIN, json=form(user))).status_code == 200
    assert (await client.post(SIGNIN, json=form(user))).status_code == 429


@pytest.mark.parametrize("database_kind", ["sqlite"], indirect=True)
async def test_attempts_are_limited_for_an_address(admin: Actor, client: httpx.AsyncClient) -> None:
    statuses = [
        (await client.post(SIGNIN, json={"email": f"guess{n}@example.com", "password": "x"})).status_code
        for n in range(65)
    ]
    assert statuses.count(400) in {59, 60}
    assert statuses[-1] == 429
    own = await client.post(SIGNIN, json=form(admin), headers={"x-forwarded-for": "203.0.113.7"})
    assert own.status_code == 429, "nobody says himself where he comes from"


@pytest.mark.usefixtures("real_passwords")
async def test_the_decoy_costs_what_a_real_hash_costs() -> None:
    passwords = Passwords()
    try:
        assert not passwords.needs_rehash(DECOY)
        assert await passwords.verify("anything", None) is False
        assert await passwords.verify("x" * 5000, None) is False
    finally:
        passwords.close()
