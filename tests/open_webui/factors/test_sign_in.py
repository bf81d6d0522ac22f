"""Signing in with a second factor: set up, asked for, replaced, recovered; by each way in."""

import asyncio
import base64
import re
from typing import Any

import httpx
import msgspec
import pytest

from open_webui.access.api_keys import Sealer
from open_webui.services.factors import fresh, own
from open_webui.services.factors.proving import OVER, WRONG, WRONG_RECOVERY
from tests.open_webui.factors.conftest import Person, switch_on
from tests.support.authenticator import MFA, Authenticator, Clock, answer, enroll, sign_in
from tests.support.live import PASSWORD, Actor, Live

SQLITE = pytest.mark.parametrize("database_kind", ["sqlite"], indirect=True)
SESSION = "/api/v1/auths/"


def said(token: str) -> dict[str, Any]:
    """What a token says."""
    middle = token.split(".")[1]
    decoded: dict[str, Any] = msgspec.json.decode(base64.urlsafe_b64decode(middle + "=" * (-len(middle) % 4)))
    return decoded


async def test_the_life_of_a_factor(live: Live, user: Actor, clock: Clock, browser: httpx.AsyncClient) -> None:
    await switch_on(live)
    assert (await user.client.get(SESSION)).status_code == 401, "a session without a factor ends with the switch"
    reply = await sign_in(browser, user)
    assert reply.status_code == 200
    assert reply.json().keys() == {"next_step", "challenge_token", "expires_in"}
    assert "set-cookie" not in reply.headers
    setup = (await answer(browser, "enroll/start", reply.json())).json()
    assert setup == (await answer(browser, "enroll/start", reply.json())).json(), "asked again, the same"
    assert setup["qr_code"].startswith("data:image/png;base64,")
    app = Authenticator(setup["manual_key"], clock)
    done = await answer(browser, "enroll/confirm", reply.json(), code=app.code())
    codes = done.json()["recovery_codes"]
    assert len(set(codes)) == 10
    assert all(re.fullmatch("([a-z2-7]{5}-){3}[a-z2-7]{5}", code) for code in codes)
    assert said(done.json()["token"])["mfa_verified"] is True
    assert (await browser.get(SESSION)).json()["id"] == user.id, "the cookie is there"
    status = (await browser.get(f"{MFA}/status")).json()
    assert status == {"enabled": True, "required": True, "recovery_codes_remaining": 10}
    await browser.post("/api/v1/auths/signout")

    asked = (await sign_in(browser, user)).json()
    assert asked["next_step"] == "verify"
    assert (await answer(browser, "verify", asked, code="000000")).json() == {"detail": WRONG}
    shown = app.fresh()
    reply = await answer(browser, "verify", asked, code=f"{shown[:3]} {shown[3:]}")
    assert reply.status_code == 200
    assert said(reply.json()["token"])["auth_method"] == "password"
    assert (await answer(browser, "verify", asked, code=app.fresh())).json() == {"detail": OVER}, "used up"

    asked = (await sign_in(browser, user)).json()
    reply = await answer(browser, "verify", asked, code=f" {codes[0].upper().replace('-', ' ')} ", recovery=True)
    assert reply.status_code == 200
    assert (await browser.get(f"{MFA}/status")).json()["recovery_codes_remaining"] == 9
    asked = (await sign_in(browser, user)).json()
    assert (await answer(browser, "verify", asked, code=codes[0], recovery=True)).json() == {"detail": WRONG_RECOVERY}


async def test_a_lost_app_is_replaced_with_a_recovery_code(
    live: Live, person: Person, browser: httpx.AsyncClient, clock: Clock
) -> None:
    asked = (await sign_in(browser, person.actor)).json()
    refused = await answer(browser, "recover", asked, reset_token="x" * 23)
    assert refused.json() == {"detail": WRONG_RECOVERY}
    begun = (await answer(browser, "recover", asked, reset_token=person.codes[3])).json()
    # Until the new one is there the old one stays.
    assert (await sign_in(browser, person.actor)).json()["next_step"] == "verify"
    app, done = await enroll(browser, begun, clock)
    assert set(done["recovery_codes"]).isdisjoint(person.codes)
    assert (await person.client.get(SESSION)).status_code == 401, "sessions of before end"
    asked = (await sign_in(browser, person.actor)).json()
    assert (await answer(browser, "verify", asked, code=person.app.fresh())).status_code == 400
    assert (await answer(browser, "verify", asked, code=person.codes[4], recovery=True)).status_code == 400
    assert (await answer(browser, "verify", asked, code=app.fresh())).status_code == 200


