"""API streams that are open, by the credential they were asked with, so that they end when it does."""

import asyncio
import functools
from collections import Counter
from collections.abc import Callable
from weakref import WeakSet

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from open_webui.chat.delivery.elsewhere import CallsElsewhere
from open_webui.errors import TooManyRequests
from open_webui.internal.bus.port import Bus
from open_webui.internal.log import ended_early
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
        task = self._task = asyncio.current_task()
        try:
            await self._inner(scope, receive, send)
        except asyncio.CancelledError:
            # Ended from outside, or the server ends: it was begun, so there is nothing left to say but its early end.
            pass
        finally:
            self._task = None
            if self._ended and task is not None:
                task.uncancel()
                ended_early.set(True)
            self._over(self)


class _Reserved:
    """One of the calls that a person may have at once."""

    __slots__ = ("_asking", "_user_id")

    def __init__(self, asking: Counter[str], user_id: str) -> None:
        self._asking = asking
        self._user_id = user_id

    def __enter__(self) -> None:
        self._asking[self._user_id] += 1

    def __exit__(self, *_error: object) -> None:
        self._asking[self._user_id] -= 1
        if not self._asking[self._user_id]:
            del self._asking[self._user_id]


class Streams:
    """All of this process. A response that was never begun is forgotten with the request that it was made for."""

    def __init__(self, most: int, bus: Bus) -> None:
        """most: calls of one person at once, streams and whole answers, here and at other processes."""
        self._most = most
        self.elsewhere = CallsElsewhere(bus, self._counts)
        self._open: dict[str, tuple[Principal, WeakSet[Bound]]] = {}
        self._by_user: dict[str, WeakSet[Bound]] = {}
        self._asking: Counter[str] = Counter()

    def reserve(self, principal: Principal) -> "_Reserved":
        """One more call of a person, for as long as its answer is waited for. Raises TooManyRequests."""
        running = len(self._by_user.get(principal.id, ())) + self._asking[principal.id]
        running += self.elsewhere.of(principal.id)
        if running >= self._most:
            raise TooManyRequests(f"You have {self._most} answers being written, which is the most at once.")
        return _Reserved(self._asking, principal.id)

    def _counts(self) -> dict[str, int]:
        """The calls that people have here."""
        counts = self._asking + Counter({user_id: len(bound) for user_id, bound in self._by_user.items()})
        return dict(counts)

    def bind(self, token: str, principal: Principal, response: Response) -> Response:
        """The response, bound to the credential until it is over."""
        bound = Bound(response, over=functools.partial(self._over, token, principal.id))
        of_token = self._open.get(token)
        if of_token is None:
            of_token = self._open[token] = (principal, WeakSet())
        of_user = self._by_user.get(principal.id)
        if of_user is None:
            of_user = self._by_user[principal.id] = WeakSet()
        of_token[1].add(bound)
        of_user.add(bound)
        return bound

    def _over(self, token: str, user_id: str, bound: Bound) -> None:
        of_token = self._open.get(token)
        if of_token is not None:
            of_token[1].discard(bound)
            if not of_token[1]:
                del self._open[token]
        of_user = self._by_user.get(user_id)
        if of_user is not None:
            of_user.discard(bound)
            if not of_user:
                del self._by_user[user_id]

    def callers(self) -> list[tuple[str, Principal]]:
        """The credentials with open streams, and who they were when they asked."""
        return [(token, principal) for token, (principal, _) in self._open.items()]

    def end(self, token: str) -> None:
        for bound in list(self._open.get(token, (None, ()))[1]):
            bound.end()
