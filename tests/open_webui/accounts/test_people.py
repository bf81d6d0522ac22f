"""People: lists for admins, one's own settings, pictures, and the rules about who changes whom."""

import asyncio
import base64
import re
import struct
import zlib
from typing import Any

import httpx
import pytest
import sqlalchemy as sa

from open_webui import constants
from open_webui.models import tables
from open_webui.utils import pictures
from tests.support.live import PASSWORD, Actor, Live, sign_up

USERS = "/api/v1/users/"
SETTINGS = "/api/v1/users/user/settings"
PNG = b"\x89PNG\r\n\x1a\n" + b"\x00" * 40
BANNED = {"password_hash", "session_stamp", "active"}


def data_url(data: bytes, kind: str = "png") -> str:
    return f"data:image/{kind};base64,{base64.b64encode(data).decode()}"


async def add_many(live: Live, count: int) -> None:
    at = 1_700_000_000
    rows = [
        {"id": f"id{n:03}", "email": f"p{n:03}@x.example", "name": f"Person {n % 7} 100%_{n:03}", "role": "user",
         "last_active_at": at, "created_at": at + n, "updated_at": at}
        for n in range(count)
    ]  # fmt: skip
    async with live.app.state.oui.database.write() as unit:
        await unit.connection.execute(tables.user.insert(), rows)


async def test_lists_are_paged_sorted_and_searched(live: Live, admin: Actor) -> None:
    await add_many(live, 65)

    async def ids(query: str) -> tuple[list[str], int]:
        body = (await admin.client.get(f"{USERS}?{query}")).json()
        assert not BANNED & body["users"][0].keys() if body["users"] else True
        return [u["id"] for u in body["users"]], body["total"]

    newest, total = await ids("")
    assert (newest[0], len(newest), total) == (admin.id, 30, 66)
    ascending, _ = await ids("order_by=created_at&direction=asc&page=1")
    assert ascending[:2] == ["id000", "id001"]
    assert (await ids("order_by=created_at&direction=asc&page=3"))[0] == [f"id{n:03}" for n in range(60, 65)] + [
        admin.id
    ]
    assert (await ids("order_by=email&direction=desc"))[0][0] == "id064"
    assert (await ids("page=4")) == ([], 66)
    assert await ids("query=P042%40X") == (["id042"], 1)
    assert await ids("query=100%25_04") == ([f"id{n:03}" for n in range(49, 39, -1)], 10)
    assert (await ids("query=%25%25"))[1] == 0
    assert (await ids("order_by=password_hash;drop&direction=sideways"))[1] == 66
    for bad in ("page=0", "page=x", f"page={10**30}", f"query={'q' * 501}"):
        assert (await admin.client.get(f"{USERS}?{bad}")).status_code == 422


async def test_all_people_and_search(live: Live, admin: Actor, user: Actor) -> None:
    await add_many(live, 40)
    everybody = (await admin.client.get(f"{USERS}all")).json()
    assert (everybody["total"], len(everybody["users"])) == (42, 42)
    found = (await user.client.get(f"{USERS}search?query=admin")).json()
    assert [u["id"] for u in found["users"]] == [admin.id]
    assert found["users"][0].keys() == {
        "status_emoji", "status_message", "status_expires_at", "id", "name", "email", "role", "bio", "last_active_at",
        "timezone", "groups", "is_active",
    }  # fmt: skip


async def test_settings_are_merged_key_by_key(live: Live, user: Actor) -> None:
    async def update(body: Any) -> Any:
        return (await user.client.post(f"{SETTINGS}/update", json=body)).json()

    assert (await user.client.get(SETTINGS)).json() is None
    assert await update({"ui": {"version": "1", "params": {"a": 1}}}) == {"ui": {"version": "1", "params": {"a": 1}}}
    assert await update({"ui": {"params": {}, "font": None}}) == {"ui": {"version": "1", "params": {}}}
    assert await update({"ui": {"version": None}, "x": 1}) == {"ui": {"params": {}}, "x": 1}
    assert await update({"ui": None}) == {"ui": {"params": {}}, "x": 1}
    assert (await user.client.get(SETTINGS)).json() == {"ui": {"params": {}}, "x": 1}
    await live.app.state.oui.save_config({"ui.default_interface_settings": {"theme": "dark", "params": {"b": 2}}})
    assert (await user.client.get(SETTINGS)).json() == {"ui": {"theme": "dark", "params": {}}, "x": 1}
    assert (await user.client.get(f"{SETTINGS}?raw=true")).json() == {"ui": {"params": {}}, "x": 1}


