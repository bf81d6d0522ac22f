"""Role sets: what administrators hand over, what a holder may do with it and what not, and that it ends at once."""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import httpx
import pytest

from tests.open_webui.accounts.test_groups import GROUPS, join, make
from tests.open_webui.audit.conftest import entries
from tests.support.live import Actor, Live, sign_up

SETS, HELD = "/api/v1/role-sets", "/api/v1/delegated"
PEOPLE = ["people.list", "people.hold", "people.activate", "people.reset_factors", "people.groups"]


@dataclass
class Office:
    """lead: who holds the set "Support lead" for the group `team`. ann is in it, zoe is not; eve may do as much as anybody."""

    admin: Actor
    lead: Actor
    ann: Actor
    zoe: Actor
    eve: Actor
    team: dict[str, Any]
    second: dict[str, Any]
    set_id: str


def form(**more: Any) -> dict[str, Any]:
    return {"name": "Support lead", "rights": PEOPLE, "groups": [], "users": []} | more


async def put(admin: Actor, at: str = SETS, **more: Any) -> str:
    reply = await admin.client.post(at, json=form(**more))
    assert reply.status_code == 200, reply.text
    made: str = reply.json()["id"]
    return made


@pytest.fixture
async def office(live: Live, admin: Actor) -> AsyncIterator[Office]:
    people = {
        name: await sign_up(live, name.title(), role="user", admin=admin) for name in ("lead", "ann", "zoe", "eve")
    }
    team, second = await make(admin, "Team"), await make(admin, "Second")
    await join(admin, team, people["ann"])
    set_id = await put(admin, groups=[team["id"], second["id"]], users=[people["lead"].id])
    yield Office(admin=admin, team=team, second=second, set_id=set_id, **people)
    for each in people.values():
        await each.client.aclose()


def calls(office: Office, target: str) -> dict[str, tuple[str, str]]:
    """What a holder may do to somebody, by right."""
    return {
        "people.hold": ("POST", f"{HELD}/people/{target}/hold"),
        "people.activate": ("POST", f"{HELD}/people/{target}/activate"),
        "people.reset_factors": ("POST", f"{HELD}/people/{target}/factors/reset"),
        "people.groups": ("POST", f"{HELD}/groups/{office.second['id']}/people/{target}"),
        "people.groups, out": ("DELETE", f"{HELD}/groups/{office.second['id']}/people/{target}"),
    }


async def statuses(office: Office, actor: Actor | httpx.AsyncClient, target: str) -> set[int]:
    client = actor.client if isinstance(actor, Actor) else actor
    return {(await client.request(*call)).status_code for call in calls(office, target).values()}


async def role_of(office: Office, who: Actor) -> str:
    role: str = (await office.admin.client.get(f"/api/v1/users/{who.id}")).json()["role"]
    return role


async def test_a_holder_looks_after_the_people_of_their_groups(office: Office) -> None:
    listed = (await office.lead.client.get(f"{HELD}/people")).json()
    assert [one["id"] for one in listed["items"]] == [office.ann.id]
    assert (listed["total"], listed["items"][0]["group_ids"]) == (1, [office.team["id"]])
    assert (await office.lead.client.get(f"{HELD}/people", params={"query": "zoe"})).json()["total"] == 0
    own = (await office.lead.client.get(f"{SETS}/own")).json()
    assert [(one["name"], one["rights"]) for one in own] == [("Support lead", sorted(PEOPLE))]
    assert {group["name"] for group in own[0]["groups"]} == {"Team", "Second"}
    assert (await office.lead.client.post(f"{HELD}/people/{office.ann.id}/hold")).json() is True
    assert await role_of(office, office.ann) == "pending"
    assert (await office.ann.client.get("/api/v1/users/groups")).status_code == 401
    assert (await office.lead.client.post(f"{HELD}/people/{office.ann.id}/activate")).json() is True
    assert (await office.ann.client.get("/api/v1/users/groups")).status_code == 200
    place = f"{HELD}/groups/{office.second['id']}/people/{office.ann.id}"
    assert (await office.lead.client.post(place)).json() is True
    names = {one["name"] for one in (await office.ann.client.get("/api/v1/users/groups")).json()}
    assert names == {"Team", "Second"}
    assert (await office.lead.client.delete(place)).json() is True
    reset = await office.lead.client.post(f"{HELD}/people/{office.ann.id}/factors/reset")
    assert reset.json() == {"removed": False}
    # It ends their sessions.
    assert (await office.ann.client.get("/api/v1/users/groups")).status_code == 401


