"""Ways around a second factor: each is a class of the field's advisories."""

import asyncio
import time
from typing import Any

import httpx
import pytest
import sqlalchemy as sa

from open_webui import administration
from open_webui.access import recovery_codes, totp
from open_webui.access.second_factor import DELEGATED
from open_webui.config import BY_KEY
from open_webui.env import Settings
from open_webui.errors import NotFound
from open_webui.models import tables
from open_webui.services.attempts import PER_FACTOR, SignInAttempts
from open_webui.services.event_names import BY_ROUTE, happened
from open_webui.services.factors import proving
from open_webui.services.factors.proving import OVER, WRONG
from open_webui.services.factors.steps import OTHER_STEP
from tests.open_webui.chat.page import open_page
from tests.open_webui.factors.conftest import Person, switch_on
from tests.support.authenticator import MFA, Clock, answer, enroll, sign_in
from tests.support.live import PASSWORD, Actor, Live

SESSION = "/api/v1/auths/"
# Of RFC 6238, for its times.
RFC_SECRET = "GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ"


@pytest.fixture
def database_kind() -> str:
    """What SQL does with two at once is asked of both databases in test_sign_in.py."""
    return "sqlite"


@pytest.mark.parametrize(("at", "code"), [(1111111109, "081804"), (1234567890, "005924"), (20000000000, "353130")])
def test_the_codes_of_the_standard(at: int, code: str) -> None:
    step = at // totp.STEP_SECONDS
    assert totp.matching_step(RFC_SECRET, code, at, -1) == step
    assert totp.matching_step(RFC_SECRET, code, at, step) is None, "used"
    for drift in (-30, 30):
        assert totp.matching_step(RFC_SECRET, code, at + drift, -1) == step
    assert totp.matching_step(RFC_SECRET, code, at + 60, -1) is None
    assert totp.matching_step(RFC_SECRET, code, at - 60, -1) is None


@pytest.mark.parametrize("typed", ["287 082", " 287082\n", "287-082", "２８７０８２", "٢٨٧٠٨٢", "287\u00a0082"])
def test_codes_as_people_type_them(typed: str) -> None:
    assert totp.matching_step(RFC_SECRET, typed, 59, -1) == 1


@pytest.mark.parametrize("typed", ["", "28708", "2870820", "28708x", "½87082", "-28708", "2.8708", "\ud800", "9" * 128])
def test_what_is_no_code(typed: str) -> None:
    assert totp.matching_step(RFC_SECRET, typed, 59, -1) is None
    assert recovery_codes.code_hash(typed)


async def test_a_challenge_is_no_session_and_a_session_no_challenge(
    live: Live, person: Person, browser: httpx.AsyncClient
) -> None:
    asked = (await sign_in(browser, person.actor)).json()
    token = asked["challenge_token"]
    for headers in ({"authorization": f"Bearer {token}"}, {"cookie": f"token={token}"}, {"x-api-key": token}):
        assert (await browser.get(SESSION, headers=headers)).status_code == 401
        assert (await browser.get("/api/models", headers=headers)).status_code == 401
        assert (await browser.post(f"{MFA}/replace", json={"code": "1"}, headers=headers)).status_code == 401
    session = dict(person.client.headers)["authorization"].removeprefix("Bearer ")
    form = {"challenge_token": session, "code": person.app.fresh()}
    assert (await browser.post(f"{MFA}/verify", json=form)).status_code == 422
    for made_up in (session[:160], "x" * 43, "sk-" + "0" * 32):
        assert (await answer(browser, "verify", {"challenge_token": made_up}, code="1")).json() == {"detail": OVER}


