"""A circuit breaker: what failed is left alone for a while, longer with each failure, then tried once. No clock of its own."""

import random
from collections.abc import Callable
from typing import Final, Literal

FIRST_PAUSE: Final = 2.0
LONGEST_PAUSE: Final = 300.0
State = Literal["closed", "open", "half-open"]


class Breaker:
    """closed: all is well. open: it failed and is left alone until `retry_at`. half-open: one try may show that it is back."""

    def __init__(self, clock: Callable[[], float], jitter: Callable[[], float] = random.random) -> None:
        """clock: seconds, never going back. jitter: 0 to 1; spreads the tries of many endpoints and replicas."""
        self._clock = clock
        self._jitter = jitter
        self.failures = 0
        self.retry_at = 0.0

    @property
    def state(self) -> State:
        if self.failures == 0:
            return "closed"
        return "open" if self._clock() < self.retry_at else "half-open"

    def succeeded(self) -> None:
        self.failures = 0
        self.retry_at = 0.0

    def failed(self) -> None:
        """Opens it: for 2 s at first, twice as long each time, at most 5 minutes; each pause a quarter shorter or longer."""
        pause = min(LONGEST_PAUSE, FIRST_PAUSE * 2 ** min(self.failures, 16))
        self.failures += 1
        self.retry_at = self._clock() + pause * (0.75 + self._jitter() / 2)

    def pause(self) -> float:
        """Seconds until the next try may be made."""
        return max(0.0, self.retry_at - self._clock())
