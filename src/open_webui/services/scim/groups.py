"""Groups, as a directory makes, changes and takes them away, and who is in them."""

from collections.abc import Mapping
from functools import partial
from typing import Any, Final

from sqlalchemy.ext.asyncio import AsyncConnection

from open_webui.errors import ScimError
from open_webui.internal.db import UnitOfWork
from open_webui.models import directory, group_members, groups, users
from open_webui.models.directory import DirectoryGroup, Wanted
from open_webui.services.scim import patching
from open_webui.services.scim.deps import ScimDeps, storable
from open_webui.services.scim.documents import GROUP, Document, Place, Shown, check_version, group_document
from open_webui.services.scim.patching import GroupChange, Membership
from open_webui.services.scim.users import FIRST

NO_GROUP: Final = "There is no such group."
TAKEN: Final = "Another group has this displayName or externalId."
_NAMES: Final = "members.display"
# Members on one page of groups; the page ends where there would be more.
MAX_MEMBERS: Final = 20_000


async def page(deps: ScimDeps, place: Place, wanted: Wanted, shown: Shown) -> tuple[list[Document], int]:
    """Raises FilterProblem."""
    with_members = shown.has("members")
    async with deps.database.read() as connection:
        rows, total = await directory.page_of_groups(connection, place.provider, wanted)
        if with_members:
            rows = _few_enough(rows)
        members = await directory.members_of(connection, [row.id for row in rows]) if with_members and rows else {}
    names = shown.names(_NAMES)
    return [shown.of(group_document(row, members.get(row.id, ()), place, names=names)) for row in rows], total


def _few_enough(rows: list[DirectoryGroup]) -> list[DirectoryGroup]:
    count = 0
    for k, row in enumerate(rows):
        count += row.member_count
        if k and count > MAX_MEMBERS:
            return rows[:k]
    return rows


async def get(deps: ScimDeps, place: Place, group_id: str, shown: Shown) -> Document:
    """Raises ScimError."""
    async with deps.database.read() as connection:
        return await _document(
            connection, place, group_id, with_members=shown.has("members"), names=shown.names(_NAMES)
        )


async def create(deps: ScimDeps, place: Place, body: Mapping[str, Any]) -> Document:
    """Raises ScimError."""
    given = _given(body)
    name = given.values.get("displayName")
    if not name:
        raise ScimError("A group needs a displayName.")
    async with deps.database.write() as unit:
        primary = await users.primary_admin(unit.connection)
        if primary is None:
            raise ScimError(FIRST, "", status=403)
        # Of two at once by one name, the second one sees the first.
        await users.lock(unit.connection, [primary.id])
        if await directory.group_name_taken(unit.connection, name):
            raise ScimError(TAKEN, "uniqueness", status=409)
        values = {
            "name": name, "description": "", "meta": None, "permissions": None, "parent_group_id": None,
            "data": {"config": {"share": "members"}},
        }  # fmt: skip
        group = await groups.repository.create(unit.connection, primary.id, values)
        assert group is not None, "a new id is taken by nobody"
        if not await directory.keep_group(unit.connection, group.id, place.provider, given.values.get("externalId")):
            raise ScimError(TAKEN, "uniqueness", status=409)
        await _change_members(deps, unit, group.id, given.members)
        return await _document(unit.connection, place, group.id)


async def replace(
    deps: ScimDeps, place: Place, group_id: str, body: Mapping[str, Any], if_match: str | None
) -> Document:
    """Raises ScimError."""
    given = _given(body)
    given.members.all_leave = True
    given.values.setdefault("externalId", None)
    return await _change(deps, place, group_id, given, if_match)


async def patch(deps: ScimDeps, place: Place, group_id: str, body: Mapping[str, Any], if_match: str | None) -> Document:
    """Raises ScimError."""
    change = patching.group_change(patching.operations(storable(body)), group_id)
    return await _change(deps, place, group_id, change, if_match)


async def delete(deps: ScimDeps, place: Place, group_id: str, if_match: str | None) -> None:
    """Raises ScimError."""
    async with deps.database.write() as unit:
        await groups.repository.get(unit.connection, group_id, lock=True)
        check_version(await _document(unit.connection, place, group_id, with_members=False), if_match)
        await groups.repository.delete(unit.connection, [group_id])
        unit.after_commit(deps.identifier.renew)
        # What was granted to it is granted no more.
        unit.after_commit(deps.models_changed)


async def _change(deps: ScimDeps, place: Place, group_id: str, change: GroupChange, if_match: str | None) -> Document:
    async with deps.database.write() as unit:
        await groups.repository.get(unit.connection, group_id, lock=True)
        before = await _document(unit.connection, place, group_id, with_members=False)
        check_version(before, if_match)
        name = change.values.get("displayName") or before["displayName"]
        if name != before["displayName"] and await directory.group_name_taken(unit.connection, name, but=group_id):
            raise ScimError(TAKEN, "uniqueness", status=409)
        await groups.repository.change(unit.connection, group_id, {"name": name})
        external_id = change.values.get("externalId", before.get("externalId"))
        if not await directory.keep_group(unit.connection, group_id, place.provider, external_id):
            raise ScimError(TAKEN, "uniqueness", status=409)
        await _change_members(deps, unit, group_id, change.members)
        return await _document(unit.connection, place, group_id)


async def _change_members(deps: ScimDeps, unit: UnitOfWork, group_id: str, change: Membership) -> None:
    if strangers := await directory.strangers(unit.connection, list(change.join)):
        raise ScimError(f"There is no account '{min(strangers)[:100]}', which was to be a member.")
    leave = set(change.leave)
    if change.all_leave:
        leave |= set(await group_members.ids(unit.connection, group_id)) - change.join.keys()
    if leave:
        await group_members.remove(unit.connection, group_id, leave)
    if change.join:
        await group_members.add(unit.connection, group_id, change.join)
    if leave or change.join:
        unit.after_commit(partial(deps.identifier.renew, [*leave, *change.join]))


async def _document(
    connection: AsyncConnection, place: Place, group_id: str, *, with_members: bool = True, names: bool = False
) -> Document:
    row = await directory.get_group(connection, group_id)
    if row is None:
        raise ScimError(NO_GROUP, "", status=404)
    members = await directory.members_of(connection, [group_id]) if with_members else {}
    return group_document(row, members.get(group_id, ()), place, names=names)


def _given(body: Mapping[str, Any]) -> GroupChange:
    """What a body says of a group; what isn't kept is passed over."""
    known = {k.lower(): v for k, v in storable(body).items()}
    said = known.get("schemas")
    if said is not None and (not isinstance(said, list) or GROUP.lower() not in [str(one).lower() for one in said]):
        raise ScimError(f"'schemas' names {GROUP}.", "invalidSyntax")
    out = GroupChange()
    for key, name in (("displayname", "displayName"), ("externalid", "externalId")):
        if known.get(key) not in (None, ""):
            out.values[name] = patching.text(known[key], name)
    out.members.add(patching.member_ids(known.get("members")))
    return out
