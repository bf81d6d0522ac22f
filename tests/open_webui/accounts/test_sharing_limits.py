"""With whom the members of a group may share: the limit holds wherever grants are written, for each kind of thing."""

from collections.abc import AsyncIterator
from typing import Any

import pytest

from tests.open_webui.accounts.test_groups import GROUPS, join, make
from tests.security import matrix
from tests.security.matrix import World, granted, ok
from tests.support.live import Actor, Live
from tests.support.upstream import Upstream

# Kind: where its grants are replaced. "$" stands before what the matrix' world has made.
KINDS: dict[str, tuple[str, dict[str, Any]]] = {
    "chat": ("/api/v1/chats/shared/$chat/access/update", {}),
    "folder": ("/api/v1/folders/$folder/access/update", {}),
    "model": ("/api/v1/models/model/access/update", {"id": "$model"}),
    "knowledge": ("/api/v1/knowledge/$knowledge/access/update", {}),
    "prompt": ("/api/v1/prompts/id/$prompt/access/update", {}),
    "tool": ("/api/v1/tools/id/$tool/access/update", {}),
    "skill": ("/api/v1/skills/id/$skill/access/update", {}),
    "note": ("/api/v1/notes/$note/access/update", {}),
    "calendar": ("/api/v1/calendars/$calendar/access/update", {}),
    "channel": ("/api/v1/channels/$channel/access/update", {}),
}


@pytest.fixture
async def world(live: Live, upstream: Upstream) -> AsyncIterator[World]:
    made = await matrix.make_world(live, upstream)
    yield made
    await matrix.close(made)


async def limit(admin: Actor, group: dict[str, Any], share_with: str | None) -> None:
    reply = await admin.client.post(f"{GROUPS}id/{group['id']}/sharing", json={"share_with": share_with})
    assert reply.status_code == 200, reply.text
    assert reply.json() == {"id": group["id"], "name": group["name"], "share_with": share_with}


def of_group(group: dict[str, Any]) -> dict[str, str]:
    return {"principal_type": "group", "principal_id": group["id"], "permission": "read"}


class Shared:
    """Grants on one thing, as its owner sets them."""

    def __init__(self, world: World, kind: str) -> None:
        path, more = KINDS[kind]
        self._world, self._path, self._more = world, world.fill(path), world.fill(more)

    async def status(self, *grants: dict[str, str]) -> int:
        body = self._more | {"access_grants": list(grants)}
        status: int = (await self._world.owner.client.post(self._path, json=body)).status_code
        return status


@pytest.mark.parametrize("database_kind", ["sqlite"], indirect=True)
@pytest.mark.parametrize("kind", KINDS)
async def test_the_limit_holds_for_each_kind(world: World, kind: str) -> None:
    admin, owner, friend, stranger = world.admin, world.owner, world.reader, world.stranger
    ours, theirs = await make(admin, "Ours"), await make(admin, "Theirs", data={"config": {"share": True}})
    await ok(admin, "POST", f"{GROUPS}id/{world.ids['group']}/users/remove", {"user_ids": [owner.id]})
    await join(admin, ours, owner, friend)
    await join(admin, theirs, stranger)
    thing = Shared(world, kind)
    everybody = granted("*")
    offers = {"friend": granted(friend.id), "ours": of_group(ours), "stranger": granted(stranger.id),
              "theirs": of_group(theirs), "everybody": everybody}  # fmt: skip
    inside = {"friend", "ours"}
    for share_with, allowed in (
        ("nobody", set()), ("groups", inside), ("everybody", offers.keys()), (None, offers.keys()),
    ):  # fmt: skip
        # Nothing stands that might stay.
        assert await thing.status() == 200
        await limit(admin, ours, share_with)
        for name, grant in offers.items():
            status = await thing.status(grant)
            assert (status == 200) == (name in allowed), (kind, share_with, name, status)
            if name in allowed:
                assert await thing.status() == 200