async def test_nobody_else_and_nobody_elses_people(live: Live, office: Office, pending: Actor) -> None:
    ann = office.ann.id
    for actor in (office.eve, office.ann, pending):
        assert await statuses(office, actor, ann) == {401}
        assert (await actor.client.get(f"{HELD}/people")).status_code == 401
    async with live.client() as nobody:
        assert await statuses(office, nobody, ann) == {401}
    # Of another's group, an administrator, the holder, nobody.
    for target in (office.zoe.id, office.admin.id, office.lead.id, "nobody", "x" * 300):
        assert await statuses(office, office.lead, target) <= {404, 422}, target
    assert await role_of(office, office.admin) == "admin"
    assert await role_of(office, office.zoe) == "user"
    # An administrator of a group of theirs is none of their people, and neither is another holder.
    await join(office.admin, office.team, office.admin, office.eve)
    await put(office.admin, name="Other", rights=["audit.read"], users=[office.eve.id])
    for target in (office.admin.id, office.eve.id):
        assert await statuses(office, office.lead, target) == {404}
    # Nor is who holds one by a group, or by one that theirs inherits from.
    parent = await make(office.admin, "Parent")
    heir = await make(office.admin, "Heir", parent_group_id=parent["id"])
    await put(office.admin, name="By a parent", rights=["audit.read"], holding_groups=[parent["id"]])
    await join(office.admin, heir, office.ann)
    assert await statuses(office, office.lead, ann) == {404}
    # What administrators alone do stays theirs.
    for method, path in (
        ("GET", "/api/v1/users/"), ("POST", f"/api/v1/users/{ann}/update"), ("GET", "/openai/config"), ("GET", SETS),
        ("POST", f"{SETS}/{office.set_id}"), ("DELETE", f"{SETS}/{office.set_id}"), ("POST", SETS),
        ("POST", f"{GROUPS}id/{office.team['id']}/users/add"), ("GET", "/api/v1/audit/entries"),
        ("POST", f"/api/v1/users/{ann}/mfa/reset"), ("GET", "/api/v1/configs/export"),
    ):  # fmt: skip
        reply = await office.lead.client.request(method, path, json=form() if method == "POST" else None)
        assert reply.status_code == 401, path


@pytest.mark.parametrize("right", [*PEOPLE, "models", "knowledge", "audit.read"])
async def test_one_right_gives_no_other(office: Office, right: str) -> None:
    await put(office.admin, f"{SETS}/{office.set_id}", rights=[right], groups=[office.team["id"], office.second["id"]],
              users=[office.lead.id])  # fmt: skip
    lead, ann = office.lead.client, office.ann.id
    assert ((await lead.get(f"{HELD}/people")).status_code == 200) == (right == "people.list")
    assert ((await lead.get("/api/v1/audit/entries")).status_code == 200) == (right == "audit.read")
    for name, call in calls(office, ann).items():
        assert ((await lead.request(*call)).status_code == 200) == (name.split(",")[0] == right), name