async def test_replacing_it_and_new_codes(live: Live, person: Person, clock: Clock) -> None:
    client = person.client
    for path in ("replace", "recovery/codes"):
        assert (await client.post(f"{MFA}/{path}", json={"code": "000000"})).json() == {"detail": WRONG}
    codes = (await client.post(f"{MFA}/recovery/codes", json={"code": person.app.fresh()})).json()["recovery_codes"]
    assert set(codes).isdisjoint(person.codes)
    begun = await client.post(f"{MFA}/replace", json={"code": codes[0], "recovery": True})
    app, done = await enroll(client, begun.json(), clock)
    assert app.key != person.app.key
    assert (await client.get(SESSION)).status_code == 401
    async with live.client(done["token"]) as again:
        assert (await again.get(SESSION)).status_code == 200
        assert [one["is_current"] for one in (await again.get("/api/v1/auths/sessions")).json()] == [True]


@SQLITE
async def test_who_need_not_have_one_may(live: Live, user: Actor, clock: Clock, browser: httpx.AsyncClient) -> None:
    await switch_on(live, required_roles=["admin"])
    assert (await user.client.get(f"{MFA}/status")).json() == {
        "enabled": False, "required": False, "recovery_codes_remaining": 0,
    }  # fmt: skip
    begin = f"{MFA}/challenge"
    assert (await user.client.post(begin)).json() == {"detail": "Invalid request origin."}
    own_page = {"origin": live.url}
    begun = (await user.client.post(begin, headers=own_page)).json()
    late = (await user.client.post(begin, headers=own_page)).json()
    _, done = await enroll(browser, begun, clock)
    async with live.client(done["token"]) as client:
        assert (await client.get(f"{MFA}/status")).json()["enabled"] is True
        assert (await client.post(begin, headers=own_page)).json() == {"detail": own.HAS_ONE}
    assert (await answer(browser, "enroll/start", late)).json() == {"detail": OVER}, "of two at once one is"
    assert (await sign_in(browser, user)).json()["next_step"] == "verify"


@SQLITE
async def test_setting_one_up_needs_a_fresh_session(live: Live, user: Actor, clock: Clock) -> None:
    await switch_on(live, required_roles=[])
    clock.forward(fresh.FRESH_SECONDS + 60)
    reply = await user.client.post(f"{MFA}/challenge", headers={"origin": live.url})
    assert (reply.status_code, reply.json()) == (403, {"detail": own.SIGN_IN_AGAIN})


@SQLITE
async def test_groups_that_must(
    live: Live, admin: Actor, user: Actor, other: Actor, browser: httpx.AsyncClient
) -> None:
    group = (await admin.client.post("/api/v1/groups/create", json={"name": "Careful", "description": ""})).json()
    await admin.client.post(f"/api/v1/groups/id/{group['id']}/users/add", json={"user_ids": [user.id]})
    await switch_on(live, required_roles=[], required_groups=[group["id"]])
    assert (await user.client.get(SESSION)).status_code == 401
    assert (await other.client.get(SESSION)).status_code == 200
    assert (await sign_in(browser, user)).json()["next_step"] == "enroll"
    assert "token" in (await sign_in(browser, other)).json()


async def test_the_first_administrator_signs_up(live: Live, clock: Clock, browser: httpx.AsyncClient) -> None:
    """One atomic step, and whoever stops after it sets the app up later."""
    await switch_on(live)
    form = {"name": "First", "email": "first@example.com", "password": PASSWORD}
    reply = await browser.post("/api/v1/auths/signup", json=form)
    assert reply.json()["next_step"] == "enroll"
    assert (await browser.post("/api/v1/auths/signup", json=form | {"email": "b@example.com"})).status_code == 403
    asked = (await browser.post("/api/v1/auths/signin", json=form)).json()
    _, done = await enroll(browser, asked, clock)
    assert done["role"] == "admin"


async def test_an_admin_switches_it_on(live: Live, admin: Actor, clock: Clock, browser: httpx.AsyncClient) -> None:
    """The session that does it ends, and the same person comes in again."""
    at = "/api/v1/auths/admin/config"
    given = (await admin.client.get(at)).json()
    assert given["MFA_REQUIRED_ROLES"] == ["pending", "user", "admin"]
    kept = await admin.client.post(at, json=given | {"ENABLE_MFA": True, "MFA_REQUIRED_ROLES": []})
    assert kept.json()["sessions_revoked"] is False
    ended = await admin.client.post(at, json=given | {"ENABLE_MFA": True, "MFA_REQUIRED_ROLES": ["admin"]})
    assert ended.json()["sessions_revoked"] is True
    _, done = await enroll(browser, (await sign_in(browser, admin)).json(), clock)
    async with live.client(done["token"]) as client:
        assert (await client.post(at, json=given | {"MFA_REQUIRED_ROLES": ["boss"]})).status_code == 422
        assert (await client.post(at, json=given | {"ENABLE_MFA": False})).status_code == 200
        assert (await client.get(f"{MFA}/status")).json() == {
            "enabled": False, "required": False, "recovery_codes_remaining": 0,
        }  # fmt: skip
    assert "token" in (await sign_in(browser, admin)).json(), "off, nobody is asked"


