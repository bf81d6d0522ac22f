"""Tells everybody concerned what an answer's frames say: deltas that wait are joined, never the text so far."""

import asyncio
import math
from typing import Any, Final

from open_webui.chat.assemble import Frame
from open_webui.events import Audience, ChatEvent, Emitter
from open_webui.internal.load import Load, Timer
from open_webui.utils.answer_parts import joined

# A page learns from the reply to its request what it waits for; an end that overtakes the reply leaves it waiting for ever.
# So no end is told earlier than this after the start. Longer answers don't notice.
EARLIEST_END: Final = 0.15
# A flush that is due within this time is done now: timers are no more exact.
SLACK: Final = 0.002


class AnswerSender:
    """The events of one answer.

    Frames carry `sequence_number`, the answer's version after them: a client that fetched the message at version v
    drops frames up to v. Frames go out at once when the last ones went out `load.frame_seconds` ago, else when that time
    is over; those that wait go out together, in order.
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
        self._clock = load.clock
        self._began = self._clock.time()
        self._last = -math.inf
        self._timer: Timer | None = None
        load.begin_answer()

    def close(self) -> None:
        """Ends the sending; frames that still wait are dropped."""
        self._load.end_answer()
        if self._timer is not None:
            self._timer.cancel()

    def add(self, frames: list[Frame], version: int) -> None:
        """Takes frames that bring the answer to this version."""
        if not frames:
            return
        self._open.extend(frames)
        self._version = version
        if self._timer is not None:
            return
        wait = self._last + self._load.frame_seconds - self._clock.time()
        if wait <= SLACK:
            self._send_waiting()
        else:
            self._timer = self._clock.call_later(wait, self._send_waiting)

    def cut(self) -> int:
        """Seals what waits, so that no later delta is joined to it, and returns the version that it reaches."""
        if self._open:
            self._batches.append((self._version, joined(self._open)))
            self._open = []
        return self._version

    def _send_waiting(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self.cut()
        self._last = self._clock.time()
        batches, self._batches = self._batches, []
        for version, frames in batches:
            for frame in frames:
                frame["sequence_number"] = version
                self._send("response:completion", frame)

    def _send(self, kind: str, data: Any) -> None:
        self._emitter.answer(ChatEvent(self._chat_id, self._message_id, kind, data), self._audience)

    async def flush(self) -> None:
        """Sends what waits, in order."""
        self._send_waiting()

    async def event(self, kind: str, data: Any = None) -> None:
        """Sends one event about this message now, before what waits."""
        self._send(kind, data)

    async def wait_for_reply(self) -> None:
        """Waits, if the answer came at once, until its asker can have been told that it was started."""
        await asyncio.sleep(max(0.0, self._began + EARLIEST_END - self._clock.time()))

    async def ordered(self, kind: str, data: Any = None) -> None:
        """Sends one event after everything that waits."""
        self._send_waiting()
        self._send(kind, data)
