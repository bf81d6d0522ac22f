"""Groups: who sees them, who is in them, what they grant, and what they inherit."""

from typing import Any

import pytest

from tests.support.live import Actor, Live

GROUPS = "/api/v1/groups/"


async def make(admin: Actor, name: str = "G", **more: Any) -> dict[str, Any]:
    reply = await admin.client.post(f"{GROUPS}create", json={"name": name, "description": "d"} | more)
    assert reply.status_code == 200, reply.text
    made: dict[str, Any] = reply.json()
    return made


async def join(admin: Actor, group: dict[str, Any], *people: Actor) -> None:
    body = {"user_ids": [p.id for p in people]}
    reply = await admin.client.post(f"{GROUPS}id/{group['id']}/users/add", json=body)
    assert reply.status_code == 200, reply.text


async def test_the_life_of_a_group(admin: Actor, user: Actor) -> None:
    made = await make(admin, "G1")
    one = f"{GROUPS}id/{made['id']}"
    assert (made["user_id"], made["data"], made["permissions"]) == (admin.id, {"config": {"share": "members"}}, None)
    assert (await admin.client.get(GROUPS)).json() == [made] == [(await admin.client.get(one)).json()]
    change = {
        "name": "G2",
        "description": "e",
        "permissions": {"workspace": {"models": True}},
        "data": {"config": {"share": True}},
    }
    changed = (await admin.client.post(f"{one}/update", json=change)).json()
    assert change.items() <= changed.items()
    # What is left out stays.
    again = (await admin.client.post(f"{one}/update", json={"name": "G3", "description": ""})).json()
    assert (again["name"], again["permissions"], again["data"]) == ("G3", change["permissions"], change["data"])
    await join(admin, made, user, user)
    export = (await admin.client.get(f"{one}/export")).json()
    assert (export["user_ids"], export["member_count"]) == ([user.id], 1)
    assert [u["id"] for u in (await admin.client.post(f"{one}/users")).json()] == [user.id]
    info = (await user.client.get(f"{one}/info")).json()
    assert info.keys() == {
        "parent_group_id", "id", "user_id", "name", "description", "member_count", "created_at", "updated_at",
    }  # fmt: skip
    left = await admin.client.post(f"{one}/users/remove", json={"user_ids": [user.id, "nobody"]})
    assert left.json()["member_count"] == 0
    assert (await admin.client.delete(f"{one}/delete")).json() is True
    assert (await admin.client.delete(f"{one}/delete")).status_code == 404


async def test_who_sees_which_group(admin: Actor, user: Actor, other: Actor) -> None:
    shares: tuple[Any, ...] = (True, False, "members")
    made = {s: await make(admin, str(s), data={"config": {"share": s}}) for s in shares}
    await join(admin, made["members"], user)
    await join(admin, made[False], user)

    async def seen(actor: Actor, query: str = "") -> set[str]:
        return {g["name"] for g in (await actor.client.get(GROUPS + query)).json()}

    assert await seen(admin) == {"True", "False", "members"}
    assert await seen(user) == {"False", "members"}
    assert await seen(other) == set()
    assert await seen(user, "?share=true") == {"True", "members"}
    assert await seen(other, "?share=true") == {"True"}
    for name, status in ((True, 200), (False, 404), ("members", 404)):
        assert (await other.client.get(f"{GROUPS}id/{made[name]['id']}/info")).status_code == status


async def test_permissions_of_groups_and_their_parents_are_in_force_at_once(admin: Actor, user: Actor) -> None:
    async def has(section: str, name: str) -> bool:
        granted: bool = (await user.client.get("/api/v1/users/permissions")).json()[section][name]
        return granted

    parent = await make(admin, "parent", permissions={"workspace": {"tools": True}})
    child = await make(admin, "child", permissions={"workspace": {"models": True}}, parent_group_id=parent["id"])
    assert not await has("workspace", "models")
    await join(admin, child, user)
    assert await has("workspace", "models")
    assert await has("workspace", "tools")
    preview = (await admin.client.get(f"/api/v1/users/{user.id}/preview")).json()
    assert preview["permissions"]["workspace"]["tools"] is True
    form = {
        "name": "child",
        "description": "",
        "permissions": {"workspace": {"models": False}},
        "parent_group_id": None,
    }
    await admin.client.post(f"{GROUPS}id/{child['id']}/update", json=form)
    assert not await has("workspace", "models")
    assert not await has("workspace", "tools")
    await admin.client.post(
        f"{GROUPS}id/{child['id']}/update", json=form | {"permissions": {"workspace": {"models": True}}}
    )
    assert await has("workspace", "models")
    await admin.client.delete(f"{GROUPS}id/{child['id']}/delete")
    assert not await has("workspace", "models")


async def test_direct_and_inherited_members(admin: Actor, user: Actor, other: Actor) -> None:
    parent = await make(admin, "parent")
    child = await make(admin, "child", parent_group_id=parent["id"])
    await join(admin, parent, user)
    await join(admin, child, user, other)
    members = f"{GROUPS}id/{parent['id']}/members"
    body = (await admin.client.get(members)).json()
    assert (body["total"], body["counts"]) == (2, {"direct": 1, "effective": 2, "inherited": 1})
    assert {m["id"]: m["membership_type"] for m in body["items"]} == {user.id: "direct", other.id: "inherited"}
    assert all(m["via_group_ids"] == [child["id"]] for m in body["items"])
    for query, ids in (("direct", [user.id]), ("inherited", [other.id])):
        found = (await admin.client.get(f"{members}?membership={query}")).json()["items"]
        assert [m["id"] for m in found] == ids
    assert (await admin.client.get(f"{members}?query=TWO")).json()["total"] == 1
    assert (await admin.client.get(f"{members}?page=2")).json()["items"] == []
    for bad in ("membership=all", "page=0", f"query={'q' * 501}"):
        assert (await admin.client.get(f"{members}?{bad}")).status_code == 422


