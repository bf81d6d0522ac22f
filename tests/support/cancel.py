"""Cancels a coroutine at one of its suspensions, as `task.cancel()` would if it came just then."""

import asyncio
from collections.abc import Coroutine, Generator
from typing import Any


class CancelledAt:
    """Awaits `work`, and cancels it at its suspension number `at` (from 1); `again`: also at each one that follows.

    reached: whether it had so many suspensions. What it raises or returns is passed on.
    """

    def __init__(self, work: Coroutine[Any, Any, Any], at: int, *, again: bool = False) -> None:
        self._work = work
        self._at = at
        self._again = again
        self.reached = False

    def __await__(self) -> Generator[Any, Any, Any]:
        steps = self._work.__await__()
        count, problem = 0, None
        while True:
            try:
                awaited = steps.send(None) if problem is None else steps.throw(problem)
            except StopIteration as end:
                return end.value
            problem = None
            count += 1
            if count == self._at or (self._again and count > self._at):
                self.reached = True
                if awaited is None:
                    # A bare yield: nothing is waited for but the next turn of the loop.
                    problem = asyncio.CancelledError()
                    continue
                awaited.cancel()
            try:
                yield awaited
            except BaseException as error:  # noqa: BLE001 - raised again, inside the work
                problem = error
