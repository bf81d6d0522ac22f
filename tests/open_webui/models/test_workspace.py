"""The workspace of models: made, changed, shared, moved, deleted; and what the list shows of them."""

from typing import Any

import pytest

from tests.support.live import Actor, Live
from tests.support.upstream import Upstream

EVERYBODY = {"principal_type": "user", "principal_id": "*", "permission": "read"}
PIXEL = "data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="


def form(model_id: str = "my-model", **changes: Any) -> dict[str, Any]:
    return {
        "id": model_id,
        "base_model_id": "echo",
        "name": "My model",
        "meta": {"description": "d", "tags": [{"name": "t1"}], "toolIds": []},
        "params": {"system": "Be kind", "temperature": 0.3},
        "access_grants": [],
        "is_active": True,
    } | changes


async def create(actor: Actor, *args: Any, **changes: Any) -> dict[str, Any]:
    reply = await actor.client.post("/api/v1/models/create", json=form(*args, **changes))
    assert reply.status_code == 200, reply.text
    made: dict[str, Any] = reply.json()
    return made


async def open_base(admin: Actor, model_id: str = "echo") -> None:
    await create(admin, model_id, base_model_id=None, name=model_id, meta={}, params={}, access_grants=[EVERYBODY])


async def ids(actor: Actor) -> list[str]:
    return [m["id"] for m in (await actor.client.get("/api/models")).json()["data"]]


async def allow(live: Live, *paths: str) -> None:
    """Grants permissions to everybody."""
    state = live.app.state.oui
    tree = {section: dict(entries) for section, entries in state.config["user.permissions"].items()}
    for path in paths:
        section, name = path.split(".")
        tree[section][name] = True
    await state.save_config({"user.permissions": tree})


async def test_the_life_of_a_model(live: Live, admin: Actor, user: Actor, upstream: Upstream) -> None:
    made = await create(admin)
    assert list(made) == [
        "version_id", "id", "user_id", "base_model_id", "name", "params", "meta", "access_grants", "is_active",
        "updated_at", "created_at",
    ]  # fmt: skip
    assert made["meta"] == {
        "profile_image_url": None, "background_image_url": None, "description": "d", "i18n": None, "capabilities": None,
        "knowledge": None, "voice": None, "voice_avatar": None, "tags": [{"name": "t1"}], "toolIds": [],
    }  # fmt: skip
    reply = await admin.client.post("/api/v1/models/create", json=form())
    assert reply.status_code == 401
    body = {"model": "my-model", "messages": [{"role": "user", "content": "hello"}]}
    assert (await admin.client.post("/api/chat/completions", json=body)).status_code == 200
    sent = upstream.chats[-1].body
    assert (sent["model"], sent["temperature"], sent["messages"][0]) == (
        "echo", 0.3, {"role": "system", "content": "Be kind"},
    )  # fmt: skip
    (shown,) = [m for m in (await admin.client.get("/api/models")).json()["data"] if m["id"] == "my-model"]
    assert (shown["preset"], shown["owned_by"], shown["tags"]) == (True, "openai", [{"name": "t1"}])
    assert shown["info"]["params"] == {}
    listed = (await admin.client.get("/api/v1/models/list?page=1")).json()
    assert (listed["total"], listed["items"][0]["user"]["name"], listed["items"][0]["write_access"]) == (
        1, "Admin One", True,
    )  # fmt: skip
    changed = (await admin.client.post("/api/v1/models/model/update", json=form(name="Renamed"))).json()
    assert (changed["name"], changed["version_id"] != made["version_id"]) == ("Renamed", True)
    toggled = (await admin.client.post("/api/v1/models/model/toggle?id=my-model")).json()
    assert (toggled["is_active"], "my-model" in await ids(admin)) == (False, False)
    assert (await admin.client.post("/api/chat/completions", json=body)).status_code == 400
    await admin.client.post("/api/v1/models/model/toggle?id=my-model")
    assert "my-model" in await ids(admin)
    assert (await admin.client.get("/api/v1/models/tags")).json() == ["t1"]
    assert len((await admin.client.get("/api/v1/models/model/history?id=my-model")).json()) == 2
    assert (await admin.client.post("/api/v1/models/model/delete", json={"id": "my-model"})).json() is True
    assert "my-model" not in await ids(admin)
    assert (await admin.client.get("/api/v1/models/model?id=my-model")).status_code == 404


