"""Budgets: what the keys that name one may spend by day and by month, counted in the database for all processes."""

from collections.abc import Collection, Sequence
from datetime import datetime, timedelta
from typing import Final

import msgspec
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from open_webui.internal import acts
from open_webui.models import tables
from open_webui.models.base import among, inserting, new_id, now

t, use = tables.budget, tables.budget_use
key, credential = tables.api_key, tables.credential
# How long what was spent is kept, for who wants to compare.
KEPT_DAYS: Final = 400
LIMITS: Final = ("requests_a_day", "tokens_a_day", "requests_a_month", "tokens_a_month")


class Budget(msgspec.Struct, frozen=True):
    """A row. user_id: None for one of the server's. The limits: None for none."""

    id: str
    user_id: str | None
    name: str
    requests_a_day: int | None
    tokens_a_day: int | None
    requests_a_month: int | None
    tokens_a_month: int | None
    created_at: int
    updated_at: int


class Period(msgspec.Struct, frozen=True):
    """A day or a month, and what of a budget is for it."""

    name: str
    requests: int | None
    tokens: int | None


class Used(msgspec.Struct, frozen=True):
    requests: int
    tokens: int


_columns = [t.c[name] for name in Budget.__struct_fields__]


async def of(connection: AsyncConnection, user_id: str, *, servers: bool) -> list[Budget]:
    """Somebody's budgets, by name; with the server's."""
    mine = t.c.user_id == user_id
    where = sa.or_(mine, t.c.user_id.is_(None)) if servers else mine
    query = sa.select(*_columns).where(where).order_by(sa.func.lower(t.c.name), t.c.id)
    return [Budget(*row) for row in await connection.execute(query)]


async def get(connection: AsyncConnection, budget_id: str, *, lock: bool = False) -> Budget | None:
    query = sa.select(*_columns).where(t.c.id == budget_id)
    row = (await connection.execute(query.with_for_update() if lock else query)).first()
    return None if row is None else Budget(*row)


async def put(
    connection: AsyncConnection, before: Budget | None, user_id: str | None, name: str, limits: Sequence[int | None]
) -> str:
    """Makes one, or changes one, whose id it gives. limits: in the order of LIMITS."""
    values = dict(zip(LIMITS, limits, strict=True))
    at = now()
    if before is None:
        budget_id = new_id()
        row = {"id": budget_id, "user_id": user_id, "created_at": at}
        await connection.execute(t.insert().values(name=name, updated_at=at, **row, **values))
    else:
        budget_id = before.id
        await connection.execute(t.update().where(t.c.id == budget_id).values(name=name, updated_at=at, **values))
    told = {"name": name, **values}
    acts.note("budget", budget_id, {field: (getattr(before, field, None), value) for field, value in told.items()})
    return budget_id


async def remove(connection: AsyncConnection, budget: Budget) -> None:
    """Removes one that nothing names any more."""
    await connection.execute(t.delete().where(t.c.id == budget.id))
    acts.note("budget", budget.id, {"name": (budget.name, None)})


async def is_named(connection: AsyncConnection, budget_id: str) -> bool:
    """Whether a key or an account is in it."""
    keys = sa.select(key.c.id).where(key.c.budget_id == budget_id)
    accounts = sa.select(credential.c.user_id).where(credential.c.budget_id == budget_id)
    return await connection.scalar(keys.union_all(accounts).limit(1)) is not None


async def set_of_account(connection: AsyncConnection, user_id: str, budget_id: str | None) -> bool:
    """Has all keys of an account count in a budget, None: in none. False for nobody's id."""
    before = await connection.scalar(sa.select(credential.c.budget_id).where(credential.c.user_id == user_id))
    statement = credential.update().where(credential.c.user_id == user_id).values(budget_id=budget_id)
    done = await connection.execute(statement)
    acts.note("user", user_id, {"budget_id": (before, budget_id)})
    return done.rowcount == 1


async def set_of_key(connection: AsyncConnection, key_id: str, before: str | None, budget_id: str | None) -> None:
    """Has a key, whose row the caller holds, count in a budget."""
    await connection.execute(key.update().where(key.c.id == key_id).values(budget_id=budget_id, updated_at=now()))
    acts.note("api_key", key_id, {"budget_id": (before, budget_id)})


# Use


async def used(
    connection: AsyncConnection, ids: Collection[str], periods: Collection[str]
) -> dict[tuple[str, str], Used]:
    """What was spent of some budgets, by budget and period."""
    query = sa.select(use).where(among(use.c.budget_id, ids), use.c.period.in_(list(periods)))
    return {(row.budget_id, row.period): Used(row.requests, row.tokens) for row in await connection.execute(query)}


async def take(connection: AsyncConnection, budget_id: str, period: Period, tokens: int) -> Used | None:
    """Counts a request, and sets tokens aside, if both are left: in one statement, so that of several at once, in all
    processes, no more are let in than there is room for. None where it was counted; else what was used by then.
    """
    if period.tokens is not None and tokens > period.tokens:
        return await _used_now(connection, budget_id, period)
    statement = inserting(connection, use).values(budget_id=budget_id, period=period.name, requests=1, tokens=tokens)
    left = []
    if period.requests is not None:
        left.append(use.c.requests < period.requests)
    if period.tokens is not None:
        left.append(use.c.tokens + tokens <= period.tokens)
    taking = statement.on_conflict_do_update(
        index_elements=[use.c.budget_id, use.c.period],
        set_={"requests": use.c.requests + 1, "tokens": use.c.tokens + tokens},
        where=sa.and_(*left) if left else None,
    )
    if (await connection.execute(taking.returning(use.c.requests))).first() is not None:
        return None
    return await _used_now(connection, budget_id, period)


async def _used_now(connection: AsyncConnection, budget_id: str, period: Period) -> Used:
    return (await used(connection, [budget_id], [period.name])).get((budget_id, period.name), Used(0, 0))


async def give_back(
    connection: AsyncConnection, ids: Collection[str], periods: Collection[str], requests: int, tokens: int
) -> None:
    """Takes back what was counted too much; less than nothing is never left. tokens: below zero where it was too little."""
    rows = sa.select(use.c.budget_id, use.c.period).where(among(use.c.budget_id, ids), use.c.period.in_(list(periods)))
    # In one order, as they were taken.
    await connection.execute(rows.order_by(use.c.budget_id, use.c.period.desc()).with_for_update())
    less = {
        "requests": sa.case((use.c.requests > requests, use.c.requests - requests), else_=0),
        "tokens": sa.case((use.c.tokens > tokens, use.c.tokens - tokens), else_=0),
    }
    where = sa.and_(among(use.c.budget_id, ids), use.c.period.in_(list(periods)))
    await connection.execute(use.update().where(where).values(**less))


async def forget_old(connection: AsyncConnection, at: datetime) -> None:
    """Removes what was spent in periods that are over for KEPT_DAYS."""
    # A month is called by less than its days, so that the bound is that of a month.
    first = (at - timedelta(days=KEPT_DAYS)).strftime("%Y-%m")
    await connection.execute(use.delete().where(use.c.period < first))