@pytest.mark.parametrize("database_kind", ["sqlite"], indirect=True)
async def test_what_stands_may_stay_and_forms_leave_out_what_may_not_be_given(world: World) -> None:
    ours = await make(world.admin, "Ours")
    await join(world.admin, ours, world.owner)
    await limit(world.admin, ours, "nobody")
    thing = Shared(world, "note")
    # The reader and the writer had it before.
    assert await thing.status(granted(world.reader.id)) == 200
    assert await thing.status(granted(world.reader.id), granted(world.stranger.id)) == 403
    note = {"title": "New", "data": {}, "access_grants": [granted(world.stranger.id)]}
    made = await ok(world.owner, "POST", "/api/v1/notes/create", note)
    assert (await world.stranger.client.get(f"/api/v1/notes/{made['id']}")).status_code in {401, 403, 404}
    # Nobody is offered with whom one may not share.
    assert await ok(world.owner, "GET", f"{GROUPS}?share=true") == []


@pytest.mark.parametrize("database_kind", ["sqlite"], indirect=True)
async def test_without_an_account(world: World) -> None:
    ours = await make(world.admin, "Ours")
    await join(world.admin, ours, world.owner)
    anyone = {"principal_type": "anyone", "principal_id": "*", "permission": "read"}
    thing = Shared(world, "chat")
    for share_with, status in (("groups", 403), ("nobody", 403), ("everybody", 200)):
        await limit(world.admin, ours, share_with)
        assert await thing.status(anyone) == status


async def test_of_several_groups_the_most_generous_counts(live: Live, admin: Actor, user: Actor) -> None:
    one, two = await make(admin, "One"), await make(admin, "Two")
    parent = await make(admin, "Parent")
    heir = await make(admin, "Heir", parent_group_id=parent["id"])
    silent = await make(admin, "Silent")

    async def now() -> str:
        found = await live.app.state.oui.identify(user.token)
        assert found is not None
        reach: str = found.shares_with
        return reach

    assert await now() == "everybody"
    await join(admin, one, user)
    await join(admin, silent, user)
    await limit(admin, one, "nobody")
    # A group that says nothing lifts no limit.
    assert await now() == "nobody"
    await limit(admin, two, "groups")
    assert await now() == "nobody"
    await join(admin, two, user)
    assert await now() == "groups"
    await limit(admin, parent, "everybody")
    await join(admin, heir, user)
    assert await now() == "everybody"
    listed = {each["name"]: each["share_with"] for each in (await admin.client.get(f"{GROUPS}sharing")).json()}
    assert listed == {"Heir": None, "One": "nobody", "Parent": "everybody", "Silent": None, "Two": "groups"}


async def test_who_sets_limits_and_what_is_none(admin: Actor, user: Actor) -> None:
    group = await make(admin, "G")
    await join(admin, group, user)
    one = f"{GROUPS}id/{group['id']}/sharing"
    assert (await user.client.post(one, json={"share_with": None})).status_code == 401
    assert (await user.client.get(f"{GROUPS}sharing")).status_code == 401
    assert (await admin.client.post(f"{GROUPS}id/nope/sharing", json={"share_with": None})).status_code == 404
    for bad in ({}, {"share_with": "friends"}, {"share_with": 1}, {"share_with": None, "more": 1}, None, []):
        assert (await admin.client.post(one, json=bad)).status_code == 422
    # A page that posts the group back leaves the limit as it is.
    await limit(admin, group, "groups")
    form = {"name": "G", "description": "", "data": {"config": {"share": True}}, "permissions": {}}
    assert (await admin.client.post(f"{GROUPS}id/{group['id']}/update", json=form)).status_code == 200
    assert (await admin.client.get(f"{GROUPS}sharing")).json()[0]["share_with"] == "groups"


async def test_administrators_are_not_limited(admin: Actor, user: Actor) -> None:
    group = await make(admin, "G")
    await join(admin, group, admin)
    await limit(admin, group, "nobody")
    note = (await admin.client.post("/api/v1/notes/create", json={"title": "N", "data": {}})).json()
    body = {"access_grants": [granted(user.id), granted("*")]}
    reply = await admin.client.post(f"/api/v1/notes/{note['id']}/access/update", json=body)
    assert reply.status_code == 200, reply.text
