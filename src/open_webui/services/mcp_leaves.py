"""Which MCP servers may ask a person's model something, in which chat: the person is asked once."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final

# A person, a chat, a server.
Key = tuple[str, str, str]
# Answers that are remembered; the oldest goes first.
MOST: Final = 10_000


class Leaves:
    """What people have allowed since this process runs. A no holds for the question that was asked, and no longer."""

    def __init__(self) -> None:
        self._given: dict[Key, None] = {}
        self._asking: dict[Key, asyncio.Task[bool]] = {}

    async def given(self, key: Key, ask: Callable[[], Awaitable[bool]]) -> bool:
        """Whether it is allowed. Those that want to know it while the person is asked wait for the same answer."""
        if key in self._given:
            return True
        task = self._asking.get(key)
        if task is None:
            task = self._asking[key] = asyncio.create_task(self._ask(key, ask), name="leave to ask a model")
        return await asyncio.shield(task)

    async def _ask(self, key: Key, ask: Callable[[], Awaitable[bool]]) -> bool:
        """A yes is on record before the question is over: who comes between the two would ask again."""
        try:
            allowed = await ask()
            if allowed:
                self._given[key] = None
                while len(self._given) > MOST:
                    del self._given[next(iter(self._given))]
        finally:
            del self._asking[key]
        return allowed
