"""What a directory must not do, what ends when it takes somebody away, and who is no directory."""

import asyncio
import contextlib
import re
import time
from typing import Any

import httpx
import pytest

from open_webui.models import accounts
from open_webui.printing import declared
from tests.open_webui.chat.page import open_page
from tests.open_webui.scim.conftest import BASE, TOKEN, Directory, Serve, person, refusal
from tests.support.live import PASSWORD, Actor, Live, sign_up
from tests.support.upstream import Upstream

SQLITE = pytest.mark.parametrize("database_kind", ["sqlite"], indirect=True)
POSTGRES = pytest.mark.parametrize("database_kind", ["postgresql"], indirect=True)
OFF = {"op": "replace", "path": "active", "value": False}
SESSION = "/api/v1/auths/"


async def refused_at(*clients: httpx.AsyncClient) -> None:
    """Waits until each is refused, five seconds at most."""
    async with asyncio.timeout(5):
        for client in clients:
            while (await client.get(SESSION)).status_code != 401:  # noqa: ASYNC110 - it tells nobody
                await asyncio.sleep(0.05)


@POSTGRES
async def test_whom_the_directory_takes_away_is_away_everywhere(
    serve: Serve, make_actor: Any, connections: None, upstream: Upstream
) -> None:
    first, second, third = [await serve(bypass_model_access_control=True) for _ in range(3)]
    directory, admin = await make_actor(first)
    user = await sign_up(first, "User One", role="user", admin=admin)
    key = await with_key(admin, user)
    async with (
        contextlib.aclosing(user.client),
        second.client(user.token) as there,
        third.client(user.token) as elsewhere,
        third.client(key) as program,
        open_page(there, user.token) as page,
    ):
        # A key is known, but is no session.
        assert [(await one.get(SESSION)).status_code for one in (there, elsewhere, program)] == [200, 200, 403]
        body = page.ask("gated", "Slowly, please")
        await page.post(body)
        upstream.release(3)
        await upstream.wait_for_async(lambda u: len(u.chats) == 1)
        begun = time.monotonic()
        assert (await directory.change(f"/Users/{user.id}", OFF)).json()["active"] is False
        await refused_at(user.client, there, elsewhere, program)
        await upstream.wait_for_async(lambda u: u.chats[0].disconnected)
        async with asyncio.timeout(5):
            while page.socket.connected:  # noqa: ASYNC110 - it tells nobody
                await asyncio.sleep(0.05)
        assert time.monotonic() - begun < 5
        form = {"email": user.email, "password": PASSWORD}
        async with second.client() as again:
            assert (await again.post("/api/v1/auths/signin", json=form)).status_code in {400, 401, 403}
            # Back again, with nothing of before.
            assert (await directory.change(f"/Users/{user.id}", OFF | {"value": True})).json()["active"] is True
            assert (await again.post("/api/v1/auths/signin", json=form)).status_code == 200
        assert [(await one.get(SESSION)).status_code for one in (there, elsewhere, program)] == [401] * 3


async def with_key(admin: Actor, user: Actor) -> str:
    """An API key of somebody."""
    config = (await admin.client.get("/api/v1/auths/admin/config")).json()
    reply = await admin.client.post("/api/v1/auths/admin/config", json=config | {"ENABLE_API_KEYS": True})
    assert reply.status_code == 200, reply.text
    permissions = (await admin.client.get("/api/v1/users/default/permissions")).json()
    permissions["features"]["api_keys"] = True
    await admin.client.post("/api/v1/users/default/permissions", json=permissions)
    reply = await user.client.post("/api/v1/auths/api_key")
    assert reply.status_code == 200, reply.text
    key: str = reply.json()["api_key"]
    return key


