"""Apps themselves: what they say they are, made, changed, connected, opened to people, removed; by administrators alone."""

import base64
from typing import Any

import httpx
import pytest
import sqlalchemy as sa
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from open_webui.errors import BadRequest
from open_webui.models import tables
from open_webui.services import webhook_calls
from open_webui.services.apps import apps, calls
from open_webui.services.webhook_calls import BAD_URL
from tests.open_webui.apps.conftest import APPS, CHANNELS, channel, connected, form_of, ok, say
from tests.support.app_program import ALL, KEY, AppProgram
from tests.support.live import Actor, Live
from tests.support.pictures import data_url, png

FIELDS = [
    "connection_status", "id", "slug", "name", "is_active", "configured", "data", "created_at", "updated_at",
]  # fmt: skip
PREVIEW = "/manifest/preview"


async def test_the_life_of_an_app(live: Live, admin: Actor, user: Actor, program: AppProgram) -> None:
    made = await ok(admin, "POST", "", form_of(program))
    path = f"/{made['id']}"
    assert list(made) == FIELDS
    assert (made["is_active"], made["configured"], made["connection_status"]) == (False, True, "disconnected")
    assert (made["name"], made["data"]["url"], made["data"]["granted_scopes"]) == ("Helper", program.url, sorted(ALL))
    whole = await ok(admin, "GET", path)
    assert [(g["principal_id"], g["permission"]) for g in whole.pop("access_grants")] == [("*", "read")]
    assert whole == made
    # Its key is told nobody, and is not readable where it is kept.
    async with live.app.state.oui.database.read() as connection:
        (row,) = (await connection.execute(sa.select(tables.app))).all()
    assert KEY not in repr(row)
    assert KEY not in repr(whole)
    on = await ok(admin, "POST", f"{path}/connect", {})
    assert (on["is_active"], on["connection_status"]) == (True, "connected")
    [event] = program.told("connect")
    assert event["app"] == {"id": made["id"], "slug": "helper"}
    # Where it is, is for administrators.
    [seen] = await ok(user, "GET", "")
    assert list(seen["data"]) == ["manifest", "granted_scopes"]
    off = await ok(admin, "PATCH", path, {"is_active": False, "name": "Other", "settings": {"a": 1}})
    assert (off["is_active"], off["connection_status"], off["name"]) == (False, "disconnected", "Other")
    assert (off["data"]["settings"], off["data"]["manifest"]) == ({"a": 1}, made["data"]["manifest"])
    fewer = made["data"]["manifest"] | {"requested_scopes": ["channels:read"]}
    assert (await ok(admin, "PATCH", path, {"manifest": fewer}))["data"]["granted_scopes"] == ["channels:read"]
    await ok(admin, "PATCH", path, {"access_grants": []})
    assert await ok(user, "GET", "") == []
    assert len(await ok(admin, "GET", "")) == 1
    assert (await ok(admin, "DELETE", path))["id"] == made["id"]
    for method, rest, body in (("GET", "", None), ("PATCH", "", {}), ("DELETE", "", None), ("POST", "/connect", {})):
        assert await say(admin, method, f"{path}{rest}", body) == (404, {"detail": "App not found"})


async def test_what_is_off_is_as_if_there_were_none(live: Live, admin: Actor, user: Actor, program: AppProgram) -> None:
    made = await connected(admin, program)
    where = await channel(admin, made)
    assert (await ok(admin, "GET", "/api/config"))["features"]["enable_apps"] is True
    for setting in ("apps.enable", "channels.enable"):
        await live.app.state.oui.save_config({setting: False})
        assert await ok(admin, "GET", "") == []
        assert await say(admin, "GET", f"/{made}") == (404, {"detail": "App not found"})
        assert (await say(admin, "POST", "", form_of(program, slug="b")))[0] == 403
        assert await say(admin, "POST", PREVIEW, {"url": program.url}) == (400, {"detail": apps.NO_KEY})
        assert (await say(admin, "POST", PREVIEW, {"url": program.url, "api_key": KEY}))[0] == 403
        press = {"message_id": "m", "action_id": "a"}
        assert (await say(user, "POST", f"/{made}/interactions", press))[0] == 404
        if setting == "apps.enable":
            assert await ok(admin, "GET", f"{CHANNELS}/{where}/apps") == []
        await live.app.state.oui.save_config({setting: True})
    assert (await ok(admin, "GET", ""))[0]["is_active"] is True


