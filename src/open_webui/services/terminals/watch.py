"""What people have open at terminal servers, and their calls, so that it ends within moments after the right to it ended."""

import asyncio
import contextlib
from collections.abc import Callable, Iterator
from typing import Final

from open_webui.access.identify import Identifier
from open_webui.errors import TooManyRequests
from open_webui.internal.supervise import supervise
from open_webui.principal import Principal

# R7: how often each is looked at again.
SWEEP_SECONDS: Final = 3.0
MANY: Final = "You have {} {} open at terminal servers, which is the most at once."


class Held:
    """One request or socket. ended: it was ended from here."""

    __slots__ = ("ended", "kind", "principal", "server_id", "task", "token")

    def __init__(
        self, token: str, principal: Principal, server_id: str, kind: str, task: "asyncio.Task[object]"
    ) -> None:
        self.token, self.principal, self.server_id, self.kind, self.task = token, principal, server_id, kind, task
        self.ended = False

    def end(self) -> None:
        """Ends it, in the middle of whatever it does."""
        if not self.ended:
            self.ended = True
            self.task.cancel()


class Watch:
    """All of this process. may_use: whether somebody may use a server now, or in a call a model. many: why no more
    are opened, with their number and kind.
    """

    def __init__(self, identifier: Identifier, may_use: Callable[[Principal, str], bool], many: str = MANY) -> None:
        self._identifier = identifier
        self._may_use = may_use
        self._many = many
        self._open: set[Held] = set()
        self._sweeper: asyncio.Task[None] | None = None
        identifier.on_forget(self._forgotten)

    @contextlib.contextmanager
    def hold(self, token: str, principal: Principal, server_id: str, kind: str, most: int) -> Iterator[Held]:
        """The current task's, for as long as it lasts. kind: what it is, in the plural. Raises TooManyRequests."""
        mine = sum(held.principal.id == principal.id and held.kind == kind for held in self._open)
        if mine >= most:
            raise TooManyRequests(self._many.format(most, kind))
        task = asyncio.current_task()
        assert task is not None, "it is held by a task"
        held = Held(token, principal, server_id, kind, task)
        self._open.add(held)
        if self._sweeper is None or self._sweeper.done():
            self._sweeper = supervise("sweep of what is open", self._sweep)
        try:
            yield held
        finally:
            self._open.discard(held)

    async def _sweep(self) -> None:
        while self._open:
            await asyncio.sleep(SWEEP_SECONDS)
            await self._look(list(self._open))

    async def _forgotten(self, user_id: str) -> None:
        await self._look([held for held in self._open if held.principal.id == user_id])

    async def _look(self, open_: list[Held]) -> None:
        """Ends those whose credential no longer holds, or whose server is not for them any more."""
        for token in {held.token for held in open_}:
            of_token = [held for held in open_ if held.token == token]
            self._identifier.drop({held.principal.id for held in of_token})
            current = await self._identifier.identify(token)
            for held in of_token:
                if (
                    current is None
                    or not current.is_active
                    or current.role != held.principal.role
                    or not self._may_use(current, held.server_id)
                ):
                    held.end()

    async def close(self) -> None:
        """Ends all of it."""
        if self._sweeper is not None:
            self._sweeper.cancel()
        for held in list(self._open):
            held.end()
