"""Role sets: administrators make them and say who holds them. A change is in force at once, in all processes."""

from collections.abc import Collection
from typing import Any, Final

import msgspec

from open_webui.errors import BadRequest, NotFound
from open_webui.internal.db import UnitOfWork
from open_webui.models import groups, role_sets
from open_webui.models.base import new_id
from open_webui.models.role_sets import Stored, Written
from open_webui.principal import RIGHTS, Principal
from open_webui.schemas.role_sets import RoleSetForm
from open_webui.services.deps import Deps

# Role sets of a server.
MOST: Final = 100
TOO_MANY: Final = f"There may be {MOST} role sets. Remove one that is not needed any more."
TAKEN: Final = "There is a role set of this name. Choose another one."
NO_SUCH: Final = "There is no such role set."
UNKNOWN: Final = "These {} do not exist: {}."
Wire = dict[str, Any]


async def listed(deps: Deps) -> Wire:
    """All role sets, and what one can give."""
    async with deps.database.read() as connection:
        return {"items": await role_sets.everyone(connection), "rights": list(RIGHTS)}


async def own(deps: Deps, principal: Principal) -> list[Wire]:
    """What the caller holds, with the groups that they have it for."""
    if not principal.role_sets:
        return []
    async with deps.database.read() as connection:
        names = {group.id: group.name for group in await groups.limits(connection)}
    return [
        {
            "name": one.name,
            "rights": sorted(one.rights),
            "groups": [{"id": i, "name": names[i]} for i in sorted(one.groups & names.keys())],
        }
        for one in sorted(principal.role_sets, key=lambda one: one.name)
    ]


async def create(deps: Deps, form: RoleSetForm) -> Stored:
    async with deps.database.write() as unit:
        if await role_sets.count(unit.connection) >= MOST:
            raise BadRequest(TOO_MANY)
        return await _put(deps, unit, new_id(), form, None)


async def update(deps: Deps, set_id: str, form: RoleSetForm) -> Stored:
    """Replaces all of a role set."""
    async with deps.database.write() as unit:
        return await _put(deps, unit, set_id, form, await _found(unit, set_id))


async def remove(deps: Deps, set_id: str) -> None:
    async with deps.database.write() as unit:
        await role_sets.remove(unit.connection, await _found(unit, set_id))
        _in_force(deps, unit)


async def _found(unit: UnitOfWork, set_id: str) -> Stored:
    found = await role_sets.everyone(unit.connection, set_id)
    if not found:
        raise NotFound(NO_SUCH)
    return found[0]


async def _put(deps: Deps, unit: UnitOfWork, set_id: str, form: RoleSetForm, before: Stored | None) -> Stored:
    written = Written(
        name=form.name,
        description=form.description,
        rights=[right for right in RIGHTS if right in form.rights],
        groups=sorted(set(form.groups)),
        users=sorted(set(form.users)),
        holding_groups=sorted(set(form.holding_groups)),
    )
    named = [*written.groups, *written.holding_groups]
    _check("groups", await role_sets.no_groups(unit.connection, named))
    _check("accounts", await role_sets.nobodys(unit.connection, written.users))
    if not await role_sets.put(unit.connection, set_id, written, before):
        raise BadRequest(TAKEN)
    _in_force(deps, unit)
    return (await role_sets.everyone(unit.connection, set_id))[0]


def _check(what: str, missing: Collection[str]) -> None:
    if missing:
        raise BadRequest(UNKNOWN.format(what, ", ".join(sorted(missing)[:5])))


def _in_force(deps: Deps, unit: UnitOfWork) -> None:
    unit.after_commit(deps.identifier.renew)
    # What models somebody sees may be others now.
    unit.after_commit(deps.models_changed)


async def limits(deps: Deps) -> list[groups.Limit]:
    """With whom the members of each group may share."""
    async with deps.database.read() as connection:
        return await groups.limits(connection)


async def set_limit(deps: Deps, group_id: str, share_with: Any) -> groups.Limit:
    """Says with whom the members of a group may share; None: it says nothing. Raises NotFound."""
    async with deps.database.write() as unit:
        await groups.repository.get(unit.connection, group_id, lock=True)
        found = await groups.limits(unit.connection, group_id)
        if not found:
            raise NotFound("There is no such group.")
        await groups.set_limit(unit.connection, found[0], share_with)
        unit.after_commit(deps.identifier.renew)
    return msgspec.structs.replace(found[0], share_with=share_with)
