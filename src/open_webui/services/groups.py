"""Groups of people: what may be changed, who inherits, and that the change is in force at once."""

from typing import Any

import msgspec

from open_webui.access.identify import Identifier
from open_webui.constants import USERS_PER_PAGE
from open_webui.errors import BadRequest, NotFound
from open_webui.internal.db import Database, UnitOfWork
from open_webui.models import groups, users
from open_webui.models.groups import Group
from open_webui.principal import Principal
from open_webui.schemas.users import GroupForm, GroupMember, UserInfo
from open_webui.services import people

NO_GROUP = "There is no such group."


class Groups:
    """Reads and changes groups."""

    def __init__(self, database: Database, identifier: Identifier) -> None:
        self._database = database
        self._identifier = identifier

    async def visible(self, caller: Principal, share: bool | None) -> list[Group]:
        """For admins all groups, for others their own.

        share=True asks for those that the caller may share something with: open to everybody, or to their members.
        """
        async with self._database.read() as connection:
            every = await groups.all_groups(connection)
            own = {g.id for g in await groups.of_user(connection, caller.id)}
        if share:
            return [g for g in every if g.share is True or (g.share == "members" and (g.id in own or caller.is_admin))]
        return [g for g in every if caller.is_admin or g.id in own]

    async def get(self, group_id: str, missing: str | None = None) -> Group:
        async with self._database.read() as connection:
            return await _found(connection, group_id, missing)

    async def info(self, caller: Principal, group_id: str) -> Group:
        """A group that the caller can see."""
        async with self._database.read() as connection:
            group = await _found(connection, group_id)
        if not caller.is_admin and group_id not in caller.groups and group.share is not True:
            raise NotFound
        return group

    async def create(self, caller: Principal, form: GroupForm) -> Group:
        async with self._database.write() as unit:
            await _check_parent(unit, None, form.parent_group_id)
            group_id = await groups.insert(unit.connection, caller.id, _values(form))
            return await _found(unit.connection, group_id)

    async def update(self, group_id: str, form: GroupForm) -> Group:
        """Replaces name and description; parent, permissions and data when they are given."""
        async with self._database.write() as unit:
            await _found(unit.connection, group_id)
            values = {k: v for k, v in _values(form).items() if k in form.model_fields_set}
            await _check_parent(unit, group_id, values.get("parent_group_id"))
            await groups.update(unit.connection, group_id, values)
            group = await _found(unit.connection, group_id)
        self._identifier.drop_all()
        return group

    async def delete(self, group_id: str) -> None:
        async with self._database.write() as unit:
            if not await groups.delete(unit.connection, group_id):
                raise NotFound(NO_GROUP)
        self._identifier.drop_all()

    async def add(self, group_id: str, user_ids: list[str]) -> Group:
        return await self._change_members(group_id, user_ids, groups.add_members)

    async def remove(self, group_id: str, user_ids: list[str]) -> Group:
        return await self._change_members(group_id, user_ids, groups.remove_members)

    async def _change_members(self, group_id: str, user_ids: list[str], change: Any) -> Group:
        async with self._database.write() as unit:
            await _found(unit.connection, group_id, NO_GROUP)
            await change(unit.connection, group_id, user_ids)
            group = await _found(unit.connection, group_id)
        for user_id in user_ids:
            self._identifier.drop(user_id)
        return group

    async def member_ids(self, group_id: str) -> list[str]:
        async with self._database.read() as connection:
            return [user_id for _, user_id in await groups.member_ids(connection, [group_id])]

    async def people(self, group_id: str) -> list[UserInfo]:
        """The direct members."""
        async with self._database.read() as connection:
            ids = [user_id for _, user_id in await groups.member_ids(connection, [group_id])]
            return [people.info(user) for user in await users.get_many(connection, ids)]

    async def members(self, group_id: str, membership: str, query: str, page: int) -> dict[str, Any]:
        """A page of members: direct ones, and those of groups that inherit from this one."""
        async with self._database.read() as connection:
            await _found(connection, group_id, NO_GROUP)
            direct = {user_id for _, user_id in await groups.member_ids(connection, [group_id])}
            via: dict[str, list[str]] = {}
            heirs = await groups.children(connection, group_id)
            for child, user_id in await groups.member_ids(connection, heirs) if heirs else []:
                via.setdefault(user_id, []).append(child)
            inherited = via.keys() - direct
            asked = {"direct": direct, "inherited": inherited}.get(membership, direct | inherited)
            found = await users.get_many(connection, asked)
        wanted = query.lower()
        found = [u for u in found if wanted in u.name.lower() or wanted in u.email]
        start = (page - 1) * USERS_PER_PAGE
        return {
            "items": [_member(u, u.id in direct, via.get(u.id, [])) for u in found[start : start + USERS_PER_PAGE]],
            "total": len(found),
            "counts": {"direct": len(direct), "effective": len(direct | inherited), "inherited": len(inherited)},
        }


async def _found(connection: Any, group_id: str, missing: str | None = None) -> Group:
    group = await groups.get(connection, group_id)
    if group is None:
        raise NotFound(missing)
    return group


async def _check_parent(unit: UnitOfWork, group_id: str | None, parent_id: str | None) -> None:
    """Inheritance has two levels, so a parent has no parent and a group with heirs gets none. Raises BadRequest."""
    if parent_id is None:
        return
    parent = await groups.get(unit.connection, parent_id)
    if parent is None:
        raise BadRequest("The parent group does not exist.")
    if parent_id == group_id or parent.parent_group_id is not None:
        raise BadRequest("A group can't inherit from itself, or from one that inherits from another.")
    if group_id is not None and await groups.children(unit.connection, group_id):
        raise BadRequest("Other groups inherit from this one, so it can't inherit itself.")


def _values(form: GroupForm) -> dict[str, Any]:
    values = form.model_dump()
    data = people.bounded(people.document(form.data or {}))
    config = data.get("config")
    values["data"] = data | {"config": {"share": "members"} | (config if isinstance(config, dict) else {})}
    if form.permissions is not None:
        values["permissions"] = people.bounded(people.document(form.permissions))
    return values


def _member(user: users.User, direct: bool, via: list[str]) -> GroupMember:
    known = msgspec.structs.asdict(people.info(user))
    return GroupMember(**known, membership_type="direct" if direct else "inherited", via_group_ids=via)
