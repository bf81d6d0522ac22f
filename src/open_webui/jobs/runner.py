"""Runs what is due in this process: takes jobs under a lease, prolongs it while they run, and stores how they ended.

On SQLite nobody else is there: it sleeps until it is told of a new job, or the next one is due. On PostgreSQL the bus tells it of
other processes' jobs, and it looks by itself every few seconds, for a bus that is away.
"""

import asyncio
import contextlib
import random
import time
from collections import Counter
from collections.abc import Callable, Iterable
from typing import Any, Final

import msgspec
from sqlalchemy.exc import SQLAlchemyError

from open_webui.errors import OuiError
from open_webui.internal import acts
from open_webui.internal.acts import Act
from open_webui.internal.db import UnitOfWork
from open_webui.internal.log import get_logger
from open_webui.internal.shielding import to_the_end
from open_webui.internal.supervise import supervise
from open_webui.jobs.kinds import (
    CANCELLED,
    DONE,
    RELEASED,
    GiveUp,
    JobLost,
    Kind,
    Outcome,
    Run,
    after,
    finish,
    tell_given_up,
)
from open_webui.jobs.queue import Queue, new_job
from open_webui.models import jobs
from open_webui.models.jobs import Job

log = get_logger(__name__)
# Jobs at once in one process. Most kinds that have many at once wait for something else, a model or somebody's address, and
# must leave room for the others.
MAX_RUNS: Final = 64
# Seconds that a job is a process's after a sign of life, and between two such signs.
LEASE: Final = 20.0
RENEW: Final = 5.0
# Between two looks at what is going on here, and on PostgreSQL at what is due.
TICK: Final = 1.0
POLL: Final = 5.0
# The same on SQLite, where only a command on this machine puts jobs in beside this process.
LOOK: Final = 30.0
# Between news and the look at what is due.
GATHER: Final = 0.01
# For handlers, when the server ends.
CLOSE_SECONDS: Final = 10.0
UNKNOWN: Final = "This server knows no jobs of the kind '{}'. Another version of it may have left this one."
UNREADABLE: Final = "What this job was to do can't be read ({})."
LEFT: Final = "The process that did it ended in the middle of it, {} times."
TOO_LONG: Final = "It took longer than {:g} seconds."
# Gives a number from 0 to 1.
Random = Callable[[], float]


