"""Keeps many streams at once from eating the process: with more of them, each is read less often, several chunks a read.

A chunk that is read alone costs many times what it costs among others. So while a stream is not due its socket is not
read at all and the kernel collects what arrives; the first chunk of an answer never waits.
"""

import asyncio
from typing import Final

import aiohttp

# Up to this many streams are read as they come.
FREE: Final = 25
# With more, each is read once in this many seconds a stream, which bounds reads to 5,000 a second for the process.
SECONDS_A_STREAM: Final = 0.0002
LONGEST: Final = 0.15


class Pace:
    """How many streams are open in this process, and how long each waits between its reads."""

    def __init__(self) -> None:
        self.streams = 0

    @property
    def interval(self) -> float:
        """Seconds between two reads of one stream; 0 while there are few."""
        return 0.0 if self.streams <= FREE else min(LONGEST, self.streams * SECONDS_A_STREAM)

    async def rest(self, response: aiohttp.ClientResponse) -> None:
        """Waits until the stream is due again, its socket left alone meanwhile."""
        interval = self.interval
        connection = response.connection
        if not interval or connection is None or connection.protocol is None:
            return
        protocol = connection.protocol
        protocol.pause_reading()
        try:
            await asyncio.sleep(interval)
        finally:
            protocol.resume_reading()


PACE: Final = Pace()