async def test_nobody_gets_more_than_the_holder_has(office: Office) -> None:
    place = f"{HELD}/groups/{office.second['id']}/people/{office.ann.id}"

    async def change(**more: Any) -> None:
        body = {"name": "Second", "description": "", "permissions": {}} | more
        reply = await office.admin.client.post(f"{GROUPS}id/{office.second['id']}/update", json=body)
        assert reply.status_code == 200, reply.text

    parent = await make(office.admin, "Parent", permissions={"workspace": {"tools": True}})
    for more in ({"permissions": {"workspace": {"models": True}}}, {"parent_group_id": parent["id"]}):
        await change(**more)
        assert (await office.lead.client.post(place)).status_code == 403, more
    await change(parent_group_id=None)
    # A group that holds a role set, be it the holder's own.
    held = await put(office.admin, name="By group", rights=["audit.read"], holding_groups=[office.second["id"]])
    assert (await office.lead.client.post(place)).status_code == 403
    await office.admin.client.delete(f"{SETS}/{held}")
    assert (await office.lead.client.post(place)).status_code == 200
    # A limit that is lifted by going, or by coming, where the holder has one, too.
    await join(office.admin, office.team, office.lead)
    for group, limit in ((office.team, "nobody"), (office.second, "everybody")):
        body = {"share_with": limit}
        assert (await office.admin.client.post(f"{GROUPS}id/{group['id']}/sharing", json=body)).status_code == 200
    await office.admin.client.post(f"{GROUPS}id/{office.second['id']}/users/remove", json={"user_ids": [office.ann.id]})
    assert (await office.lead.client.post(place)).status_code == 403
    out = f"{HELD}/groups/{office.team['id']}/people/{office.ann.id}"
    assert (await office.lead.client.delete(out)).status_code == 403
    names = {one["name"] for one in (await office.ann.client.get("/api/v1/users/groups")).json()}
    assert names == {"Team"}
    # No group but those of the set.
    other = f"{HELD}/groups/{parent['id']}/people/{office.ann.id}"
    assert (await office.lead.client.post(other)).status_code == 404


async def test_models_and_knowledge(office: Office) -> None:
    model = {"id": "mine", "base_model_id": "echo", "name": "Mine", "meta": {}, "params": {"system": "secret"}}
    offered = model | {"id": "echo", "base_model_id": None}
    for form_ in (model, offered):
        reply = await office.admin.client.post("/api/v1/models/create", json=form_)
        assert reply.status_code == 200, reply.text
    base = (await office.admin.client.post("/api/v1/knowledge/create", json={"name": "B", "description": ""})).json()
    lead = office.lead.client
    reads = (f"/api/v1/knowledge/{base['id']}", "/api/v1/models/model?id=mine")
    assert {(await lead.get(path)).status_code for path in reads} == {401}
    await put(office.admin, f"{SETS}/{office.set_id}", rights=["models", "knowledge"], users=[office.lead.id])
    assert {(await lead.get(path)).status_code for path in reads} == {200}
    assert (await lead.get("/api/v1/users/permissions")).json()["workspace"]["models"] is True
    changed = await lead.post("/api/v1/models/model/update", json=model | {"name": "Ours"})
    assert changed.status_code == 200, changed.text
    renamed = {"name": "C", "description": ""}
    assert (await lead.post(f"/api/v1/knowledge/{base['id']}/update", json=renamed)).status_code == 200
    assert (await lead.get(f"/api/v1/knowledge/{base['id']}/export")).status_code == 200
    # What connections offer, and all models at once, stay an administrator's; so does whom one may share with.
    assert (await lead.post("/api/v1/models/create", json=offered | {"id": "other"})).status_code == 401
    assert (await lead.post("/api/v1/models/model/update", json=offered)).status_code == 401
    assert (await lead.get("/api/v1/models/model?id=echo")).status_code == 401
    made_base = await lead.post("/api/v1/models/model/update", json=model | {"base_model_id": None})
    assert made_base.status_code == 401
    listed = {one["id"] for one in (await lead.get("/api/v1/models/list")).json()["items"]}
    assert listed == {"mine"}
    assert (await lead.delete("/api/v1/models/delete/all")).status_code == 401
    everybody = {"id": "mine", "access_grants": [{"principal_type": "user", "principal_id": "*", "permission": "read"}]}
    assert (await lead.post("/api/v1/models/model/access/update", json=everybody)).status_code == 403
    told = [one for one in await entries(office.admin) if one["what"].endswith(("model/update", "/{id}/update"))]
    assert {one["parameters"].get("role_set") for one in told} == {"Support lead"}