class Runner:
    """The jobs that this process does, from `open` to `close`."""

    def __init__(
        self,
        queue: Queue,
        kinds: Iterable[Kind[Any]] = (),
        *,
        monotonic: Callable[[], float] = time.monotonic,
        chance: Random = random.random,
    ) -> None:
        """kinds: those that nobody else has made known."""
        for kind in kinds:
            queue.add(kind)
        self.runs: dict[str, Run] = {}
        self._queue = queue
        self._database = queue.database
        self._monotonic = monotonic
        self._chance = chance
        self._awake = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._tending: asyncio.Task[None] | None = None
        queue.listen(self._told)

    async def open(self) -> None:
        """Takes up what an ended process left, where no other can be there, and begins to run what is due."""
        await self.prepare()
        self._task = supervise("jobs", self._keep_running)

    async def prepare(self) -> None:
        """Puts in the jobs that come by themselves. On SQLite whatever runs was left by a process that ended."""
        async with self._database.write() as unit:
            connection = unit.connection
            at = await self._queue.clock(connection)
            if self._database.is_sqlite:
                await jobs.end_leases(connection, at)
            for kind in self._queue.kinds.values():
                if kind.every is None:
                    continue
                soon = kind.every.after_start
                due = kind.every.following(at) if soon is None else at + int(soon * 1000)
                job = await jobs.live(connection, kind.name)
                if job is None:
                    new = new_job(kind.name, kind.retry.attempts, kind.payload(), at, due, key=kind.name)
                    await jobs.insert(connection, new)
                elif job.state == "waiting" and job.due_at > due:
                    await jobs.change(connection, job, due_at=due)

    async def close(self) -> None:
        """Stops what runs, so that another process or the next start does it, and waits for it (or CLOSE_SECONDS)."""
        for task in (self._task, self._tending):
            if task is not None:
                task.cancel()
                await asyncio.wait({task})
        tasks = [run.task for run in self.runs.values() if run.task is not None]
        for run in list(self.runs.values()):
            run.stop("closing")
        if tasks:
            await asyncio.wait(tasks, timeout=CLOSE_SECONDS)

    def _told(self, cancelled: str | None) -> None:
        run = self.runs.get(cancelled or "")
        if run is not None:
            run.stop("cancelled")
        self._awake.set()

    async def _keep_running(self) -> None:
        while True:
            self._awake.clear()
            wait = await self.round()
            longest = LOOK if self._database.is_sqlite else POLL
            wait = longest if wait is None else min(wait, longest)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(wait):
                    await self._awake.wait()
                # Of a crowd that comes, or ends, one after the other, several are taken at once.
                await asyncio.sleep(GATHER)

    # What is due

    async def round(self) -> float | None:
        """Begins what is due. Seconds until something will be; None where nothing waits, or no more can run at once."""
        while len(self.runs) < MAX_RUNS:
            count = Counter(run.kind.name for run in self.runs.values())
            full = [name for name, running in count.items() if running >= self._queue.kinds[name].concurrency]
            async with self._database.read() as connection:
                due = await jobs.next_due(connection, full)
                at = await self._queue.clock(connection)
            if due is None:
                return None
            if due > at:
                return (due - at) / 1000
            if not await self._take(full, count):
                # Another process is about to.
                return TICK
        return None

    async def _take(self, full: list[str], count: "Counter[str]") -> bool:
        """Takes some of what is due, and begins it. False where there was nothing to take."""
        begun: list[tuple[Kind[Any], Job, Any]] = []
        renewed_at = self._monotonic()
        async with self._database.write() as unit:
            at = await self._queue.clock(unit.connection)
            removed = await jobs.remove_old(unit.connection, at)
            found = await jobs.take_due(unit.connection, at, MAX_RUNS - len(self.runs), full)
            for job in found:
                kind = self._queue.kinds.get(job.kind)
                if kind is not None and count[job.kind] >= kind.concurrency and job.id not in self.runs:
                    continue
                taken = await self._take_one(unit, kind, job, at)
                if taken is not None and kind is not None:
                    count[job.kind] += 1
                    begun.append((kind, *taken))
        for kind, job, payload in begun:
            self._begin(kind, job, payload, renewed_at)
        return bool(removed or found)

    async def _take_one(self, unit: UnitOfWork, kind: Kind[Any] | None, job: Job, at: int) -> tuple[Job, Any] | None:
        """The job as it is this process's now, and its payload; None where it isn't to run."""
        connection = unit.connection
        until = at + int(LEASE * 1000)
        mine = self.runs.get(job.id)
        if mine is not None and mine.job.attempts == job.attempts:
            # It goes on here: its lease could not be prolonged in time, and nobody has taken it.
            await jobs.change(connection, job, due_at=until)
            return None
        if mine is not None:
            mine.stop("lost")
        outcome, payload = self._refused(kind, job)
        if outcome is not None:
            # Each failure counts, so that it is not tried for ever.
            values = after(kind, msgspec.structs.replace(job, attempts=job.attempts + 1), at, outcome, self._chance())
            log.warning("a job could not be begun", kind=job.kind, job=job.id, reason=outcome.error)
            await tell_given_up(unit, kind, job, values)
            await jobs.change(connection, job, attempts=job.attempts + 1, **values)
            return None
        every = kind.every if kind is not None else None
        if every is not None and every.skips(job, at):
            await jobs.change(connection, job, due_at=every.following(at))
            return None
        new: dict[str, Any] = {
            "state": "running",
            "attempts": job.attempts + 1,
            "instance": self._queue.instance,
            "due_at": until,
            "started_at": at,
            "progress": None,
            "note": None,
        }
        await jobs.change(connection, job, **new)
        return msgspec.structs.replace(job, **new), payload

    @staticmethod
    def _refused(kind: Kind[Any] | None, job: Job) -> tuple[Outcome | None, Any]:
        """Why a job that is due does not run, if so; and what it is to do."""
        if job.state == "running" and job.is_cancelled:
            return CANCELLED, None
        if kind is None:
            return Outcome("failed", UNKNOWN.format(job.kind)), None
        if job.attempts >= job.allowed:
            return Outcome("failed", LEFT.format(job.attempts), final=True), None
        try:
            return None, kind.read(job.payload)
        except (msgspec.DecodeError, RecursionError) as error:
            return Outcome("failed", UNREADABLE.format(error), final=True), None

    # What runs

    def _begin(self, kind: Kind[Any], job: Job, payload: Any, renewed_at: float) -> None:
        run = self.runs[job.id] = Run(kind, job, self._queue.clock, renewed_at)
        run.task = asyncio.create_task(self._run(run, payload), name=f"{job.kind} {job.id}")
        if self._tending is None or self._tending.done():
            self._tending = supervise("jobs that run", self._tend_while_running)

    async def _run(self, run: Run, payload: Any) -> None:
        outcome = None
        try:
            outcome = await self._attempt(run, payload)
            if outcome is not None and not run.is_stored:
                await to_the_end(self._store(run, outcome))
        finally:
            # It may have been lost, and begun here again.
            if self.runs.get(run.job.id) is run:
                del self.runs[run.job.id]
            self._awake.set()

    async def _attempt(self, run: Run, payload: Any) -> Outcome | None:
        """How it ended; None where that is another's business."""
        outcome = await self._call(run, payload)
        if outcome is DONE or run.stopped is None:
            return outcome
        # Whatever it raised when it was stopped.
        return {"cancelled": CANCELLED, "closing": RELEASED}.get(run.stopped)

    @staticmethod
    async def _call(run: Run, payload: Any) -> Outcome | None:
        kind = run.kind
        limit = asyncio.timeout(kind.time_limit)
        try:
            with acts.doing(Act(f"job {kind.name}", "run", area="job", via="job")):
                async with limit:
                    await kind.handler(run, payload)
        except (asyncio.CancelledError, JobLost):
            return None
        except GiveUp as error:
            return Outcome("failed", str(error), final=True)
        except OuiError as error:
            return Outcome("failed", error.detail)
        except Exception as error:
            # The task runner's place: a job that fails is tried again, and must not take others with it.
            if isinstance(error, TimeoutError) and limit.expired():
                return Outcome("failed", TOO_LONG.format(kind.time_limit or 0))
            log.exception("a job failed", kind=kind.name, job=run.job.id, attempt=run.job.attempts)
            return Outcome("failed", f"Something went wrong ({type(error).__name__}). The log has the details.")
        return DONE

    async def _store(self, run: Run, outcome: Outcome) -> None:
        """Stores how an attempt ended. What can't be stored is done again once the lease is over."""
        job = run.job
        if outcome.error is not None:
            log.warning("a job failed", kind=job.kind, job=job.id, attempt=job.attempts, reason=outcome.error)
        try:
            async with self._database.write() as unit:
                at = await self._queue.clock(unit.connection)
                await finish(unit, run.kind, job, at, outcome, self._chance())
        except (SQLAlchemyError, OSError) as error:
            log.warning(
                "a job's end could not be stored; it is done again", kind=job.kind, job=job.id, error=str(error)
            )

    async def _tend_while_running(self) -> None:
        while self.runs:
            await asyncio.sleep(TICK)
            await self.tend()

    async def tend(self) -> None:
        """Prolongs leases, stores progress, and stops what was cancelled or is another's by now."""
        now = self._monotonic()
        runs = list(self.runs.values())
        told = [(run, *run.told) for run in runs if run.told is not None]
        is_due = any(now - run.renewed_at >= RENEW for run in runs)
        if not told and not is_due:
            return
        try:
            async with self._database.write() as unit:
                for run, done, note in told:
                    await jobs.change(unit.connection, run.job, progress=done, note=note)
                at = await self._queue.clock(unit.connection)
                until = at + int(LEASE * 1000)
                kept = await jobs.renew(unit.connection, self._queue.instance, [run.job.id for run in runs], until)
        except (SQLAlchemyError, OSError) as error:
            log.warning("the leases of jobs could not be prolonged", error=str(error))
            for run in runs:
                if now - run.renewed_at > LEASE:
                    run.stop("lost")
            return
        for run, *what in told:
            if run.told == tuple(what):
                run.told = None
        for run in runs:
            job = kept.get(run.job.id)
            if job is None or job.attempts != run.job.attempts:
                run.stop("lost")
            else:
                run.renewed_at = now
                if job.is_cancelled:
                    run.stop("cancelled")
