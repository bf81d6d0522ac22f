"""R7, R15, R16: whoever loses access loses it at once, here and on other replicas; cookies serve our own pages only."""

import asyncio
import base64
import hmac
import json
import statistics
import time
from collections.abc import Awaitable, Callable
from typing import Any

import httpx
import pytest
import sqlalchemy as sa

from open_webui.access import identify
from open_webui.models import accounts, tables
from tests.support.live import PASSWORD, Actor, Live

SESSION = "/api/v1/auths/"
PROBE = "/api/v1/users/user/settings"
MakeLive = Callable[..., Awaitable[Live]]
Ending = Callable[[Actor, Actor], Awaitable[httpx.Response]]


async def sign_out(_admin: Actor, user: Actor) -> httpx.Response:
    return await user.client.post("/api/v1/auths/signout")


async def change_password(_admin: Actor, user: Actor) -> httpx.Response:
    form = {"password": PASSWORD, "new_password": "another horse"}
    return await user.client.post("/api/v1/auths/update/password", json=form)


async def admin_sets_password(admin: Actor, user: Actor) -> httpx.Response:
    return await admin.client.post(f"/api/v1/users/{user.id}/update", json={"password": "another horse"})


async def admin_revokes(admin: Actor, user: Actor) -> httpx.Response:
    return await admin.client.post(f"/api/v1/users/{user.id}/sessions/revoke")


async def demote(admin: Actor, user: Actor) -> httpx.Response:
    return await admin.client.post(f"/api/v1/users/{user.id}/update", json={"role": "pending"})


async def delete(admin: Actor, user: Actor) -> httpx.Response:
    return await admin.client.delete(f"/api/v1/users/{user.id}")


ENDINGS = [sign_out, change_password, admin_sets_password, admin_revokes, demote, delete]


@pytest.mark.parametrize("ending", ENDINGS, ids=lambda e: e.__name__)
async def test_access_ends_at_once_and_sockets_are_told(live: Live, admin: Actor, user: Actor, ending: Ending) -> None:
    told: list[str] = []

    async def listen(user_id: str) -> None:
        told.append(user_id)

    live.app.state.oui.identifier.on_forget(listen)
    assert (await user.client.get(PROBE)).status_code == 200
    reply = await ending(admin, user)
    assert reply.status_code == 200, reply.text
    user.client.cookies.clear()
    assert (await user.client.get(PROBE)).status_code == 401
    assert told == [user.id]
    assert (await admin.client.get(PROBE)).status_code == 200