async def test_a_step_is_good_for_itself_alone(
    live: Live, other: Actor, person: Person, browser: httpx.AsyncClient
) -> None:
    asked = (await sign_in(browser, person.actor)).json()
    assert (await answer(browser, "enroll/start", asked)).json() == {"detail": OTHER_STEP}
    assert (await answer(browser, "enroll/confirm", asked, code=person.app.fresh())).json() == {"detail": OTHER_STEP}
    # Somebody else's code, and a code for an app that was not shown yet.
    mine = (await sign_in(browser, other)).json()
    assert (await answer(browser, "verify", mine, code=person.app.fresh())).json() == {"detail": OTHER_STEP}
    assert (await answer(browser, "recover", mine, reset_token=person.codes[0])).json() == {"detail": OTHER_STEP}
    assert (await answer(browser, "enroll/confirm", mine, code=person.app.fresh())).json() == {"detail": WRONG}
    assert (await answer(browser, "verify", asked, code=person.codes[0])).json() == {"detail": WRONG}
    assert (await answer(browser, "verify", asked, code=person.app.fresh(), recovery=True)).status_code == 400


async def test_a_code_is_used_once(live: Live, person: Person, browser: httpx.AsyncClient) -> None:
    """Also the one that set the app up, and one of before one that was used."""
    first = (await sign_in(browser, person.actor)).json()
    assert (await answer(browser, "verify", first, code=person.app.code())).json() == {"detail": WRONG}
    early = person.app.fresh()
    assert (await answer(browser, "verify", first, code=person.app.code(later=30))).status_code == 200
    second = (await sign_in(browser, person.actor)).json()
    for used in (early, person.app.code(later=30)):
        assert (await answer(browser, "verify", second, code=used)).json() == {"detail": WRONG}
    assert (await person.client.post(f"{MFA}/replace", json={"code": early})).json() == {"detail": WRONG}


async def test_guessing_is_hopeless(live: Live, person: Person, monkeypatch: pytest.MonkeyPatch, clock: Clock) -> None:
    async with live.client() as client:
        asked = (await sign_in(client, person.actor)).json()
        replies = await asyncio.gather(
            *(answer(client, "verify", asked, code="000000") for _ in range(PER_FACTOR + 10))
        )
        codes = [reply.status_code for reply in replies]
        assert set(codes) == {400, 429}
        assert codes.count(400) == proving.FREE_TRIES + 1
        # Time goes by for the limit of tries, but not for what is wrong: waiting doubles.
        for wait in (30, 60, 120):
            monkeypatch.setattr(live.app.state.oui, "attempts", SignInAttempts())
            clock.forward(wait - 1)
            assert (await answer(client, "verify", asked, code=person.app.code())).status_code == 429
            clock.forward(1)
            assert (await answer(client, "verify", asked, code="000000")).status_code == 400
        # Whoever has the recovery codes is not kept out by a stranger's guesses.
        assert (await answer(client, "verify", asked, code=person.codes[0], recovery=True)).status_code == 200
        clock.forward(3600)
        asked = (await sign_in(client, person.actor)).json()
        assert (await answer(client, "verify", asked, code=person.app.code())).status_code == 200
    assert [proving._wait(n) for n in (5, 6, 7, 12, 13, 100)] == [0, 30, 60, 1920, 3600, 3600]


async def test_a_wrong_password_tells_nothing(live: Live, person: Person, browser: httpx.AsyncClient) -> None:
    wrong = [
        await browser.post("/api/v1/auths/signin", json={"email": email, "password": "wrong"})
        for email in (person.actor.email, "nobody@example.com")
    ]
    assert wrong[0].json() == wrong[1].json()
    assert [reply.status_code for reply in wrong] == [400, 400]


@pytest.mark.parametrize(
    "change", ["password", "sessions/revoke", "mfa/reset", "off", "deleted", "switched off everywhere", "expired"]
)
async def test_what_ends_sessions_ends_a_sign_in(
    live: Live, admin: Actor, person: Person, browser: httpx.AsyncClient, change: str
) -> None:
    await live.app.state.oui.save_config({"auth.mfa.required_roles": ["user"]})
    asked = (await sign_in(browser, person.actor)).json()
    account = f"/api/v1/users/{person.actor.id}"
    if change == "password":
        reply = await admin.client.post(f"{account}/update", json={"password": "another horse"})
    elif change == "off":
        reply = await admin.client.post(f"{account}/update", json={"active": False})
    elif change == "deleted":
        reply = await admin.client.delete(account)
    elif change == "switched off everywhere":
        await live.app.state.oui.save_config({"auth.mfa.enable": False})
    elif change == "expired":
        await expire(live)
    else:
        reply = await admin.client.post(f"{account}/{change}")
    assert change in {"switched off everywhere", "expired"} or reply.status_code == 200
    for path, form in (("verify", {"code": person.app.fresh()}), ("recover", {"reset_token": person.codes[0]})):
        reply = await answer(browser, path, asked, **form)
        assert (reply.status_code, reply.json()) == (401, {"detail": OVER}), path
    assert "token" not in browser.cookies