async def test_a_manifest_is_looked_at(admin: Actor, program: AppProgram) -> None:
    shown = await ok(admin, "POST", PREVIEW, {"url": program.url, "api_key": KEY})
    assert shown == program.manifest | {"profile_image_url": None}  # type: ignore[operator]
    assert isinstance(program.manifest, dict)
    # A picture elsewhere would tell its server who looks.
    for picture, kept in ((data_url(png()), True), ("https://e.co/p.png", False), ("data:text/html,x", False)):
        program.manifest["profile_image_url"] = picture
        shown = await ok(admin, "POST", PREVIEW, {"url": program.url, "api_key": KEY})
        assert shown["profile_image_url"] == (picture if kept else None)
    # With the key that is there.
    made = await ok(admin, "POST", "", form_of(program))
    assert (await ok(admin, "POST", PREVIEW, {"url": program.url, "app_id": made["id"]}))["id"] == "helper"
    assert await say(admin, "POST", PREVIEW, {"url": program.url, "app_id": "nope"}) == (404, {"detail": apps.UNKNOWN})
    assert await say(admin, "POST", PREVIEW, {"url": program.url}) == (400, {"detail": apps.NO_KEY})


@pytest.mark.parametrize(
    ("said", "why"),
    [
        (b"<html>", "no manifest"), (b"", "no manifest"), (b"[]", "no manifest"), (b"[" * 100_000, "no manifest"),
        (b" " * (calls.MOST_MANIFEST + 1), "more than"), ({"name": None}, "no manifest"), ({"more": 1}, "no manifest"),
        ({"requested_scopes": ["everything"]}, "no manifest"), ({"description": "x" * 2_001}, "no manifest"),
        ({"public_key": "x"}, "not signed"), ({"public_key": "00" * 32}, "not signed"),
    ],
)  # fmt: skip
async def test_manifests_that_are_none(admin: Actor, program: AppProgram, said: Any, why: str) -> None:
    assert isinstance(program.manifest, dict)
    program.manifest = said if isinstance(said, bytes) else program.manifest | said
    status, reply = await say(admin, "POST", PREVIEW, {"url": program.url, "api_key": KEY})
    assert (status, why in reply["detail"]) == (400, True), reply