async def test_overrides_of_a_base_model(admin: Actor, user: Actor) -> None:
    assert await ids(user) == []
    await create(
        admin, "echo", base_model_id=None, name="Echo!", params={"system": "base prompt", "temperature": 1, "top_p": 0.5},
        access_grants=[EVERYBODY],
    )  # fmt: skip
    assert await ids(user) == ["echo"]
    (shown,) = (await user.client.get("/api/models")).json()["data"]
    assert (shown["name"], shown["info"]["params"], shown["openai"]["owned_by"]) == ("Echo!", {}, "fake")
    await create(admin, params={"temperature": 0.3}, access_grants=[EVERYBODY])
    assert await ids(user) == ["echo", "my-model"]
    assert [m["id"] for m in (await admin.client.get("/api/v1/models/base")).json()] == ["echo"]
    await admin.client.post("/api/v1/models/model/toggle?id=echo")
    assert await ids(user) == []
    assert "echo" not in await ids(admin)
    assert "echo" in [m["id"] for m in (await admin.client.get("/api/models/base")).json()["data"]]


async def test_params_of_the_base_lie_below_those_of_the_custom_model(
    live: Live, admin: Actor, upstream: Upstream
) -> None:
    await create(admin, "echo", base_model_id=None, params={"system": "base", "temperature": 1, "top_p": 0.5})
    await create(admin, "one", params={"temperature": 0.3})
    await create(admin, "two", base_model_id="one", params={"system": "mine"})
    target = live.app.state.oui.catalogue.find("two")
    assert (target.entry.id, target.params, target.system) == ("echo", {"temperature": 0.3, "top_p": 0.5}, "mine")


async def test_a_circle_of_models_is_no_model(admin: Actor) -> None:
    await create(admin, "one", base_model_id="two")
    await create(admin, "two", base_model_id="one")
    listed = await ids(admin)
    assert "one" not in listed
    assert "two" not in listed
    reply = await admin.client.post("/api/v1/models/create", json=form("self", base_model_id="self"))
    assert reply.status_code == 400


async def test_a_custom_model_takes_no_connections_place(live: Live, admin: Actor, user: Actor) -> None:
    await allow(live, "workspace.models")
    await open_base(admin)
    for actor in (admin, user):
        reply = await actor.client.post("/api/v1/models/create", json=form("fixed"))
        assert reply.status_code == 401
    reply = await user.client.post("/api/v1/models/create", json=form("slow", base_model_id=None))
    assert (reply.status_code, "administrators" in reply.json()["detail"]) == (401, True)


async def test_a_model_may_only_be_made_of_what_one_may_use(live: Live, admin: Actor, user: Actor) -> None:
    await allow(live, "workspace.models")
    assert (await user.client.post("/api/v1/models/create", json=form())).status_code == 400
    await open_base(admin)
    await create(user)
    changed = await user.client.post("/api/v1/models/model/update", json=form(base_model_id="fixed"))
    assert changed.status_code == 400
    changed = await user.client.post("/api/v1/models/model/update", json=form(base_model_id=None))
    assert changed.status_code == 401


