"""The repository below all granted things: rows that somebody broke, crowds, pages, deletion, and changes at the same time."""

import asyncio
from typing import Any

import pytest
import sqlalchemy as sa

from open_webui.models import folders, grants, group_members, groups, models, tables
from open_webui.models.repository import MAX_PAGE_SIZE, Query, contains
from open_webui.principal import Principal
from tests.open_webui.models.test_workspace import allow, create, open_base
from tests.support.live import Actor, Live

MODELS, FOLDERS, CHATS, GROUPS = "/api/v1/models", "/api/v1/folders/", "/api/v1/chats", "/api/v1/groups"


def to(kind: str, who: str, permission: str = "read") -> dict[str, str]:
    return {"principal_type": kind, "principal_id": who, "permission": permission}


def principal(actor: Actor) -> Principal:
    return Principal(id=actor.id, role="user", name="N", email="n@example.com")


async def execute(live: Live, *statements: Any) -> None:
    async with live.app.state.oui.database.write() as unit:
        for statement in statements:
            await unit.connection.execute(sa.text(statement) if isinstance(statement, str) else statement)


@pytest.mark.parametrize(
    "broken", ["{", "[1]", '"x"', "7", "null", '{"tags": {"name": "x"}}', '{"tags": [7, null, [], {}]}']
)
async def test_a_broken_row_takes_no_list_with_it(live: Live, admin: Actor, database_kind: str, broken: str) -> None:
    await create(admin, "good")
    await create(admin, "bad")
    if database_kind == "postgresql":
        # PostgreSQL's own JSON is always whole; text that isn't must not get in.
        broken = broken if broken != "{" else "{}"
    await execute(live, f"UPDATE model SET meta = '{broken}' WHERE id = 'bad'")
    await live.app.state.oui.catalogue.reload()
    listed = (await admin.client.get(f"{MODELS}/list")).json()
    assert ({m["id"] for m in listed["items"]}, listed["total"]) == ({"good", "bad"}, 2)
    assert (await admin.client.get(f"{MODELS}/tags")).json() == ["t1"]
    assert [m["id"] for m in (await admin.client.get(f"{MODELS}/list?tag=t1")).json()["items"]] == ["good"]
    assert {"good", "bad"} <= {m["id"] for m in (await admin.client.get("/api/models")).json()["data"]}


async def test_tags_are_names_or_objects_with_a_name(admin: Actor) -> None:
    await create(admin, "a", meta={"tags": ["plain", {"name": "named"}, {"name": 7}, 7, None, "", {"name": ""}]})
    await create(admin, "b", meta={"tags": [{"name": "%"}, {"name": "quo\"te'"}]})
    assert (await admin.client.get(f"{MODELS}/tags")).json() == ["%", "named", "plain", "quo\"te'"]
    for tag, found in (("plain", "a"), ("named", "a"), ("%", "b"), ("quo\"te'", "b")):
        items = (await admin.client.get(f"{MODELS}/list", params={"tag": tag})).json()["items"]
        assert [m["id"] for m in items] == [found], tag
    for tag in ("7", "nam", "name", "None", "_"):
        assert (await admin.client.get(f"{MODELS}/list", params={"tag": tag})).json() == {"items": [], "total": 0}


async def test_texts_are_found_in_any_case(admin: Actor) -> None:
    for n, name in enumerate(("Ärger und Öl", "100% sure", "under_score", "back\\slash", "plain")):
        await create(admin, f"m{n}", name=name)
    for text, found in (
        ("ärger", "m0"), ("ÄRGER", "m0"), ("ÖL", "m0"), ("100%", "m1"), ("r_s", "m2"), ("k\\s", "m3"), ("PLAIN", "m4"),
        ("M4", "m4"), ("pl\x00ain", "m4"),
    ):  # fmt: skip
        items = (await admin.client.get(f"{MODELS}/list", params={"query": text})).json()["items"]
        assert [m["id"] for m in items] == [found], text
    assert (await admin.client.get(f"{MODELS}/list", params={"query": "n_one%"})).json()["total"] == 0


