"""SQLite's connections for reading, kept open between their uses.

A pool's connection costs more to take and to give back than most of our statements: SQLAlchemy makes objects for it each
time, and ends a transaction which is none.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

from sqlalchemy import AsyncAdaptedQueuePool
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from open_webui.internal.prepared import driver_of

# How long who reads waits for a connection, as SQLAlchemy's pools do.
PATIENCE: Final = 30.0


class Readers:
    """As many connections of an engine as its pool keeps, each used by one at a time."""

    def __init__(self, engine: AsyncEngine) -> None:
        assert isinstance(engine.pool, AsyncAdaptedQueuePool), "it has a size"
        self._engine = engine
        self._free = asyncio.Semaphore(engine.pool.size())
        self._resting: list[AsyncConnection] = []
        self._is_closed = False

    @asynccontextmanager
    async def taken(self, *, looking: bool) -> AsyncIterator[AsyncConnection]:
        """A connection. looking: each statement sees the last commit; otherwise all see the same state.

        Raises ConnectionError where all are in use for too long.
        """
        await self._wait()
        try:
            connection = self._resting.pop() if self._resting else await self._engine.connect()
            driver = driver_of(connection)
            assert driver is not None, "the engine is SQLite's"
            driver.looking = looking
            # For SQLAlchemy a connection is in one transaction for as long as it is open, so that it says this only once.
            driver.begin()
            try:
                yield connection
            finally:
                # Without waiting: a reader's end changes nothing.
                await driver.rollback()
                if self._is_closed or connection.closed or connection.invalidated:
                    await connection.close()
                else:
                    self._resting.append(connection)
        finally:
            self._free.release()

    @property
    def resting(self) -> int:
        """How many are open and nobody's."""
        return len(self._resting)

    async def _wait(self) -> None:
        if not self._free.locked():
            await self._free.acquire()
            return
        try:
            async with asyncio.timeout(PATIENCE):
                await self._free.acquire()
        except TimeoutError:
            raise ConnectionError("The database is busy: all connections for reading are in use.") from None

    async def close(self) -> None:
        """Closes those that rest, and the others when they are given back."""
        self._is_closed = True
        await self.close_resting()

    async def close_resting(self) -> None:
        """Closes those that are nobody's: what reads next opens others."""
        resting, self._resting = self._resting, []
        for connection in resting:
            await connection.close()