async def test_the_first_administrator_and_the_last_one(directory: Directory, admin: Actor, live: Live) -> None:
    path = f"/Users/{admin.id}"
    before = (await directory.ask("GET", path)).json()
    for operation in (
        OFF,
        {"op": "replace", "path": "userName", "value": "x@example.com"},
        {"op": "replace", "path": 'emails[type eq "work"].value', "value": "x@example.com"},
        {"op": "add", "path": "externalId", "value": "mine"},
    ):
        assert refusal(await directory.change(path, operation)) == (403, "")
    assert refusal(await directory.ask("PUT", path, person("other"))) == (403, "")
    assert refusal(await directory.ask("DELETE", path)) == (403, "")
    # What changes nothing is no change.
    assert (await directory.change(path, OFF | {"value": True})).json() == before
    # Others may go, as long as one is left who can sign in.
    second = await sign_up(live, "Second Admin", role="admin", admin=admin)
    async with second.client:
        assert (await directory.change(f"/Users/{second.id}", OFF)).status_code == 200
        assert (await second.client.get(SESSION)).status_code == 401
    state = live.app.state.oui
    async with state.database.write() as unit:
        await accounts.set_active(unit.connection, admin.id, active=False)
    assert (await directory.change(f"/Users/{second.id}", OFF | {"value": True})).status_code == 200
    assert refusal(await directory.change(f"/Users/{second.id}", OFF)) == (403, "")
    assert refusal(await directory.ask("DELETE", f"/Users/{second.id}")) == (403, "")


@SQLITE
async def test_nobody_becomes_an_administrator_by_it(serve: Serve) -> None:
    live = await serve()
    async with live.client(TOKEN) as client, live.client() as anonymous:
        directory = Directory(client)
        # Of an empty server the first account is the administrator's, and a directory makes none.
        assert refusal(await directory.ask("POST", "/Users", person("ada"))) == (403, "")
        assert refusal(await directory.ask("POST", "/Groups", {"displayName": "G"})) == (403, "")
        admin = await sign_up(live, "Admin One")
        body = person("ada") | {"role": "admin", "roles": [{"value": "admin"}], "password": PASSWORD}
        made = (await directory.ask("POST", "/Users", body)).json()
        await directory.change(f"/Users/{made['id']}", {"op": "add", "path": "roles", "value": [{"value": "admin"}]})
        session = (
            await anonymous.post(SESSION + "signin", json={"email": "ada@example.com", "password": PASSWORD})
        ).json()
        assert session["role"] == "user"
        # An administrator may switch an account off and on, too.
        for on in (False, True):
            form = {"role": "user", "name": "Ada", "email": "ada@example.com", "active": on}
            assert (await admin.client.post(f"/api/v1/users/{made['id']}/update", json=form)).status_code == 200
            assert (await directory.ask("GET", f"/Users/{made['id']}")).json()["active"] is on
        # Who waits to be let in is let in when the directory says so.
        waiting = await sign_up(live, "Waiting", role="pending", admin=admin)
        path = f"/Users/{waiting.id}"
        assert (await directory.ask("GET", path)).json()["active"] is False
        assert (await directory.change(path, OFF | {"value": "True"})).json()["active"] is True
        assert (await waiting.client.get(SESSION)).json()["role"] == "user"
        await waiting.client.aclose()
        await admin.client.aclose()


@SQLITE
async def test_only_the_directory_s_token_opens_it(live: Live, admin: Actor, user: Actor, pending: Actor) -> None:
    key = await with_key(admin, user)
    for token in (
        None,
        "x",
        TOKEN[:-1],
        TOKEN + "x",
        TOKEN.upper(),
        "é",
        "x" * 5_000,
        admin.token,
        user.token,
        key,
    ):
        headers = {} if token is None else {"authorization": f"Bearer {token}".encode()}
        for extra in ({}, {"x-api-key": TOKEN}, {"cookie": f"token={admin.token}"}, {"cookie": f"token={TOKEN}"}):
            async with live.client() as client:
                reply = await client.get(f"{BASE}/Users", headers=headers | extra)
            assert refusal(reply) == (401, ""), token
            assert reply.headers["www-authenticate"].startswith("Bearer ")
    async with live.client() as client:
        for header in (f"Basic {TOKEN}", TOKEN, "Bearer"):
            assert refusal(await client.get(f"{BASE}/Users", headers={"authorization": header})) == (401, "")
        reply = await client.post(f"{BASE}/Users", content=b"{broken", headers={"content-type": "text/plain"})
        assert refusal(reply) == (401, "")
        for public in ("ServiceProviderConfig", "ResourceTypes", "Schemas"):
            assert (await client.get(f"{BASE}/{public}")).status_code == 200
    # Whoever is somebody is let in by none of its doors.
    doors = [door for door in declared(live.app) if door.policy is not None and door.policy.level == "scim"]
    assert len(doors) == 16
    for actor in (admin, user, pending):
        for door in doors:
            path = re.sub(r"{\w+}", user.id, door.path)
            assert refusal(await actor.client.request(door.kind, path, json={"userName": "x@y.example"})) == (401, "")
    # And it opens nothing else.
    async with live.client(TOKEN) as client:
        assert (await client.get(SESSION)).status_code == 401
        assert (await client.get("/api/v1/users/")).status_code == 401