async def expire(live: Live) -> None:
    async with live.app.state.oui.database.write() as unit:
        await unit.connection.execute(tables.sign_in_challenge.update().values(expires_at=int(time.time())))


async def test_what_is_stored(live: Live, person: Person, browser: httpx.AsyncClient) -> None:
    """Neither the secret nor a code, nor the token of a challenge, can be read there; and what is over is cleared."""
    asked = (await sign_in(browser, person.actor)).json()
    async with live.app.state.oui.database.read() as connection:
        rows = [
            str((await connection.execute(sa.select(table))).all())
            for table in (tables.factor, tables.recovery_code, tables.sign_in_challenge)
        ]
    for secret in (person.app.key, *person.codes, asked["challenge_token"]):
        assert secret not in "".join(rows)
    await expire(live)
    await sign_in(browser, person.actor)
    async with live.app.state.oui.database.read() as connection:
        left = await connection.scalar(sa.select(sa.func.count()).select_from(tables.sign_in_challenge))
    assert left == 1


@pytest.mark.parametrize(
    ("path", "form"),
    [
        ("verify", {}), ("verify", {"challenge_token": "x" * 43}), ("verify", {"challenge_token": "x" * 43, "code": ""}),
        ("verify", {"challenge_token": "x" * 19, "code": "1"}), ("verify", {"challenge_token": "x" * 161, "code": "1"}),
        ("verify", {"challenge_token": "x" * 43, "code": "1" * 129}), ("verify", {"challenge_token": 7, "code": "1"}),
        ("verify", {"challenge_token": "x" * 43, "code": 123456}), ("verify", {"challenge_token": "x" * 43, "code": ["1"]}),
        ("verify", {"challenge_token": "x" * 43, "code": "1", "user_id": "y"}), ("verify", []), ("enroll/start", {}),
        ("verify", {"challenge_token": "x" * 43, "code": "1", "recovery": "perhaps"}), ("enroll/confirm", {}),
        ("recover", {"challenge_token": "x" * 43, "reset_token": "y" * 19}), ("recover", {}),
    ],
)  # fmt: skip
async def test_bad_forms(client: httpx.AsyncClient, path: str, form: Any) -> None:
    reply = await client.post(f"{MFA}/{path}", json=form)
    assert (reply.status_code, reply.json()) == (422, {"detail": "Invalid authentication request."})


@pytest.mark.parametrize("origin", [None, "https://evil.example", "null"])
async def test_no_other_site_goes_on_with_a_sign_in(live: Live, user: Actor, origin: str | None) -> None:
    await switch_on(live, required_roles=[])
    headers = {} if origin is None else {"origin": origin}
    async with live.client() as browser:
        for client in (browser, user.client):
            reply = await client.post(f"{MFA}/challenge", headers=headers)
            assert (reply.status_code, reply.json()) == (403, {"detail": "Invalid request origin."})
        reply = await browser.post(f"{MFA}/challenge", headers={"origin": live.url})
        assert reply.status_code == 401
        reply = await browser.post(f"{MFA}/challenge", headers={"origin": live.url, "cookie": "sign_in_challenge=x"})
        assert reply.status_code == 401


async def test_programs_are_not_asked(live: Live, admin: Actor, clock: Clock) -> None:
    """API keys go on; they and the tokens that tool servers get set no factor up."""
    state = live.app.state.oui
    await state.save_config({"auth.enable_api_keys": True})
    key = (await admin.client.post("/api/v1/auths/api_key")).json()["api_key"]
    principal = await state.identify(admin.token)
    delegated, _ = state.tokens.issue(admin.id, principal.stamp, 300, DELEGATED)
    await switch_on(live)
    async with live.client(key) as program, live.client(delegated) as server:
        assert (await program.get("/api/v1/users/")).status_code == 200
        assert (await server.get(SESSION)).status_code == 200
        for client in (program, server):
            reply = await client.post(f"{MFA}/challenge", headers={"origin": live.url})
            assert reply.status_code in {401, 403}
        assert (await program.get(f"{MFA}/status")).status_code == 403


