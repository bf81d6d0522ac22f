"""How many sub-agents work at once in this process."""

import asyncio
from collections import Counter, deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

from open_webui.errors import Unavailable

# Of all people, those that wait included.
MOST: Final = 500
# And of one person.
MOST_OF_ONE: Final = 100
FULL: Final = "Too many sub-agents are at work on this server at the moment. Do the task yourself, or try again later."


class Places:
    """The places of each person's sub-agents: who finds none waits, in the order of coming."""

    def __init__(self) -> None:
        self._working: Counter[str] = Counter()
        self._waiting: dict[str, deque[asyncio.Future[None]]] = {}
        self._count = 0
        self._of: Counter[str] = Counter()

    @asynccontextmanager
    async def taken(self, user_id: str, limit: int) -> AsyncIterator[None]:
        """One of a person's `limit` places. Raises Unavailable where too many of all people work and wait."""
        if self._count >= MOST or self._of[user_id] >= MOST_OF_ONE:
            raise Unavailable(FULL)
        self._count += 1
        self._of[user_id] += 1
        try:
            while self._working[user_id] >= max(limit, 1):
                await self._wait(user_id)
            self._working[user_id] += 1
            try:
                yield
            finally:
                self._working[user_id] -= 1
                self._wake(user_id)
        finally:
            self._count -= 1
            self._of[user_id] -= 1
            if not self._of[user_id]:
                del self._of[user_id]
            if not self._working[user_id]:
                del self._working[user_id]

    async def _wait(self, user_id: str) -> None:
        waiting = self._waiting.setdefault(user_id, deque())
        freed: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        waiting.append(freed)
        try:
            await freed
        except asyncio.CancelledError:
            if freed.done() and not freed.cancelled():
                # The place that was free goes to the next one.
                self._wake(user_id)
            raise
        finally:
            if freed in waiting:
                waiting.remove(freed)
            if not waiting:
                self._waiting.pop(user_id, None)

    def _wake(self, user_id: str) -> None:
        for freed in self._waiting.get(user_id, ()):
            if not freed.done():
                freed.set_result(None)
                return
