"""Fresh proofs before dangerous acts: which acts, what counts, and for how long."""

import re
from typing import Any

import httpx
import pytest
from fastapi import FastAPI

from open_webui.access.api_keys import STEP_UP
from open_webui.access.second_factor import DELEGATED
from open_webui.config import BY_KEY
from open_webui.internal import acts
from open_webui.printing import Declared, declared
from open_webui.services.factors import proving, step_up
from open_webui.services.factors.step_up import FACTOR, NEEDED, NO_KEY, WRONG_PASSWORD
from tests.open_webui.audit.conftest import last
from tests.open_webui.factors.conftest import switch_on
from tests.open_webui.factors.test_passkeys import SITE, begun, register, shown
from tests.support.authenticator import MFA, Clock, enroll
from tests.support.live import PASSWORD, Actor, Live
from tests.support.software_passkey import SoftwarePasskey

PROOF = "/api/v1/auths/proof"
TEN_MINUTES = 600
# Whoever finds a session of an administrator must not be able to do these with it alone: to make himself a lasting way in, to
# take all that there is away, to run code in the server, to remove people or the locks before their accounts.
DANGEROUS = {
    "POST /api/v1/role-sets", "POST /api/v1/role-sets/{role_set_id}",
    "POST /api/v1/delegated/people/{user_id}/factors/reset",
    "POST /api/v1/auths/add", "POST /api/v1/users/{user_id}/update", "DELETE /api/v1/users/{user_id}",
    "POST /api/v1/users/{user_id}/mfa/reset", "POST /api/v1/users/default/permissions",
    "POST /api/v1/auths/admin/config", "POST /api/v1/auths/admin/config/oauth",
    "POST /api/v1/auths/admin/config/ldap", "POST /api/v1/auths/admin/config/ldap/server",
    "POST /api/v1/auths/identities/{provider}/link", "POST /api/v1/auths/ldap/link",
    "POST /api/v1/auths/service-accounts", "POST /api/v1/auths/service-accounts/{user_id}/keys",
    "GET /api/v1/utils/db/download", "GET /api/v1/chats/all/db",
    "GET /api/v1/configs/export", "POST /api/v1/configs/import",
    "POST /api/v1/functions/create", "POST /api/v1/functions/sync", "POST /api/v1/functions/id/{id}/update",
    "POST /api/v1/functions/id/{id}/update/version", "POST /api/v1/tools/create", "POST /api/v1/tools/id/{id}/update",
    "POST /api/v1/tools/id/{id}/update/version", "POST /api/v1/pipelines/add", "POST /api/v1/pipelines/upload",
}  # fmt: skip


@pytest.fixture
def database_kind() -> str:
    """The SQL that differs is asked of both databases in test_passkeys.py."""
    return "sqlite"


async def switch_step_up_on(live: Live, **settings: Any) -> None:
    await live.app.state.oui.save_config({"auth.step_up.enable": True} | settings)


def proven(app: FastAPI) -> list[Declared]:
    return [d for d in declared(app) if d.policy is not None and d.policy.proven]


async def knock(client: httpx.AsyncClient, door: Declared) -> httpx.Response:
    """Asks at a door, of nothing that there is."""
    path = re.sub(r"\{[^}]*\}", "no-such-id", door.path)
    return await client.request(door.kind, path, json=None if door.kind in {"GET", "DELETE"} else {"nothing": True})


async def test_the_acts_that_need_it(live: Live, admin: Actor, clock: Clock) -> None:
    """Each of the list refuses a session that has shown nothing lately, before it reads the body; and no other does."""
    doors = proven(live.app)
    assert {f"{door.kind} {door.path}" for door in doors} == DANGEROUS
    await switch_step_up_on(live)
    clock.forward(TEN_MINUTES + 60)
    for door in doors:
        reply = await knock(admin.client, door)
        assert (reply.status_code, reply.json()) == (403, {"detail": NEEDED.format(10)}), door.path
        assert reply.headers["x-needs"] == "proof"
    refused = await last(admin, outcome="refused", resource="user")
    assert (refused["by"], refused["status"]) == (admin.id, 403)
    assert (await admin.client.get("/api/v1/users/")).status_code == 200
    done = await admin.client.post(PROOF, json={"password": PASSWORD})
    assert done.json() == {"kind": "password", "expires_in": TEN_MINUTES}
    assert (await last(admin, actor=admin.id, resource="user"))["changes"] == {"proof": [None, "password"]}
    assert (await admin.client.delete("/api/v1/users/nobody")).status_code != 403


async def test_off_it_asks_nobody(live: Live, admin: Actor, clock: Clock) -> None:
    clock.forward(TEN_MINUTES + 60)
    assert (await admin.client.get("/api/v1/configs/export")).status_code == 200


async def test_signing_in_lately_is_enough(live: Live, admin: Actor, user: Actor, clock: Clock) -> None:
    await switch_step_up_on(live, **{"auth.step_up.minutes": 1})
    export = "/api/v1/configs/export"
    assert (await admin.client.get(export)).status_code == 200
    assert (await user.client.get(export)).status_code == 401, "first of all it is for administrators"
    clock.forward(120)
    assert (await admin.client.get(export)).status_code == 403


