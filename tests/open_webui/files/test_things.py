"""Pictures of people, models and folders: stored as files, shown to those who see the thing, and nothing else let in."""

from typing import Any

import pytest

from open_webui.services import files
from tests.support.live import Actor, Live
from tests.support.pictures import (
    ADDRESS,
    allow_everything,
    base64_in,
    chat,
    data_url,
    picture,
    png,
    question,
    shown_at,
    unused_references,
)

PROFILE = {"name": "User One", "bio": None, "gender": None, "date_of_birth": None}
MODEL = {"base_model_id": "echo", "name": "Mine", "params": {}}


async def whole(live: Live) -> None:
    assert await base64_in(live) == []
    assert await unused_references(live) == []


async def set_picture(actor: Actor, url: str) -> Any:
    return await actor.client.post("/api/v1/auths/update/profile", json=PROFILE | {"profile_image_url": url})


async def test_a_profile_has_a_picture(live: Live, user: Actor, other: Actor, pending: Actor) -> None:
    reply = await set_picture(user, picture())
    address = reply.json()["profile_image_url"]
    assert ADDRESS.fullmatch(address)
    await whole(live)
    path = f"/api/v1/users/{user.id}/profile/image"
    for actor in (user, other):
        for where in (path, address):
            shown = await actor.client.get(where)
            assert (shown.status_code, shown.content, shown.headers["content-type"]) == (200, png(), "image/png")
            assert "sandbox" in shown.headers["content-security-policy"]
    assert (await pending.client.get(address)).status_code == 404
    async with live.client() as nobody:
        assert (await nobody.get(address)).status_code == 401
    # A page posts back what it was told, also as a whole address.
    for again in (address, f"{live.url}{address}", path):
        assert (await set_picture(user, again)).json()["profile_image_url"] == address
    await set_picture(user, "/user.png")
    assert (await other.client.get(address)).status_code == 404
    assert await files.collect(live.app.state.oui, grace=-10) == 1


@pytest.mark.parametrize(
    "url",
    [
        data_url(b"<svg xmlns='http://www.w3.org/2000/svg'/>" * 40, "image/svg+xml"),
        data_url(b"\x00\xff" * 800, "image/png"),
        "data:image/png;base64," + "A" * 1501,
        "data:image/svg+xml;utf8," + "<svg xmlns='http://www.w3.org/2000/svg'/>" * 40,
        "/api/v1/files/00000000-0000-4000-8000-000000000000/content",
        "https://example.com/a.png",
        picture(1, 1_300_000),
    ],
    ids=["svg", "noise", "broken", "svg as text", "unknown", "elsewhere", "large"],
)
async def test_what_is_no_profile_picture_is_refused(live: Live, user: Actor, url: str) -> None:
    reply = await set_picture(user, url)
    assert reply.status_code in {400, 422}, reply.text
    session = (await user.client.get("/api/v1/auths/")).json()
    assert session["profile_image_url"] == "/user.png"
    await whole(live)


async def test_somebody_elses_picture_is_no_profile_picture(user: Actor, other: Actor) -> None:
    """It would be opened to everybody."""
    made = await user.client.post("/api/v1/chats/new", json={"chat": chat(question(picture()))})
    address = shown_at(made.json()["chat"]["history"]["messages"]["q"]["files"][0])
    assert (await set_picture(other, address)).status_code == 400
    assert (await other.client.get(address)).status_code == 404


async def test_an_admin_sets_a_picture(live: Live, admin: Actor, user: Actor) -> None:
    form = {"role": "user", "name": "User One", "email": user.email, "profile_image_url": picture(3)}
    reply = await admin.client.post(f"/api/v1/users/{user.id}/update", json=form)
    assert reply.status_code == 200, reply.text
    assert (await user.client.get(f"/api/v1/users/{user.id}/profile/image")).content == png(3)
    added = {"name": "New", "email": "new@example.com", "password": "correct horse", "role": "user"}
    reply = await admin.client.post("/api/v1/auths/add", json=added | {"profile_image_url": picture(4)})
    assert reply.status_code == 200, reply.text
    assert (await user.client.get(f"/api/v1/users/{reply.json()['id']}/profile/image")).content == png(4)
    await whole(live)