async def test_addresses_that_are_not_asked(
    live: Live, admin: Actor, program: AppProgram, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def asked(url: str, **more: Any) -> tuple[int, str]:
        status, reply = await say(admin, "POST", PREVIEW, {"url": url, "api_key": KEY} | more)
        return status, reply["detail"]

    for status, why in ((302, "sends one on"), (307, "sends one on"), (404, "404"), (500, "500")):
        program.statuses = [status]
        found = await asked(program.url)
        assert (found[0], why in found[1]) == (400, True), found
    program.signs = False
    assert "not signed" in (await asked(program.url))[1]
    program.signs = True
    assert "401" in (await asked(program.url, api_key="another"))[1]
    for url in ("ftp://e.co", "https://a:b@e.co", "", "http://"):
        assert await asked(url) == (400, BAD_URL)
    # Nobody is led into the server's own network, unless its operator lets apps be there.
    state = live.app.state.oui
    state.settings = state.settings.model_copy(update={"enable_rag_local_web_fetch": False})
    for url in (
        program.url,
        "http://169.254.169.254/",
        "http://[::ffff:127.0.0.1]/",
        "http://10.0.0.1",
        "http://a.internal",
    ):
        assert await asked(url) == (400, BAD_URL)
        assert (await say(admin, "POST", "", form_of(program, url=url)))[0] == 400
    # Whatever a name leads to: each connection is checked.
    monkeypatch.setattr(webhook_calls, "_is_local", lambda _: False)
    assert "is no public address" in (await asked(program.url))[1]


async def test_one_is_connected_once_it_answers(live: Live, admin: Actor, program: AppProgram) -> None:
    made = await ok(admin, "POST", "", form_of(program))
    path = f"/{made['id']}/connect"
    for statuses, signs in (([500], True), ([302], True), ([], False)):
        program.statuses, program.signs = statuses, signs
        assert (await say(admin, "POST", path, {}))[0] == 400
    program.signs = True
    assert (await ok(admin, "GET", f"/{made['id']}"))["is_active"] is False
    await ok(admin, "POST", path, {})
    # A key that the app does not know is not kept.
    assert (await say(admin, "POST", path, {"api_key": "wrong"}))[0] == 400
    assert (await ok(admin, "POST", path, {}))["connection_status"] == "connected"
    program.key = "another"
    assert (await ok(admin, "POST", path, {"api_key": "another"}))["is_active"] is True
    assert (await ok(admin, "POST", path, {}))["is_active"] is True
    program.statuses = [503]
    assert (await say(admin, "POST", path, {}))[0] == 400
    assert (await ok(admin, "GET", f"/{made['id']}"))["connection_status"] == "disconnected"


@pytest.mark.parametrize(
    ("change", "status"),
    [
        ({"slug": "Helper"}, 422), ({"slug": "a" * 41}, 422), ({"api_key": ""}, 422), ({"api_key": "k\n"}, 422),
        ({"granted_scopes": ["x"]}, 422), ({"more": 1}, 422), ({"url": "x" * 2_049}, 422), ({"manifest": {}}, 422),
        ({"access_grants": [{}]}, 400), ({"url": "no address"}, 400),
    ],
)  # fmt: skip
async def test_bad_ones_are_refused(admin: Actor, program: AppProgram, change: dict[str, Any], status: int) -> None:
    assert (await say(admin, "POST", "", form_of(program, **change)))[0] == status
    assert await ok(admin, "GET", "") == []


async def test_more_than_there_may_be(admin: Actor, program: AppProgram, monkeypatch: pytest.MonkeyPatch) -> None:
    made = await ok(admin, "POST", "", form_of(program))
    assert await say(admin, "POST", "", form_of(program)) == (400, {"detail": apps.TAKEN})
    assert isinstance(program.manifest, dict)
    program.manifest["requested_scopes"] = ["channels:read"]
    assert await say(admin, "POST", "", form_of(program, slug="b")) == (400, {"detail": apps.TOO_MUCH})
    change = {"manifest": program.manifest, "granted_scopes": ALL}
    assert await say(admin, "PATCH", f"/{made['id']}", change) == (400, {"detail": apps.TOO_MUCH})
    bad = {"manifest": program.manifest | {"public_key": "x"}}
    assert await say(admin, "PATCH", f"/{made['id']}", bad) == (400, {"detail": calls.NO_KEY})
    assert (await say(admin, "PATCH", f"/{made['id']}", {"settings": {"a": "x" * 20_000}}))[0] == 422
    monkeypatch.setattr(apps, "MOST", 1)
    form = form_of(program, slug="b", granted_scopes=[])
    assert await say(admin, "POST", "", form) == (400, {"detail": apps.FULL})


async def test_they_are_for_administrators(
    admin: Actor, user: Actor, pending: Actor, client: httpx.AsyncClient, program: AppProgram
) -> None:
    made = await connected(admin, program)
    doors = [
        ("POST", "", form_of(program, slug="b")), ("POST", PREVIEW, {"url": program.url, "api_key": KEY}),
        ("GET", f"/{made}", None), ("PATCH", f"/{made}", {}), ("DELETE", f"/{made}", None),
        ("POST", f"/{made}/connect", {}),
    ]  # fmt: skip
    for method, path, body in doors:
        for who in (client, pending.client, user.client):
            assert (await who.request(method, f"{APPS}{path}", json=body)).status_code == 401, (method, path)
    press = {"message_id": "m", "action_id": "a"}
    for who in (client, pending.client):
        assert (await who.get(APPS)).status_code == 401
        assert (await who.post(f"{APPS}/{made}/interactions", json=press)).status_code == 401


async def test_who_made_one_may_go(admin: Actor, user: Actor, other: Actor, program: AppProgram) -> None:
    person = {"role": "admin", "name": other.name, "email": other.email, "profile_image_url": ""}
    await ok(admin, "POST", f"/api/v1/users/{other.id}/update", person)
    made = await connected(other, program)
    await ok(admin, "DELETE", f"/api/v1/users/{other.id}")
    assert [one["id"] for one in await ok(user, "GET", "")] == [made]


def test_keys_in_all_their_forms() -> None:
    key = ed25519.Ed25519PrivateKey.generate().public_key()
    raw = key.public_bytes_raw()
    pem = key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()
    coded = base64.b64encode(raw).decode()
    for text in (coded, f"whpk_{coded}", base64.urlsafe_b64encode(raw).decode().rstrip("="), raw.hex(), pem):
        assert calls.public_key(f" {text}\n").public_bytes_raw() == raw
    other = ec.generate_private_key(ec.SECP256R1()).public_key()
    wrong = other.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()
    for text in ("", "x", coded[:-8], "zz" * 32, "ü" * 44, wrong, "-----BEGIN"):
        with pytest.raises(BadRequest):
            calls.public_key(text)
