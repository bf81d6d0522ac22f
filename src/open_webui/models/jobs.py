"""Jobs: work that is done in the background. All times are milliseconds since 1970.

A job is its process's while `state` is "running", `attempts` is the number it began with, and until `due_at`, when its
lease is over. Every change of a running job says that number: who lost the job changes nothing.
"""

import time
from collections.abc import Awaitable, Callable, Collection, Sequence
from typing import Any, Final, Literal

import msgspec
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from open_webui.errors import Conflict
from open_webui.internal.prepared import Prepared
from open_webui.models import processes, tables
from open_webui.models.base import among, clean, inserting

t = tables.job
State = Literal["waiting", "running", "done", "failed", "cancelled"]
LIVE: Final[tuple[State, ...]] = ("waiting", "running")
OVER: Final[tuple[State, ...]] = ("done", "failed", "cancelled")
BUSY: Final = "The same is waiting or being done already."


class Job(msgspec.Struct, frozen=True):
    """A row. key: what it is about. allowed: how many attempts it may have had. instance: the process that runs it."""

    id: str
    kind: str
    key: str | None
    payload: str
    priority: int
    state: State
    due_at: int
    attempts: int
    allowed: int
    instance: str | None
    is_cancelled: bool
    progress: float | None
    note: str | None
    error: str | None
    created_at: int
    started_at: int | None
    finished_at: int | None


# Gives the time.
Clock = Callable[[AsyncConnection], Awaitable[int]]
_all = sa.select(*(t.c[name] for name in Job.__struct_fields__))
_clock = sa.select(sa.cast(sa.extract("epoch", sa.func.clock_timestamp()) * 1000, sa.BigInteger))


async def clock(connection: AsyncConnection) -> int:
    """The time by the database's clock: processes that share it may disagree. SQLite's is this process's."""
    if connection.dialect.name == "sqlite":
        return int(time.time() * 1000)
    return int(await connection.scalar(_clock) or 0)


# Reading


async def get(connection: AsyncConnection, job_id: str, *, lock: bool = False) -> Job | None:
    query = _all.where(t.c.id == job_id)
    row = (await connection.execute(query.with_for_update() if lock else query)).first()
    return Job(*row) if row is not None else None


async def listed(
    connection: AsyncConnection, *, state: str | None, kind: str | None, most: int, skip: int
) -> list[Job]:
    """Some jobs, the newest first."""
    query = _all.where(_of(state, kind)).order_by(t.c.created_at.desc(), t.c.id).limit(most).offset(skip)
    return [Job(*row) for row in await connection.execute(query)]


async def count(connection: AsyncConnection, *, state: str | None, kind: str | None) -> int:
    """How many there are."""
    return int(await connection.scalar(sa.select(sa.func.count()).select_from(t).where(_of(state, kind))) or 0)


def _of(state: str | None, kind: str | None) -> "sa.ColumnElement[bool]":
    given = {"state": state, "kind": kind}
    return sa.and_(sa.true(), *(t.c[name] == clean(value) for name, value in given.items() if value is not None))


async def of_kind(connection: AsyncConnection, kind: str) -> list[Job]:
    """All jobs of a kind, the newest first."""
    query = _all.where(t.c.kind == kind).order_by(t.c.created_at.desc(), t.c.id)
    return [Job(*row) for row in await connection.execute(query)]


async def live(connection: AsyncConnection, key: str) -> Job | None:
    """The job about this that waits or runs; it is held until the unit of work ends."""
    row = (await connection.execute(_all.where(t.c.live_key == key).with_for_update())).first()
    return Job(*row) if row is not None else None


async def count_live(connection: AsyncConnection, prefix: str) -> int:
    """How many jobs wait or run that are about something whose key begins so."""
    mine = t.c.live_key.startswith(prefix, autoescape=True)
    return int(await connection.scalar(sa.select(sa.func.count()).where(mine)) or 0)


async def live_with(connection: AsyncConnection, prefix: str, part: str = "") -> list[Job]:
    """Jobs that wait or run whose key begins so and has this in it, in the order in which they were put in."""
    fits = t.c.live_key.startswith(prefix, autoescape=True), t.c.live_key.contains(part, autoescape=True)
    rows = await connection.execute(_all.where(*fits).order_by(t.c.created_at, t.c.id))
    return [Job(*row) for row in rows]


async def free_keys(connection: AsyncConnection, keys: Sequence[str]) -> list[str]:
    """Those of some keys that no job has which waits or runs, in their order."""
    taken = set(await connection.scalars(sa.select(t.c.live_key).where(among(t.c.live_key, keys))))
    return [key for key in keys if key not in taken]


async def next_due(connection: AsyncConnection, but: Collection[str]) -> int | None:
    """When something is to happen next, but for jobs of these kinds."""
    due: int | None = await connection.scalar(sa.select(sa.func.min(t.c.due_at)).where(_not_of(but)))
    return due


def _not_of(kinds: Collection[str]) -> "sa.ColumnElement[bool]":
    # Rows that are over are removed, whatever their kind.
    return sa.or_(t.c.state.not_in(LIVE), t.c.kind.not_in(kinds)) if kinds else sa.true()


# Changing


