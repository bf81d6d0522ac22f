"""Files and knowledge bases that models and folders name: whoever saves the name must be allowed to read them."""

from typing import Any

from tests.open_webui.knowledge.test_bases import call, grant, make_base
from tests.open_webui.models.test_workspace import EVERYBODY, allow, form, open_base
from tests.support.live import Actor, Live
from tests.support.put_files import put_file


def naming(*entries: tuple[str, str]) -> list[dict[str, str]]:
    return [{"type": kind, "id": i, "name": "n"} for kind, i in entries]


async def test_a_model_names_only_knowledge_that_its_maker_may_read(
    live: Live, admin: Actor, user: Actor, other: Actor
) -> None:
    await allow(live, "workspace.models", "sharing.models")
    await open_base(admin)
    base, theirs = await make_base(admin), await put_file(live, other.id)
    mine = await put_file(live, user.id)

    async def save(door: str, *entries: tuple[str, str], who: Actor = user, **more: Any) -> int:
        knowledge = naming(*entries)
        body = form("m", meta={"knowledge": knowledge}, **({"access_grants": None} | more))
        return (await who.client.post(f"/api/v1/models/{door}", json=body)).status_code

    for entries in ((("collection", base),), (("file", theirs),), (("file", mine), ("collection", "nope"))):
        assert await save("create", *entries) == 400
    untyped = form("m", meta={"knowledge": [{"id": base}]})
    assert (await user.client.post("/api/v1/models/create", json=untyped)).status_code == 400
    assert (await user.client.get("/api/v1/models/list")).json()["total"] == 0
    await call(admin, base, "access/update", {"access_grants": [grant(user)]})
    assert await save("create", ("collection", base), ("file", mine)) == 200
    assert await save("model/update", ("collection", base), ("file", theirs)) == 400
    # What stands may stay: another who may change the model need not see it.
    await call(admin, base, "access/update", {"access_grants": []})
    assert await save("model/update", ("collection", base), access_grants=[grant(other, "write")]) == 200
    assert await save("model/update", ("collection", base), who=other) == 200
    assert await save("model/update", who=other) == 200
    assert await save("model/update", ("collection", base), who=other) == 400
    imported = {"models": [form("n", meta={"knowledge": naming(("collection", base))})]}
    await allow(live, "workspace.models", "workspace.models_import")
    assert (await user.client.post("/api/v1/models/import", json=imported)).status_code == 400


async def test_a_folder_names_only_what_its_owner_may_read(live: Live, admin: Actor, user: Actor, other: Actor) -> None:
    base, theirs = await make_base(admin), await put_file(live, other.id)
    mine = await put_file(live, user.id)

    async def save(path: str, *entries: tuple[str, str]) -> Any:
        body = {"name": "F", "data": {"files": naming(*entries)}}
        return await user.client.post(f"/api/v1/folders/{path}", json=body)

    assert (await save("", ("collection", base))).status_code == 400
    assert (await save("", ("file", theirs))).status_code == 400
    assert (await user.client.get("/api/v1/folders/")).json() == []
    made = await save("", ("file", mine))
    assert made.status_code == 200, made.text
    path = f"{made.json()['id']}/update"
    assert (await save(path, ("file", mine), ("collection", base))).status_code == 400
    await call(admin, base, "access/update", {"access_grants": [EVERYBODY]})
    assert (await save(path, ("file", mine), ("collection", base))).status_code == 200
    await call(admin, base, "access/update", {"access_grants": []})
    assert (await save(path, ("collection", base))).status_code == 200


async def test_odd_lists_are_stored_as_before(live: Live, admin: Actor) -> None:
    await open_base(admin)
    odd: list[Any] = ["x", 5, None, {"id": 7}, {"type": [], "id": "a"}, {"type": "note", "id": "n"}]
    reply = await admin.client.post("/api/v1/models/create", json=form("m", meta={"knowledge": odd}))
    assert reply.status_code in {200, 400}
