"""Where people are signed in: listed with device and address, and ended one by one or all others."""

import contextlib
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any
from unittest.mock import ANY

import httpx
import pytest
import sqlalchemy as sa

from open_webui.access import uses
from open_webui.models import sessions, tables
from open_webui.services.staging import leftovers
from open_webui.utils.user_agents import UNKNOWN, device_of
from tests.open_webui.chat.page import open_page
from tests.support.live import PASSWORD, Actor, Live

SESSIONS = "/api/v1/auths/sessions"
PROBE = "/api/v1/users/user/settings"
FIREFOX = "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0"
PHONE = "Mozilla/5.0 (iPhone; CPU iPhone OS 18_0 like Mac OS X) AppleWebKit/605 (KHTML, like Gecko) Version/18 Mobile Safari/604"
EDGE = "Mozilla/5.0 (Windows NT 10.0) AppleWebKit/537 (KHTML, like Gecko) Chrome/140.0 Safari/537 Edg/140.0"


@pytest.mark.parametrize(
    ("agent", "device"),
    [
        (FIREFOX, "Firefox on Linux"), (PHONE, "Safari on iPhone"), (EDGE, "Edge on Windows"), ("curl/8.5.0", "curl 8.5.0"),
        ("python-httpx/0.28.1", "python-httpx 0.28.1"), ("", UNKNOWN), (" ", UNKNOWN), ("x" * 10**6, "x" * 60),
        ("<script>alert(1)</script> \x1b[31m", "<script>alert(1)< script>"),
    ],
)  # fmt: skip
def test_devices(agent: str, device: str) -> None:
    assert device_of(agent) == device


SignIn = Callable[[Actor, str], Awaitable[httpx.AsyncClient]]


@pytest.fixture
async def sign_in(live: Live) -> AsyncIterator[SignIn]:
    """Signs somebody in at a device of theirs."""
    async with contextlib.AsyncExitStack() as opened:

        async def at(actor: Actor, agent: str) -> httpx.AsyncClient:
            client = await opened.enter_async_context(live.client())
            client.headers["user-agent"] = agent
            reply = await client.post("/api/v1/auths/signin", json={"email": actor.email, "password": PASSWORD})
            client.cookies.clear()
            client.headers["authorization"] = f"Bearer {reply.json()['token']}"
            return client

        yield at


async def listed(client: httpx.AsyncClient, at: str = SESSIONS) -> dict[str, Any]:
    found = await client.get(at)
    assert found.status_code == 200, found.text
    return {one["device"]: one for one in found.json()}


async def test_the_life_of_sessions(live: Live, admin: Actor, user: Actor, other: Actor, sign_in: SignIn) -> None:
    desk, phone = await sign_in(user, FIREFOX), await sign_in(user, PHONE)
    mine = await listed(desk)
    assert {"Firefox on Linux", "Safari on iPhone"} <= mine.keys()
    assert mine["Firefox on Linux"] == {
        "id": ANY, "device": "Firefox on Linux", "auth_method": "password", "first_address": "127.0.0.1",
        "last_address": "127.0.0.1", "created_at": ANY, "last_used_at": ANY, "expires_at": ANY, "is_current": True,
    }  # fmt: skip
    assert abs(mine["Firefox on Linux"]["last_used_at"] - time.time()) < 10
    assert [one["device"] for one in mine.values() if one["is_current"]] == ["Firefox on Linux"]
    # Nobody else reaches them: not another person, and an admin by the admins' address alone.
    at, of_user = f"{SESSIONS}/{mine['Safari on iPhone']['id']}", f"/api/v1/users/{user.id}/sessions"
    for actor in (other, admin):
        assert (await actor.client.delete(at)).status_code == 404
    assert (await other.client.get(of_user)).status_code == 401
    assert (await other.client.delete(f"{of_user}/{mine['Safari on iPhone']['id']}")).status_code == 401
    assert mine["Safari on iPhone"]["id"] not in str(await listed(other.client))
    async with open_page(phone, phone.headers["authorization"].removeprefix("Bearer ")) as page:
        assert (await desk.delete(at)).json() is True
        assert (await phone.get(PROBE)).status_code == 401
        await page.gone.wait()
    assert (await desk.delete(at)).status_code == 404
    assert "Safari on iPhone" not in await listed(desk)
    # Signing out leaves the list, too; an admin ends one.
    edge = await sign_in(user, EDGE)
    theirs = await listed(admin.client, of_user)
    assert not any(one["is_current"] for one in theirs.values())
    assert (await admin.client.delete(f"{of_user}/{theirs['Edge on Windows']['id']}")).json() is True
    assert (await edge.get(PROBE)).status_code == 401
    assert (await admin.client.delete(f"{of_user}/{theirs['Edge on Windows']['id']}")).status_code == 404
    assert (await admin.client.get("/api/v1/users/none/sessions")).status_code == 400
    assert (await desk.post("/api/v1/auths/signout")).status_code == 200
    assert "Firefox on Linux" not in await listed(user.client)