async def test_a_page_is_what_it_says(live: Live, admin: Actor, user: Actor) -> None:
    """Every row is on one page, in the order asked for, and only what the caller may see is counted."""
    for n in range(7):
        await create(
            admin, f"m{n}", name=f"{'aB'[n % 2]}{n}", access_grants=[to("user", user.id)] if n % 3 == 0 else []
        )
    shared = ["m0", "m3", "m6"]
    async with live.app.state.oui.database.read() as connection:
        for sort, direction, order in (
            ("name", None, ["m0", "m6", "m3"]), ("name", "desc", ["m3", "m6", "m0"]), ("id; DROP TABLE model", "asc", None),
            (None, None, None),
        ):  # fmt: skip
            seen: list[str] = []
            for number in range(1, 5):
                query = Query(sort=sort, direction=direction, number=number, size=1)
                page = await models.repository.page(connection, principal(user), query)
                assert (page.total, {o.id for o in page.owners.values()} <= {admin.id}) == (3, True)
                seen += [row.id for row in page.items]
            assert seen == order if order else sorted(seen) == shared
        for size, number in ((0, 1), (-5, 1), (10**9, 1), (30, 0), (30, -1)):
            page = await models.repository.page(connection, principal(user), Query(size=size, number=number))
            assert 1 <= len(page.items) <= 3
        far = await models.repository.page(connection, principal(user), Query(number=2**70, size=MAX_PAGE_SIZE))
        assert (far.items, far.total) == ([], 3)
        for view, total in (("created", 0), ("shared", 3), ("odd", 3)):
            assert (await models.repository.page(connection, principal(user), Query(view=view))).total == total
        writable = await models.repository.page(connection, principal(user), Query(action="write"))
        assert (writable.items, writable.total) == ([], 0)


async def test_a_large_group_is_paged_in_the_database(live: Live, admin: Actor) -> None:
    """More members than PostgreSQL's driver takes parameters; each of them has settings that nobody asked for."""
    group = (await admin.client.post(f"{GROUPS}/create", json={"name": "All", "description": ""})).json()["id"]
    count = 33_000
    numbers = f"WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {count})"
    await execute(
        live,
        'INSERT INTO "user" (id, email, name, role, settings, last_active_at, created_at, updated_at)'
        f" {numbers} SELECT 'u' || i, 'u' || i || '@example.com', 'Person ' || i, 'user', '{{}}', 0, i, i FROM n",
        f"INSERT INTO group_member (group_id, user_id, created_at) {numbers} SELECT '{group}', 'u' || i, i FROM n",
    )
    for membership in ("effective", "direct"):
        reply = await admin.client.get(f"{GROUPS}/id/{group}/members?membership={membership}&page=2")
        assert reply.status_code == 200, reply.text
        body = reply.json()
        assert (body["total"], len(body["items"]), body["items"][0]["name"]) == (count, 30, "Person 31")
        assert body["counts"] == {"direct": count, "effective": count, "inherited": 0}
    found = (await admin.client.get(f"{GROUPS}/id/{group}/members?query=person%2032999")).json()
    assert [m["id"] for m in found["items"]] == ["u32999"]
    async with live.app.state.oui.database.write() as unit:
        ids = await group_members.ids(unit.connection, group)
        await grants.clear(unit.connection, "chat", ids)
        assert await folders.repository.delete(unit.connection, ids) == 0
        assert await grants.of_many(unit.connection, "chat", ids) == {}


async def test_the_grants_on_all_that_an_account_has_go_with_it(
    live: Live, admin: Actor, user: Actor, other: Actor
) -> None:
    await allow(live, "workspace.models", "sharing.models", "sharing.folders", "sharing.public_models")
    await open_base(admin)
    await create(user, "mine", access_grants=[to("user", other.id)])
    folder = (await user.client.post(FOLDERS, json={"name": "F"})).json()["id"]
    body = {"access_grants": [to("user", other.id)]}
    assert (await user.client.post(f"{FOLDERS}{folder}/access/update", json=body)).status_code == 200
    for shared in (True, False):
        chat = (await user.client.post(f"{CHATS}/new", json={"chat": {"title": "t"}})).json()["id"]
        if shared:
            assert (await user.client.post(f"{CHATS}/{chat}/share")).status_code == 200
        assert (await user.client.post(f"{CHATS}/shared/{chat}/access/update", json=body)).status_code == 200
    async with live.app.state.oui.database.read() as connection:
        query = sa.select(tables.access_grant.c.resource_type)
        assert sorted(await connection.scalars(query)) == ["folder", "model", "model", "shared_chat", "shared_chat"]
    assert (await admin.client.delete(f"/api/v1/users/{user.id}")).status_code == 200
    async with live.app.state.oui.database.read() as connection:
        # What is left is on the model that is not this person's.
        assert list(await connection.scalars(query)) == ["model"]


