"""One asynchronous client for each event loop, closed with it: connections belong to the loop that opened them."""

from __future__ import annotations

import asyncio
import threading
import weakref
from collections.abc import AsyncGenerator, Awaitable, Callable
from typing import Generic, Protocol, TypeAlias, TypeVar


class Closable(Protocol):
    """What a client must offer."""

    def close(self) -> Awaitable[object]:
        """Close its connections."""
        ...


T = TypeVar("T", bound=Closable)
_Clients: TypeAlias = dict[asyncio.AbstractEventLoop, tuple[T, AsyncGenerator[None, None]]]


class AsyncClients(Generic[T]):
    """Clients are made when they are first asked for, and kept until their event loop ends, or this object goes."""

    def __init__(self, make: Callable[[], T]) -> None:
        """make: a new client. It is called on the event loop."""
        self._make = make
        self._clients: _Clients[T] = {}
        self._lock = threading.Lock()
        # Holds the clients, so that connections are never collected before they are closed.
        weakref.finalize(self, _close, self._clients).atexit = False

    async def get(self) -> T:
        """The client of the running loop."""
        loop = asyncio.get_running_loop()
        if (present := self._clients.get(loop)) is not None:
            return present[0]
        client = self._make()
        # asyncio.run() ends by closing the asynchronous generators of its loop: that closes the connections in time.
        keeper = _until_the_loop_ends(self._clients, loop, client)
        with self._lock:
            for other in [other for other in self._clients if other.is_closed()]:
                del self._clients[other]
            self._clients[loop] = client, keeper
        await anext(keeper)
        return client

    def close(self) -> None:
        """Close all clients: those of running loops by their loops, soon."""
        _close(self._clients)

    async def aclose(self) -> None:
        """Close all clients, that of the running loop before this returns."""
        here = self._clients.pop(asyncio.get_running_loop(), None)
        self.close()
        if here is not None:
            await here[1].aclose()


async def _until_the_loop_ends(
    clients: _Clients[T], loop: asyncio.AbstractEventLoop, client: T
) -> AsyncGenerator[None, None]:
    try:
        yield
    finally:
        if clients.get(loop, (None,))[0] is client:
            del clients[loop]
        await client.close()


def _close(clients: _Clients[T]) -> None:
    while clients:
        loop, (_, keeper) = clients.popitem()
        if loop.is_running():
            asyncio.run_coroutine_threadsafe(_ended(keeper), loop)


async def _ended(keeper: AsyncGenerator[None, None]) -> None:
    await keeper.aclose()
