"""Tells everybody who watches a chat what an answer's frames say: deltas that wait are joined, never the text so far."""

import asyncio
from typing import Any, Final

from open_webui.chat.assemble import Frame, joined
from open_webui.events import Audience, ChatEvent, Emitter

# Deltas within this time go out as one frame: below what a reader notices, and 25 frames a second at most.
INTERVAL: Final = 0.04
SLOWEST: Final = 0.25
# With more answers at once than this, each waits longer, so that frames a second stay bounded for the process.
AT_ONCE: Final = 25
# A page learns from the reply to its request what it waits for; an end that overtakes the reply leaves it waiting for ever.
# So no end is told earlier than this after the start. Longer answers don't notice.
EARLIEST_END: Final = 0.15


class Load:
    """How many rooms are open in this process."""

    def __init__(self) -> None:
        self.rooms = 0

    @property
    def interval(self) -> float:
        return min(SLOWEST, INTERVAL * max(1.0, self.rooms / AT_ONCE))


class Room:
    """The events of one answer.

    Frames carry `sequence_number`, the answer's version after them: a client that fetched the message at version v
    drops frames up to v.
    """

    def __init__(self, emitter: Emitter, load: Load, audience: Audience, chat_id: str, message_id: str) -> None:
        self._emitter = emitter
        self._load = load
        self._audience = audience
        self._chat_id = chat_id
        self._message_id = message_id
        self._batches: list[tuple[int, list[Frame]]] = []
        self._open: list[Frame] = []
        self._version = 0
        self._last = 0.0
        self._began = asyncio.get_running_loop().time()
        self._timer: asyncio.TimerHandle | None = None
        self._flushing: asyncio.Task[None] | None = None
        self._lock = asyncio.Lock()
        load.rooms += 1

    def close(self) -> None:
        self._load.rooms -= 1
        if self._timer is not None:
            self._timer.cancel()

    def add(self, frames: list[Frame], version: int) -> None:
        """Takes frames; they go out at once when the last ones are long enough ago, else with the next flush."""
        if not frames:
            return
        self._open.extend(frames)
        self._version = version
        if self._timer is None:
            loop = asyncio.get_running_loop()
            wait = self._last + self._load.interval - loop.time()
            self._timer = loop.call_later(max(0.0, wait), self._due)

    def cut(self) -> int:
        """Seals what waits, so that no later delta is joined to it, and returns the version that it reaches."""
        if self._open:
            self._batches.append((self._version, joined(self._open)))
            self._open = []
        return self._version

    def _due(self) -> None:
        self._timer = None
        self._flushing = asyncio.get_running_loop().create_task(self.flush())

    async def flush(self) -> None:
        """Sends what waits, in order."""
        async with self._lock:
            self.cut()
            self._last = asyncio.get_running_loop().time()
            batches, self._batches = self._batches, []
            for version, frames in batches:
                for frame in frames:
                    frame["sequence_number"] = version
                    await self.event("response:completion", frame)

    async def event(self, kind: str, data: Any = None) -> None:
        """Sends one event about this message."""
        await self._emitter.answer(ChatEvent(self._chat_id, self._message_id, kind, data), self._audience)

    async def settle(self) -> None:
        """Waits, if the answer came at once, until its asker can have been told that it was started."""
        await asyncio.sleep(max(0.0, self._began + EARLIEST_END - asyncio.get_running_loop().time()))

    async def ordered(self, kind: str, data: Any = None) -> None:
        """Sends one event after everything that waits."""
        await self.flush()
        await self.event(kind, data)
