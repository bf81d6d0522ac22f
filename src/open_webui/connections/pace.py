"""Reads a provider's answer no more often than is useful: a chunk that is read alone costs many times what it costs among
others. While a read is not due the socket is left alone and the kernel collects what arrives.
"""

import asyncio
from collections.abc import Callable

import aiohttp


class PacedBody:
    """The body of a response. wait: seconds to let pass before each read but the first, asked anew each time."""

    __slots__ = ("_is_begun", "_response", "wait")

    def __init__(self, response: aiohttp.ClientResponse) -> None:
        self.wait: Callable[[], float] | None = None
        self._response = response
        self._is_begun = False

    async def read(self) -> bytes:
        """What has arrived, at least a byte; nothing at the end of the body."""
        if self._is_begun and self.wait is not None:
            seconds = self.wait()
            if seconds > 0:
                await self._rest(seconds)
        self._is_begun = True
        return await self._response.content.readany()

    async def _rest(self, seconds: float) -> None:
        connection = self._response.connection
        if connection is None or connection.protocol is None:
            # The body has arrived whole.
            return
        protocol = connection.protocol
        protocol.pause_reading()
        try:
            await asyncio.sleep(seconds)
        finally:
            protocol.resume_reading()