async def test_a_grant_that_stays_stays_the_same(live: Live, admin: Actor, user: Actor, other: Actor) -> None:
    made = await create(admin, access_grants=[to("user", user.id), to("user", other.id)])
    kept = next(g for g in made["access_grants"] if g["principal_id"] == user.id)
    body = {"id": "my-model", "access_grants": [to("user", user.id), to("user", user.id), to("user", "*", "write")]}
    now = (await admin.client.post(f"{MODELS}/model/access/update", json=body)).json()["access_grants"]
    assert len(now) == 2
    assert kept in now


async def test_who_may_share_with_a_group(live: Live, admin: Actor, user: Actor) -> None:
    """The same for all things: groups that are open to everybody, and those that one is in and that let members."""
    await allow(live, "workspace.models", "sharing.models", "sharing.folders")
    await open_base(admin)
    await create(user, "mine")
    folder = (await user.client.post(FOLDERS, json={"name": "F"})).json()["id"]
    chat = (await user.client.post(f"{CHATS}/new", json={"chat": {"title": "t"}})).json()["id"]
    doors = (
        (f"{MODELS}/model/access/update", {"id": "mine"}), (f"{FOLDERS}{folder}/access/update", {}),
        (f"{CHATS}/shared/{chat}/access/update", {}),
    )  # fmt: skip
    for share, inside, status in (
        (True, False, 200), ("members", True, 200), ("members", False, 403), (False, True, 403), ("odd", True, 403),
    ):  # fmt: skip
        form = {"name": f"{share} {inside}", "description": "", "data": {"config": {"share": share}}}
        group = (await admin.client.post(f"{GROUPS}/create", json=form)).json()["id"]
        if inside:
            await admin.client.post(f"{GROUPS}/id/{group}/users/add", json={"user_ids": [user.id]})
        for path, body in doors:
            reply = await user.client.post(path, json=body | {"access_grants": [to("group", group)]})
            assert reply.status_code == status, (path, share, inside)
    for path, body in doors:
        assert (await user.client.post(path, json=body | {"access_grants": [to("group", "nope")]})).status_code == 403
        assert (
            await user.client.post(path, json=body | {"access_grants": [{"principal_type": "x"}]})
        ).status_code == 400


async def test_changes_at_the_same_time_are_all_kept(live: Live, admin: Actor) -> None:
    """A form that is read, changed and written holds its row: nobody's change is lost, and grants don't mix."""
    folder = (await admin.client.post(FOLDERS, json={"name": "F"})).json()["id"]
    replies = await asyncio.gather(
        *(admin.client.post(f"{FOLDERS}{folder}/update", json={"data": {f"k{n}": n}}) for n in range(8)),
        *(
            admin.client.post(f"{FOLDERS}{folder}/access/update", json={"access_grants": [to("user", f"u{n}")]})
            for n in range(8)
        ),
    )
    assert {reply.status_code for reply in replies} == {200}
    stored = (await admin.client.get(f"{FOLDERS}{folder}")).json()
    assert stored["data"] == {f"k{n}": n for n in range(8)}
    assert len(stored["access_grants"]) == 1


async def test_a_taken_id_is_told(live: Live, admin: Actor) -> None:
    async with live.app.state.oui.database.write() as unit:
        values = {"name": "F"}
        made = await folders.repository.create(unit.connection, admin.id, values, row_id="f")
        assert made is not None
        assert made.id == "f"
        assert await folders.repository.create(unit.connection, admin.id, values, row_id="f") is None


async def test_groups_are_seen_by_those_in_them(live: Live, admin: Actor, user: Actor) -> None:
    group = (await admin.client.post(f"{GROUPS}/create", json={"name": "G", "description": ""})).json()["id"]
    async with live.app.state.oui.database.read() as connection:
        assert await groups.repository.get_for(connection, principal(user), group) is None
        assert await groups.repository.get_for(connection, None, group) is None
    await admin.client.post(f"{GROUPS}/id/{group}/users/add", json={"user_ids": [user.id]})
    async with live.app.state.oui.database.read() as connection:
        assert await groups.repository.get_for(connection, principal(user), group) is not None
        assert await groups.repository.get_for(connection, principal(user), group, "write") is None


def test_a_text_is_no_pattern() -> None:
    condition = str(contains([tables.model.c.name], "50%_").compile(compile_kwargs={"literal_binds": True}))
    assert "50/%/_" in condition