async def test_the_password_of_who_has_a_factor_is_not_enough(live: Live, admin: Actor, clock: Clock) -> None:
    await switch_on(live)
    await switch_step_up_on(live, **{"webui.url": SITE})
    async with live.client() as browser:
        asked = (await browser.post("/api/v1/auths/signin", json={"email": admin.email, "password": PASSWORD})).json()
        app, done = await enroll(browser, asked, clock)
    async with live.client(done["token"]) as client:
        key = SoftwarePasskey(SITE)
        assert (await register(client, key)).status_code == 200
        clock.forward(TEN_MINUTES + 60)
        assert (await client.post(PROOF, json={"password": PASSWORD})).json() == {"detail": FACTOR}
        assert (await client.post(PROOF, json={"code": "000000"})).json() == {"detail": proving.WRONG}
        assert (await client.get("/api/v1/configs/export")).status_code == 403
        ways = await begun(client, f"{PROOF}/start")
        assert ways["methods"] == ["passkey", "code", "recovery"]
        started = ways["passkey"] | {"at": PROOF}
        # Another session can't use what this one began.
        async with live.client() as browser:
            asked = (
                await browser.post("/api/v1/auths/signin", json={"email": admin.email, "password": PASSWORD})
            ).json()
            again = await browser.post(
                f"{MFA}/verify", json={"challenge_token": asked["challenge_token"], "code": app.fresh()}
            )
            assert (await shown(browser, key, started)).status_code == 401
            assert again.status_code == 200
        started = (await begun(client, f"{PROOF}/start"))["passkey"] | {"at": PROOF}
        assert (await shown(client, key, started)).json() == {"kind": "factor", "expires_in": TEN_MINUTES}
        assert (await client.get("/api/v1/configs/export")).status_code == 200
        for form in ({"code": app.fresh()}, {"code": done["recovery_codes"][0], "recovery": True}):
            assert (await client.post(PROOF, json=form)).json()["kind"] == "factor"


async def test_what_is_no_proof(live: Live, admin: Actor, clock: Clock) -> None:
    """A wrong password, a session that a proxy or the server itself began, and several things at once."""
    await switch_step_up_on(live)
    state = live.app.state.oui
    stamp = (await state.identify(admin.token)).stamp
    for way in ("trusted_header", DELEGATED):
        token, _ = state.tokens.issue(admin.id, stamp, 600, way)
        async with live.client(token) as client:
            assert (await client.get("/api/v1/configs/export")).status_code == 403
    async with live.client(token) as client:
        assert (await client.post(PROOF, json={"password": PASSWORD})).json() == {"detail": step_up.NOBODY_THERE}
    assert (await admin.client.post(PROOF, json={"password": "wrong"})).json() == {"detail": WRONG_PASSWORD}
    for form in ({}, {"password": PASSWORD, "code": "1"}, {"challenge_token": "x" * 43}, {"recovery": True}, []):
        assert (await admin.client.post(PROOF, json=form)).status_code == 422
    codes = [(await admin.client.post(PROOF, json={"password": "wrong"})).status_code for _ in range(16)]
    assert codes[-1] == 429


async def test_keys(live: Live, admin: Actor, clock: Clock) -> None:
    """A key can't show anything: one of a service account may be made for it, a person's never."""
    await live.app.state.oui.save_config({"auth.enable_api_keys": True})
    keys, accounts = "/api/v1/auths/keys", "/api/v1/auths/service-accounts"
    form = {"name": "Deploy", "scopes": ["configs", STEP_UP]}
    assert (await admin.client.post(keys, json=form)).status_code == 400
    own = (await admin.client.post(keys, json={"name": "Mine"})).json()["api_key"]
    made = (await admin.client.post(accounts, json={"name": "Robot"})).json()
    await admin.client.post(f"/api/v1/users/{made['id']}/update", json={"role": "admin"})
    with_it = (await admin.client.post(f"{accounts}/{made['id']}/keys", json=form)).json()["api_key"]
    without = (await admin.client.post(f"{accounts}/{made['id']}/keys", json={"name": "Rest"})).json()["api_key"]
    await switch_step_up_on(live)
    for key, status in ((own, 403), (without, 403), (with_it, 200)):
        async with live.client(key) as program:
            reply = await program.get("/api/v1/configs/export")
            assert reply.status_code == status, reply.text
            if status == 403:
                assert (reply.json(), "x-needs" in reply.headers) == ({"detail": NO_KEY}, False)


@pytest.mark.parametrize(
    ("text", "minutes"),
    [("10", 10), (" 1 ", 1), ("1440", 1440), ("0", None), ("1441", None), ("-5", None), ("x", None)],
)
def test_minutes(text: str, minutes: int | None) -> None:
    setting = BY_KEY["auth.step_up.minutes"]
    if minutes is None:
        with pytest.raises(ValueError, match="from 1 to 1440"):
            setting.from_text(text)
    else:
        assert setting.from_text(text) == minutes


def test_a_page_hears_that_a_reason_is_needed() -> None:
    assert acts.ReasonNeeded().headers == {"X-Needs": "reason"}