@pytest.mark.parametrize("database_kind", ["postgresql"], indirect=True)
@pytest.mark.parametrize("ending", [sign_out, admin_revokes, demote, delete], ids=lambda e: e.__name__)
async def test_access_ends_on_other_replicas_without_news(
    make_live: MakeLive, live: Live, admin: Actor, user: Actor, ending: Ending, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert identify.CACHE_SECONDS < 5
    monkeypatch.setattr(identify, "CACHE_SECONDS", 0.2)
    replica = await make_live()
    monkeypatch.setattr(live.app.state.oui.bus, "publish", lambda _topic, _payload: None)
    async with replica.client(user.token) as there:
        assert (await there.get(PROBE)).status_code == 200
        await ending(admin, user)
        # Nothing tells the other replica, so there is nothing to wait for but its cache's end.
        for _ in range(50):
            if (await there.get(PROBE)).status_code == 401:
                break
            await asyncio.sleep(0.05)
        assert (await there.get(PROBE)).status_code == 401


async def test_what_was_looked_up_before_a_change_is_not_kept(
    live: Live, admin: Actor, user: Actor, monkeypatch: pytest.MonkeyPatch
) -> None:
    state = live.app.state.oui
    state.identifier.drop()
    read, go, original = asyncio.Event(), asyncio.Event(), accounts.identity

    async def read_and_wait(*args: Any) -> Any:
        row = await original(*args)
        read.set()
        await go.wait()
        return row

    monkeypatch.setattr(accounts, "identity", read_and_wait)
    looking_up = asyncio.create_task(state.identify(user.token))
    await read.wait()
    monkeypatch.setattr(accounts, "identity", original)
    assert (await demote(admin, user)).status_code == 200
    go.set()
    assert (await looking_up).role == "user"
    assert (await user.client.get(PROBE)).status_code == 401


async def test_signing_out_leaves_other_sessions(live: Live, user: Actor) -> None:
    async with live.client() as second:
        form = {"email": user.email, "password": PASSWORD}
        token = (await second.post("/api/v1/auths/signin", json=form)).json()["token"]
        reply = await user.client.post("/api/v1/auths/signout")
        assert reply.json() == {"status": True}
        assert 'token=""' in reply.headers["set-cookie"]
        assert "Max-Age=0" in reply.headers["set-cookie"]
        assert token != user.token
        assert (await second.get(SESSION)).status_code == 200
    assert (await user.client.get(SESSION)).status_code == 401


@pytest.mark.parametrize("database_kind", ["sqlite"], indirect=True)
@pytest.mark.parametrize("token", [None, "garbage", "sk-" + "0" * 32, "a.b.c", "x" * 10_000])
async def test_signing_out_without_a_session_is_fine(live: Live, token: str | None) -> None:
    async with live.client(token) as browser:
        assert (await browser.post("/api/v1/auths/signout")).json() == {"status": True}


async def test_signing_out_twice_at_once(user: Actor) -> None:
    replies = await asyncio.gather(*(user.client.post("/api/v1/auths/signout") for _ in range(8)))
    assert [r.status_code for r in replies] == [200] * 8


async def test_a_password_change_keeps_the_page_that_asked(live: Live, user: Actor) -> None:
    async with live.client() as page, live.client() as other:
        for browser in (page, other):
            form = {"email": user.email, "password": PASSWORD}
            assert (await browser.post("/api/v1/auths/signin", json=form)).status_code == 200
        change = {"password": PASSWORD, "new_password": "another horse"}
        reply = await page.post("/api/v1/auths/update/password", json=change)
        assert (reply.status_code, reply.json()) == (200, True)
        assert (await page.get(SESSION)).status_code == 200
        assert (await other.get(SESSION)).status_code == 401
        for password, status in ((PASSWORD, 400), ("another horse", 200)):
            form = {"email": user.email, "password": password}
            assert (await other.post("/api/v1/auths/signin", json=form)).status_code == status


async def test_guessing_the_current_password_is_limited(user: Actor) -> None:
    guess = {"password": "wrong", "new_password": "x"}
    statuses = [(await user.client.post("/api/v1/auths/update/password", json=guess)).status_code for _ in range(17)]
    assert statuses == [400] * 15 + [429] * 2


@pytest.mark.parametrize("database_kind", ["sqlite"], indirect=True)
@pytest.mark.parametrize(
    "headers",
    [
        {"origin": "https://evil.example"},
        {"origin": "null"},
        {"origin": "http://127.0.0.1.evil.example"},
        {"sec-fetch-site": "cross-site"},
        {"sec-fetch-site": "same-site"},
    ],
)
async def test_another_sites_page_cannot_write_with_the_cookie(
    live: Live, user: Actor, headers: dict[str, str]
) -> None:
    async with live.client() as browser:
        form = {"email": user.email, "password": PASSWORD}
        await browser.post("/api/v1/auths/signin", json=form)
        zone = {"timezone": "Europe/Berlin"}
        refused = await browser.post("/api/v1/auths/update/timezone", json=zone, headers=headers)
        assert refused.status_code == 403
        assert (await browser.post("/api/v1/auths/signout", headers=headers)).status_code == 403
        assert (await browser.get(SESSION, headers=headers)).status_code == 200
        own = {"origin": live.url, "sec-fetch-site": "same-origin"}
        assert (await browser.post("/api/v1/auths/update/timezone", json=zone, headers=own)).status_code == 200
    bearer = await user.client.post("/api/v1/auths/update/timezone", json=zone, headers=headers)
    assert bearer.status_code == 200


def jwt(claims: dict[str, Any], key: str, algorithm: str = "HS256") -> str:
    """A token made by hand, as somebody who knows the form would."""
    parts = ({"alg": algorithm, "typ": "JWT"}, {k: v for k, v in claims.items() if v is not None})
    signed = b".".join(base64.urlsafe_b64encode(json.dumps(p).encode()).rstrip(b"=") for p in parts)
    signature = hmac.digest(key.encode(), signed, "sha256") if algorithm == "HS256" else b""
    return (signed + b"." + base64.urlsafe_b64encode(signature).rstrip(b"=")).decode()


def forged(live: Live, user: Actor, *, key: str | None = None, algorithm: str = "HS256", **changes: Any) -> str:
    real = live.app.state.oui.tokens.verify(user.token)
    claims = {"id": real.id, "jti": real.jti, "session_stamp": real.session_stamp, "iat": real.iat, "typ": "session"}
    claims |= {"exp": real.exp} | changes
    return jwt(claims, key or live.settings.webui_secret_key.get_secret_value(), algorithm)


@pytest.mark.parametrize("database_kind", ["sqlite"], indirect=True)
async def test_forged_and_ended_tokens_are_refused(live: Live, user: Actor, other: Actor) -> None:
    bad = [
        forged(live, user, key="another secret that is long enough"),
        forged(live, user, exp=int(time.time()) - 1),
        forged(live, user, typ="mfa"),
        forged(live, user, typ=None),
        forged(live, user, id=other.id),
        forged(live, user, id="nobody"),
        forged(live, user, session_stamp="x"),
        forged(live, user, session_stamp=None),
        forged(live, user, jti=7),
        user.token.rsplit(".", 1)[0] + ".",
        forged(live, user, algorithm="none"),
        forged(live, user, algorithm="RS256"),
        "x" * 5000,
    ]
    for token in bad:
        async with live.client(token) as browser:
            assert (await browser.get(SESSION)).status_code == 401, token
    async with live.client(forged(live, user)) as browser:
        assert (await browser.get(SESSION)).status_code == 200


async def test_a_request_of_a_known_caller_asks_the_database_nothing(live: Live, user: Actor) -> None:
    await user.client.get("/api/v1/users/permissions")
    statements: list[str] = []

    def note(_c: Any, _cursor: Any, statement: str, *_rest: Any) -> None:
        statements.append(statement)

    database = live.app.state.oui.database
    engines = {database._readers.sync_engine, database._writer.sync_engine}
    for engine in engines:
        sa.event.listen(engine, "before_cursor_execute", note)
    for _ in range(5):
        assert (await user.client.get("/api/v1/users/permissions")).status_code == 200
    assert [s for s in statements if "user" in s] == []


async def test_it_is_noted_when_somebody_was_here(live: Live, user: Actor) -> None:
    state = live.app.state.oui
    async with state.database.write() as unit:
        row = tables.user.c
        await unit.connection.execute(tables.user.update().where(row.id == user.id).values(last_active_at=1))
    state.identifier.drop()
    assert (await user.client.get(PROBE)).status_code == 200
    await state.identifier.close()
    assert (await user.client.get(f"/api/v1/users/{user.id}/info")).json()["last_active_at"] > 1


@pytest.mark.usefixtures("real_passwords")
@pytest.mark.parametrize("database_kind", ["sqlite"], indirect=True)
async def test_sign_in_takes_as_long_for_unknown_people(user: Actor, client: httpx.AsyncClient) -> None:
    known, unknown = [], []
    for n in range(12):
        for email, times in ((user.email, known), (f"nobody{n}@example.com", unknown)):
            started = time.process_time()
            reply = await client.post("/api/v1/auths/signin", json={"email": email, "password": "wrong"})
            times.append(time.process_time() - started)
            assert reply.status_code == 400
    ratio = statistics.median(known) / statistics.median(unknown)
    assert 0.6 < ratio < 1.7
