"""Knowledge bases: made, found, changed, shared, deleted; and the files in them."""

import asyncio
from typing import Any

import sqlalchemy as sa

from open_webui.models import documents, knowledge, tables
from open_webui.services.files import collect
from tests.open_webui.models.test_workspace import allow
from tests.support.live import Actor, Live
from tests.support.put_files import put_file

BASES = "/api/v1/knowledge"
EVERYBODY = {"principal_type": "user", "principal_id": "*", "permission": "read"}


async def make_base(actor: Actor, name: str = "Birds", **more: Any) -> str:
    reply = await actor.client.post(f"{BASES}/create", json={"name": name, "description": "d"} | more)
    assert reply.status_code == 200, reply.text
    made: str = reply.json()["id"]
    return made


async def call(actor: Actor, base: str, path: str, body: Any = None, *, status: int = 200, **query: Any) -> Any:
    reply = await actor.client.post(f"{BASES}/{base}/{path}", json=body, params=query)
    assert reply.status_code == status, reply.text
    return reply.json()


def grant(actor: Actor, permission: str = "read") -> dict[str, str]:
    return {"principal_type": "user", "principal_id": actor.id, "permission": permission}


async def revision(live: Live, base: str) -> int:
    async with live.app.state.oui.database.read() as connection:
        return (await knowledge.revisions(connection, [base]))[base]


async def count(live: Live, table: sa.Table) -> int:
    async with live.app.state.oui.database.read() as connection:
        return int(await connection.scalar(sa.select(sa.func.count()).select_from(table)) or 0)


async def test_the_life_of_a_base(admin: Actor) -> None:
    made = (
        await admin.client.post(f"{BASES}/create", json={"name": "KB", "description": "d", "access_grants": []})
    ).json()
    assert made.pop("created_at") == made.pop("updated_at")
    base = made["id"]
    assert made == {"id": base, "user_id": admin.id, "name": "KB", "description": "d", "meta": None, "access_grants": [],
                    "files": None}  # fmt: skip
    assert list((await admin.client.get(f"{BASES}/{base}")).json()) == [
        "id", "user_id", "name", "description", "meta", "access_grants", "created_at", "updated_at", "files", "write_access",
    ]  # fmt: skip
    changed = await call(admin, base, "update", {"name": "KB2", "description": "d2"})
    assert (changed["name"], changed["description"], changed["files"], changed["write_access"]) == (
        "KB2",
        "d2",
        [],
        True,
    )
    listed = (await admin.client.get(f"{BASES}/")).json()
    assert listed["total"] == 1
    line = listed["items"][0]
    assert (line["file_count"], line["write_access"], line["user"]["name"]) == (0, True, admin.name)
    assert (await admin.client.delete(f"{BASES}/{base}/delete")).json() is True
    assert (await admin.client.delete(f"{BASES}/{base}/delete")).status_code == 400
    assert (await admin.client.get(f"{BASES}/{base}")).status_code == 404


async def test_a_base_is_found_by_its_name_and_description(admin: Actor) -> None:
    birds, fish = await make_base(admin, "Birds"), await make_base(admin, "Fish", description="Of the SEA")

    async def found(**query: Any) -> list[str]:
        reply = await admin.client.get(f"{BASES}/search", params=query)
        return [item["id"] for item in reply.json()["items"]]

    assert await found(query="bird") == [birds]
    assert await found(query="sea") == [fish]
    assert await found(order_by="name", direction="desc") == [fish, birds]
    assert await found(view_option="shared") == []
    assert await found(page=2) == []


