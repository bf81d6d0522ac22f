"""Long-lived tasks: one that fails is logged, counted and started again, for as long as it is wanted."""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable
from typing import Final

from open_webui.internal.log import get_logger

log = get_logger(__name__)
# Seconds before a task that failed is started again; twice as many with each failure that follows soon.
FIRST_PAUSE: Final = 0.1
LONGEST_PAUSE: Final = 30.0
# A task that ran for so many seconds is taken for well again.
WELL: Final = 60.0

# How often each long-lived task of this process failed and was started again, by its name.
restarts: Counter[str] = Counter()


def supervise(name: str, work: Callable[[], Awaitable[None]]) -> "asyncio.Task[None]":
    """A task that runs `work`, and runs it anew whenever it raises. It ends when `work` returns, or is cancelled."""
    return asyncio.get_running_loop().create_task(_keep(name, work), name=name)


async def _keep(name: str, work: Callable[[], Awaitable[None]]) -> None:
    clock = asyncio.get_running_loop().time
    pause = FIRST_PAUSE
    while True:
        began = clock()
        try:
            await work()
            return
        except Exception:
            # The task runner's place: nobody else waits for this task, and the server needs it.
            restarts[name] += 1
            if clock() - began > WELL:
                pause = FIRST_PAUSE
            log.exception("a long-lived task failed and is started again", task=name, again_in=pause)
        await asyncio.sleep(pause)
        pause = min(LONGEST_PAUSE, pause * 2)
