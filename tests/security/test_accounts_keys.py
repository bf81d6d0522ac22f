"""API keys: who may have one, what it opens, how it is kept, and when it ends."""

import httpx
import pytest
import sqlalchemy as sa

from open_webui.access.api_keys import Sealer, key_hash, looks_like_key, new_key
from open_webui.models import tables
from tests.support.live import Actor, Live

KEY = "/api/v1/auths/api_key"
PROBE = "/api/v1/users/user/settings"


@pytest.fixture
async def enabled(live: Live) -> None:
    await live.app.state.oui.save_config({"auth.enable_api_keys": True})


async def permit(admin: Actor, allowed: bool) -> None:
    permissions = (await admin.client.get("/api/v1/users/default/permissions")).json()
    permissions["features"]["api_keys"] = allowed
    reply = await admin.client.post("/api/v1/users/default/permissions", json=permissions)
    assert reply.json()["features"]["api_keys"] is allowed


async def make_key(actor: Actor) -> str:
    reply = await actor.client.post(KEY)
    assert reply.status_code == 200, reply.text
    return str(reply.json()["api_key"])


async def test_the_life_of_a_key(live: Live, admin: Actor, enabled: None) -> None:
    assert (await admin.client.get(KEY)).status_code == 404
    first = await make_key(admin)
    assert looks_like_key(first)
    assert (await admin.client.get(KEY)).json() == {"api_key": first}
    async with live.client(first) as program:
        assert (await program.get(PROBE)).status_code == 200
        second = await make_key(admin)
        assert (await program.get(PROBE)).status_code == 401
    async with live.client(second) as program:
        assert (await program.get(PROBE)).status_code == 200
        assert (await admin.client.delete(KEY)).json() is True
        assert (await program.get(PROBE)).status_code == 401
    assert (await admin.client.get(KEY)).status_code == 404
    assert (await admin.client.delete(KEY)).json() is False


async def test_a_key_comes_as_bearer_header_or_cookie(live: Live, admin: Actor, enabled: None) -> None:
    key = await make_key(admin)
    async with live.client() as program:
        for headers in ({"authorization": f"Bearer {key}"}, {"x-api-key": key}, {"cookie": f"token={key}"}):
            assert (await program.get(PROBE, headers=headers)).status_code == 200


async def test_some_things_want_a_person(live: Live, admin: Actor, enabled: None) -> None:
    async with live.client(await make_key(admin)) as program:
        for method, path, body in (
            ("GET", "/api/v1/auths/", None),
            ("GET", "/api/v1/auths/mfa/status", None),
            ("POST", "/api/v1/auths/update/password", {"password": "x", "new_password": "y"}),
        ):
            reply = await program.request(method, path, json=body)
            assert (reply.status_code, reply.json()["detail"]) == (403, "A human session is required.")


async def test_users_need_the_permission_to_have_and_to_use_one(
    live: Live, admin: Actor, user: Actor, pending: Actor, enabled: None
) -> None:
    assert (await user.client.post(KEY)).status_code == 403
    await permit(admin, True)
    key = await make_key(user)
    async with live.client(key) as program:
        assert (await program.get(PROBE)).status_code == 200
        await permit(admin, False)
        assert (await program.get(PROBE)).status_code == 401
        await permit(admin, True)
        assert (await program.get(PROBE)).status_code == 200
        await live.app.state.oui.save_config({"auth.enable_api_keys": False})
        assert (await program.get(PROBE)).status_code == 401
    assert (await user.client.post(KEY)).status_code == 403


async def test_keys_are_off_by_default(admin: Actor) -> None:
    assert (await admin.client.post(KEY)).status_code == 403


async def test_a_key_ends_with_its_owner_and_follows_the_role(
    live: Live, admin: Actor, user: Actor, enabled: None
) -> None:
    await permit(admin, True)
    async with live.client(await make_key(user)) as program:
        await admin.client.post(f"/api/v1/users/{user.id}/update", json={"role": "pending"})
        assert (await program.get(PROBE)).status_code == 401
        await admin.client.post(f"/api/v1/users/{user.id}/update", json={"role": "admin"})
        assert (await program.get("/api/v1/users/")).status_code == 200
        await admin.client.post(f"/api/v1/users/{user.id}/update", json={"role": "user"})
        assert (await program.get("/api/v1/users/")).status_code == 401
        await admin.client.delete(f"/api/v1/users/{user.id}")
        assert (await program.get(PROBE)).status_code == 401


@pytest.mark.parametrize(
    ("allowed", "path", "status"),
    [
        ("/api/v1/users/user/settings", PROBE, 200),
        ("/api/models, /api/v1/users/", PROBE, 200),
        ("/api/v1/user", PROBE, 403),
        ("/api/models", PROBE, 403),
        ("", PROBE, 403),
        ("/api/models", "/health", 200),
    ],
)
@pytest.mark.parametrize("database_kind", ["sqlite"], indirect=True)
async def test_keys_are_kept_to_the_allowed_endpoints(
    live: Live, admin: Actor, enabled: None, allowed: str, path: str, status: int
) -> None:
    key = await make_key(admin)
    await live.app.state.oui.save_config(
        {"auth.api_key.endpoint_restrictions": True, "auth.api_key.allowed_endpoints": allowed}
    )
    async with live.client(key) as program:
        assert (await program.get(path)).status_code == status
    assert (await admin.client.get(PROBE)).status_code == 200


async def test_the_database_holds_no_key_in_clear(live: Live, admin: Actor, enabled: None) -> None:
    key = await make_key(admin)
    async with live.app.state.oui.database.read() as connection:
        row = (await connection.execute(sa.select(tables.api_key))).one()
    assert row.hash == key_hash(key)
    assert all(key not in str(value) and key[3:] not in str(value) for value in row)
    assert Sealer("another secret").unseal(row.sealed, admin.id) is None
    assert Sealer(live.settings.webui_secret_key.get_secret_value()).unseal(row.sealed, "somebody else") is None


@pytest.mark.parametrize("database_kind", ["sqlite"], indirect=True)
async def test_a_key_that_can_no_longer_be_unsealed_still_opens(live: Live, admin: Actor, enabled: None) -> None:
    key = await make_key(admin)
    async with live.app.state.oui.database.write() as unit:
        await unit.connection.execute(tables.api_key.update().values(sealed="of another secret"))
    assert (await admin.client.get(KEY)).status_code == 404
    async with live.client(key) as program:
        assert (await program.get(PROBE)).status_code == 200


@pytest.mark.parametrize("database_kind", ["sqlite"], indirect=True)
@pytest.mark.parametrize("key", ["sk-", "sk-" + "0" * 32, "sk-" + "A" * 32, "sk-" + "0" * 100_0, "sk-' OR 1=1"])
async def test_made_up_keys_open_nothing(client: httpx.AsyncClient, enabled: None, key: str) -> None:
    assert (await client.get(PROBE, headers={"x-api-key": key})).status_code == 401


def test_keys_are_of_the_wires_form_and_never_the_same() -> None:
    keys = {new_key() for _ in range(100)}
    assert len(keys) == 100
    assert all(looks_like_key(key) and len(key) == 35 for key in keys)
