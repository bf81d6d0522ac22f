"""Automations: prompts that are asked at their time, whose they are, when they are due, and how each run ended.

They are their owner's alone. Times are nanoseconds.
"""

import time
from collections.abc import Mapping, Sequence
from typing import Any, Final, Literal

import msgspec
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from open_webui.models import tables
from open_webui.models.base import among, clean
from open_webui.models.grants import Action
from open_webui.models.repository import Condition, Repository, contains
from open_webui.principal import Principal

t, runs = tables.automation, tables.automation_run
PER_PAGE: Final = 30
# Of one automation, the newest.
KEPT_RUNS: Final = 200
Status = Literal["running", "success", "error"]


class Automation(msgspec.Struct, frozen=True, kw_only=True):
    """An automation, in the order of the wire. anchor_at, zone: from when on its rule counts, and where, unless it says so."""

    id: str
    user_id: str
    folder_id: str | None
    name: str
    data: dict[str, Any]
    meta: dict[str, Any] | None
    is_active: bool
    last_run_at: int | None
    next_run_at: int | None
    created_at: int
    updated_at: int
    anchor_at: int
    zone: str | None

    @property
    def rule(self) -> str:
        return str(self.data.get("rrule") or "")


class Run(msgspec.Struct, frozen=True, kw_only=True):
    """A run, as the wire has it."""

    id: str
    automation_id: str
    chat_id: str | None
    status: Status
    error: str | None
    created_at: int


class Found(msgspec.Struct, frozen=True):
    """A page of automations, how many there are, and the last run of each."""

    items: list[Automation]
    total: int
    last: dict[str, Run]


class _Automations(Repository[Automation]):
    def allowed(self, principal: Principal | None, action: Action) -> Condition:
        """One's own, whatever is done with them; admins have no other people's."""
        del action
        return sa.false() if principal is None else self.table.c.user_id == principal.id

    def now(self) -> int:
        """Nanoseconds."""
        return time.time_ns()

    async def listed(
        self,
        connection: AsyncConnection,
        principal: Principal,
        *,
        text: str | None = None,
        active: bool | None = None,
        folder_id: str | None = None,
        skip: int = 0,
        limit: int = PER_PAGE,
    ) -> Found:
        """Some of somebody's, the newest first. text: a part of the name or the prompt."""
        where = [self.allowed(principal, "read")]
        if text:
            where.append(contains([t.c.name], text))
        if active is not None:
            where.append(t.c.is_active if active else sa.not_(t.c.is_active))
        if folder_id is not None:
            where.append(t.c.folder_id == folder_id)
        query = self._select(*where).order_by(t.c.created_at.desc(), t.c.id).limit(limit).offset(skip)
        items = await self._rows(connection, query)
        total = await connection.scalar(sa.select(sa.func.count()).select_from(t).where(*where))
        return Found(items, int(total or 0), await _last(connection, [row.id for row in items]))


repository: Final = _Automations(t, Automation, searches=("name",), sorts=())
_run: Final = tuple(runs.c[name] for name in Run.__struct_fields__)
# Those that go on are told by their chat: pages know runs that are over.
_over: Final = runs.c.status != "running"


async def _last(connection: AsyncConnection, ids: Sequence[str]) -> dict[str, Run]:
    if not ids:
        return {}
    newest = (
        sa.select(runs.c.automation_id, sa.func.max(runs.c.created_at).label("at"))
        .where(among(runs.c.automation_id, ids), _over)
        .group_by(runs.c.automation_id)
        .subquery()
    )
    same = sa.and_(runs.c.automation_id == newest.c.automation_id, runs.c.created_at == newest.c.at)
    found = await connection.execute(sa.select(*_run).join(newest, same).where(_over))
    return {row.automation_id: Run(**row._asdict()) for row in found}


async def last_run(connection: AsyncConnection, automation_id: str) -> Run | None:
    """The last one that is over."""
    return (await _last(connection, [automation_id])).get(automation_id)


async def count(connection: AsyncConnection, user_id: str) -> int:
    """How many somebody has."""
    return int(await connection.scalar(sa.select(sa.func.count()).where(t.c.user_id == user_id)) or 0)


async def runs_of(connection: AsyncConnection, automation_id: str, skip: int, limit: int) -> list[Run]:
    """The runs of an automation that are over, the newest first."""
    query = sa.select(*_run).where(runs.c.automation_id == automation_id, _over)
    query = query.order_by(runs.c.created_at.desc(), runs.c.id).limit(limit).offset(skip)
    return [Run(**row._asdict()) for row in await connection.execute(query)]


