"""API keys beside the wire's one: many, named, limited, rotated and revoked; and accounts that only keys get into."""

import asyncio
import json
import time
from collections.abc import Awaitable, Callable
from typing import Any
from unittest.mock import ANY

import aiohttp
import httpx
import msgspec
import pytest
import sqlalchemy as sa

from open_webui.access.api_keys import key_hash
from open_webui.access.policy import policy_of
from open_webui.models import accounts, tables
from open_webui.principal import KeyLimits, Principal
from open_webui.routing import PolicyRoute
from open_webui.services import api_keys
from tests.support.live import PASSWORD, Actor, Live
from tests.support.upstream import Upstream

KEYS = "/api/v1/auths/keys"
SERVICES = "/api/v1/auths/service-accounts"
ONE = "/api/v1/auths/api_key"
PROBE = "/api/v1/users/user/settings"
SAY = {"messages": [{"role": "user", "content": "hi"}], "stream": False}
SQLITE = pytest.mark.parametrize("database_kind", ["sqlite"], indirect=True)
MakeLive = Callable[..., Awaitable[Live]]


@pytest.fixture
async def enabled(live: Live) -> None:
    state = live.app.state.oui
    tree = state.config["user.permissions"]
    features = tree["features"] | {"api_keys": True}
    await state.save_config({"auth.enable_api_keys": True, "user.permissions": tree | {"features": features}})


async def make(actor: Actor, *, at: str = KEYS, **form: Any) -> dict[str, Any]:
    reply = await actor.client.post(at, json={"name": "a program"} | form)
    assert reply.status_code == 200, reply.text
    made: dict[str, Any] = reply.json()
    return made


async def asked(live: Live, key: str, path: str = PROBE, **request: Any) -> httpx.Response:
    async with live.client(key) as program:
        return await program.request(request.pop("method", "GET"), path, **request)


async def status(live: Live, key: str, path: str = PROBE, **request: Any) -> int:
    return (await asked(live, key, path, **request)).status_code


def test_a_caller_with_a_key_is_told_to_other_processes_as_they_are() -> None:
    key = KeyLimits(id="k", scopes=frozenset({"chats"}), models=frozenset({"echo"}), networks=("10.0.0.0/8", "::1/128"))
    caller = Principal(id="u", role="user", name="Ann", email="ann@example.com", via="api_key", key=key)
    assert msgspec.json.decode(msgspec.json.encode(caller), type=Principal) == caller


async def test_many_keys_each_with_a_life(live: Live, admin: Actor, user: Actor, other: Actor, enabled: None) -> None:
    wires = str((await user.client.post(ONE)).json()["api_key"])
    made = await make(user, name=" first ", expires_at=int(time.time()) + 1000)
    secret = made["api_key"]
    listed = (await user.client.get(KEYS)).json()
    assert (listed["most"], "completions" in listed["scopes"], len(listed["items"])) == (api_keys.MOST, True, 2)
    shown = {one["name"]: one for one in listed["items"]}
    assert shown["first"] == {k: v for k, v in made.items() if k != "api_key"}
    assert (shown["first"]["shown_again"], shown[""]["shown_again"]) == (False, True)
    assert secret not in json.dumps(listed)
    assert await status(live, secret) == await status(live, wires) == 200
    used = [one["last_used_at"] for one in (await user.client.get(KEYS)).json()["items"]]
    assert all(at is not None and abs(at - time.time()) < 10 for at in used)
    # The wire's own routes know of the wire's key alone.
    assert (await user.client.get(ONE)).json() == {"api_key": wires}
    assert (await user.client.delete(ONE)).json() is True
    assert (await status(live, wires), await status(live, secret)) == (401, 200)
    at = f"{KEYS}/{made['id']}"
    # Nobody else gets at it, and no key makes, shows or ends keys.
    for actor in (admin, other):
        assert (await actor.client.delete(at)).status_code == 404
        assert (await actor.client.post(f"{at}/rotate", json={})).status_code == 404
    for method, path in (("GET", KEYS), ("POST", KEYS), ("DELETE", at), ("POST", f"{at}/rotate")):
        reply = await asked(live, secret, path, method=method, json={"name": "x"})
        assert (reply.status_code, reply.json()["detail"]) == (403, "A human session is required.")
    async with live.app.state.oui.database.read() as connection:
        row = (await connection.execute(sa.select(tables.api_key))).one()
    assert (row.hash, row.sealed) == (key_hash(secret), None)
    assert all(secret[3:] not in str(value) for value in row)
    assert (await user.client.delete(at)).json() is True
    assert await status(live, secret) == 401
    assert (await user.client.delete(at)).status_code == 404


