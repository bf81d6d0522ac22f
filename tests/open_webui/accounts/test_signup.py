"""The first account becomes the admin, once, over all ways; later ones get what the settings say."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import httpx
import pytest
import sqlalchemy as sa
from pydantic import SecretStr

from open_webui import constants
from open_webui.env import Settings
from open_webui.errors import StartupError
from open_webui.main import create_app
from open_webui.models import tables
from tests.support.live import Actor, Live, sign_up

MakeLive = Callable[..., Awaitable[Live]]
FORM = {"name": "Ann", "email": "ann@example.com", "password": "correct horse"}
SIGNUP = "/api/v1/auths/signup"


async def rows(live: Live, *columns: Any) -> list[Any]:
    async with live.app.state.oui.database.read() as connection:
        return list(await connection.execute(sa.select(*columns)))


async def test_the_first_account_is_the_admin_and_switches_sign_up_off(live: Live, client: httpx.AsyncClient) -> None:
    reply = await client.post(SIGNUP, json=FORM | {"email": " Ann@Example.COM "})
    assert reply.status_code == 200
    session = reply.json()
    assert (session["role"], session["email"], session["token_type"]) == ("admin", "ann@example.com", "Bearer")
    assert session["profile_image_url"] == f"/api/v1/users/{session['id']}/profile/image"
    assert session["permissions"]["workspace"]["models"] is False
    assert live.app.state.oui.config["ui.enable_signup"] is False
    refused = await client.post(SIGNUP, json=FORM | {"email": "ben@example.com"})
    assert refused.status_code == 403
    assert len(await rows(live, tables.user.c.id)) == 1


async def test_fifty_first_sign_ups_at_once_make_exactly_one_admin(live: Live) -> None:
    async with live.client() as browser:
        replies = await asyncio.gather(
            *(browser.post(SIGNUP, json=FORM | {"email": f"person{n}@example.com"}) for n in range(50))
        )
    assert sorted(r.status_code for r in replies) == [200] + [403] * 49
    assert [r.role for r in await rows(live, tables.user.c.role)] == ["admin"]


async def test_with_sign_up_held_on_there_is_still_one_admin(
    make_live: MakeLive, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ENABLE_SIGNUP", "true")
    monkeypatch.setenv("DEFAULT_USER_ROLE", "user")
    live = await make_live()
    async with live.client() as browser:
        replies = await asyncio.gather(
            *(browser.post(SIGNUP, json=FORM | {"email": f"person{n}@example.com"}) for n in range(12))
        )
    assert [r.status_code for r in replies] == [200] * 12
    assert sorted(r.json()["role"] for r in replies) == ["admin"] + ["user"] * 11


@pytest.mark.parametrize("database_kind", ["postgresql"], indirect=True)
async def test_two_replicas_make_one_admin(make_live: MakeLive) -> None:
    lives = [await make_live(), await make_live()]

    async def first(live: Live, n: int) -> int:
        async with live.client() as browser:
            return (await browser.post(SIGNUP, json=FORM | {"email": f"person{n}@example.com"})).status_code

    statuses = await asyncio.gather(*(first(lives[n % 2], n) for n in range(10)))
    assert sorted(statuses) == [200] + [403] * 9
    assert [r.role for r in await rows(lives[0], tables.user.c.role)] == ["admin"]


async def test_later_accounts_get_the_default_role_and_group(
    live: Live, admin: Actor, client: httpx.AsyncClient
) -> None:
    group = (await admin.client.post("/api/v1/groups/create", json={"name": "All", "description": ""})).json()
    await live.app.state.oui.save_config(
        {"ui.enable_signup": True, "ui.default_user_role": "user", "ui.default_group_id": group["id"]}
    )
    made = (await client.post(SIGNUP, json=FORM)).json()
    assert made["role"] == "user"
    theirs = (await admin.client.get(f"/api/v1/users/{made['id']}/groups")).json()
    assert [g["id"] for g in theirs] == [group["id"]]


@pytest.mark.parametrize("database_kind", ["sqlite"], indirect=True)
@pytest.mark.parametrize("stored", ["emperor", ""])
async def test_a_default_role_that_is_none_lets_nobody_in(
    live: Live, admin: Actor, client: httpx.AsyncClient, stored: str
) -> None:
    await live.app.state.oui.save_config({"ui.enable_signup": True, "ui.default_user_role": stored})
    assert (await client.post(SIGNUP, json=FORM)).json()["role"] == "pending"


async def test_an_email_is_taken_whatever_its_case(live: Live, admin: Actor, client: httpx.AsyncClient) -> None:
    await live.app.state.oui.save_config({"ui.enable_signup": True})
    reply = await client.post(SIGNUP, json=FORM | {"email": admin.email.upper()})
    assert (reply.status_code, reply.json()["detail"]) == (400, constants.EMAIL_TAKEN)
    forms = [FORM | {"name": f"n{n}"} for n in range(5)]
    replies = await asyncio.gather(*(client.post(SIGNUP, json=form) for form in forms))
    assert sorted(r.status_code for r in replies) == [200] + [400] * 4


BAD = [
    ({"email": "nope"}, 400),
    ({"email": "a@b"}, 400),
    ({"email": "a b@example.com"}, 400),
    ({"email": "a@example.com\nBcc: x@y.zz"}, 400),
    ({"email": "a" * 250 + "@example.com"}, 422),
    ({"email": None}, 422),
    ({"email": ["a@example.com"]}, 422),
    ({"name": "  "}, 422),
    ({"name": "n" * 201}, 422),
    ({"name": 7}, 422),
    ({"password": ""}, 400),
    ({"password": "p" * 1025}, 422),
    ({"password": None}, 422),
    ({"role": "admin"}, 422),
    ({"id": "mine"}, 422),
    ({"profile_image_url": "data:image/svg+xml;base64,PHN2Zz48L3N2Zz4="}, 400),
    ({"profile_image_url": "data:image/png;base64,PHN2Zz48L3N2Zz4="}, 400),
    ({"profile_image_url": "https://tracker.example/me.png"}, 400),
    ({"profile_image_url": "javascript:alert(1)"}, 400),
    ({"profile_image_url": "x" * 2_000_000}, 413),
]


@pytest.mark.parametrize("database_kind", ["sqlite"], indirect=True)
async def test_bad_input_makes_no_account(live: Live, client: httpx.AsyncClient) -> None:
    for change, status in BAD:
        reply = await client.post(SIGNUP, json=FORM | change)
        assert reply.status_code == status, change
        if status == 422:
            assert reply.json() == {"detail": "Invalid authentication request."}
    for body in (b"", b"{", b"[]", b"null", b"\xff", b"[" * 60_000):
        reply = await client.post(SIGNUP, content=body, headers={"content-type": "application/json"})
        assert reply.status_code == 422, body[:10]
    assert await rows(live, tables.user.c.id) == []
    assert (await client.post(SIGNUP, json=FORM)).json()["role"] == "admin"


async def test_nul_characters_do_no_harm(live: Live, client: httpx.AsyncClient) -> None:
    reply = await client.post(SIGNUP, json=FORM | {"name": "A\x00nn", "password": "pass\x00word"})
    assert (reply.status_code, reply.json()["name"]) == (200, "Ann")
    signed_in = await client.post("/api/v1/auths/signin", json={"email": FORM["email"], "password": "pass\x00word"})
    assert signed_in.status_code == 200


async def test_the_environment_makes_the_admin_once(make_live: MakeLive) -> None:
    fixed = {"webui_admin_email": "Root@Example.com", "webui_admin_password": "from the environment"}
    for _ in range(2):
        live = await make_live(**fixed, webui_admin_name="Root")
        people = await rows(live, tables.user.c.email, tables.user.c.role, tables.user.c.name)
        assert [tuple(p) for p in people] == [("root@example.com", "admin", "Root")]
    assert live.app.state.oui.config["ui.enable_signup"] is False
    async with live.client() as browser:
        form = {"email": "root@example.com", "password": fixed["webui_admin_password"]}
        assert (await browser.post("/api/v1/auths/signin", json=form)).status_code == 200


async def test_the_environment_makes_no_second_admin(make_live: MakeLive) -> None:
    live = await make_live()
    await (await sign_up(live, "Ann Other")).client.aclose()
    again = await make_live(webui_admin_email="root@example.com", webui_admin_password="from the environment")
    assert [r.email for r in await rows(again, tables.user.c.email)] == ["ann.other@example.com"]


async def start(settings: Settings) -> None:
    app = create_app(settings)
    async with app.router.lifespan_context(app):
        pass


@pytest.mark.parametrize("database_kind", ["sqlite"], indirect=True)
@pytest.mark.parametrize("change", [{"webui_admin_email": "nobody"}, {"webui_admin_name": " "}])
async def test_a_malformed_first_admin_stops_the_start(settings: Settings, change: dict[str, str]) -> None:
    fixed = {"webui_admin_email": "root@example.com", "webui_admin_password": SecretStr("from the environment")}
    with pytest.raises(StartupError, match="WEBUI_ADMIN_"):
        await start(settings.model_copy(update=fixed | change))


@pytest.mark.parametrize("database_kind", ["sqlite"], indirect=True)
@pytest.mark.parametrize(("variable", "value"), [("DEFAULT_USER_ROLE", "emperor"), ("JWT_EXPIRES_IN", "a while")])
async def test_a_malformed_setting_stops_the_start(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, variable: str, value: str
) -> None:
    monkeypatch.setenv(variable, value)
    with pytest.raises(StartupError, match=variable):
        await start(settings)
