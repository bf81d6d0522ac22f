"""Second factors in the audit record: who signed in with one, whose code was wrong, and that one came or went."""

import httpx
import pytest

from tests.open_webui.audit.conftest import entries, last, texts
from tests.open_webui.factors.conftest import Person, switch_on
from tests.support.authenticator import Clock, answer, enroll, sign_in
from tests.support.live import Actor, Live

pytestmark = pytest.mark.parametrize("database_kind", ["sqlite"], indirect=True)


async def test_a_sign_in_is_recorded_once_its_second_step_is_done(
    live: Live, admin: Actor, user: Actor, clock: Clock, browser: httpx.AsyncClient
) -> None:
    signed_in = {"action": "sign-in", "actor": user.id, "outcome": "done"}
    before = await entries(admin, **signed_in)
    await switch_on(live, required_roles=["user"])
    challenge = (await sign_in(browser, user)).json()
    assert await entries(admin, **signed_in) == before
    app, done = await enroll(browser, challenge, clock)
    recorded = await last(admin, **signed_in)
    assert (recorded["what"], recorded["id"]) == ("POST /api/v1/auths/mfa/enroll/confirm", user.id)
    assert recorded["changes"]["second_factor"] == [False, True]

    challenge = (await sign_in(browser, user)).json()
    assert (await answer(browser, "verify", challenge, code="000000")).status_code == 400
    refused = await last(admin, outcome="refused")
    assert (refused["what"], refused["id"], refused["by"]) == ("POST /api/v1/auths/mfa/verify", user.id, "")
    assert (await answer(browser, "verify", challenge, code=app.fresh())).status_code == 200
    found = await entries(admin, **signed_in)
    assert (len(found), found[0]["what"]) == (len(before) + 2, "POST /api/v1/auths/mfa/verify")
    everything = await texts(live)
    for secret in (app.key, challenge["challenge_token"], *done["recovery_codes"]):
        assert secret not in everything


async def test_that_an_administrator_removes_one_is_recorded(live: Live, admin: Actor, person: Person) -> None:
    await switch_on(live, required_roles=["user"])
    reply = await admin.client.post(f"/api/v1/users/{person.actor.id}/mfa/reset")
    assert reply.json() == {"removed": True}
    recorded = await last(admin, resource="user", actor=admin.id)
    assert (recorded["what"], recorded["id"]) == ("POST /api/v1/users/{user_id}/mfa/reset", person.actor.id)
    assert recorded["changes"]["second_factor"] == [True, False]