async def test_who_may_make_and_share_one(live: Live, admin: Actor, user: Actor, other: Actor) -> None:
    refused = await user.client.post(f"{BASES}/create", json={"name": "n", "description": "d"})
    assert (refused.status_code, refused.json()["detail"]) == (401, "401 Unauthorized")
    await allow(live, "workspace.knowledge")
    base = await make_base(user, access_grants=[EVERYBODY, grant(other)])
    assert (await user.client.get(f"{BASES}/{base}")).json()["access_grants"] == []
    await call(user, base, "access/update", {"access_grants": [grant(other)]}, status=403)
    assert (await other.client.get(f"{BASES}/{base}")).status_code == 401
    await allow(live, "workspace.knowledge", "sharing.knowledge")
    await call(user, base, "access/update", {"access_grants": [grant(other)]})
    shown = (await other.client.get(f"{BASES}/{base}")).json()
    assert shown["write_access"] is False
    await call(other, base, "update", {"name": "x", "description": "y"}, status=401)
    await call(user, base, "access/update", {"access_grants": []})
    assert (await other.client.get(f"{BASES}/{base}")).status_code == 401
    assert (await other.client.get(f"{BASES}/")).json() == {"items": [], "total": 0}


async def test_a_bad_form_makes_nothing(admin: Actor) -> None:
    for form in ({"name": "x"}, {"name": " ", "description": "d"}, {"name": "x" * 201, "description": "d"},
                 {"name": "x", "description": "d" * 20_001}, {"name": "x", "description": 1}):  # fmt: skip
        assert (await admin.client.post(f"{BASES}/create", json=form)).status_code == 422, form
    assert (await admin.client.get(f"{BASES}/")).json()["total"] == 0


async def test_a_file_is_in_a_base_once(live: Live, admin: Actor) -> None:
    base, file_id = await make_base(admin), await put_file(live, admin.id, "kb.txt", "Kangaroos box")
    once = await call(admin, base, "file/add", {"file_id": file_id})
    assert await call(admin, base, "file/add", {"file_id": file_id}) == once
    assert await call(admin, base, "files/batch/add", [{"file_id": file_id}, {"file_id": file_id}]) == once
    (shown,) = once["files"]
    assert list(shown) == ["id", "hash", "meta", "created_at", "updated_at"]
    meta = shown["meta"]
    assert {n: meta[n] for n in ("name", "content_type", "size", "collection_name", "data")} == {
        "name": "kb.txt", "content_type": "text/plain", "size": 13, "collection_name": base, "data": {},
    }  # fmt: skip
    assert len(meta["file_hash"]) == 64
    assert (await admin.client.get(f"{BASES}/")).json()["items"][0]["file_count"] == 1
    assert await count(live, tables.knowledge_file) == 1


async def test_several_files_are_added_all_or_none(live: Live, admin: Actor, user: Actor) -> None:
    base = await make_base(admin)
    mine, theirs = await put_file(live, admin.id), await put_file(live, user.id)
    for wrong in (theirs, "nope"):
        refused = await call(admin, base, "files/batch/add", [{"file_id": mine}, {"file_id": wrong}], status=400)
        assert wrong in refused["detail"]
    assert await count(live, tables.knowledge_file) == 0
    await call(admin, base, "file/add", {"file_id": mine, "directory_id": "nope"}, status=404)
    assert (await call(admin, base, "files/batch/add", [{"file_id": mine}]))["files"][0]["id"] == mine


async def test_only_files_that_one_may_pass_on_come_into_a_base(
    live: Live, admin: Actor, user: Actor, other: Actor
) -> None:
    """Reading a file by a grant is not enough: it would stay open to oneself when the grant is gone."""
    await allow(live, "workspace.knowledge", "sharing.knowledge")
    source, file_id = await make_base(user), await put_file(live, user.id)
    await call(user, source, "file/add", {"file_id": file_id})
    target = await make_base(other)
    await call(other, target, "file/add", {"file_id": file_id}, status=400)
    await call(user, source, "access/update", {"access_grants": [grant(other)]})
    assert (await other.client.get(f"/api/v1/files/{file_id}/content")).status_code == 200
    await call(other, target, "file/add", {"file_id": file_id}, status=400)
    await call(user, source, "access/update", {"access_grants": [grant(other, "write")]})
    await call(other, target, "file/add", {"file_id": file_id})