async def test_grants_that_one_may_not_give(live: Live, admin: Actor, user: Actor, other: Actor) -> None:
    await allow(live, "workspace.models")
    await open_base(admin)
    mine = {"principal_type": "user", "principal_id": other.id, "permission": "read"}
    assert (await create(user, access_grants=[EVERYBODY, mine]))["access_grants"] == []
    share = {"id": "my-model", "access_grants": [mine]}
    assert (await user.client.post("/api/v1/models/model/access/update", json=share)).status_code == 403
    assert "my-model" not in await ids(other)
    await allow(live, "sharing.models")
    given = (await user.client.post("/api/v1/models/model/access/update", json=share)).json()["access_grants"]
    assert [(g["principal_id"], g["permission"]) for g in given] == [(other.id, "read")]
    assert "my-model" in await ids(other)
    public = share | {"access_grants": [EVERYBODY]}
    assert (await user.client.post("/api/v1/models/model/access/update", json=public)).status_code == 403
    # What an admin granted stays when the owner saves the page.
    await admin.client.post("/api/v1/models/model/access/update", json=public)
    kept = await user.client.post("/api/v1/models/model/update", json=form(access_grants=[EVERYBODY]))
    assert len(kept.json()["access_grants"]) == 1
    anyone = {"principal_type": "anyone", "principal_id": "*", "permission": "read"}
    refused = await admin.client.post("/api/v1/models/model/access/update", json=share | {"access_grants": [anyone]})
    assert refused.status_code == 403


@pytest.mark.parametrize(
    "grant",
    [{}, {"principal_type": "user"}, {"principal_type": "all", "principal_id": "x", "permission": "read"},
     {"principal_type": "user", "principal_id": "x", "permission": "own"},
     {"principal_type": "user", "principal_id": "x" * 300, "permission": "read"},
     {"principal_type": "group", "principal_id": "*", "permission": "read"}],
)  # fmt: skip
async def test_what_is_no_grant(admin: Actor, grant: dict[str, Any]) -> None:
    await create(admin)
    body = {"id": "my-model", "access_grants": [grant]}
    assert (await admin.client.post("/api/v1/models/model/access/update", json=body)).status_code == 400
    assert (await admin.client.get("/api/v1/models/model?id=my-model")).json()["access_grants"] == []


@pytest.mark.parametrize(
    "changes",
    [{"id": ""}, {"id": "x" * 300}, {"id": 5}, {"name": ""}, {"name": " "}, {"name": None}, {"meta": []}, {"params": "x"},
     {"meta": {"capabilities": 5}}, {"access_grants": "all"}, {"access_grants": [1]}, {"is_active": "perhaps"},
     {"id": "a\nb"}, {"params": {"x": "y" * 3_000_000}}],
)  # fmt: skip
async def test_malformed_models(admin: Actor, changes: dict[str, Any]) -> None:
    reply = await admin.client.post("/api/v1/models/create", json=form() | changes)
    assert reply.status_code == 422, reply.text
    assert (await admin.client.get("/api/v1/models/all")).json() == []


async def test_odd_contents(admin: Actor) -> None:
    deep: dict[str, Any] = {}
    for _ in range(200):
        deep = {"d": deep}
    assert (await admin.client.post("/api/v1/models/create", json=form(params=deep))).status_code == 422
    assert (await admin.client.post("/api/v1/models/create", json=form(meta={"deep": deep}))).status_code == 400
    made = await create(admin, name="nul\x00 name", params={"system": "a\x00b"}, meta={"note": "c\x00d", "tags": "x"})
    assert (made["name"], made["params"], made["meta"]["note"]) == ("nul name", {"system": "ab"}, "cd")
    assert "my-model" in await ids(admin)
    assert (await admin.client.get("/api/v1/models/tags")).json() == []