async def test_a_secret_is_changed_with_an_overlap(
    live: Live, user: Actor, enabled: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    wires = (await user.client.post(ONE)).json()["api_key"]
    made = await make(user)
    at = f"{KEYS}/{made['id']}/rotate"
    second = (await user.client.post(at, json={"overlap": 3600})).json()
    assert (second["id"], second["former_until"] > time.time() + 3000) == (made["id"], True)
    assert await status(live, made["api_key"]) == await status(live, second["api_key"]) == 200
    # Without an overlap, all that was before ends at once.
    third = (await user.client.post(at, json={})).json()
    assert third["former_until"] is None
    secrets = [made["api_key"], second["api_key"], third["api_key"]]
    assert [await status(live, secret) for secret in secrets] == [401, 401, 200]
    # Two at once: one follows the other, and the last one's is good.
    both = await asyncio.gather(*(user.client.post(at, json={"overlap": 60}) for _ in range(2)))
    good = [await status(live, reply.json()["api_key"]) for reply in both]
    assert sorted([*good, await status(live, third["api_key"])]) == [200, 200, 401]
    # The overlap ends by itself, also for who is known already.
    fresh = (await user.client.post(at, json={"overlap": 60})).json()
    now = time.time()
    monkeypatch.setattr("open_webui.access.identify.time.time", lambda: now + 61)
    assert await status(live, fresh["api_key"]) == 200
    assert [await status(live, reply.json()["api_key"]) for reply in both] == [401, 401]
    monkeypatch.undo()
    # The wire's key stays the one that is shown.
    shown = next(one for one in (await user.client.get(KEYS)).json()["items"] if one["shown_again"])
    changed = (await user.client.post(f"{KEYS}/{shown['id']}/rotate", json={})).json()
    assert (await user.client.get(ONE)).json() == {"api_key": changed["api_key"]}
    assert await status(live, wires) == 401


@SQLITE
async def test_it_ends_by_its_time(live: Live, user: Actor, enabled: None, monkeypatch: pytest.MonkeyPatch) -> None:
    made = await make(user, expires_at=int(time.time()) + 100)
    assert await status(live, made["api_key"]) == 200
    now = time.time()
    monkeypatch.setattr("open_webui.access.identify.time.time", lambda: now + 101)
    # As it is remembered, and as it is looked up.
    assert await status(live, made["api_key"]) == 401
    live.app.state.oui.identifier.drop()
    assert await status(live, made["api_key"]) == 401


@SQLITE
async def test_scopes_act_at_every_way_in(
    make_live: MakeLive, connections: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before the body is read, whatever protocol is spoken."""
    monkeypatch.setenv("ENABLE_MCP_SERVER", "true")
    live = await make_live()
    form = {"name": "Ada", "email": "ada@example.com", "password": PASSWORD}
    async with live.client() as client:
        token = (await client.post("/api/v1/auths/signup", json=form)).json()["token"]
    await live.app.state.oui.save_config({"auth.enable_api_keys": True})
    admin = Actor("", "Ada", "", "admin", token, live.client(token))
    notes = (await make(admin, scopes=["notes"]))["api_key"]
    assert await status(live, notes, "/api/v1/notes/") == 200
    doors = {
        ("POST", "/api/chat/completions"): "completions", ("POST", "/openai/chat/completions"): "completions",
        ("POST", "/ollama/api/chat"): "completions", ("POST", "/api/message"): "completions",
        ("POST", "/ollama/v1/messages"): "completions", ("POST", "/ollama/v1/responses"): "completions",
        ("GET", "/ollama/api/tags"): "ollama", ("POST", "/api/embeddings"): "openai", ("GET", "/api/models"): "model-list",
        ("POST", "/mcp"): "mcp", ("GET", "/api/v1/chats/"): "chats", ("GET", "/api/v1/users/"): "users",
        ("GET", "/api/config"): "server",
    }  # fmt: skip
    for (method, path), scope in doors.items():
        reply = await asked(live, notes, path, method=method, content=b"{ no JSON")
        assert (reply.status_code, f"'{scope}'" in reply.text) == (403, True), (path, reply.text)
    every = (await make(admin, scopes=sorted(set(doors.values()))))["api_key"]
    for (method, path), scope in doors.items():
        assert f"needs the scope '{scope}'" not in (await asked(live, every, path, method=method, content=b"{")).text
    # Pages' sockets take no key; those of terminals do.
    async with (
        aiohttp.ClientSession() as http,
        http.ws_connect(f"{live.url}/api/v1/terminals/box/api/terminals/s") as socket,
    ):
        await socket.send_json({"type": "auth", "token": notes})
        async with asyncio.timeout(10):
            closing = await socket.receive()
    assert closing.type in {aiohttp.WSMsgType.CLOSE, aiohttp.WSMsgType.CLOSED, aiohttp.WSMsgType.ERROR}
    assert "terminals" in str(closing.extra)
    # The admin's list of addresses acts besides.
    listed = {"auth.api_key.endpoint_restrictions": True, "auth.api_key.allowed_endpoints": "/api/v1/chats"}
    await live.app.state.oui.save_config(listed)
    assert await status(live, notes, "/api/v1/notes/") == 403
    await admin.client.aclose()


@SQLITE
async def test_every_route_that_is_not_for_all_has_a_scope(live: Live) -> None:
    routes = [route for route in live.app.routes if isinstance(route, PolicyRoute)]
    policies = [(route, policy_of(route.endpoint)) for route in routes]
    without = [route.path for route, policy in policies if policy and policy.level != "public" and not route.tags]
    assert (len(routes) > 400, without) == (True, [])
    assert {str(route.tags[0]) for route in routes if route.tags} <= live.app.state.scopes


@SQLITE
async def test_only_the_keys_models_are_there(live: Live, admin: Actor, enabled: None, upstream: Upstream) -> None:
    """Also for an administrator, who may use all of them."""
    key = (await make(admin, models=["echo", "gone"]))["api_key"]
    for path in ("/api/models", "/api/v1/models", "/openai/models", "/ollama/v1/models"):
        found = (await asked(live, key, path)).json()["data"]
        assert {one["id"] for one in found} <= {"echo"}, path
    assert [one["id"] for one in (await asked(live, key, "/api/models")).json()["data"]] == ["echo"]
    assert len((await admin.client.get("/api/models")).json()["data"]) > 1
    unknown = "nowhere"
    assert await status(live, key, "/api/models/echo") == 200
    there = next(one["id"] for one in (await admin.client.get("/api/models")).json()["data"] if one["id"] != "echo")
    for path in ("/api/chat/completions", "/openai/chat/completions", "/ollama/v1/chat/completions", "/api/message"):
        body = SAY | {"max_tokens": 9}
        ours = await asked(live, key, path, method="POST", json=body | {"model": there})
        none = await asked(live, key, path, method="POST", json=body | {"model": unknown})
        assert (ours.status_code, none.status_code) in {(400, 400), (404, 404)}, (path, ours.text)
        assert ours.text.replace(there, "") == none.text.replace(unknown, ""), path
        assert await status(live, key, path, method="POST", json=body | {"model": "echo"}) == 200, path
    assert await status(live, key, f"/api/models/{there}") == 404
    assert await status(live, key, "/api/embeddings", method="POST", json={"model": there, "input": "x"}) == 400
    # What asks models later, in the account's name.
    later = await asked(live, key, "/api/v1/automations/list")
    assert (later.status_code, "automations" in later.text) == (403, True)
    assert {chat.body["model"] for chat in upstream.chats} == {"echo"}


@SQLITE
async def test_where_it_may_come_from(live: Live, admin: Actor, enabled: None, monkeypatch: pytest.MonkeyPatch) -> None:
    here = await make(admin, addresses=["127.0.0.1/8", "2001:db8::/32"])
    assert here["addresses"] == ["127.0.0.0/8", "2001:db8::/32"]
    elsewhere = await make(admin, addresses=["192.0.2.7"])
    assert await status(live, here["api_key"]) == 200
    refused = await asked(live, elsewhere["api_key"])
    assert (refused.status_code, "127.0.0.1" in refused.json()["detail"]) == (403, True)
    # What a client says of itself counts from listed proxies alone.
    forged = {"x-forwarded-for": "192.0.2.7", "x-real-ip": "192.0.2.7"}
    assert await status(live, elsewhere["api_key"], headers=forged) == 403


@SQLITE
async def test_hostile_forms(live: Live, user: Actor, admin: Actor, enabled: None) -> None:
    forms: list[dict[str, Any]] = [
        {"name": "x" * 2**20}, {"name": ""}, {"name": 7}, {"scopes": ["notes"] * 10_000}, {"scopes": []},
        {"scopes": ["no such"]}, {"scopes": "notes"}, {"scopes": [None]}, {"models": ["m"] * 10_000}, {"models": ["m" * 300]},
        {"addresses": ["10.0.0.0/33"]}, {"addresses": ["example.com"]}, {"addresses": ["10.0.0.0/8"] * 51},
        {"addresses": ["::1%eth0/128"]}, {"addresses": [""]}, {"expires_at": 1}, {"expires_at": 2**63}, {"expires_at": -1},
        {"expires_at": "soon"}, {"user_id": admin.id}, {"hash": "x"}, {"sealed": "x"}, {"budget_id": "x"},
    ]  # fmt: skip
    for form in forms:
        reply = await user.client.post(KEYS, json={"name": "n"} | form)
        assert reply.status_code in {400, 422}, (str(form)[:80], reply.text[:200])
    made = await make(user, name="a\x00b\u202e" + "ü" * 90)
    assert made["name"].startswith("ab")
    for overlap in (-1, 10**9, "x", None):
        reply = await user.client.post(f"{KEYS}/{made['id']}/rotate", json={"overlap": overlap})
        assert reply.status_code == 422
    for key_id in ("x" * 300, "%00", "..", "' OR 1=1 --"):
        assert (await user.client.delete(f"{KEYS}/{key_id}")).status_code in {404, 405, 422}
    await asyncio.gather(*(user.client.post(KEYS, json={"name": f"{n}"}) for n in range(api_keys.MOST + 4)))
    assert len((await user.client.get(KEYS)).json()["items"]) == api_keys.MOST
    assert "50" in (await user.client.post(KEYS, json={"name": "one more"})).json()["detail"]
    # A row that says nothing that is known opens nothing.
    async with live.app.state.oui.database.write() as unit:
        row = tables.api_key.c.id == made["id"]
        await unit.connection.execute(tables.api_key.update().where(row).values(addresses=["nowhere"]))
    assert await status(live, made["api_key"]) == 401


async def test_service_accounts(live: Live, admin: Actor, user: Actor, enabled: None) -> None:
    made = (await admin.client.post(SERVICES, json={"name": "Nightly"})).json()
    assert made == {"id": ANY, "name": "Nightly", "role": "user", "last_active_at": ANY, "created_at": ANY}
    keys = f"{SERVICES}/{made['id']}/keys"
    key = await make(admin, at=keys, scopes=["users", "notes"])
    assert key["user_id"] == made["id"]
    assert (await status(live, key["api_key"]), await status(live, key["api_key"], "/api/v1/chats/")) == (200, 403)
    # The permission is for people who make keys; this account was made for them.
    state = live.app.state.oui
    tree = state.config["user.permissions"]
    await state.save_config({"user.permissions": tree | {"features": tree["features"] | {"api_keys": False}}})
    assert await status(live, key["api_key"]) == 200
    # No way in for people: no password, and no token that is good.
    email = f"{made['id']}@service.invalid"
    for form in ({"email": email, "password": ""}, {"email": email, "password": PASSWORD}):
        assert (await user.client.post("/api/v1/auths/signin", json=form)).status_code == 400
    given = {"role": "user", "name": "Nightly", "email": email, "profile_image_url": "/user.png", "password": PASSWORD}
    assert (await admin.client.post(f"/api/v1/users/{made['id']}/update", json=given)).status_code == 400
    async with state.database.read() as connection:
        found = await accounts.credential_of(connection, made["id"])
    assert (found is not None, found.password_hash if found else "") == (True, None)
    token, _ = state.tokens.issue(made["id"], found.session_stamp if found else "", 1000)
    assert await status(live, token) == 401
    # For administrators, at a page.
    for path in (SERVICES, keys):
        assert (await user.client.get(path)).status_code == 401
        assert (await user.client.post(path, json={"name": "x"})).status_code == 401
    assert (await user.client.delete(f"{KEYS}/{key['id']}")).status_code == 404
    assert (await admin.client.get(f"{SERVICES}/{user.id}/keys")).status_code == 404
    assert (await admin.client.post(f"{SERVICES}/{user.id}/keys", json={"name": "x"})).status_code == 404
    admins = await make(admin)
    assert (await asked(live, admins["api_key"], SERVICES)).json()["detail"] == "A human session is required."
    assert [one["id"] for one in (await admin.client.get(SERVICES)).json()] == [made["id"]]
    changed = (await admin.client.post(f"{KEYS}/{key['id']}/rotate", json={})).json()
    assert (await status(live, key["api_key"]), await status(live, changed["api_key"])) == (401, 200)
    assert [one["id"] for one in (await admin.client.get(keys)).json()] == [key["id"]]
    assert (await admin.client.delete(f"/api/v1/users/{made['id']}")).json() is True
    assert await status(live, changed["api_key"]) == 401


@SQLITE
async def test_what_goes_on_by_a_key_ends_with_it(live: Live, admin: Actor, enabled: None, upstream: Upstream) -> None:
    made = await make(admin)
    other = await make(admin)

    async def read(key: str) -> None:
        async with (
            live.client(key) as program,
            program.stream("POST", "/api/chat/completions", json=SAY | {"model": "gated", "stream": True}) as reply,
        ):
            assert reply.status_code == 200
            async for _ in reply.aiter_raw():
                pass

    streams = [asyncio.create_task(read(one["api_key"])) for one in (made, other)]
    await upstream.wait_for_async(lambda u: len(u.chats) == 2)
    assert (await admin.client.delete(f"{KEYS}/{made['id']}")).status_code == 200
    async with asyncio.timeout(5):
        await asyncio.wait({streams[0]})
    assert streams[0].exception() is not None
    assert not streams[1].done()
    streams[1].cancel()
    await asyncio.wait({streams[1]})