async def test_a_sign_up_brings_a_picture(live: Live) -> None:
    form = {"name": "First", "email": "first@example.com", "password": "correct horse", "profile_image_url": picture(5)}
    async with live.client() as client:
        session = (await client.post("/api/v1/auths/signup", json=form)).json()
        client.headers["authorization"] = f"Bearer {session['token']}"
        assert (await client.get(f"/api/v1/users/{session['id']}/profile/image")).content == png(5)
    await whole(live)


async def test_settings_keep_pictures_for_oneself(live: Live, user: Actor, other: Actor) -> None:
    settings = {"ui": {"backgroundImageUrl": picture()}}
    kept = (await user.client.post("/api/v1/users/user/settings/update", json=settings)).json()
    address = kept["ui"]["backgroundImageUrl"]
    await user.client.post("/api/v1/users/user/info/update", json={"a": picture(2)})
    await user.client.post("/api/v1/users/user/variables/update", json={"variables": {"b": picture(3)}})
    await whole(live)
    assert (await user.client.get(address)).content == png()
    assert (await other.client.get(address)).status_code == 404
    await user.client.post("/api/v1/users/user/settings/update", json={"ui": {"theme": "dark"}})
    assert await files.collect(live.app.state.oui, grace=-10) == 0
    await user.client.post("/api/v1/users/user/settings/update", json={"ui": {"backgroundImageUrl": None}})
    assert await files.collect(live.app.state.oui, grace=-10) == 1


async def test_a_model_has_a_picture(live: Live, admin: Actor, user: Actor, other: Actor) -> None:
    grant = {"principal_type": "user", "principal_id": user.id, "permission": "read"}
    form = MODEL | {"id": "mine", "meta": {"profile_image_url": picture()}, "access_grants": [grant]}
    made = await admin.client.post("/api/v1/models/create", json=form)
    assert made.status_code == 200, made.text
    address = made.json()["meta"]["profile_image_url"]
    path = "/api/v1/models/model/profile/image"
    for where, params in ((path, {"id": "mine"}), (address, {})):
        assert (await user.client.get(where, params=params)).content == png()
    assert (await other.client.get(path, params={"id": "mine"})).status_code == 302
    assert (await other.client.get(address)).status_code == 404
    await whole(live)
    (exported,) = (await admin.client.get("/api/v1/models/export")).json()
    assert exported["meta"]["profile_image_url"] == picture()
    assert (await admin.client.post("/api/v1/models/import", json={"models": [exported]})).json() is True
    await whole(live)
    again = made.json() | {"meta": {"profile_image_url": picture(2), "background_image_url": picture(3)}}
    assert (await admin.client.post("/api/v1/models/model/update", json=again)).status_code == 200
    assert (await user.client.get(path, params={"id": "mine"})).content == png(2)
    await whole(live)
    await admin.client.post("/api/v1/models/model/delete", json={"id": "mine"})
    assert await files.collect(live.app.state.oui, grace=-10) == 3


@pytest.mark.parametrize("url", [data_url(b"\x00\xff" * 800), picture(1, 1_300_000)], ids=["noise", "large"])
async def test_what_is_no_picture_of_a_model_is_refused(live: Live, admin: Actor, url: str) -> None:
    form = MODEL | {"id": "mine", "meta": {"profile_image_url": url}, "access_grants": []}
    assert (await admin.client.post("/api/v1/models/create", json=form)).status_code == 400
    other = await admin.client.post("/api/v1/models/create", json=form | {"meta": {}})
    assert (await admin.client.post("/api/v1/models/model/update", json=other.json() | form)).status_code == 400
    assert (await admin.client.get("/api/v1/models/model", params={"id": "mine"})).json()["meta"][
        "profile_image_url"
    ] is None