async def test_pictures(admin: Actor, user: Actor) -> None:
    await create(admin, meta={"profile_image_url": PIXEL})
    address = "/api/v1/models/model/profile/image"
    reply = await admin.client.get(address, params={"id": "my-model"})
    assert (reply.status_code, reply.headers["content-type"]) == (200, "image/png")
    assert reply.headers["x-content-type-options"] == "nosniff"
    for actor, model in ((user, "my-model"), (admin, "echo"), (admin, "undefined"), (admin, "x\x00y")):
        reply = await actor.client.get(address, params={"id": model})
        assert (reply.status_code, reply.headers["location"]) == (302, "/static/favicon.png")
    svg = "data:image/svg+xml;base64,PHN2Zy8+"
    for n, bad in enumerate((svg, "https://example.com/x.png", "javascript:alert(1)", "data:image/png;base64,!!!")):
        await create(admin, f"m{n}", meta={"profile_image_url": bad})
        assert (await admin.client.get(address, params={"id": f"m{n}"})).status_code == 302


async def test_filters_and_pages(admin: Actor) -> None:
    for n in range(32):
        await create(admin, f"m{n:02}", name=f"Model {n:02}", meta={"tags": [{"name": "odd" if n % 2 else "even"}]})
    get = admin.client.get
    assert len((await get("/api/v1/models/list")).json()["items"]) == 30
    page = (await get("/api/v1/models/list?page=2&order_by=name")).json()
    assert ([m["id"] for m in page["items"]], page["total"]) == (["m30", "m31"], 32)
    assert (await get("/api/v1/models/list?tag=odd")).json()["total"] == 16
    assert (await get("/api/v1/models/list?query=model%2007")).json()["items"][0]["id"] == "m07"
    assert (await get("/api/v1/models/list?view_option=shared")).json()["total"] == 0
    assert (await get("/api/v1/models/list?order_by=nonsense&direction=sideways&page=99")).json()["items"] == []
    for bad in ("page=0", "page=x", f"query={'x' * 600}"):
        assert (await get(f"/api/v1/models/list?{bad}")).status_code == 422


async def test_export_and_import(live: Live, admin: Actor, user: Actor) -> None:
    await create(admin, access_grants=[EVERYBODY])
    exported = (await admin.client.get("/api/v1/models/export")).json()
    assert (exported[0]["params"]["system"], exported[0]["background_image_data"]) == ("Be kind", None)
    assert (await admin.client.get("/api/v1/models/export?ids=nothing")).json() == []
    await admin.client.delete("/api/v1/models/delete/all")
    odd = exported[0] | {"user_id": user.id, "created_at": 1, "name": "Back"}
    assert (await admin.client.post("/api/v1/models/import", json={"models": [odd]})).json() is True
    back = (await admin.client.get("/api/v1/models/model?id=my-model")).json()
    assert (back["name"], back["user_id"], back["created_at"] > 1) == ("Back", admin.id, True)
    assert len(back["access_grants"]) == 1
    bad = {"models": [form("good"), {"id": "bad"}]}
    reply = await admin.client.post("/api/v1/models/import", json=bad)
    assert (reply.status_code, "Model 2" in reply.json()["detail"]) == (400, True)
    assert (await admin.client.get("/api/v1/models/model?id=good")).status_code == 404
    assert (await user.client.get("/api/v1/models/export")).json()["detail"] == "401 Unauthorized"
    await allow(live, "workspace.models_import", "workspace.models_export")
    assert (await user.client.get("/api/v1/models/export")).json() == []
    reply = await user.client.post("/api/v1/models/import", json={"models": [form(name="Stolen")]})
    assert reply.status_code == 401
    assert (await admin.client.get("/api/v1/models/model?id=my-model")).json()["name"] == "Back"


async def test_a_custom_model_goes_with_its_base(admin: Actor, upstream: Upstream) -> None:
    await create(admin)
    upstream.models = ("fixed",)
    assert await ids(admin) != []
    await admin.client.get("/api/models?refresh=true")
    assert await ids(admin) == ["fixed"]
    body = {"model": "my-model", "messages": []}
    reply = await admin.client.post("/api/chat/completions", json=body)
    assert (reply.status_code, reply.json()["detail"]) == (400, "Model not found")
