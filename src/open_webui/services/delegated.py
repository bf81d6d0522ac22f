"""What who holds a role set does for the people of its groups: looking, holding, letting in, resetting factors, and groups.

On whom a right is, stands in `role_sets.within`, which is part of each query. Nobody gets more by it than its holder has.
"""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from functools import partial
from typing import Any, Final

from sqlalchemy.ext.asyncio import AsyncConnection

from open_webui.access.identify import Rights
from open_webui.errors import Forbidden, NotFound
from open_webui.internal.db import UnitOfWork
from open_webui.models import group_members, role_sets, users
from open_webui.models.users import Person
from open_webui.principal import SHARES_WITH, Principal, Right
from open_webui.services.deps import Deps
from open_webui.services.factors import own

NOBODY: Final = "There is nobody here for whom you may do this."
NO_GROUP: Final = "There is no group here for which you may do this."
TOO_MUCH: Final = "This would let them do more than you may. An administrator of this server can do it."
Change = Callable[[AsyncConnection, str, list[str]], Awaitable[None]]


async def people(deps: Deps, caller: Principal, query: str | None, page: int) -> dict[str, Any]:
    """A page of the people whom the caller may look at, by name, with those of their groups that it is about."""
    right: Right = "people.list"
    mine = caller.held_for(right)
    async with deps.database.read() as connection:
        where = role_sets.within(caller, right)
        found, total = await users.page(
            connection, Person, query=query, order_by="name", direction="asc", number=page, where=where
        )
        groups = await users.group_ids(connection, [one.id for one in found])
    items = [
        {
            "id": one.id,
            "name": one.name,
            "email": one.email,
            "role": one.role,
            "last_active_at": one.last_active_at,
            "group_ids": [i for i in groups.get(one.id, []) if caller.is_admin or i in mine],
        }
        for one in found
    ]
    return {"items": items, "total": total}


@asynccontextmanager
async def _on(deps: Deps, caller: Principal, right: Right, user_id: str) -> AsyncIterator[UnitOfWork]:
    """A unit of work that holds somebody's row. Raises NotFound where the caller has no such right on them."""
    async with deps.database.write() as unit:
        there = await users.get(unit.connection, user_id, lock=True)
        if there is None or not await role_sets.is_within(unit.connection, caller, right, user_id):
            raise NotFound(NOBODY)
        yield unit


async def hold(deps: Deps, caller: Principal, user_id: str) -> None:
    """Lets somebody wait: they are signed in and may do nothing."""
    async with _on(deps, caller, "people.hold", user_id) as unit:
        await users.update(unit.connection, user_id, {"role": "pending"}, writer_id=caller.id)
        unit.after_commit(partial(deps.identifier.forget, user_id))


async def activate(deps: Deps, caller: Principal, user_id: str) -> None:
    """Lets somebody in, as a user."""
    async with _on(deps, caller, "people.activate", user_id) as unit:
        await users.update(unit.connection, user_id, {"role": "user"}, writer_id=caller.id)
        unit.after_commit(partial(deps.identifier.forget, user_id))


async def reset_factors(deps: Deps, caller: Principal, user_id: str) -> bool:
    """Removes somebody's factors and recovery codes, which ends their sessions. Whether there was one."""
    async with _on(deps, caller, "people.reset_factors", user_id) as unit:
        return await own.take(deps, unit, user_id)


async def add(deps: Deps, caller: Principal, group_id: str, user_id: str) -> None:
    await _change(deps, caller, group_id, user_id, group_members.add)


async def take_out(deps: Deps, caller: Principal, group_id: str, user_id: str) -> None:
    await _change(deps, caller, group_id, user_id, group_members.remove)


async def _change(deps: Deps, caller: Principal, group_id: str, user_id: str, change: Change) -> None:
    """Raises NotFound for another's group or person, Forbidden where the person would get more than the caller has."""
    right: Right = "people.groups"
    async with _on(deps, caller, right, user_id) as unit:
        if not caller.is_admin and group_id not in caller.held_for(right):
            raise NotFound(NO_GROUP)
        before = await deps.identifier.rights(unit.connection, user_id)
        await change(unit.connection, group_id, [user_id])
        after = await deps.identifier.rights(unit.connection, user_id)
        if not caller.is_admin:
            _check(before, after, await deps.identifier.rights(unit.connection, caller.id))
        unit.after_commit(partial(deps.identifier.renew, [user_id]))


def _check(before: Rights, after: Rights, callers: Rights) -> None:
    """Whether nobody gets what the caller has not by groups and defaults alone. Raises Forbidden."""
    wide = SHARES_WITH.index
    gained = after.permissions - before.permissions
    wider = wide(after.shares_with) > max(wide(before.shares_with), wide(callers.shares_with))
    if gained - callers.permissions or wider or set(after.role_sets) - set(before.role_sets):
        raise Forbidden(TOO_MUCH, status=403)
