"""How long the event loop's turns are, by the CPU time they take: what a busy machine does not change."""

import asyncio
import contextlib
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any


@dataclass(slots=True)
class Turns:
    """What was seen. longest: seconds of CPU time of one callback or one step of a task; of: which one."""

    longest: float = 0.0
    of: str = ""


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
        yield seen
    finally:
        asyncio.events.Handle._run = run  # type: ignore[attr-defined]