async def test_the_files_of_a_base_are_read_by_those_who_read_the_base(live: Live, admin: Actor, user: Actor) -> None:
    base, file_id = await make_base(admin), await put_file(live, admin.id, text="Emus run")
    content = f"/api/v1/files/{file_id}/content"
    await call(admin, base, "file/add", {"file_id": file_id})
    assert (await user.client.get(content)).status_code == 404
    await call(admin, base, "access/update", {"access_grants": [grant(user)]})
    assert (await user.client.get(content)).text == "Emus run"
    await call(admin, base, "file/remove", {"file_id": file_id}, delete_file=False)
    assert (await user.client.get(content)).status_code == 404
    assert (await admin.client.get(content)).text == "Emus run"


async def test_a_removed_file_goes_where_nothing_else_needs_it(live: Live, admin: Actor, user: Actor) -> None:
    base, second = await make_base(admin), await make_base(admin, "Second")
    mine, both, theirs = [await put_file(live, who.id) for who in (admin, admin, user)]
    await call(admin, base, "access/update", {"access_grants": [grant(user, "write")]})
    await call(admin, base, "files/batch/add", [{"file_id": mine}, {"file_id": both}])
    await call(user, base, "file/add", {"file_id": theirs})
    await call(admin, second, "file/add", {"file_id": both})
    for file_id in (mine, both, theirs):
        await call(admin, base, "file/remove", {"file_id": file_id})
        await call(admin, base, "file/remove", {"file_id": file_id}, status=400)
    there = {i: (await user.client.get(f"/api/v1/files/{i}/content")).status_code for i in (mine, theirs)}
    assert there == {mine: 404, theirs: 200}
    assert (await admin.client.get(f"/api/v1/files/{both}/content")).status_code == 200


async def test_the_revision_rises_with_what_a_search_finds(live: Live, admin: Actor) -> None:
    base, other_base = await make_base(admin), await make_base(admin, "Other")
    file_id = await put_file(live, admin.id)

    async def rises(by: int, of: str = base) -> None:
        nonlocal seen
        now = await revision(live, of)
        assert now - seen == by
        seen = now

    seen = await revision(live, base)
    await call(admin, base, "file/add", {"file_id": file_id})
    await rises(1)
    await call(admin, base, "file/add", {"file_id": file_id})
    await call(admin, base, "update", {"name": "New", "description": "d"})
    await rises(0)
    async with live.app.state.oui.database.write() as unit:
        await documents.changed_files(unit.connection, [file_id, "nope"])
    await rises(1)
    await call(admin, base, "file/remove", {"file_id": file_id})
    await rises(1)
    assert await revision(live, other_base) == 0


async def test_what_a_base_holds_outlives_its_owner_in_it(live: Live, admin: Actor, user: Actor) -> None:
    await allow(live, "workspace.knowledge")
    base, own = await make_base(admin, access_grants=[grant(user, "write")]), await make_base(user, "Own")
    file_id, lone = await put_file(live, user.id, text="Shared"), await put_file(live, user.id, text="Lone")
    await call(user, base, "file/add", {"file_id": file_id})
    await call(user, own, "file/add", {"file_id": lone})
    assert (await admin.client.delete(f"/api/v1/users/{user.id}")).status_code == 200
    assert (await admin.client.get(f"{BASES}/{own}")).status_code == 404
    state = live.app.state.oui
    async with state.database.write() as unit:
        await unit.connection.execute(tables.file.update().values(updated_at=0))
    await collect(state, grace=-1.0)
    assert (await admin.client.get(f"/api/v1/files/{file_id}/content")).text == "Shared"
    assert await count(live, tables.file) == 1


async def test_many_at_once_add_the_same_files(live: Live, admin: Actor) -> None:
    base = await make_base(admin)
    ids = [await put_file(live, admin.id, f"{n}.txt", str(n)) for n in range(6)]
    bodies = [[{"file_id": i} for i in (ids if n % 2 else ids[::-1])] for n in range(6)]
    await asyncio.gather(*(call(admin, base, "files/batch/add", body) for body in bodies))
    assert await count(live, tables.knowledge_file) == 6
    assert await revision(live, base) == 1
