"""How busy the process is, and how often running answers are therefore read and told: one object, handed to who needs it.

More work at once makes each answer's turn rarer and its portions larger; a portion costs nearly the same whatever its size.
"""

import asyncio
import math
from collections.abc import Callable
from typing import Final, Protocol

# Between two frames of one answer: below what a reader notices, and 25 frames a second at most.
FRAME_SECONDS: Final = 0.04
# With more answers than this each waits longer, so that the frames a second stay bounded for the process.
ANSWERS_AT_ONCE: Final = 25
SLOWEST_FRAME_SECONDS: Final = 0.25
# Reads that are made in turns fall on multiples of this.
TOGETHER_SECONDS: Final = 0.02
# Provider streams that are passed on as they come; with more, each is read once in this many seconds a stream.
STREAMS_AT_ONCE: Final = 25
SECONDS_A_STREAM: Final = 0.0002
SLOWEST_STREAM_SECONDS: Final = 0.15
# How late the event loop may be before everything is slowed down, and how early it must be to go faster again.
LATE_SECONDS: Final = 0.05
EARLY_SECONDS: Final = 0.01
LOOK_SECONDS: Final = 0.1
SLOWER: Final = 1.3
FASTER: Final = 0.9
MOST_STRETCH: Final = 8.0


class Timer(Protocol):
    def cancel(self) -> object: ...


class Clock(Protocol):
    """The part of an event loop that tells the time and calls later."""

    def time(self) -> float: ...

    def call_later(self, delay: float, callback: Callable[[], object], /) -> Timer: ...


class Load:
    """answers: page answers that run. streams: provider streams that are open. stretch: by how much the event loop's
    lateness slows everything down, from 1.0 (not at all) to MOST_STRETCH.
    """

    def __init__(self, clock: Clock | None = None) -> None:
        """clock: the running event loop unless a test hands in another."""
        self.answers = 0
        self.streams = 0
        self.stretch = 1.0
        self._clock = clock
        self._watching = False

    @property
    def clock(self) -> Clock:
        if self._clock is None:
            self._clock = asyncio.get_running_loop()
        return self._clock

    @property
    def frame_seconds(self) -> float:
        """The least time between two frames of one answer."""
        return min(SLOWEST_FRAME_SECONDS, FRAME_SECONDS * max(1.0, self.answers / ANSWERS_AT_ONCE)) * self.stretch

    def until_frame_read(self) -> float:
        """Seconds to wait after a read of an answer whose words go out as frames: what is read sooner waits anyway.

        0 while there are few and the loop is in time. Otherwise reads fall on common moments: to wake once for several
        costs less than to wake for each.
        """
        if self.answers <= ANSWERS_AT_ONCE and self.stretch == 1.0:
            return 0.0
        now = self.clock.time()
        return math.ceil((now + self.frame_seconds) / TOGETHER_SECONDS) * TOGETHER_SECONDS - now

    def until_stream_read(self) -> float:
        """Seconds to wait after a read of an answer that is passed on as it comes; 0 while there are few and the loop is
        in time.
        """
        if self.streams <= STREAMS_AT_ONCE:
            return FRAME_SECONDS * (self.stretch - 1.0)
        return min(SLOWEST_STREAM_SECONDS, self.streams * SECONDS_A_STREAM) * self.stretch

    def begin_answer(self) -> None:
        self.answers += 1
        self._watch()

    def end_answer(self) -> None:
        self.answers -= 1

    def begin_stream(self) -> None:
        self.streams += 1
        self._watch()

    def end_stream(self) -> None:
        self.streams -= 1

    def note_lateness(self, seconds: float) -> None:
        """Takes how late the event loop was: slows down at once, and goes faster again slowly."""
        if seconds > LATE_SECONDS:
            self.stretch = min(MOST_STRETCH, self.stretch * SLOWER)
        elif seconds < EARLY_SECONDS:
            self.stretch = max(1.0, self.stretch * FASTER)

    def _watch(self) -> None:
        """Looks at the clock while something runs, and not when the process is idle."""
        if not self._watching:
            self._watching = True
            self._look_at(self.clock.time() + LOOK_SECONDS)

    def _look_at(self, due: float) -> None:
        def look() -> None:
            now = self.clock.time()
            self.note_lateness(now - due)
            if self.answers or self.streams:
                self._look_at(now + LOOK_SECONDS)
            else:
                self._watching, self.stretch = False, 1.0

        self.clock.call_later(due - self.clock.time(), look)