@SQLITE
@pytest.mark.parametrize("changes", [{"enable_scim": False}, {"scim_token": ""}])
async def test_it_is_off_or_closed_unless_it_is_set_up(make_live: Serve, changes: dict[str, Any]) -> None:
    live = await make_live(**({"enable_scim": True, "scim_token": TOKEN} | changes))
    expected = 404 if "enable_scim" in changes else 401
    for token in (TOKEN, "x"):
        async with live.client() as client:
            headers = {"authorization": f"Bearer {token}"}
            for method, path in (("GET", "/Users"), ("POST", "/Groups"), ("POST", "/Bulk"), ("DELETE", "/Users/x")):
                assert refusal(await client.request(method, BASE + path, headers=headers)) == (expected, "")
            seen = await client.get(f"{BASE}/Schemas", headers=headers)
            assert seen.status_code == (404 if expected == 404 else 200)


async def test_a_removed_account_is_gone_with_all_that_is_its_own(
    directory: Directory, admin: Actor, user: Actor
) -> None:
    chat = {"chat": {"title": "Mine", "history": {"messages": {}, "currentId": None}}}
    made = (await user.client.post("/api/v1/chats/new", json=chat)).json()
    await directory.group("G", user.id)
    assert (await directory.ask("DELETE", f"/Users/{user.id}")).status_code == 204
    assert (await user.client.get(SESSION)).status_code == 401
    assert (await admin.client.get(f"/api/v1/chats/{made['id']}")).status_code in {401, 404}
    (group,) = (await admin.client.get("/api/v1/groups/")).json()
    assert group["member_count"] == 0
    again = await directory.make("user.one")
    assert again["id"] != user.id


async def test_two_at_once(directory: Directory) -> None:
    bodies = [person("ada") | {"externalId": "x"} for _ in range(4)]
    replies = await asyncio.gather(*(directory.ask("POST", "/Users", body) for body in bodies))
    assert sorted(one.status_code for one in replies) == [201, 409, 409, 409]
    replies = await asyncio.gather(*(directory.ask("POST", "/Groups", {"displayName": "G"}) for _ in range(4)))
    assert sorted(one.status_code for one in replies) == [201, 409, 409, 409]
    people = [await directory.make(name) for name in ("bob", "cy", "dora", "eve")]
    group = next(one.json() for one in replies if one.status_code == 201)
    await asyncio.gather(
        *(
            directory.change(
                f"/Groups/{group['id']}", {"op": "add", "path": "members", "value": [{"value": one["id"]}]}
            )
            for one in people
        )
    )
    members = (await directory.ask("GET", f"/Groups/{group['id']}")).json()["members"]
    assert {one["value"] for one in members} == {one["id"] for one in people}
    # Of two who saw the same version, one changes it.
    path = f"/Users/{people[0]['id']}"
    version = (await directory.ask("GET", path)).headers["etag"]
    changes = [{"op": "replace", "path": "displayName", "value": name} for name in "AB"]
    replies = await asyncio.gather(*(directory.change(path, one, headers={"if-match": version}) for one in changes))
    assert sorted(one.status_code for one in replies) == [200, 412]
