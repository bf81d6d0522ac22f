"""Clients of the openai SDK: made when they are first needed, kept for the next request, closed with their event loop."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncGenerator, Callable
from typing import Any

from synthora.exceptions import MissingExtraError


def sdk() -> Any:
    """The openai package. Raises MissingExtraError."""
    try:
        import openai  # noqa: PLC0415 -- half a second, and of an extra
    except ImportError as error:
        raise MissingExtraError("synthora", "openai") from error
    return openai


class AsyncClients:
    """One asynchronous client for each event loop: its connections belong to the loop that opened them."""

    def __init__(self, make: Callable[[], Any]) -> None:
        self._make = make
        self._clients: dict[asyncio.AbstractEventLoop, tuple[Any, object]] = {}
        self._lock = threading.Lock()

    async def get(self) -> Any:
        """The client of the running loop."""
        loop = asyncio.get_running_loop()
        if (kept := self._clients.get(loop)) is not None:
            return kept[0]
        client = self._make()
        # asyncio.run() ends by closing the asynchronous generators of its loop: that closes the connections in time.
        keeper = self._until_the_loop_ends(loop, client)
        with self._lock:
            for other in [other for other in self._clients if other.is_closed()]:
                del self._clients[other]
            self._clients[loop] = (client, keeper)
        await anext(keeper)
        return client

    async def _until_the_loop_ends(self, loop: asyncio.AbstractEventLoop, client: Any) -> AsyncGenerator[None, None]:
        try:
            yield
        finally:
            with self._lock:
                self._clients.pop(loop, None)
            await client.close()