async def test_settings_updates_at_once_lose_nothing(user: Actor) -> None:
    updates = (user.client.post(f"{SETTINGS}/update", json={"ui": {f"key{n}": n}}) for n in range(20))
    assert {r.status_code for r in await asyncio.gather(*updates)} == {200}
    assert (await user.client.get(SETTINGS)).json() == {"ui": {f"key{n}": n for n in range(20)}}


@pytest.mark.parametrize("database_kind", ["sqlite"], indirect=True)
async def test_settings_that_need_a_permission(live: Live, admin: Actor, user: Actor) -> None:
    posted = {"ui": {"toolServers": [1], "notifications": {"webhook_url": "https://x.example", "sound": True}}}
    stored = (await user.client.post(f"{SETTINGS}/update", json=posted)).json()
    assert stored == {"ui": {"notifications": {"sound": True}}}
    assert (await admin.client.post(f"{SETTINGS}/update", json=posted)).json() == posted


async def test_bad_documents_are_refused(user: Actor) -> None:
    deep: Any = 1
    for _ in range(200):
        deep = {"a": deep}
    for path, wrap in (("settings", "ui"), ("variables", "variables"), ("info", "about")):
        update = f"/api/v1/users/user/{path}/update"
        # Variables are texts, whatever their depth.
        refused = 422 if path == "variables" else 400
        assert (await user.client.post(update, json={wrap: deep})).status_code == refused
        assert (await user.client.post(update, json={wrap: {"big": "x" * 5_000_000}})).status_code == 413
        for body in ([], 1, "x", None):
            assert (await user.client.post(update, json=body)).status_code == 422
    assert (await user.client.post(f"{SETTINGS}/update", json={"ui": [1]})).status_code == 400
    assert (await user.client.get(SETTINGS)).json() is None
    nul = await user.client.post("/api/v1/users/user/info/update", json={"a\x00": "b\x00\U0001f600"})
    assert nul.json() == {"a": "b\U0001f600"}
    half = await user.client.post(
        "/api/v1/users/user/info/update", content=b'{"a": "\\ud800"}', headers={"content-type": "application/json"}
    )
    assert half.status_code == 422


async def test_info_variables_status_and_timezone(live: Live, user: Actor) -> None:
    post, get = user.client.post, user.client.get
    await post("/api/v1/users/user/info/update", json={"location": "x"})
    assert (await post("/api/v1/users/user/info/update", json={"more": 1})).json() == {"location": "x", "more": 1}
    assert (await get("/api/v1/users/user/variables")).json() == {"variables": {}}
    await post("/api/v1/users/user/variables/update", json={"variables": {"city": "Berlin"}})
    changed = await post("/api/v1/users/user/variables/update", json={"variables": {"x": 1}})
    assert changed.json() == {"variables": {"x": "1"}}
    for bad in ([], {"a": "b"}, None, True):
        reply = await post("/api/v1/users/user/variables/update", json={"variables": {"x": bad}})
        assert reply.status_code == 422
    status = {"status_emoji": "tada", "status_message": "busy", "status_expires_at": 2_000_000_000}
    assert status.items() <= (await post("/api/v1/users/user/status/update", json=status)).json().items()
    assert (await get(f"/api/v1/users/{user.id}/info")).json()["status_message"] == "busy"
    assert (await post("/api/v1/users/user/status/update", json={})).json()["status_emoji"] is None
    for bad in (
        {"status_expires_at": -1},
        {"status_expires_at": 10**30},
        {"status_message": "x" * 20_000},
        {"role": "admin"},
    ):
        assert (await post("/api/v1/users/user/status/update", json=bad)).status_code == 422
    await live.app.state.oui.save_config({"users.enable_status": False})
    assert (await post("/api/v1/users/user/status/update", json={})).status_code == 403
    zones = (("Europe/Berlin", 200), ("", 200), ("<script>", 422), ("x" * 65, 422), (None, 422))
    for zone, code in zones:
        assert (await post("/api/v1/auths/update/timezone", json={"timezone": zone})).status_code == code