async def test_all_others_end_at_once(live: Live, user: Actor, sign_in: SignIn) -> None:
    """Also one that no row tells of: it was begun by an earlier release."""
    desk, phone = await sign_in(user, FIREFOX), await sign_in(user, PHONE)
    await listed(desk)
    before = await listed(desk)
    async with live.app.state.oui.database.write() as unit:
        await unit.connection.execute(tables.session.delete().where(tables.session.c.device == "Safari on iPhone"))
    assert (await phone.get(PROBE)).status_code == 200
    fresh = (await desk.delete(SESSIONS)).json()
    assert (fresh["id"], (await desk.get(PROBE)).status_code) == (user.id, 401)
    assert [(await client.get(PROBE)).status_code for client in (phone, user.client)] == [401, 401]
    desk.headers["authorization"] = f"Bearer {fresh['token']}"
    desk.cookies.clear()
    after = await listed(desk)
    assert after.keys() == {"Firefox on Linux"}
    mine, was = after["Firefox on Linux"], before["Firefox on Linux"]
    # It is the same session: it ends when it would have ended.
    assert (mine["created_at"], mine["expires_at"], mine["is_current"]) == (was["created_at"], was["expires_at"], True)
    assert mine["id"] != was["id"]


@pytest.mark.parametrize("database_kind", ["sqlite"], indirect=True)
async def test_what_is_over_is_removed(
    live: Live, user: Actor, sign_in: SignIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    state = live.app.state.oui
    clients = [await sign_in(user, agent) for agent in (FIREFOX, PHONE, EDGE)]
    rows = await listed(clients[0])
    # A use writes nothing while the last one that is written is young.
    state.uses._sessions.clear()
    assert (await clients[0].get(PROBE)).status_code == 200
    assert state.uses._sessions == {}
    monkeypatch.setattr(uses, "MOST", 1)
    state.uses._due.clear()
    for client in clients:
        assert (await client.get(PROBE)).status_code == 200
    assert len(state.uses._due) == 1
    await clients[1].post("/api/v1/auths/signout")
    t = tables.session
    async with state.database.write() as unit:
        await unit.connection.execute(t.update().where(t.c.jti == rows["Edge on Windows"]["id"]).values(expires_at=1))
    await leftovers(state.database).handler(None, None)  # type: ignore[arg-type]
    async with state.database.read() as connection:
        left = set(await connection.scalars(sa.select(t.c.device).where(t.c.user_id == user.id)))
    assert "Firefox on Linux" in left
    assert left.isdisjoint({"Safari on iPhone", "Edge on Windows"})
    monkeypatch.setattr(sessions, "MOST_LISTED", 1)
    assert len((await clients[0].get(SESSIONS)).json()) == 1


@pytest.mark.parametrize("database_kind", ["sqlite"], indirect=True)
@pytest.mark.parametrize("session_id", ["x" * 300, "none", "%00", "' OR 1=1 --"])
async def test_made_up_ids(user: Actor, session_id: str) -> None:
    assert (await user.client.delete(f"{SESSIONS}/{session_id}")).status_code in {404, 422}
    assert (await user.client.get(PROBE)).status_code == 200
