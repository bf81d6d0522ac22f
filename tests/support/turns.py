"""How long the event loop's turns are, by the CPU time they take: what a busy machine does not change."""

import asyncio
import contextlib
import gc
import time
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass
from typing import Any

import msgspec

# CPU seconds of `slowness`' work on the machine that limits of turns are meant for.
NOMINAL = 0.025
# And of `slowness_of_large`'s.
NOMINAL_OF_LARGE = 0.06


@dataclass(slots=True)
class Turns:
    """What was seen. longest: seconds of CPU time of one callback or one step of a task; of: which one."""

    longest: float = 0.0
    of: str = ""


def slowness() -> float:
    """How many times NOMINAL the same work takes here and now; not less than 1. A limit of a turn is multiplied by it.

    The work is what the longest turns do: the text of a JSON string is unescaped, and memory is filled.
    """
    breaks = b'"' + b"\\n" * 5 * 2**20 + b'"'
    began = time.thread_time()
    msgspec.json.decode(breaks)
    b"".join([breaks] * 2)
    return max(1.0, (time.thread_time() - began) / NOMINAL)


def slowness_of_large() -> float:
    """`slowness` of memory that the system gives and takes back each time, as it does for what is larger than 32 MB.

    Each page of it is a fault, which costs a busy machine, or a virtual one, many times more than the copying.
    """
    text = b'"' + b"x" * 60 * 2**20 + b'"'
    began = time.thread_time()
    msgspec.json.decode(text)
    return max(1.0, (time.thread_time() - began) / NOMINAL_OF_LARGE)


@dataclass(slots=True)
class Stalls:
    """How long this process was not let run, or ran something else, when it should have looked. seconds: all of it together."""

    seconds: float = 0.0


@contextlib.asynccontextmanager
async def watched_stalls() -> AsyncIterator[Stalls]:
    """Looks twenty times a second, and adds up by how much it comes too late: what a machine that stands still takes from a
    time in which something is promised.
    """
    seen = Stalls()

    async def look() -> None:
        while True:
            began = time.monotonic()
            await asyncio.sleep(0.05)
            seen.seconds += max(0.0, time.monotonic() - began - 0.06)

    looking = asyncio.create_task(look())
    try:
        yield seen
    finally:
        looking.cancel()
        await asyncio.wait({looking})


@contextlib.contextmanager
def frozen_heap() -> Iterator[None]:
    """As a server has it from its start: what was there before is no part of collections. Else one of them, which falls into
    a turn, goes through all that earlier tests of this process have left.
    """
    gc.collect()
    gc.freeze()
    try:
        yield
    finally:
        gc.unfreeze()


@dataclass(slots=True)
class Cost:
    """seconds: of CPU time, as many as the machine that limits are meant for would take."""

    seconds: float = 0.0


@contextlib.contextmanager
def spent(clock: Callable[[], float] = time.thread_time) -> Iterator[Cost]:
    """What is done within it. clock: says the CPU time; this thread's, unless another is given."""
    slow, cost = slowness(), Cost()
    with frozen_heap():
        began = clock()
        yield cost
        took = clock() - began
    cost.seconds = took / max(slow, slowness())


@contextlib.contextmanager
def watched_turns() -> Iterator[Turns]:
    """Watches the loops of this process (asyncio's own, not uvloop's)."""
    seen = Turns()
    run = asyncio.events.Handle._run  # type: ignore[attr-defined]

    def watched(handle: Any) -> None:
        started = time.thread_time()
        try:
            run(handle)
        finally:
            took = time.thread_time() - started
            if took > seen.longest:
                seen.longest, seen.of = took, repr(handle)[:300]

    asyncio.events.Handle._run = watched  # type: ignore[attr-defined]
    try:
        with frozen_heap():
            yield seen
    finally:
        asyncio.events.Handle._run = run  # type: ignore[attr-defined]