async def test_one_updates_the_own_profile(user: Actor) -> None:
    form = {
        "name": "New",
        "profile_image_url": "/user.png",
        "bio": "b",
        "gender": "other",
        "date_of_birth": "2000-01-02",
    }
    reply = await user.client.post("/api/v1/auths/update/profile", json=form)
    assert reply.json() == {
        "id": user.id, "name": "New", "role": "user", "email": user.email, "profile_image_url": "/user.png",
    }  # fmt: skip
    session = (await user.client.get("/api/v1/auths/")).json()
    assert (session["name"], session["bio"], session["date_of_birth"]) == ("New", "b", "2000-01-02")
    assert (
        await user.client.post("/api/v1/auths/update/profile", json=form | {"date_of_birth": ""})
    ).status_code == 200
    for bad in ({"date_of_birth": "soon"}, {"name": ""}, {"role": "admin"}, {"email": "x@y.zz"}, {"bio": "x" * 10_001}):
        assert (await user.client.post("/api/v1/auths/update/profile", json=form | bad)).status_code == 422


async def test_pictures_are_served_as_what_they_are(user: Actor, other: Actor) -> None:
    image = f"/api/v1/users/{user.id}/profile/image"
    nobody = await other.client.get(image)
    assert (nobody.headers["content-type"], nobody.content) == ("image/png", pictures.nobody())
    form = {"name": "New", "profile_image_url": data_url(b"GIF89a" + b"\x00" * 20, "png")}
    assert (await user.client.post("/api/v1/auths/update/profile", json=form)).status_code == 200
    reply = await other.client.get(image)
    assert reply.headers["content-type"] == "image/gif"
    assert reply.headers["x-content-type-options"] == "nosniff"
    assert "sandbox" in reply.headers["content-security-policy"]
    again = await other.client.get(image, headers={"if-none-match": reply.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")
    # What the session shows as the picture's address, posted back, keeps the picture.
    await user.client.post("/api/v1/auths/update/profile", json=form | {"profile_image_url": image})
    assert (await other.client.get(image)).headers["content-type"] == "image/gif"
    gravatar = "https://www.gravatar.com/avatar/" + "0" * 64 + "?d=mp"
    await user.client.post("/api/v1/auths/update/profile", json=form | {"profile_image_url": gravatar})
    moved = await other.client.get(image)
    assert (moved.status_code, moved.headers["location"]) == (302, gravatar)


@pytest.mark.parametrize(
    "url",
    [
        data_url(b"<svg onload=alert(1)>", "svg+xml"), data_url(b"<svg/>", "png"), data_url(b"", "png"),
        "data:text/html;base64,PGI+", "data:image/png;base64,***", "data:image/png,abc", "data:",
        "https://tracker.example/a.png", "http://169.254.169.254/", "//evil.example/a.png", "file:///etc/passwd",
        "https://www.gravatar.com.evil.example/avatar/" + "0" * 32, "javascript:alert(1)", "/api/v1/auths/signout",
    ],
)  # fmt: skip
@pytest.mark.parametrize("database_kind", ["sqlite"], indirect=True)
async def test_other_pictures_are_refused(user: Actor, url: str) -> None:
    form = {"name": "New", "profile_image_url": url}
    assert (await user.client.post("/api/v1/auths/update/profile", json=form)).status_code == 400


@pytest.mark.parametrize("database_kind", ["sqlite"], indirect=True)
async def test_a_stored_picture_is_not_trusted(live: Live, user: Actor) -> None:
    for stored in (data_url(b"<svg onload=alert(1)>", "svg+xml"), "javascript:alert(1)", "http://x.example/a.png"):
        async with live.app.state.oui.database.write() as unit:
            await unit.connection.execute(tables.user.update().values(profile_image_url=stored))
        reply = await user.client.get(f"/api/v1/users/{user.id}/profile/image")
        assert (reply.status_code, reply.headers["content-type"]) == (200, "image/png")


def test_the_default_picture_is_a_png() -> None:
    data = pictures.nobody(8)
    assert pictures.sniff(data) == "image/png"
    width, height = struct.unpack(">II", data[16:24])
    body = data[data.index(b"IDAT") + 4 : data.index(b"IEND") - 8]
    assert (width, height, len(zlib.decompress(body))) == (8, 8, 8 * (8 * 3 + 1))


async def test_an_admin_changes_others(admin: Actor, user: Actor, other: Actor) -> None:
    update = f"/api/v1/users/{user.id}/update"
    reply = await admin.client.post(
        update, json={"name": "New", "email": "NEW@example.com", "id": "x", "created_at": 1}
    )
    assert (reply.json()["name"], reply.json()["email"], reply.json()["id"]) == ("New", "new@example.com", user.id)
    assert reply.json()["created_at"] > 1
    taken = await admin.client.post(update, json={"email": other.email})
    assert (taken.status_code, taken.json()["detail"]) == (400, constants.EMAIL_TAKEN)
    for bad, code in (
        ({"role": "emperor"}, 422),
        ({"email": "nope"}, 400),
        ({"name": ""}, 422),
        ({"password": "p" * 2000}, 422),
    ):
        assert (await admin.client.post(update, json=bad)).status_code == code
    assert (await admin.client.post(update, json={})).json()["name"] == "New"


async def test_an_administrator_switches_an_account_off_and_on(live: Live, admin: Actor, user: Actor) -> None:
    second = await sign_up(live, "Second Admin", role="admin", admin=admin)
    session = "/api/v1/auths/"
    # Neither the first administrator, nor oneself.
    form = {"role": "admin", "name": admin.name, "email": admin.email, "active": False}
    assert (await second.client.post(f"{USERS}{admin.id}/update", json=form)).status_code == 403
    own = {"role": "admin", "name": second.name, "email": second.email, "active": False}
    assert (await second.client.post(f"{USERS}{second.id}/update", json=own)).status_code == 200
    assert [(await one.client.get(session)).status_code for one in (admin, second)] == [200, 200]
    # Nobody else does it.
    path, off = f"{USERS}{user.id}/update", {"role": "user", "name": user.name, "email": user.email, "active": False}
    assert (await user.client.post(path, json=off)).status_code == 401
    assert (await second.client.post(path, json=off | {"active": [1]})).status_code == 422
    assert (await second.client.post(path, json=off)).status_code == 200
    assert (await user.client.get(session)).status_code == 401
    entry = {"email": user.email, "password": PASSWORD}
    async with live.client() as again:
        assert (await again.post(f"{session}signin", json=entry)).status_code in {400, 401, 403}
        assert (await second.client.post(path, json=off | {"active": True})).status_code == 200
        # What ended stays ended.
        assert (await user.client.get(session)).status_code == 401
        assert (await again.post(f"{session}signin", json=entry)).status_code == 200
    await second.client.aclose()


async def test_the_primary_admin_stays(live: Live, admin: Actor, user: Actor) -> None:
    await admin.client.post(f"/api/v1/users/{user.id}/update", json={"role": "admin"})
    path = f"/api/v1/users/{admin.id}"
    for actor, change in (
        (user, {"role": "user"}),
        (user, {"password": "mine now"}),
        (user, {}),
        (admin, {"role": "user"}),
    ):
        reply = await actor.client.post(f"{path}/update", json=change)
        assert (reply.status_code, reply.json()["detail"]) == (403, constants.ACTION_PROHIBITED)
    for actor, target in ((user, admin), (admin, admin), (user, user)):
        assert (await actor.client.delete(f"/api/v1/users/{target.id}")).status_code == 403
    assert (await admin.client.post(f"{path}/update", json={"role": "admin", "name": "Still"})).json()[
        "name"
    ] == "Still"
    # An earlier account that is promoted later takes nobody's place.
    async with live.app.state.oui.database.write() as unit:
        row = tables.user
        await unit.connection.execute(row.update().where(row.c.id == user.id).values(created_at=1))
    assert (await user.client.post(f"{path}/update", json={"role": "user"})).status_code == 403
    assert (await admin.client.post(f"/api/v1/users/{user.id}/update", json={"role": "user"})).status_code == 200


async def test_deleting_somebody_removes_what_is_theirs(live: Live, admin: Actor, user: Actor) -> None:
    await admin.client.post(f"/api/v1/users/{user.id}/update", json={"role": "admin"})
    group = (await user.client.post("/api/v1/groups/create", json={"name": "G", "description": ""})).json()
    await user.client.post(f"/api/v1/groups/id/{group['id']}/users/add", json={"user_ids": [user.id, admin.id]})
    async with live.app.state.oui.database.write() as unit:
        c = unit.connection
        folder = {"id": "f", "user_id": user.id, "name": "F", "created_at": 1, "updated_at": 1}
        await c.execute(tables.folder.insert().values(**folder))
        grant = {"resource_type": "folder", "permission": "read", "created_at": 1, "principal_type": "user"}
        await c.execute(tables.access_grant.insert().values(id="a", resource_id="f", principal_id="*", **grant))
        await c.execute(tables.access_grant.insert().values(id="b", resource_id="x", principal_id=user.id, **grant))
    assert (await admin.client.delete(f"/api/v1/users/{user.id}")).json() is True
    async with live.app.state.oui.database.read() as connection:
        for table in (tables.folder, tables.access_grant):
            assert await connection.scalar(sa.select(sa.func.count()).select_from(table)) == 0
        assert await connection.scalar(sa.select(sa.func.count()).select_from(tables.credential)) == 1
    kept = (await admin.client.get("/api/v1/groups/")).json()
    assert [(g["id"], g["user_id"], g["member_count"]) for g in kept] == [(group["id"], admin.id, 1)]


async def test_an_admin_sees_no_keys_of_others(admin: Actor, user: Actor) -> None:
    secret = {"ui": {"directConnections": {"OPENAI_API_KEYS": ["sk-canary"]}, "theme": "dark"}}
    assert (await user.client.post(f"{SETTINGS}/update", json=secret)).json() == secret
    for path in (USERS, f"{USERS}{user.id}", f"{USERS}all"):
        reply = await admin.client.get(path)
        assert reply.status_code == 200
        assert "canary" not in reply.text


async def test_default_permissions(admin: Actor, user: Actor) -> None:
    path = "/api/v1/users/default/permissions"
    tree = (await admin.client.get(path)).json()
    assert tree == (await admin.client.get(f"{path}/defaults")).json()
    tree["workspace"]["models"] = True
    tree["chat"].pop("edit")
    reply = await admin.client.post(path, json=tree | {"chat": tree["chat"] | {"fly": True}})
    assert reply.json()["workspace"]["models"] is True
    assert "fly" not in reply.json()["chat"]
    assert reply.json()["chat"]["edit"] is True
    assert (await user.client.get("/api/v1/users/permissions")).json() == reply.json()
    for bad in ({}, tree | {"workspace": {"models": "perhaps"}}, tree | {"more": {}}, tree | {"chat": None}):
        assert (await admin.client.post(path, json=bad)).status_code == 422


async def test_the_admin_contact(live: Live, admin: Actor, pending: Actor) -> None:
    details = "/api/v1/auths/admin/details"
    assert (await pending.client.get(details)).json() == {"name": admin.name, "email": admin.email}
    second = await sign_up(live, "Second Admin", role="admin", admin=admin)
    await second.client.aclose()
    await live.app.state.oui.save_config({"auth.admin.email": second.email.upper()})
    assert (await pending.client.get(details)).json()["name"] == "Second Admin"
    await live.app.state.oui.save_config({"auth.admin.show": False})
    assert (await pending.client.get(details)).status_code == 403


async def test_the_general_settings_page(live: Live, admin: Actor, client: httpx.AsyncClient) -> None:
    path = "/api/v1/auths/admin/config"
    shown = (await admin.client.get(path)).json()
    assert (shown["ENABLE_SIGNUP"], shown["DEFAULT_USER_ROLE"], shown["ENABLE_CHANNELS"]) == (False, "pending", False)
    changed = shown | {
        "ENABLE_SIGNUP": True,
        "DEFAULT_USER_ROLE": "user",
        "JWT_EXPIRES_IN": "1h",
        "ENABLE_CHANNELS": True,
    }
    reply = (
        await admin.client.post(path, json=changed | {"sessions_revoked": True, "FOLDER_MAX_FILE_COUNT": 3})
    ).json()
    assert reply == changed | {"sessions_revoked": False, "FOLDER_MAX_FILE_COUNT": "3"}
    form = {"name": "Ann", "email": "ann@example.com", "password": "correct horse"}
    made = await client.post("/api/v1/auths/signup", json=form)
    assert made.json()["role"] == "user"
    # A second may end between the token and its cookie.
    assert re.search("Max-Age=(3600|3599);", made.headers["set-cookie"])
    bad_values = (
        ({"JWT_EXPIRES_IN": "soon"}, 400), ({"DEFAULT_USER_ROLE": "emperor"}, 400), ({"ENABLE_SIGNUP": "perhaps"}, 422),
        ({"I18N": {"de": 1}}, 422), ({"WEBUI_URL": None}, 422),
    )  # fmt: skip
    for bad, code in bad_values:
        assert (await admin.client.post(path, json=changed | bad)).status_code == code
    left_out = {k: v for k, v in changed.items() if k not in {"RESPONSE_WATERMARK", "ENABLE_LOGIN_FORM"}}
    await live.app.state.oui.save_config({"ui.watermark": "made by a model"})
    assert (await admin.client.post(path, json=left_out)).json()["RESPONSE_WATERMARK"] == "made by a model"