async def test_who_is_no_user_yet_is_asked_too(
    live: Live, pending: Actor, admin: Actor, browser: httpx.AsyncClient, clock: Clock
) -> None:
    await switch_on(live, required_roles=["pending", "user"])
    _, done = await enroll(browser, (await sign_in(browser, pending)).json(), clock)
    assert done["role"] == "pending"
    await admin.client.post(f"/api/v1/users/{pending.id}/update", json={"role": "user"})
    async with live.client(done["token"]) as client:
        assert (await client.get(SESSION)).json()["role"] == "user"


async def test_a_role_that_must(live: Live, admin: Actor, user: Actor, browser: httpx.AsyncClient) -> None:
    """Who becomes somebody who must have a factor loses the session without one."""
    await switch_on(live, required_roles=["admin"])
    assert (await user.client.get(SESSION)).status_code == 200
    await live.app.state.oui.save_config({"auth.mfa.enable": False})
    await admin.client.post(f"/api/v1/users/{user.id}/update", json={"role": "admin"})
    await live.app.state.oui.save_config({"auth.mfa.enable": True})
    assert (await user.client.get(SESSION)).status_code == 401
    reply = await browser.post("/api/v1/auths/signin", json={"email": user.email, "password": PASSWORD})
    assert reply.json()["next_step"] == "enroll"


async def test_an_operator_removes_one(
    live: Live, person: Person, settings: Settings, browser: httpx.AsyncClient
) -> None:
    """Beside the server that runs: who was signed in is not any more."""
    await live.app.state.oui.save_config({"auth.mfa.required_roles": []})
    assert "is removed" in await administration.remove_factor(settings, person.actor.email)
    assert "has no second factor" in await administration.remove_factor(settings, person.actor.email)
    with pytest.raises(NotFound):
        await administration.remove_factor(settings, "nobody@example.com")
    live.app.state.oui.identifier.drop()
    assert (await person.client.get(SESSION)).status_code == 401
    assert "token" in (await sign_in(browser, person.actor)).json()


def test_what_is_told_of_a_sign_in() -> None:
    """Event functions and webhooks hear of it when it is over."""
    row = BY_ROUTE["POST", "/api/v1/auths/signin"]
    assert happened(row, {}, b'{"next_step": "verify", "challenge_token": "x", "expires_in": 300}') is None
    for path in ("signin", "mfa/verify", "mfa/enroll/confirm"):
        told = happened(
            BY_ROUTE["POST", f"/api/v1/auths/{path}"], {}, b'{"id": "ann", "token": "x", "recovery_codes": ["y"]}'
        )
        assert told is not None
        assert (told.name, told.subject, told.data) == ("auth.login", {"type": "user", "id": "ann"}, {})


@pytest.mark.parametrize(
    ("text", "roles"),
    [("", []), ("admin", ["admin"]), (" admin , user ", ["admin", "user"]), ("admins", None), ("*", None)],
)
def test_roles_of_the_environment(text: str, roles: list[str] | None) -> None:
    setting = BY_KEY["auth.mfa.required_roles"]
    if roles is None:
        # A misspelt one would ask nobody.
        with pytest.raises(ValueError, match="pending, user, admin"):
            setting.from_text(text)
    else:
        assert setting.from_text(text) == roles


async def test_open_pages_end_with_the_switch(live: Live, user: Actor) -> None:
    """A socket of a session without a factor is closed; one of an account that need not have one stays."""
    async with open_page(user.client, user.token) as page:
        await switch_on(live, required_roles=["admin"])
        again = {"auth": {"token": user.token}}
        assert (await page.socket.call("user-join", again, timeout=30))["id"] == user.id
        assert not page.gone.is_set()
        await switch_on(live, required_roles=["user"])
        async with asyncio.timeout(60):
            await page.gone.wait()