@pytest.mark.parametrize("database_kind", ["sqlite"], indirect=True)
async def test_inheritance_makes_no_circle(admin: Actor) -> None:
    top, middle = await make(admin, "top"), await make(admin, "middle")
    form = {"name": "n", "description": ""}

    async def set_parent(group: dict[str, Any], parent: str) -> int:
        reply = await admin.client.post(f"{GROUPS}id/{group['id']}/update", json=form | {"parent_group_id": parent})
        return reply.status_code

    assert await set_parent(top, top["id"]) == 400
    assert await set_parent(top, "nope") == 400
    assert await set_parent(middle, top["id"]) == 200
    assert await set_parent(top, middle["id"]) == 400
    reply = await admin.client.post(f"{GROUPS}create", json=form | {"parent_group_id": middle["id"]})
    assert reply.status_code == 400


def grant(group_id: str, permission: str = "read") -> dict[str, str]:
    return {"principal_type": "group", "principal_id": group_id, "permission": permission}


async def test_what_a_group_gives_is_seen_before_it_is_changed(live: Live, admin: Actor, user: Actor) -> None:
    parent = await make(
        admin, "parent", permissions={"workspace": {"tools": True}}, data={"config": {"default_models": ["m1"]}}
    )
    child = await make(admin, "child", permissions={"workspace": {"models": True}}, parent_group_id=parent["id"])
    for name, group in (("Birds", parent), ("ants", child), ("Cats", None)):
        form = {"name": name, "description": "d", "access_grants": [grant(group["id"])] if group else []}
        assert (await admin.client.post("/api/v1/knowledge/create", json=form)).status_code == 200
    seen = (await admin.client.get(f"{GROUPS}id/{child['id']}/preview")).json()
    assert seen["group"] == {"id": child["id"], "name": "child"}
    assert [item["name"] for item in seen["knowledge"]["items"]] == ["ants", "Birds"]
    assert (seen["knowledge"]["total"], seen["models"], seen["tools"]) == (
        3,
        {"items": [], "total": 0},
        {"items": [], "total": 0},
    )
    assert seen["permissions"] == {"workspace": {"models": True}}
    for kind, of_models, of_tools in (("inherited", False, True), ("effective", True, True)):
        found = seen[f"{kind}_permissions"]["workspace"]
        assert (found["models"], found["tools"]) == (of_models, of_tools), kind
    assert seen["default_models"] == {"local": None, "effective": ["m1"], "source_group_id": parent["id"]}
    above = (await admin.client.get(f"{GROUPS}id/{parent['id']}/preview")).json()
    assert [item["name"] for item in above["knowledge"]["items"]] == ["Birds"]
    assert above["default_models"]["local"] == ["m1"]
    alone = await make(admin, "alone", data={"config": {"default_models": "m1"}})
    await live.app.state.oui.save_config({"ui.default_models": "m2, m3"})
    seen = (await admin.client.get(f"{GROUPS}id/{alone['id']}/preview")).json()
    assert seen["default_models"] == {"local": None, "effective": ["m2", "m3"], "source_group_id": None}
    await join(admin, child, user)
    theirs = (await admin.client.get(f"/api/v1/users/{user.id}/preview")).json()
    assert theirs["user"] == {"id": user.id, "name": user.name}
    assert theirs["groups"] == [{"id": child["id"], "name": "child"}]
    assert [item["name"] for item in theirs["knowledge"]["items"]] == ["ants", "Birds"]
    everything = (await admin.client.get(f"/api/v1/users/{admin.id}/preview")).json()
    assert len(everything["knowledge"]["items"]) == 3


async def test_previews_are_for_administrators_and_of_what_there_is(admin: Actor, user: Actor) -> None:
    made = await make(admin)
    for path in (f"{GROUPS}id/{made['id']}/preview", f"/api/v1/users/{user.id}/preview"):
        assert (await user.client.get(path)).status_code == 401
    for path in (f"{GROUPS}id/nope/preview", "/api/v1/users/nope/preview"):
        assert (await admin.client.get(path)).status_code == 404


@pytest.mark.parametrize("database_kind", ["sqlite"], indirect=True)
async def test_bad_input(live: Live, admin: Actor) -> None:
    form = {"name": "n", "description": ""}
    bad: list[dict[str, Any]] = [
        {"name": ""}, {"name": "n" * 201}, {"description": None}, {"description": "d" * 10_001}, {"user_id": "me"},
        {"permissions": {"workspace": True}}, {"permissions": {"workspace": {"models": "perhaps"}}}, {"data": []},
        {"parent_group_id": 7},
    ]  # fmt: skip
    for change in bad:
        assert (await admin.client.post(f"{GROUPS}create", json=form | change)).status_code == 422, change
    assert (await admin.client.post(f"{GROUPS}create", json=form | {"data": {"a": "x" * 5_000_000}})).status_code == 413
    assert (await admin.client.get(GROUPS)).json() == []
    made = await make(admin)
    for ids in ("x", [1], ["x" * 300], ["x"] * 10_001, {"a": 1}):
        reply = await admin.client.post(f"{GROUPS}id/{made['id']}/users/add", json={"user_ids": ids})
        assert reply.status_code == 422
    for ids in (None, [], ["nobody"], ["nobody"] * 10_000):
        reply = await admin.client.post(f"{GROUPS}id/{made['id']}/users/add", json={"user_ids": ids})
        assert (reply.status_code, reply.json()["member_count"]) == (200, 0)
