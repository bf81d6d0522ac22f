"""Passkeys: registered, named, removed; a second factor after the password, and the only one."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import httpx
import pytest

from open_webui.services.attempts import PER_ACCOUNT
from open_webui.services.factors import ceremonies, fresh
from open_webui.services.factors import passkeys as service
from open_webui.services.factors.proving import OVER
from tests.open_webui.audit.conftest import entries, last, texts
from tests.open_webui.factors.conftest import Person, switch_on
from tests.open_webui.factors.test_sign_in import said
from tests.support.authenticator import MFA, Clock, answer, enroll, sign_in
from tests.support.live import PASSWORD, Actor, Live
from tests.support.software_passkey import UP, SoftwarePasskey, b64

PASSKEYS = "/api/v1/auths/passkeys"
SESSION = "/api/v1/auths/"
SITE = "https://ai.example.com"
SQLITE = pytest.mark.parametrize("database_kind", ["sqlite"], indirect=True)


@pytest.fixture
async def site(live: Live) -> str:
    """The server has a name, and a passkey is enough to sign in."""
    await live.app.state.oui.save_config({"webui.url": SITE, "auth.passkeys.enable_sign_in": True})
    return SITE


async def begun(client: httpx.AsyncClient, path: str, form: Any = None) -> dict[str, Any]:
    reply = await client.post(path, json=form or {})
    assert reply.status_code == 200, reply.text
    found: dict[str, Any] = reply.json()
    return found


async def register(client: httpx.AsyncClient, key: SoftwarePasskey, name: str = "Laptop") -> httpx.Response:
    asked = await begun(client, f"{PASSKEYS}/register/start")
    form = {"challenge_token": asked["challenge_token"], "credential": key.make(asked["options"]), "name": name}
    return await client.post(f"{PASSKEYS}/register", json=form)


async def shown(client: httpx.AsyncClient, key: SoftwarePasskey, asked: dict[str, Any], **wrong: Any) -> httpx.Response:
    """Goes on with what was begun, at the place for that."""
    form = {"challenge_token": asked["challenge_token"], "credential": key.sign(asked["options"], **wrong)}
    return await client.post(asked.get("at", f"{PASSKEYS}/signin/verify"), json=form)


async def by_passkey(client: httpx.AsyncClient, key: SoftwarePasskey, **wrong: Any) -> httpx.Response:
    """Signs in with it alone."""
    return await shown(client, key, await begun(client, f"{PASSKEYS}/signin/start"), **wrong)


async def test_the_life_of_a_passkey(live: Live, user: Actor, other: Actor, site: str) -> None:
    assert (await user.client.get(PASSKEYS)).json() == {"enabled": True, "app": False, "passkeys": []}
    key = SoftwarePasskey(site)
    reply = await register(user.client, key)
    assert reply.status_code == 200, reply.text
    made = reply.json()["passkey"]
    assert len(reply.json()["recovery_codes"]) == 10
    assert made | {"created_at": 0} == {
        "id": made["id"], "name": "Laptop", "site": "ai.example.com", "transports": ["hybrid", "internal"],
        "sign_count": 0, "backup_eligible": True, "backed_up": True, "created_at": 0, "last_used_at": None,
    }  # fmt: skip
    async with live.client() as browser:
        asked = await begun(browser, f"{PASSKEYS}/signin/start")
        assert asked["options"]["userVerification"] == "required"
        assert asked["options"]["allowCredentials"] == []
        done = await shown(browser, key, asked)
        assert done.status_code == 200, done.text
        assert (done.json()["id"], done.json()["role"]) == (user.id, "user")
        claims = said(done.json()["token"])
        assert (claims["auth_method"], claims["mfa_verified"]) == ("passkey", True)
        assert (await browser.get(SESSION)).json()["id"] == user.id, "the cookie is there"
        # It signed in by a factor, lately: it may add another one.
        again = await register(browser, SoftwarePasskey(site, -257), "Phone")
        assert (again.status_code, again.json()["recovery_codes"]) == (200, [])
        listed = (await browser.get(PASSKEYS)).json()["passkeys"]
        assert {one["name"]: one["sign_count"] for one in listed} == {"Laptop": 1, "Phone": 0}
        at = f"{PASSKEYS}/{made['id']}"
        assert (await browser.post(at, json={"name": " Old laptop "})).json()["name"] == "Old laptop"
        for method, form in (("POST", {"name": "Mine"}), ("DELETE", None)):
            reply = await other.client.request(method, at, json=form)
            assert (reply.status_code, reply.json()) == (404, {"detail": service.GONE})
        assert (await browser.delete(at)).json() == {"status": True}
        refused = await by_passkey(browser, key)
        assert (refused.status_code, refused.json()) == (400, {"detail": ceremonies.UNKNOWN})


@SQLITE
@pytest.mark.parametrize("alg", [-7, -8, -257])
async def test_all_algorithms_that_are_asked_for(user: Actor, site: str, alg: int) -> None:
    key = SoftwarePasskey(site, alg, counts=False)
    asked = await begun(user.client, f"{PASSKEYS}/register/start")
    assert alg in [one["alg"] for one in asked["options"]["pubKeyCredParams"]]
    form = {"challenge_token": asked["challenge_token"], "credential": key.make(asked["options"])}
    assert (await user.client.post(f"{PASSKEYS}/register", json=form)).status_code == 200
    # What counts nothing may sign again and again.
    for _ in range(2):
        assert (await by_passkey(user.client, key)).status_code == 200


@SQLITE
async def test_new_recovery_codes_by_a_passkey_alone(
    live: Live, user: Actor, site: str, browser: httpx.AsyncClient, clock: Clock
) -> None:
    """Whoever has no app has no code that could be typed: a fresh proof does."""
    renew, proof = f"{PASSKEYS}/recovery/codes", "/api/v1/auths/proof"
    await live.app.state.oui.save_config({"auth.mfa.enable": True, "auth.mfa.required_roles": ["admin"]})
    none = await user.client.post(renew)
    assert none.status_code == 400, "there is no factor"
    key = SoftwarePasskey(site)
    old = (await register(user.client, key)).json()["recovery_codes"]
    assert (await by_passkey(browser, key)).status_code == 200
    made = await browser.post(renew)
    assert (made.status_code, made.headers["cache-control"]) == (200, "no-store"), made.text
    codes = made.json()["recovery_codes"]
    assert len(codes) == 10
    assert not set(codes) & set(old)
    # A session that somebody found is not enough.
    clock.forward(fresh.FRESH_SECONDS + 60)
    refused = await browser.post(renew)
    assert (refused.status_code, refused.headers["x-needs"]) == (403, "proof")
    for form in ({"password": PASSWORD}, {"code": old[0], "recovery": True}):
        assert (await browser.post(proof, json=form)).status_code == 400
    assert (await browser.post(renew)).status_code == 403
    asked = await begun(browser, f"{proof}/start")
    given = {
        "challenge_token": asked["passkey"]["challenge_token"],
        "credential": key.sign(asked["passkey"]["options"]),
    }
    shown_now = await browser.post(proof, json=given)
    assert shown_now.status_code == 200, shown_now.text
    again = (await browser.post(renew)).json()["recovery_codes"]
    assert not set(codes) & set(again)
    assert (await browser.get(f"{MFA}/status")).json()["recovery_codes_remaining"] == 10


@SQLITE
async def test_after_the_password(live: Live, person: Person, site: str, browser: httpx.AsyncClient) -> None:
    """Beside the app; a security key that asks for nothing will do, since the password was typed."""
    key = SoftwarePasskey(site, flags=UP)
    assert (await register(person.client, key)).json()["recovery_codes"] == []
    asked = (await sign_in(browser, person.actor)).json()
    assert (asked["next_step"], asked["methods"]) == ("verify", ["code", "passkey"])
    token = {"challenge_token": asked["challenge_token"]}
    started = await begun(browser, f"{MFA}/passkey/start", token)
    assert [one["transports"] for one in started["options"]["allowCredentials"]] == [["hybrid", "internal"]]
    done = await shown(browser, key, started | {"at": f"{MFA}/passkey/verify"})
    assert done.status_code == 200, done.text
    claims = said(done.json()["token"])
    assert (claims["auth_method"], claims["mfa_verified"]) == ("password", True)
    again = await shown(browser, key, started | {"at": f"{MFA}/passkey/verify"})
    assert (again.status_code, again.json()) == (401, {"detail": OVER})
    asked = (await sign_in(browser, person.actor)).json()
    assert (await answer(browser, "verify", asked, code=person.app.fresh())).status_code == 200
    # Alone it is not enough: nobody was asked for a PIN.
    assert (await by_passkey(browser, key)).json() == {"detail": ceremonies.WRONG}


@SQLITE
async def test_a_passkey_as_the_first_factor(
    live: Live, user: Actor, admin: Actor, site: str, browser: httpx.AsyncClient, clock: Clock
) -> None:
    """Who must have a factor sets a passkey up at sign-in; it counts, and the last one stays."""
    await switch_on(live, required_roles=["user"])
    asked = (await sign_in(browser, user)).json()
    assert asked["next_step"] == "enroll"
    token = {"challenge_token": asked["challenge_token"]}
    started = await begun(browser, f"{MFA}/passkey/start", token)
    key = SoftwarePasskey(site)
    form = token | {"credential": key.make(started["options"]), "name": "Key"}
    done = await browser.post(f"{MFA}/passkey/enroll", json=form)
    assert done.status_code == 200, done.text
    assert len(done.json()["recovery_codes"]) == 10
    mine = (await browser.get(PASSKEYS)).json()["passkeys"]
    kept = await browser.delete(f"{PASSKEYS}/{mine[0]['id']}")
    assert (kept.status_code, kept.json()) == (409, {"detail": service.LAST})
    assert (await browser.get(f"{MFA}/status")).json() == {
        "enabled": True, "required": True, "recovery_codes_remaining": 10,
    }  # fmt: skip
    asked = (await sign_in(browser, user)).json()
    assert (asked["next_step"], asked["methods"]) == ("verify", ["passkey"])
    code = done.json()["recovery_codes"][0]
    replaced = (await answer(browser, "recover", asked, reset_token=code)).json()
    await enroll(browser, replaced, clock)
    assert (await browser.delete(f"{PASSKEYS}/{mine[0]['id']}")).status_code == 200, "there is an app now"
    assert (await register(browser, SoftwarePasskey(site))).status_code == 200
    # An administrator removes all of it.
    assert (await admin.client.post(f"/api/v1/users/{user.id}/mfa/reset")).json() == {"removed": True}
    assert (await sign_in(browser, user)).json()["next_step"] == "enroll"


@SQLITE
async def test_changing_ones_factors_needs_a_proof(live: Live, person: Person, site: str, clock: Clock) -> None:
    """A found page is not enough: neither the password nor the time of signing in, once that is a while ago."""
    client = person.client
    key = SoftwarePasskey(site)
    made = (await register(client, key)).json()["passkey"]
    clock.forward(fresh.FRESH_SECONDS + 60)
    for method, path in (("POST", f"{PASSKEYS}/register/start"), ("DELETE", f"{PASSKEYS}/{made['id']}")):
        refused = await client.request(method, path, json={} if method == "POST" else None)
        assert (refused.status_code, refused.json()) == (403, {"detail": fresh.SHOW_FACTOR})
        assert refused.headers["x-needs"] == "proof"
    ways = await begun(client, "/api/v1/auths/proof/start")
    assert ways["methods"] == ["passkey", "code", "recovery"]
    assert (await client.post("/api/v1/auths/proof", json={"password": "correct horse battery"})).status_code == 400


@SQLITE
async def test_what_an_administrator_ends(live: Live, user: Actor, admin: Actor, site: str) -> None:
    """Switched off, deleted, or with the switch: no passkey lets in."""
    key = SoftwarePasskey(site)
    await register(user.client, key)
    account = f"/api/v1/users/{user.id}"
    async with live.client() as browser:
        await admin.client.post(f"{account}/update", json={"role": "pending"})
        assert (await by_passkey(browser, key)).json()["role"] == "pending"
        await admin.client.post(f"{account}/update", json={"active": False})
        off = await by_passkey(browser, key)
        assert off.status_code == 403
        assert "switched off" in off.json()["detail"]
        waiting = await begun(browser, f"{PASSKEYS}/signin/start")
        await admin.client.delete(account)
        assert (await shown(browser, key, waiting)).json() == {"detail": ceremonies.UNKNOWN}
        waiting = await begun(browser, f"{PASSKEYS}/signin/start")
        await live.app.state.oui.save_config({"auth.passkeys.enable_sign_in": False})
        assert (await shown(browser, key, waiting)).json() == {"detail": service.SIGN_IN_OFF}
        assert (await browser.post(f"{PASSKEYS}/signin/start")).status_code == 403
        config = (await browser.get("/api/config")).json()
        assert "enable_passkey_sign_in" not in config["features"]


@SQLITE
async def test_a_copy_is_told(live: Live, user: Actor, admin: Actor, site: str, browser: httpx.AsyncClient) -> None:
    """Who counts backwards is refused, which stands in the audit record, as do sign-ins."""
    key = SoftwarePasskey(site)
    await register(user.client, key, "Laptop")
    assert (await last(admin, actor=user.id, resource="user"))["changes"]["passkey"] == [None, "Laptop"]
    assert (await by_passkey(browser, key)).status_code == 200
    entry = await last(admin, action="sign-in", actor=user.id)
    assert (entry["what"], entry["outcome"]) == (f"POST {PASSKEYS}/signin/verify", "done")
    before = await entries(admin, action="sign-in", outcome="done")
    refused = await by_passkey(browser, key, counter=1)
    assert (refused.status_code, refused.json()) == (403, {"detail": ceremonies.COPIED})
    warned = await last(admin, action="warn")
    assert (warned["resource"], warned["id"]) == ("user", user.id)
    assert warned["changes"] == {"passkey": ["Laptop", "there may be a copy of it"]}
    assert await entries(admin, action="sign-in", outcome="done") == before
    assert (await by_passkey(browser, key)).status_code == 200, "the one that counts on is good still"
    assert (await browser.get(PASSKEYS)).status_code == 200
    assert "challenge_token" not in await texts(live)


async def test_two_at_once(live: Live, user: Actor, site: str) -> None:
    """What was begun is good for one."""
    key = SoftwarePasskey(site)
    await register(user.client, key)
    async with live.client() as one, live.client() as two:
        asked = await begun(one, f"{PASSKEYS}/signin/start")
        credential = {"challenge_token": asked["challenge_token"], "credential": key.sign(asked["options"])}
        replies = await asyncio.gather(
            *(each.post(f"{PASSKEYS}/signin/verify", json=credential) for each in (one, two))
        )
        assert sorted(reply.status_code for reply in replies) == [200, 401]


@pytest.mark.parametrize("database_kind", ["postgresql"], indirect=True)
async def test_two_processes(live: Live, make_live: Callable[..., Awaitable[Live]], user: Actor, site: str) -> None:
    """What one began another ends, and for once in all; a proof counts at both."""
    there = await make_live()
    key = SoftwarePasskey(site)
    asked = await begun(user.client, f"{PASSKEYS}/register/start")
    form = {"challenge_token": asked["challenge_token"], "credential": key.make(asked["options"])}
    async with there.client(user.token) as elsewhere, live.client() as here:
        assert (await elsewhere.post(f"{PASSKEYS}/register", json=form)).status_code == 200
        asked = await begun(here, f"{PASSKEYS}/signin/start")
        assert (await shown(elsewhere, key, asked)).status_code == 200
        assert (await shown(here, key, asked)).status_code == 401
        ways = await begun(user.client, "/api/v1/auths/proof/start")
        assert ways["methods"] == ["passkey", "recovery", "password"]
        assert (await shown(elsewhere, key, ways["passkey"] | {"at": "/api/v1/auths/proof"})).status_code == 200


@SQLITE
async def test_for_which_server_it_is_made(live: Live, user: Actor) -> None:
    """Without WEBUI_URL for the name that the request was sent to, behind a proxy, too; one of another name is unknown."""
    await live.app.state.oui.save_config({"auth.passkeys.enable_sign_in": True})
    assert (await user.client.post(f"{PASSKEYS}/register/start")).json() == {"detail": ceremonies.NO_NAME}
    key = SoftwarePasskey("https://ai.lan:8443")
    user.client.headers.update({"host": "ai.lan:8443"})
    made = await register(user.client, key)
    assert made.json()["passkey"]["site"] == "ai.lan"
    assert (await by_passkey(user.client, key)).status_code == 200, "also where a proxy does not say that it ends TLS"
    user.client.headers.update({"host": "evil.lan", "x-forwarded-proto": "https"})
    key.origin = "https://evil.lan"
    assert (await by_passkey(user.client, key)).json() == {"detail": ceremonies.UNKNOWN}
    await live.app.state.oui.save_config({"webui.url": "https://ai.lan:8443"})
    assert (await by_passkey(user.client, key)).json() == {"detail": ceremonies.WRONG}, (
        "the headers say nothing any more"
    )
    key.origin = "https://ai.lan:8443"
    assert (await by_passkey(user.client, key)).status_code == 200


@SQLITE
async def test_what_was_begun_is_good_for_that_alone(live: Live, user: Actor, other: Actor, site: str) -> None:
    """For its purpose, its session and its account; and no passkey is two people's."""
    key = SoftwarePasskey(site)
    await register(user.client, key)
    signing = await begun(other.client, f"{PASSKEYS}/signin/start")
    assert (await shown(user.client, key, signing | {"at": "/api/v1/auths/proof"})).status_code == 401
    proving = (await begun(user.client, "/api/v1/auths/proof/start"))["passkey"]
    assert (await shown(user.client, key, proving)).json() == {"detail": OVER}
    assert (await shown(other.client, key, proving | {"at": "/api/v1/auths/proof"})).json() == {"detail": OVER}
    asked = await begun(user.client, f"{PASSKEYS}/register/start")
    assert [one["id"] for one in asked["options"]["excludeCredentials"]] == [b64(key.id)]
    form = {"challenge_token": asked["challenge_token"], "credential": SoftwarePasskey(site).make(asked["options"])}
    for client in (other.client, user.client):
        assert (await client.post(f"{PASSKEYS}/register", json=form)).json() == {"detail": OVER}, "used up by the first"
    taken = await register(other.client, key)
    assert (taken.status_code, taken.json()) == (409, {"detail": service.TAKEN})
    assert (await other.client.get(PASSKEYS)).json()["passkeys"] == []


