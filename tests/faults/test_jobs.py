"""500 jobs, two processes that do them, and one of them killed at random every second: each is done once by its effect."""

import asyncio
import random
import signal
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest
import sqlalchemy as sa

from open_webui.env import Settings
from open_webui.internal.bus.memory import MemoryBus
from open_webui.internal.db import Database, open_database
from open_webui.jobs.queue import Queue
from open_webui.models import tables
from tests.support.job_worker import Work, work
from tests.support.process import ROOT, clean_environment, die_with_parent

pytestmark = [pytest.mark.fault, pytest.mark.timeout(240)]
JOBS = 500
SEED = 10
MOST_KILLS = 10


class Worker:
    """A process that does jobs; one that is killed is begun anew."""

    def __init__(self, url: str, folder: Path) -> None:
        self._command = [sys.executable, "-m", "tests.support.job_worker", url, str(folder)]
        self._process = self._launch()

    def _launch(self) -> "subprocess.Popen[bytes]":
        environment = clean_environment({"PYTHONPATH": f"{ROOT / 'src'}:{ROOT}"})
        return subprocess.Popen(self._command, env=environment, preexec_fn=die_with_parent)

    def is_alive(self) -> bool:
        return self._process.poll() is None

    def kill(self) -> None:
        self._process.send_signal(signal.SIGKILL)
        self._process.wait()

    def kill_and_begin_anew(self) -> None:
        self.kill()
        self._process = self._launch()


async def left(database: Database) -> int:
    async with database.read() as connection:
        over = sa.select(sa.func.count()).where(tables.job.c.state != "done")
        return int(await connection.scalar(over) or 0)


async def put_in(database: Database) -> None:
    queue = Queue(database, MemoryBus())
    kind = work(database)
    async with database.write() as unit:
        await unit.connection.execute(sa.text("CREATE TABLE effect (name TEXT NOT NULL)"))
        for k in range(JOBS):
            await queue.enqueue(unit, kind, Work(f"n{k}"), key=f"n{k}", priority=k % 3)


async def test_each_of_500_jobs_is_done_once(settings: Settings) -> None:
    database = open_database(settings)
    await put_in(database)
    chance = random.Random(SEED)
    # On SQLite one process has the file at a time: it is killed, and another begins.
    workers = [Worker(settings.database_url, settings.data_dir) for _ in range(1 if database.is_sqlite else 2)]
    kills, before = 0, JOBS
    try:
        async with asyncio.timeout(200):
            while now := await left(database):
                await asyncio.sleep(0.3)
                assert all(worker.is_alive() for worker in workers)
                # Only once something was done again: on a busy machine a process needs long to begin.
                if kills < MOST_KILLS and now < before:
                    chance.choice(workers).kill_and_begin_anew()
                    kills, before = kills + 1, now
    finally:
        for worker in workers:
            worker.kill()
    async with database.read() as connection:
        done = Counter(await connection.scalars(sa.text("SELECT name FROM effect")))
        attempts = await connection.scalar(sa.select(sa.func.max(tables.job.c.attempts)))
    await database.close()
    assert done == {f"n{k}": 1 for k in range(JOBS)}
    assert kills >= 3
    # The kills met jobs that were being done.
    assert attempts > 1
