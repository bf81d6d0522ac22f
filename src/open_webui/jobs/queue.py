"""The queue: puts jobs in, cancels and retries them. What runs them is told after the commit, in every process."""

import asyncio
import math
import time
from collections.abc import Callable
from functools import partial
from typing import Any, Final, TypeVar

import msgspec

from open_webui.errors import Conflict, NotFound
from open_webui.internal.bus.port import Bus
from open_webui.internal.db import Database, UnitOfWork
from open_webui.jobs.kinds import CANCELLED, Kind, Retry, finish
from open_webui.models import jobs
from open_webui.models.base import new_id
from open_webui.models.jobs import Job

P = TypeVar("P")
TOPIC: Final = "jobs"
# Between two looks whether a job has stopped.
_LOOK_SECONDS: Final = 0.05
NO_JOB: Final = "There is no such job. It may be over, and have been removed."


class Queue:
    """clock: the database's, in milliseconds. kinds: those that this process knows, by name."""

    def __init__(self, database: Database, bus: Bus, clock: jobs.Clock = jobs.clock) -> None:
        self.database = database
        self.instance = bus.instance
        self.clock = clock
        self.kinds: dict[str, Kind[Any]] = {}
        self._bus = bus
        self._listeners: list[Callable[[str | None], None]] = []
        bus.subscribe(TOPIC, lambda _peer, cancelled: self._tell(cancelled))

    def add(self, kind: Kind[Any]) -> None:
        """Makes a kind known: before the runner opens."""
        self.kinds[kind.name] = kind

    def listen(self, listener: Callable[[str | None], None]) -> None:
        """Has somebody told that something changed: the id of a job that is to be cancelled, or None."""
        self._listeners.append(listener)

    def _tell(self, cancelled: str | None) -> None:
        for listener in self._listeners:
            listener(cancelled)

    async def _announce(self, cancelled: str | None) -> None:
        self._tell(cancelled)
        if self._bus.peers:
            self._bus.publish(TOPIC, cancelled)

    async def enqueue(
        self,
        unit: UnitOfWork,
        kind: Kind[P],
        payload: P,
        *,
        key: str | None = None,
        priority: int = 0,
        run_at: float | None = None,
    ) -> str | None:
        """Puts a job in with the caller's unit of work, and gives its id. It is done once the unit has committed.

        key: what it is about; where a job about the same waits or runs, None is given and nothing is put in. priority: of
        those that may run, the highest goes first. run_at: not before, in seconds since 1970 by the database's clock.
        """
        at = await self.clock(unit.connection)
        due = at if run_at is None else int(run_at * 1000)
        job = new_job(kind.name, kind.retry.attempts, payload, at, due, key=key, priority=priority)
        if not await jobs.insert(unit.connection, job):
            return None
        unit.after_commit(partial(self._announce, None))
        return job.id

    async def bring_forward(self, unit: UnitOfWork, kind: Kind[Any], run_at: float) -> None:
        """Has a job that comes by itself come at this time, if it would come later. It does once the unit has committed.

        run_at: in seconds since 1970 by the database's clock.
        """
        if await jobs.bring_forward(unit.connection, kind.name, math.ceil(run_at * 1000)):
            unit.after_commit(partial(self._announce, None))

    async def cancel(self, job_id: str, *, seconds: float = 0.0) -> Job:
        """Cancels a job that waits, or has the process stop that runs it, and waits for that for so many seconds at most.

        Raises NotFound, Conflict for one that is over.
        """
        async with self.database.write() as unit:
            job = await self._held(unit, job_id)
            if job.state == "waiting":
                at = await self.clock(unit.connection)
                await finish(unit, self.kinds.get(job.kind), job, at, CANCELLED, 0.0)
            elif job.state == "running":
                await jobs.change(unit.connection, job, is_cancelled=True)
                unit.after_commit(partial(self._announce, job_id))
            else:
                raise Conflict("This job is over already.")
        job = await self.one(job_id)
        until = time.monotonic() + seconds
        while job.is_cancelled and job.state == "running" and time.monotonic() < until:
            await asyncio.sleep(_LOOK_SECONDS)
            job = await self.one(job_id)
        return job

    async def retry(self, job_id: str) -> Job:
        """Has a job that failed or was cancelled done anew, and one that waits at once.

        Raises NotFound, and Conflict for one that runs or is done, or when another about the same waits or runs.
        """
        async with self.database.write() as unit:
            job = await self._held(unit, job_id)
            if job.state in {"running", "done"}:
                raise Conflict("This job is running." if job.state == "running" else "This job is done.")
            at = await self.clock(unit.connection)
            kind = self.kinds.get(job.kind)
            attempts = (kind.retry if kind is not None else Retry()).attempts
            values = {"state": "waiting", "due_at": at, "allowed": job.attempts + attempts, "is_cancelled": False}
            await jobs.change(unit.connection, job, **values, error=None, finished_at=None, progress=None, note=None)
            unit.after_commit(partial(self._announce, None))
        return await self.one(job_id)

    async def _held(self, unit: UnitOfWork, job_id: str) -> Job:
        job = await jobs.get(unit.connection, job_id, lock=True)
        if job is None:
            raise NotFound(NO_JOB)
        return job

    async def one(self, job_id: str) -> Job:
        """A job. Raises NotFound."""
        async with self.database.read() as connection:
            job = await jobs.get(connection, job_id)
        if job is None:
            raise NotFound(NO_JOB)
        return job


def new_job(
    kind: str, attempts: int, payload: Any, at: int = 0, due: int = 0, *, key: str | None = None, priority: int = 0
) -> Job:
    """A job that waits, as it is stored first."""
    return Job(
        id=new_id(),
        kind=kind,
        key=key,
        payload=msgspec.json.encode(payload).decode(),
        priority=priority,
        state="waiting",
        due_at=due,
        attempts=0,
        allowed=attempts,
        instance=None,
        is_cancelled=False,
        progress=None,
        note=None,
        error=None,
        created_at=at,
        started_at=None,
        finished_at=None,
    )
