"""Two units of work at once, in an order that the test decides: one is stopped at a statement, the other goes as far as it can.

Nothing here waits for a time: a task is over, or stands at its stop, or the database says that it waits for another.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import pytest
import sqlalchemy as sa

from open_webui.internal import prepared
from open_webui.internal.db import Database

_stop: ContextVar["Stop | None"] = ContextVar("stop", default=None)
_WAITING = sa.text(
    "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
)


class Stop:
    """Stands before the statement of this number (from 0) that its task runs, until it is let go."""

    def __init__(self, statement: int) -> None:
        self._left = statement
        self.reached = asyncio.Event()
        self._go = asyncio.Event()

    async def pass_by(self) -> None:
        self._left -= 1
        if self._left < 0 and not self._go.is_set():
            self.reached.set()
            await self._go.wait()

    def let_go(self) -> None:
        self._go.set()


@contextmanager
def stoppable() -> Iterator[None]:
    """Makes statements pass by the stop of their task."""
    with pytest.MonkeyPatch.context() as patch:
        for owner, names in (
            (sa.ext.asyncio.AsyncConnection, ("execute", "scalar", "scalars")),
            (prepared.Prepared, ("all", "run", "run_many")),
        ):
            for name in names:
                patch.setattr(owner, name, _passing(getattr(owner, name)))
        yield


def _passing(method: Callable[..., Awaitable[Any]]) -> Callable[..., Awaitable[Any]]:
    async def passing(self: Any, *args: Any, **kwargs: Any) -> Any:
        stop = _stop.get()
        if stop is None:
            return await method(self, *args, **kwargs)
        await stop.pass_by()
        # What a statement is made of is no further statement.
        token = _stop.set(None)
        try:
            return await method(self, *args, **kwargs)
        finally:
            _stop.reset(token)

    return passing


async def both(
    database: Database,
    first: Callable[[], Awaitable[Any]],
    second: Callable[[], Awaitable[Any]],
    stop_at: int,
    waits: Callable[[], bool] = lambda: False,
) -> tuple[Any, Any]:
    """Runs the first up to its statement of this number, then the second as far as it gets, then both to their ends.

    waits: whether the second waits for something else of the first's than the database. Gives what they returned, or the
    exceptions that they raised.
    """
    stop = Stop(stop_at)

    async def stopped() -> Any:
        _stop.set(stop)
        return await first()

    with stoppable():
        one = asyncio.create_task(stopped())
        await _any_of(one, stop.reached)
        two = asyncio.ensure_future(second())
        try:
            await until_it_waits(database, two, waits)
        finally:
            stop.let_go()
            results = await asyncio.gather(one, two, return_exceptions=True)
    return results[0], results[1]


async def _any_of(task: "asyncio.Task[Any]", event: asyncio.Event) -> None:
    reached = asyncio.create_task(event.wait())
    await asyncio.wait({task, reached}, return_when=asyncio.FIRST_COMPLETED)
    reached.cancel()


async def until_it_waits(
    database: Database, task: "asyncio.Future[Any]", waits: Callable[[], bool] = lambda: False
) -> None:
    """Returns when the task is over, or waits for what another transaction holds, or as `waits` says."""
    async with asyncio.timeout(20):
        while not (task.done() or waits() or await _is_waiting(database)):  # noqa: ASYNC110 - databases tell nobody
            await asyncio.sleep(0.001)


async def _is_waiting(database: Database) -> bool:
    if isinstance(database._turn, asyncio.Lock):
        return bool(database._turn._waiters)  # type: ignore[attr-defined]  # the standard library's own
    async with database._readers.connect() as connection:
        return bool(await connection.scalar(_WAITING))