async def test_every_act_is_recorded_with_the_sets_name(office: Office) -> None:
    await put(office.admin, f"{SETS}/{office.set_id}", rights=[*PEOPLE, "audit.read"],
              groups=[office.team["id"], office.second["id"]], users=[office.lead.id])  # fmt: skip
    for call in [("GET", f"{HELD}/people"), ("GET", "/api/v1/audit/entries"), *calls(office, office.ann.id).values()]:
        assert (await office.lead.client.request(*call)).status_code == 200, call
    found = [one for one in await entries(office.admin, actor=office.lead.email) if one["action"] != "sign-in"]
    assert len(found) == 7
    assert {one["parameters"].get("role_set") for one in found} == {"Support lead"}
    held = next(one for one in found if one["what"].endswith("/hold"))
    assert (held["id"], held["changes"]["role"]) == (office.ann.id, ["user", "pending"])
    # What anybody may do is nothing of a set's, and what an administrator does is none's.
    await office.admin.client.post(f"{HELD}/people/{office.ann.id}/activate")
    assert "role_set" not in (await entries(office.admin, actor=office.admin.email))[0]["parameters"]
    refused = await office.eve.client.post(f"{HELD}/people/{office.ann.id}/hold")
    assert refused.status_code == 401
    assert (await entries(office.admin, actor=office.eve.email))[0]["outcome"] == "refused"
    made = [one for one in await entries(office.admin) if one["resource"] == "role_set"]
    assert made[0]["changes"]["rights"][0] == PEOPLE


async def test_it_ends_at_once(office: Office) -> None:
    path, lead = f"{HELD}/people", office.lead.client

    async def may() -> bool:
        return (await lead.get(path)).status_code == 200

    groups = {"groups": [office.team["id"]]}
    assert await may()
    await put(office.admin, f"{SETS}/{office.set_id}", **groups)
    assert not await may()
    # By a group, and out of it again.
    leads = await make(office.admin, "Leads")
    await put(office.admin, f"{SETS}/{office.set_id}", **groups, holding_groups=[leads["id"]])
    assert not await may()
    await join(office.admin, leads, office.lead)
    assert await may()
    body = {"user_ids": [office.lead.id]}
    await office.admin.client.post(f"{GROUPS}id/{leads['id']}/users/remove", json=body)
    assert not await may()
    await join(office.admin, leads, office.lead)
    assert await may()
    # Somebody who waits holds nothing.
    for role, expected in (("pending", False), ("user", True)):
        reply = await office.admin.client.post(f"/api/v1/users/{office.lead.id}/update", json={"role": role})
        assert reply.status_code == 200
        assert await may() is expected
    assert (await office.admin.client.delete(f"{GROUPS}id/{leads['id']}/delete")).status_code == 200
    assert not await may()
    await put(office.admin, f"{SETS}/{office.set_id}", **groups, users=[office.lead.id])
    assert await may()
    assert (await office.admin.client.delete(f"{SETS}/{office.set_id}")).json() is True
    assert not await may()
    assert (await office.admin.client.delete(f"{SETS}/{office.set_id}")).status_code == 404
    assert (await lead.get(f"{SETS}/own")).json() == []


async def test_what_is_no_role_set(office: Office) -> None:
    for bad in (
        {"name": ""}, {"rights": []}, {"rights": ["users.delete"]}, {"rights": "models"}, {"groups": "x"}, {"more": 1},
        {"users": [1]}, {"description": "x" * 1_001}, {"name": "x" * 500},
    ):  # fmt: skip
        assert (await office.admin.client.post(SETS, json=form(**{"name": "N"} | bad))).status_code == 422, bad
    for bad in ({"name": "Support lead"}, {"groups": ["nope"]}, {"users": ["nope"]}, {"holding_groups": ["nope"]}):
        reply = await office.admin.client.post(SETS, json=form(**{"name": "N"} | bad))
        assert reply.status_code == 400, bad
    assert (await office.admin.client.post(f"{SETS}/nope", json=form(name="N"))).status_code == 404
    listed = (await office.admin.client.get(SETS)).json()
    assert [one["name"] for one in listed["items"]] == ["Support lead"]
    assert listed["items"][0]["users"] == [office.lead.id]
    assert "people.hold" in listed["rights"]


async def test_a_key_looks_after_nobody(live: Live, office: Office) -> None:
    await live.app.state.oui.save_config({"auth.enable_api_keys": True})
    permissions = {"features": {"api_keys": True}}
    keys = await make(office.admin, "Keys", permissions=permissions)
    await join(office.admin, keys, office.lead)
    key = (await office.lead.client.post("/api/v1/auths/keys", json={"name": "k"})).json()["api_key"]
    async with live.client(key) as client:
        assert await statuses(office, client, office.ann.id) == {403}
        assert (await client.get(f"{HELD}/people")).status_code == 403