async def test_a_model_of_another_server_comes_without_its_picture(live: Live, admin: Actor, user: Actor) -> None:
    """Its address means nothing here, and somebody's private file is not opened by it."""
    private = await user.client.post("/api/v1/chats/new", json={"chat": chat(question(picture()))})
    address = shown_at(private.json()["chat"]["history"]["messages"]["q"]["files"][0])
    for number, url in enumerate(("/api/v1/files/00000000-0000-4000-8000-000000000000/content", address)):
        grant = {"principal_type": "user", "principal_id": "*", "permission": "read"}
        form = MODEL | {"id": f"m{number}", "meta": {"profile_image_url": url}, "access_grants": [grant]}
        assert (await admin.client.post("/api/v1/models/import", json={"models": [form]})).json() is True
    assert (await user.client.get(address)).status_code == 200
    for model in ("m0", "m1"):
        shown = await admin.client.get("/api/v1/models/model/profile/image", params={"id": model})
        assert shown.status_code == 302, "the picture that all have"


async def test_a_small_picture_stays_where_it_is(live: Live, admin: Actor) -> None:
    small = picture(1, 300)
    assert len(small) < 1024
    await admin.client.post(
        "/api/v1/models/create", json=MODEL | {"id": "mine", "meta": {"profile_image_url": small}, "access_grants": []}
    )
    shown = await admin.client.get("/api/v1/models/model/profile/image", params={"id": "mine"})
    assert shown.content == png(1, 300)
    assert (await set_picture(admin, small)).json()["profile_image_url"] == small
    assert (await admin.client.get(f"/api/v1/users/{admin.id}/profile/image")).content == png(1, 300)


async def test_a_folder_has_a_background(live: Live, admin: Actor, user: Actor, other: Actor) -> None:
    await allow_everything(admin)
    form = {"name": "One", "meta": {"background_image_url": picture(1, 400_000)}}
    folder = (await user.client.post("/api/v1/folders/", json=form)).json()
    address = folder["meta"]["background_image_url"]
    update = {"data": {"cover": picture(2)}}
    assert (await user.client.post(f"/api/v1/folders/{folder['id']}/update", json=update)).status_code == 200
    await whole(live)
    assert (await other.client.get(address)).status_code == 404
    grants = {"access_grants": [{"principal_type": "user", "principal_id": other.id, "permission": "read"}]}
    await user.client.post(f"/api/v1/folders/{folder['id']}/access/update", json=grants)
    assert (await other.client.get(address)).content == png(1, 400_000)
    await user.client.delete(f"/api/v1/folders/{folder['id']}")
    assert await files.collect(live.app.state.oui, grace=-10) == 2


async def test_a_chat_keeps_pictures_beside_its_messages(live: Live, user: Actor) -> None:
    body = {"chat": chat({"id": "q", "role": "user"}, cover=picture(1)), "variables": {"a": picture(2)}}
    made = (await user.client.post("/api/v1/chats/new", json=body)).json()
    await whole(live)
    await user.client.post(f"/api/v1/chats/{made['id']}", json={"chat": {"cover": picture(3)}})
    await user.client.patch(f"/api/v1/chats/{made['id']}/params", json={"system": f"![]({picture(4)})"})
    await whole(live)
    assert await files.collect(live.app.state.oui, grace=-10) == 1


async def test_settings_and_groups_of_the_server_take_no_pictures(live: Live, admin: Actor) -> None:
    reply = await admin.client.post("/api/v1/configs/import", json={"config": {"ui.name": picture()}})
    assert (reply.status_code, "can't be kept here" in reply.json()["detail"]) == (400, True)
    form = {"name": "G", "description": "", "data": {"picture": picture()}}
    reply = await admin.client.post("/api/v1/groups/create", json=form)
    assert (reply.status_code, "can't be kept here" in reply.json()["detail"]) == (400, True)
    await whole(live)
