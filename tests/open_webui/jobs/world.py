"""Processes that share one database and a clock that the test moves: begun, killed at any of their steps, and looked into."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from typing import Any

import msgspec
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from open_webui.env import Settings
from open_webui.internal.bus.memory import Hub, MemoryBus
from open_webui.internal.db import Database, UnitOfWork, open_database
from open_webui.jobs.kinds import Kind, Run
from open_webui.jobs.queue import Queue
from open_webui.jobs.runner import LEASE, Runner
from open_webui.models import jobs, tables
from open_webui.models.jobs import Job

# 2026-01-01 00:00 UTC
START = 1_767_225_600_000


class Dead(OSError):
    """The process has been killed: it reaches the database no more."""


class Mortal:
    """A process's way to the database. It is cut for ever at a step: before a read, and at a unit's begin, commit and end.

    Whatever else happens inside a unit of work is as if it hadn't, so these are all the moments that can be told apart.
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        self.is_sqlite = database.is_sqlite
        self.steps = 0
        self.dies_at: int | None = None
        self.is_dead = False

    def step(self) -> None:
        self.steps += 1
        if self.steps == self.dies_at:
            self.is_dead = True
        if self.is_dead:
            raise Dead

    @asynccontextmanager
    async def read(self) -> AsyncIterator[AsyncConnection]:
        self.step()
        async with self._database.read() as connection:
            yield connection

    @asynccontextmanager
    async def write(self) -> AsyncIterator[UnitOfWork]:
        self.step()
        async with self._database.write() as unit:
            yield unit
            self.step()
        self.step()


NOTE = sa.text("INSERT INTO effect VALUES (:name)")


class Work(msgspec.Struct, frozen=True):
    name: str = ""


class Process:
    """A server's part in it. Nothing runs by itself: `go` does what is due until nothing is."""

    def __init__(self, world: "World", kinds: list[Kind[Any]]) -> None:
        self.mortal = Mortal(world.database)
        self.bus = MemoryBus(world.hub)
        self.queue = Queue(self.mortal, self.bus, world.clock)  # type: ignore[arg-type]  # as a Database
        self.runner = Runner(self.queue, monotonic=lambda: world.at / 1000, chance=lambda: 0.0)
        for kind in kinds:
            self.queue.add(kind)

    async def begin(self) -> "Process":
        await self.bus.open()
        await self.runner.prepare()
        return self

    async def settle(self) -> None:
        """Returns when nothing that it runs can go on."""
        while tasks := [run.task for run in self.runner.runs.values() if run.task is not None]:
            await asyncio.wait(tasks)

    async def go(self) -> float | None:
        """Does what is due until nothing is. Seconds until something will be."""
        while True:
            self.runner._awake.clear()
            wait = await self.runner.round()
            if not self.runner.runs and not self.runner._awake.is_set():
                return wait
            await self.settle()

    async def kill(self) -> None:
        """Nothing of it is left but what it has stored."""
        self.mortal.is_dead = True
        for task in [run.task for run in self.runner.runs.values()] + [self.runner._tending, self.runner._task]:
            if task is not None:
                task.cancel()
                with suppress(asyncio.CancelledError, Dead):
                    await task
        await self.bus.close()


class World:
    """One database, the time, and what jobs did: `effects` are rows, `begun` is what handlers saw."""

    def __init__(self, settings: Settings) -> None:
        self.database = open_database(settings)
        self.hub = Hub()
        self.at = START
        self.begun: Counter[str] = Counter()
        self.processes: list[Process] = []

    async def clock(self, _connection: AsyncConnection) -> int:
        return self.at

    def advance(self, seconds: float) -> None:
        self.at += int(seconds * 1000)

    async def process(self, *kinds: Kind[Any]) -> Process:
        """A process begins that knows these kinds, or `work`."""
        process = Process(self, list(kinds) or [self.kind()])
        self.processes.append(process)
        return await process.begin()

    def kind(self, handler: Callable[[Run, Work], Awaitable[None]] | None = None, **options: Any) -> Kind[Work]:
        """A kind of job: it notes its effect and its end in one unit of work, if nothing else is said."""
        return Kind(name=options.pop("name", "work"), payload=Work, handler=handler or self.effect, **options)

    async def effect(self, run: Run, work: Work) -> None:
        self.begun[work.name] += 1
        # As the process that does it: when that one is dead, nothing is stored.
        database = next(p.mortal for p in self.processes if p.queue.instance == run.job.instance)
        async with database.write() as unit:
            await unit.connection.execute(NOTE, {"name": work.name})
            await run.commit(unit)

    async def effects(self) -> Counter[str]:
        async with self.database.read() as connection:
            return Counter(await connection.scalars(sa.text("SELECT name FROM effect")))

    async def put(self, process: Process, name: str = "a", kind: str = "work", **options: Any) -> str | None:
        async with process.queue.database.write() as unit:
            return await process.queue.enqueue(unit, process.queue.kinds[kind], Work(name), **options)

    async def job(self, job_id: str | None) -> Job:
        assert job_id is not None
        async with self.database.read() as connection:
            job = await jobs.get(connection, job_id)
        assert job is not None
        return job

    async def rows(self) -> list[Job]:
        async with self.database.read() as connection:
            return await jobs.listed(connection, state=None, kind=None, most=1000, skip=0)

    async def clear(self) -> None:
        """Everything anew, for the next example."""
        for process in self.processes:
            await process.kill()
        self.processes.clear()
        self.begun.clear()
        self.at = START
        async with self.database.write() as unit:
            await unit.connection.execute(tables.job.delete())
            await unit.connection.execute(sa.text("DELETE FROM effect"))

    async def wait_for_leases(self) -> None:
        self.advance(LEASE + 1)


@asynccontextmanager
async def open_world(settings: Settings) -> AsyncIterator[World]:
    world = World(settings)
    async with world.database.write() as unit:
        await unit.connection.execute(sa.text("CREATE TABLE effect (name TEXT NOT NULL)"))
    try:
        yield world
    finally:
        for process in world.processes:
            await process.kill()
        await world.database.close()