@SQLITE
async def test_who_has_no_factor_types_the_password(live: Live, user: Actor, site: str, clock: Clock) -> None:
    clock.forward(fresh.FRESH_SECONDS + 60)
    refused = await user.client.post(f"{PASSKEYS}/register/start")
    assert (refused.status_code, refused.json()) == (403, {"detail": fresh.SHOW_ANY})
    assert (await user.client.post("/api/v1/auths/proof", json={"password": PASSWORD})).status_code == 200
    assert (await register(user.client, SoftwarePasskey(site))).status_code == 200
    clock.forward(fresh.FRESH_SECONDS + 60)
    assert (await user.client.post("/api/v1/auths/proof", json={"password": PASSWORD})).status_code == 200
    refused = await user.client.post(f"{PASSKEYS}/register/start")
    assert (refused.status_code, refused.json()) == (403, {"detail": fresh.SHOW_FACTOR}), "now that is not enough"


@SQLITE
async def test_how_many_one_may_have(user: Actor, site: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(service, "MOST", 1)
    assert (await register(user.client, SoftwarePasskey(site))).status_code == 200
    reply = await register(user.client, SoftwarePasskey(site))
    assert (reply.status_code, reply.json()) == (400, {"detail": service.TOO_MANY})


@SQLITE
async def test_tries_are_counted(live: Live, user: Actor, site: str, browser: httpx.AsyncClient) -> None:
    """Like those of a password, of which they are some."""
    key = SoftwarePasskey(site)
    await register(user.client, key)
    asked = await begun(browser, f"{PASSKEYS}/signin/start")
    codes = [(await shown(browser, key, asked, signature="AAAA")).status_code for _ in range(PER_ACCOUNT + 1)]
    assert (codes[0], codes[-1], codes.count(400)) == (400, 429, 1)
    assert (await sign_in(browser, user)).status_code == 429
