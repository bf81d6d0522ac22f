"""API streams that are open, by the credential they were asked with, so that they end when it does."""

import asyncio
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from weakref import WeakSet

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from open_webui.errors import TooManyRequests
from open_webui.principal import Principal


class Bound(Response):
    """A response that can be ended from outside, in the middle of its body."""

    def __init__(self, inner: Response, over: Callable[["Bound"], None]) -> None:
        self._inner = inner
        self._over = over
        self._task: asyncio.Task[None] | None = None
        self._ended = False
        self.status_code = inner.status_code
        self.background = None

    def end(self) -> None:
        if self._task is not None and not self._ended:
            self._ended = True
            self._task.cancel()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        # In a task of its own: cancelling the server's would take its connection handling along.
        self._task = asyncio.create_task(self._send(scope, receive, send))
        try:
            await asyncio.wait({self._task})
        except asyncio.CancelledError:
            # The server ends. The response was begun, so there is nothing left to say but its early end.
            pass
        finally:
            if not self._task.done():
                self._task.cancel()
                await asyncio.wait({self._task})
            self._over(self)
        if not self._task.cancelled():
            self._task.result()

    async def _send(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self._inner(scope, receive, send)


class Streams:
    """All of this process. A response that was never begun is forgotten with the request that it was made for."""

    def __init__(self, most: int) -> None:
        """most: calls of one person at once, streams and whole answers."""
        self._most = most
        self._open: dict[str, tuple[Principal, WeakSet[Bound]]] = {}
        self._by_user: dict[str, WeakSet[Bound]] = {}
        self._asking: Counter[str] = Counter()

    @contextmanager
    def reserve(self, principal: Principal) -> Iterator[None]:
        """One more call of a person, while its answer is waited for. Raises TooManyRequests."""
        running = len(self._by_user.get(principal.id, ())) + self._asking[principal.id]
        if running >= self._most:
            raise TooManyRequests(f"You have {self._most} answers being written, which is the most at once.")
        self._asking[principal.id] += 1
        try:
            yield
        finally:
            self._asking[principal.id] -= 1
            if not self._asking[principal.id]:
                del self._asking[principal.id]

    def bind(self, token: str, principal: Principal, response: Response) -> Response:
        """The response, bound to the credential until it is over."""

        def over(bound: Bound) -> None:
            _, mine = self._open.get(token, (principal, WeakSet()))
            mine.discard(bound)
            if not mine:
                self._open.pop(token, None)
            all_of_user = self._by_user.get(principal.id, WeakSet())
            all_of_user.discard(bound)
            if not all_of_user:
                self._by_user.pop(principal.id, None)

        bound = Bound(response, over)
        self._open.setdefault(token, (principal, WeakSet()))[1].add(bound)
        self._by_user.setdefault(principal.id, WeakSet()).add(bound)
        return bound

    def callers(self) -> list[tuple[str, Principal]]:
        """The credentials with open streams, and who they were when they asked."""
        return [(token, principal) for token, (principal, _) in self._open.items()]

    def end(self, token: str) -> None:
        for bound in list(self._open.get(token, (None, ()))[1]):
            bound.end()
