"""Budgets as people keep them: their own for their keys, the server's for service accounts and whole accounts."""

from collections.abc import Sequence
from datetime import UTC, datetime
from functools import partial
from typing import Any, Final

import msgspec

from open_webui.errors import BadRequest, Conflict, NotFound
from open_webui.internal.db import UnitOfWork
from open_webui.models import api_keys, budgets
from open_webui.models.base import now
from open_webui.models.budgets import LIMITS, Budget, Used
from open_webui.principal import Principal
from open_webui.schemas.budgets import BudgetForm
from open_webui.services.deps import Deps
from open_webui.services.spending import day_of, month_of

# Of one person, or of the server.
MOST: Final = 100
TOO_MANY: Final = f"There may be {MOST} budgets. Remove one that is not needed any more."
NO_SUCH: Final = "There is no such budget."
NAMED: Final = "Keys or accounts are in this budget. Take them out first: without it they could spend what they like."
NOBODY: Final = "There is no such account."
Wire = dict[str, Any]
_NOTHING: Final = Used(0, 0)


async def listed(deps: Deps, caller: Principal) -> list[Wire]:
    """One's own, for administrators also the server's, with what was spent today and this month."""
    async with deps.database.read() as connection:
        found = await budgets.of(connection, caller.id, servers=caller.is_admin)
        return await _with_use(connection, found)


async def _with_use(connection: Any, found: Sequence[Budget]) -> list[Wire]:
    at = datetime.fromtimestamp(now(), UTC)
    day, month = day_of(at), month_of(at)
    used = await budgets.used(connection, [one.id for one in found], [day, month]) if found else {}
    return [
        msgspec.structs.asdict(one)
        | {"today": used.get((one.id, day), _NOTHING), "this_month": used.get((one.id, month), _NOTHING)}
        for one in found
    ]


async def create(deps: Deps, caller: Principal, form: BudgetForm, *, servers: bool) -> Wire:
    """servers: one of the server's, which administrators make."""
    user_id = None if servers else caller.id
    async with deps.database.write() as unit:
        mine = await budgets.of(unit.connection, caller.id, servers=servers)
        if len([one for one in mine if one.user_id == user_id]) >= MOST:
            raise BadRequest(TOO_MANY)
        return await _put(unit, None, user_id, form)


async def update(deps: Deps, caller: Principal, budget_id: str, form: BudgetForm) -> Wire:
    """Replaces a budget's name and limits, which act with the next call. What was spent stays."""
    async with deps.database.write() as unit:
        return await _put(unit, await usable(unit, caller, budget_id), None, form)


async def _put(unit: UnitOfWork, before: Budget | None, user_id: str | None, form: BudgetForm) -> Wire:
    limits = [getattr(form, name) for name in LIMITS]
    budget_id = await budgets.put(unit.connection, before, user_id, form.name, limits)
    made = await budgets.get(unit.connection, budget_id)
    assert made is not None, "its row is held"
    return (await _with_use(unit.connection, [made]))[0]


async def remove(deps: Deps, caller: Principal, budget_id: str) -> None:
    """Raises Conflict while something is in it."""
    async with deps.database.write() as unit:
        found = await usable(unit, caller, budget_id)
        if await budgets.is_named(unit.connection, budget_id):
            raise Conflict(NAMED)
        await budgets.remove(unit.connection, found)


async def usable(unit: UnitOfWork, caller: Principal, budget_id: str, *, missing: int = 404) -> Budget:
    """A budget that the caller may change and put keys in, with its row held. Raises NotFound with the status `missing`."""
    found = await budgets.get(unit.connection, budget_id, lock=True)
    is_theirs = found is not None and (found.user_id == caller.id or (found.user_id is None and caller.is_admin))
    if found is None or not is_theirs:
        raise NotFound(NO_SUCH, status=missing)
    return found


async def put_key(deps: Deps, caller: Principal, key_id: str, budget_id: str | None) -> None:
    """Has a key count in a budget, None: in none of its own. Raises NotFound."""
    async with deps.database.write() as unit:
        if budget_id is not None:
            await usable(unit, caller, budget_id)
        key = await api_keys.get(unit.connection, caller, key_id, lock=True)
        if key is None:
            raise NotFound
        if key.budget_id is not None:
            # What an administrator put a key into, its owner takes it out of no more.
            await usable(unit, caller, key.budget_id)
        await budgets.set_of_key(unit.connection, key_id, key.budget_id, budget_id)
        unit.after_commit(partial(deps.identifier.forget, key.user_id))


async def put_account(deps: Deps, caller: Principal, user_id: str, budget_id: str | None) -> None:
    """Has all keys of an account count in one of the server's budgets, None: in none together. Raises NotFound."""
    async with deps.database.write() as unit:
        if budget_id is not None and (await usable(unit, caller, budget_id)).user_id is not None:
            raise NotFound(NO_SUCH)
        if not await budgets.set_of_account(unit.connection, user_id, budget_id):
            raise NotFound(NOBODY)
        unit.after_commit(partial(deps.identifier.forget, user_id))