async def running(connection: AsyncConnection, automation_id: str) -> bool:
    """Whether a run of it goes on."""
    one = sa.select(runs.c.id).where(runs.c.automation_id == automation_id, sa.not_(_over)).limit(1)
    return await connection.scalar(one) is not None


async def run(connection: AsyncConnection, run_id: str) -> Run | None:
    """One run."""
    row = (await connection.execute(sa.select(*_run).where(runs.c.id == run_id))).first()
    return None if row is None else Run(**row._asdict())


async def begin(
    connection: AsyncConnection, run_id: str, automation_id: str, status: Status, error: str | None = None
) -> None:
    """Stores a new run, and lets go of the oldest ones that are over."""
    values = {
        "id": run_id,
        "automation_id": automation_id,
        "status": status,
        "error": error,
        "created_at": time.time_ns(),
    }
    await connection.execute(runs.insert().values(values))
    old = sa.select(runs.c.id).where(runs.c.automation_id == automation_id, _over)
    old = old.order_by(runs.c.created_at.desc(), runs.c.id).limit(1_000).offset(KEPT_RUNS)
    gone = list(await connection.scalars(old))
    if gone:
        await connection.execute(runs.delete().where(among(runs.c.id, gone)))


async def end(connection: AsyncConnection, run_id: str, status: Status, error: str | None, chat_id: str | None) -> bool:
    """Stores how a run ended, once. False: it is over already, or gone."""
    values = {"status": status, "error": None if error is None else clean(error), "chat_id": chat_id}
    one = sa.and_(runs.c.id == run_id, sa.not_(_over))
    return await connection.scalar(runs.update().where(one).values(values).returning(runs.c.id)) is not None


class Due(msgspec.Struct, frozen=True):
    """An automation and a run of it in a span of time, if there is one."""

    automation: Automation
    run: Run | None


async def in_span(connection: AsyncConnection, principal: Principal, start: int, end: int, most: int) -> list[Due]:
    """Somebody's automations, each with its runs in a span of time. Where there are more than `most`, each has its part: one that
    runs often leaves the runs of the others where they are.
    """
    names = [f"run_{name}" for name in Run.__struct_fields__]
    joined = sa.and_(runs.c.automation_id == t.c.id, runs.c.created_at >= start, runs.c.created_at < end)
    columns = [t.c[name] for name in Automation.__struct_fields__]
    newest = runs.c.created_at.desc(), runs.c.id
    number = sa.func.row_number().over(partition_by=t.c.id, order_by=newest).label("number")
    query = (
        sa.select(*columns, *(column.label(name) for name, column in zip(names, _run, strict=True)), number)
        .select_from(t.outerjoin(runs, joined))
        .where(t.c.user_id == principal.id)
        .order_by(number, t.c.created_at, t.c.id)
        .limit(most)
    )
    out = []
    for row in await connection.execute(query):
        values: Mapping[str, Any] = row._asdict()
        own = {name: values[name] for name in Automation.__struct_fields__}
        ran = None
        if values["run_id"] is not None:
            ran = Run(**{name.removeprefix("run_"): values[name] for name in names})
        out.append(Due(Automation(**own), ran))
    return sorted(out, key=_by_age)


def _by_age(due: Due) -> tuple[int, str, int]:
    row = due.automation
    return row.created_at, row.id, 0 if due.run is None else due.run.created_at


def waits_as(automation_id: str, at: int) -> str:
    """The key of the job by which an automation waits for a time."""
    return f"automation:{automation_id}:{at}"


async def forgotten(connection: AsyncConnection, most: int) -> list[tuple[str, int]]:
    """Automations that have a next time, with it, and no job that waits for it: it was cancelled, or given up."""
    key = sa.literal("automation:") + t.c.id + sa.literal(":") + sa.cast(t.c.next_run_at, sa.Text)
    query = (
        sa.select(t.c.id, t.c.next_run_at)
        .where(t.c.is_active, t.c.next_run_at.is_not(None), ~sa.exists().where(tables.job.c.live_key == key))
        .order_by(t.c.next_run_at, t.c.id)
        .limit(most)
    )
    return [(row.id, row.next_run_at) for row in await connection.execute(query)]
