"""Groups of people: what may be changed, who inherits, and that the change is in force at once."""

from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any, Final

import msgspec
from sqlalchemy.ext.asyncio import AsyncConnection

from open_webui.errors import BadRequest, NotFound
from open_webui.internal.db import UnitOfWork
from open_webui.models import group_members, groups
from open_webui.models.group_members import Membership
from open_webui.models.groups import Group
from open_webui.principal import Principal
from open_webui.schemas.users import GroupForm, GroupMember, UserInfo
from open_webui.services import intake, people
from open_webui.services.deps import Deps

Change = Callable[[AsyncConnection, str, list[str]], Awaitable[None]]
NO_GROUP: Final = "There is no such group."


async def list_visible(deps: Deps, caller: Principal, share: bool | None) -> list[Group]:
    """For admins all groups, for others their own.

    share=True asks for those that the caller may share something with: open to everybody, or to their members.
    """
    async with deps.database.read() as connection:
        own = await groups.repository.all(connection, groups.repository.allowed(caller, "read"))
        every = await groups.repository.all(connection) if share else []
    if not share:
        return own
    if not caller.is_admin and caller.shares_with != "everybody":
        every = own if caller.shares_with == "groups" else []
    inside = {group.id for group in own}
    return [g for g in every if g.share is True or (g.share == "members" and g.id in inside)]


async def get(deps: Deps, group_id: str, missing: str | None = None) -> Group:
    async with deps.database.read() as connection:
        return await _found(connection, group_id, missing)


async def get_info(deps: Deps, caller: Principal, group_id: str) -> Group:
    """A group that the caller can see."""
    async with deps.database.read() as connection:
        group = await _found(connection, group_id)
    if not caller.is_admin and group_id not in caller.groups and group.share is not True:
        raise NotFound
    return group


async def create(deps: Deps, caller: Principal, form: GroupForm) -> Group:
    intake.refuse(form.model_dump())
    async with deps.database.write() as unit:
        await _check_parent(unit, None, form.parent_group_id)
        group = await groups.repository.create(unit.connection, caller.id, _values(form))
    assert group is not None, "a new id is taken by nobody"
    return group


async def update(deps: Deps, group_id: str, form: GroupForm) -> Group:
    """Replaces name and description; parent, permissions and data when they are given."""
    intake.refuse(form.model_dump())
    async with deps.database.write() as unit:
        values = {k: v for k, v in _values(form).items() if k in form.model_fields_set}
        parent_id = values.get("parent_group_id")
        # In one order, so that two groups that are to inherit from each other don't wait for each other.
        for each in sorted({group_id, *([parent_id] if parent_id else [])}):
            await groups.repository.get(unit.connection, each, lock=True)
        await _found(unit.connection, group_id)
        await _check_parent(unit, group_id, parent_id)
        await groups.repository.change(unit.connection, group_id, values)
        group = await _found(unit.connection, group_id)
        unit.after_commit(deps.identifier.renew)
    return group


async def delete(deps: Deps, group_id: str) -> None:
    async with deps.database.write() as unit:
        if not await groups.repository.delete(unit.connection, [group_id]):
            raise NotFound(NO_GROUP)
        unit.after_commit(deps.identifier.renew)
        # What was granted to it is granted no more.
        unit.after_commit(deps.models_changed)


async def add_members(deps: Deps, group_id: str, user_ids: list[str]) -> Group:
    return await _change_members(deps, group_id, user_ids, group_members.add)


async def remove_members(deps: Deps, group_id: str, user_ids: list[str]) -> Group:
    return await _change_members(deps, group_id, user_ids, group_members.remove)


async def _change_members(deps: Deps, group_id: str, user_ids: list[str], change: Change) -> Group:
    async with deps.database.write() as unit:
        await _found(unit.connection, group_id, NO_GROUP, lock=True)
        await change(unit.connection, group_id, user_ids)
        group = await _found(unit.connection, group_id)
        unit.after_commit(partial(deps.identifier.renew, user_ids))
    return group


async def list_member_ids(deps: Deps, group_id: str) -> list[str]:
    async with deps.database.read() as connection:
        return await group_members.ids(connection, group_id)


async def list_members(deps: Deps, group_id: str) -> list[UserInfo]:
    """The direct members."""
    async with deps.database.read() as connection:
        return [people.info(person) for person in await group_members.everyone(connection, group_id)]


async def page_members(deps: Deps, group_id: str, membership: str, query: str, page: int) -> dict[str, Any]:
    """A page of members: direct ones, and those of groups that inherit from this one."""
    async with deps.database.read() as connection:
        await _found(connection, group_id, NO_GROUP)
        shown, total = await group_members.page(connection, group_id, membership, query, page)
        counts = await group_members.count(connection, group_id)
    return {"items": [_member(one) for one in shown], "total": total, "counts": counts}


async def _found(
    connection: AsyncConnection, group_id: str, missing: str | None = None, *, lock: bool = False
) -> Group:
    group = await groups.repository.get(connection, group_id, lock=lock)
    if group is None:
        raise NotFound(missing)
    return group


async def _check_parent(unit: UnitOfWork, group_id: str | None, parent_id: str | None) -> None:
    """Inheritance has two levels, so a parent has no parent and a group with heirs gets none. Raises BadRequest."""
    if parent_id is None:
        return
    parent = await groups.repository.get(unit.connection, parent_id, lock=True)
    if parent is None:
        raise BadRequest("The parent group does not exist.")
    if parent_id == group_id or parent.parent_group_id is not None:
        raise BadRequest("A group can't inherit from itself, or from one that inherits from another.")
    if group_id is not None and await groups.has_children(unit.connection, group_id):
        raise BadRequest("Other groups inherit from this one, so it can't inherit itself.")


def _values(form: GroupForm) -> dict[str, Any]:
    values = form.model_dump()
    data = people.bounded(people.document(form.data or {}))
    config = data.get("config")
    values["data"] = data | {"config": {"share": "members"} | (config if isinstance(config, dict) else {})}
    if form.permissions is not None:
        values["permissions"] = people.bounded(people.document(form.permissions))
    return values


def _member(one: Membership) -> GroupMember:
    known = msgspec.structs.asdict(people.info(one.person))
    return GroupMember(**known, membership_type="direct" if one.is_direct else "inherited", via_group_ids=one.via)
