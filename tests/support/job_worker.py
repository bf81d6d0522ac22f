"""Does jobs until it is killed: `python -m tests.support.job_worker DATABASE_URL DATA_DIR`.

A job of the kind "work" takes a moment and then notes its name in the table `effect`, with its own end.
"""

import asyncio
import random
import sys
from pathlib import Path

import msgspec
import sqlalchemy as sa

from open_webui.env import Settings
from open_webui.internal.bus.memory import MemoryBus
from open_webui.internal.db import Database, open_database
from open_webui.jobs import runner
from open_webui.jobs.kinds import Kind, Retry, Run
from open_webui.jobs.queue import Queue
from open_webui.jobs.runner import Runner

# Seconds that the others wait for a process that was killed.
LEASE = 2.0


class Work(msgspec.Struct, frozen=True):
    name: str


def work(database: Database) -> Kind[Work]:
    async def do(run: Run, given: Work) -> None:
        await asyncio.sleep(random.uniform(0.01, 0.2))
        async with database.write() as unit:
            await unit.connection.execute(sa.text("INSERT INTO effect VALUES (:name)"), {"name": given.name})
            await run.commit(unit)

    return Kind(
        name="work", payload=Work, handler=do, concurrency=4, retry=Retry(attempts=1000, first=0.1, longest=0.1)
    )


async def main(url: str, folder: Path) -> None:
    runner.LEASE, runner.RENEW, runner.POLL = LEASE, LEASE / 4, 0.2  # type: ignore[misc]  # constants
    database = open_database(Settings(_env_file=None, data_dir=folder, database_url=url))
    running = Runner(Queue(database, MemoryBus()), [work(database)])
    await running.open()
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], Path(sys.argv[2])))
