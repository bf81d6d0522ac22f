"""What a process holds of the database in memory and other processes change too: taken over again when they say so."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final

from sqlalchemy.exc import SQLAlchemyError

from open_webui.internal.bus.port import Bus
from open_webui.internal.log import get_logger
from open_webui.internal.supervise import supervise

log = get_logger(__name__)
# How often it is taken over while nobody can say that it changed, and after a try that failed.
LOOK_SECONDS: Final = 5.0


class Followed:
    """One such thing, under the topic of its news.

    The database is the truth, so news hold nothing. Whoever comes or goes may have changed it unheard: it is taken over then,
    too, and every so many seconds besides.
    """

    def __init__(self, topic: str, bus: Bus, take_over: Callable[[], Awaitable[None]], *, every: float) -> None:
        """take_over: reads it. every: seconds after which it is read whatever is heard; while the bus is away, LOOK_SECONDS."""
        self._topic = topic
        self._bus = bus
        self._take_over = take_over
        self._every = every
        self._turn = asyncio.Lock()
        self._news = asyncio.Event()
        # When it is to be looked at again, by the loop's clock.
        self._due = 0.0
        self._task: asyncio.Task[None] | None = None

    def open(self) -> None:
        """Begins to follow. Only where other processes can write: a database that is one process's own needs none of it."""
        self._bus.subscribe(self._topic, lambda _peer, _payload: self._news.set())
        for happened in (self._bus.on_joined, self._bus.on_left):
            happened(lambda _peer: self._news.set())
        self._task = supervise(self._topic, self._follow)

    async def changed(self) -> None:
        """Takes over what this process has stored, and has the others do so. To be called after the commit."""
        self._bus.publish(self._topic, None)
        await self.renew()

    async def renew(self) -> None:
        """Takes it over now. One after the other: what was read earlier must not come later."""
        async with self._turn:
            # Should it fail, the next look tries again.
            self._due = 0.0
            await self._take_over()
            self._due = asyncio.get_running_loop().time() + self._every

    async def _follow(self) -> None:
        clock = asyncio.get_running_loop().time
        while True:
            try:
                async with asyncio.timeout(min(self._every, LOOK_SECONDS)):
                    await self._news.wait()
            except TimeoutError:
                if self._bus.is_up and clock() < self._due:
                    continue
            self._news.clear()
            try:
                await self.renew()
            except (SQLAlchemyError, OSError) as error:
                log.warning("what the database holds could not be read", what=self._topic, error=str(error))

    async def close(self) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