async def insert(connection: AsyncConnection, job: Job) -> bool:
    """Stores a new job. False where one about the same waits or runs; that one is not over before the caller's unit is."""
    values = msgspec.structs.asdict(job) | {"live_key": job.key if job.state in LIVE else None}
    statement = inserting(connection, t).values(values).on_conflict_do_nothing().returning(t.c.id)
    # What the caller's unit stores is nothing yet to a job that runs on PostgreSQL and looks for the last time: see Run.hold.
    same = sa.select(t.c.id).where(t.c.live_key == values["live_key"]).with_for_update(read=True, key_share=True)
    while await connection.scalar(statement) is None:
        if await connection.scalar(same) is not None:
            return False
    return True


async def begin(connection: AsyncConnection, given: Sequence[Job], lease: int) -> None:
    """Stores new jobs that their process does from now on. lease: milliseconds. Within `together` it may wait."""
    at = await clock(connection)
    new = {
        "state": "running",
        "attempts": 1,
        "live_key": None,
        "created_at": at,
        "started_at": at,
        "due_at": at + lease,
    }
    await _begin.run_many(
        connection, [{f"b_{k}": v for k, v in (msgspec.structs.asdict(job) | new).items()} for job in given]
    )


_begin = Prepared(t.insert().values({c.name: sa.bindparam(f"b_{c.name}") for c in t.c}))


async def take_due(connection: AsyncConnection, at: int, most: int, but: Collection[str]) -> list[Job]:
    """Some jobs that may run or whose lease is over, the most urgent first: the caller's until its unit ends.

    On PostgreSQL those that another unit holds are left out.
    """
    query = _all.where(t.c.due_at <= at, t.c.state.in_(LIVE), _not_of(but))
    query = query.order_by(t.c.priority.desc(), t.c.due_at, t.c.id).limit(most)
    return [Job(*row) for row in await connection.execute(query.with_for_update(skip_locked=True))]


async def change(connection: AsyncConnection, job: Job, **values: Any) -> bool:
    """Changes a job if it still is in this state and attempt. False: another process has done something with it."""
    if "state" in values:
        values["live_key"] = job.key if values["state"] in LIVE else None
    for name in ("error", "note"):
        if values.get(name):
            values[name] = clean(values[name])
    unchanged = sa.and_(t.c.id == job.id, t.c.attempts == job.attempts, t.c.state == job.state)
    statement = t.update().where(unchanged).values(values).returning(t.c.id)
    try:
        return await connection.scalar(statement) is not None
    except sa.exc.IntegrityError:
        raise Conflict(BUSY) from None


async def bring_forward(connection: AsyncConnection, key: str, due: int) -> bool:
    """Has the job about this come at another time, if it waits for a later one. Whether it did.

    Until the caller's unit ends, its last look (Run.hold) waits: a job that runs sees what that unit stored.
    """
    await connection.scalar(sa.select(t.c.id).where(t.c.live_key == key).with_for_update(read=True, key_share=True))
    later = sa.and_(t.c.live_key == key, t.c.state == "waiting", t.c.due_at > due)
    return await connection.scalar(t.update().where(later).values(due_at=due).returning(t.c.id)) is not None


async def delete(connection: AsyncConnection, job: Job) -> bool:
    """Removes a job if it still is in this state and attempt."""
    unchanged = sa.and_(t.c.id == job.id, t.c.attempts == job.attempts, t.c.state == job.state)
    return await connection.scalar(t.delete().where(unchanged).returning(t.c.id)) is not None


async def renew(connection: AsyncConnection, instance: str, ids: Collection[str], until: int) -> dict[str, Job]:
    """Prolongs the leases of a process's jobs, and gives those that it still has."""
    mine = sa.and_(among(t.c.id, ids), t.c.state == "running", t.c.instance == instance)
    statement = t.update().where(mine).values(due_at=until).returning(*_all.selected_columns)
    return {row[0]: Job(*row) for row in await connection.execute(statement)}


async def end_leases(connection: AsyncConnection, at: int) -> None:
    """Whatever runs has lost its process: for who knows that no other process is there."""
    await connection.execute(t.update().where(t.c.state == "running").values(due_at=at))


def _lost(at: int, longest: int, judge: str) -> "sa.ColumnElement[bool]":
    # Of those that are over and kept, the times lie further ahead than those of any lease.
    leased = sa.and_(t.c.due_at > at, t.c.due_at <= at + longest, t.c.state == "running", t.c.instance.is_not(None))
    return leased & sa.not_(processes.is_alive(t.c.instance)) & processes.may_judge(judge)


async def are_lost(connection: AsyncConnection, longest: int, judge: str) -> bool:
    """Whether dead processes hold jobs. See `release_lost`."""
    lost = _lost(await clock(connection), longest, judge)
    return await connection.scalar(sa.select(t.c.id).where(lost).limit(1)) is not None


async def release_lost(connection: AsyncConnection, longest: int, judge: str) -> None:
    """Has the jobs of dead processes be anybody's at once. On PostgreSQL.

    longest: milliseconds that a lease may have left. judge: the process that says so (processes.may_judge).
    """
    at = await clock(connection)
    await connection.execute(t.update().where(_lost(at, longest, judge)).values(due_at=at))


async def remove_old(connection: AsyncConnection, at: int) -> int:
    """Removes jobs that are over and were kept for long enough. How many there were."""
    return (await connection.execute(t.delete().where(t.c.state.in_(OVER), t.c.due_at <= at))).rowcount