@SQLITE
async def test_an_admin_removes_somebodys(live: Live, admin: Actor, person: Person, browser: httpx.AsyncClient) -> None:
    await live.app.state.oui.save_config({"auth.mfa.required_roles": ["user"]})
    at = f"/api/v1/users/{person.actor.id}/mfa/reset"
    assert (await person.client.post(at)).status_code == 401
    assert (await admin.client.post(at)).json() == {"removed": True}
    assert (await admin.client.post(at)).json() == {"removed": False}
    assert (await admin.client.post("/api/v1/users/nobody/mfa/reset")).status_code == 400
    mine = await admin.client.post(f"/api/v1/users/{admin.id}/mfa/reset")
    assert (mine.status_code, mine.json()) == (403, {"detail": own.NOT_HERE})
    assert (await person.client.get(SESSION)).status_code == 401
    assert (await sign_in(browser, person.actor)).json()["next_step"] == "enroll"


@SQLITE
async def test_a_changed_key_of_the_server(
    live: Live, person: Person, browser: httpx.AsyncClient, clock: Clock
) -> None:
    """Secrets can't be read any more; recovery codes are good still, and another app is set up."""
    live.app.state.oui.sealer = Sealer("another key")
    asked = (await sign_in(browser, person.actor)).json()
    assert asked["next_step"] == "recover"
    assert (await answer(browser, "verify", asked, code=person.app.fresh())).status_code == 400
    begun = (await answer(browser, "recover", asked, reset_token=person.codes[0])).json()
    await enroll(browser, begun, clock)
    assert (await sign_in(browser, person.actor)).json()["next_step"] == "verify"


async def test_two_at_once(live: Live, person: Person) -> None:
    """One code opens one session, and a recovery code, too."""
    async with live.client() as one, live.client() as two:
        for form in ({"code": person.app.fresh()}, {"code": person.codes[0], "recovery": True}):
            asked = [(await sign_in(each, person.actor)).json() for each in (one, two)]
            replies = await asyncio.gather(
                *(answer(each, "verify", step, **form) for each, step in zip((one, two), asked, strict=True))
            )
            assert sorted(reply.status_code for reply in replies) == [200, 400]


async def test_two_set_one_up_at_once(live: Live, user: Actor, clock: Clock) -> None:
    await switch_on(live)
    async with live.client() as one, live.client() as two:
        asked = [(await sign_in(each, user)).json() for each in (one, two)]
        keys = [(await answer(one, "enroll/start", step)).json()["manual_key"] for step in asked]
        apps = [Authenticator(key, clock) for key in keys]
        replies = await asyncio.gather(
            *(answer(one, "enroll/confirm", step, code=app.code()) for step, app in zip(asked, apps, strict=True))
        )
        assert sorted(reply.status_code for reply in replies) == [200, 401]


@SQLITE
async def test_passwords_keep_what_a_session_says(live: Live, person: Person) -> None:
    form = {"password": PASSWORD, "new_password": "a better horse"}
    assert (await person.client.post("/api/v1/auths/update/password", json=form)).status_code == 200
    cookie = dict(person.client.cookies)["token"]
    assert said(cookie)["mfa_verified"] is True
    async with live.client(cookie) as client:
        others = await client.delete("/api/v1/auths/sessions")
        assert said(others.json()["token"])["mfa_verified"] is True


async def test_accounts_that_are_made_by_others(live: Live, admin: Actor) -> None:
    """The token that the wire answers an administrator opens nothing while its owner has no factor."""
    await switch_on(live, required_roles=["user"])
    person = {"name": "New", "email": "new@example.com", "password": PASSWORD, "role": "user"}
    made = (await admin.client.post("/api/v1/auths/add", json=person)).json()
    async with live.client(made["token"]) as client:
        assert (await client.get(SESSION)).status_code == 401
    await live.app.state.oui.save_config({"ui.enable_signup": True, "ui.default_user_role": "user"})
    async with live.client() as client:
        form = {"name": "Another", "email": "another@example.com", "password": PASSWORD}
        reply = await client.post("/api/v1/auths/signup", json=form)
        assert reply.json()["next_step"] == "enroll"
        assert "token" not in client.cookies
