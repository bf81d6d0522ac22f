"""RateLimitBackend: no more requests and tokens a minute than a provider allows; what is too early waits its turn."""

from __future__ import annotations

import asyncio
import contextlib
import threading
import time
from collections.abc import Callable
from typing import Any

from synthora.messages import BaseMessage
from synthora.models.base import BaseModelBackend
from synthora.models.wrappers.base import AsyncPieces, Json, Pieces, WrapperBackend

_CHARACTERS_A_TOKEN = 4


class RateLimiter:
    """Two buckets, filled evenly and full at first. Several backends, threads and event loops may share one."""

    def __init__(
        self,
        requests_per_minute: float | None = None,
        tokens_per_minute: float | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """None: as many as you like. clock: seconds."""
        for limit in (requests_per_minute, tokens_per_minute):
            if limit is not None and not limit > 0:
                raise ValueError("A rate must be more than 0 a minute.")
        self._limits = (requests_per_minute, tokens_per_minute)
        self._levels = [limit or 0.0 for limit in self._limits]
        self._clock = clock
        self._filled = clock()
        self._lock = threading.Lock()

    def reserve(self, tokens: float) -> float:
        """Take one request and `tokens` from what there is, or will be; how many seconds to wait until it is there.

        Who comes later waits longer. More tokens than a minute has count as a minute's.
        """
        with self._lock:
            self._fill()
            waits = [0.0]
            for place, amount in enumerate((1.0, tokens)):
                limit = self._limits[place]
                if limit is not None:
                    self._levels[place] -= min(amount, limit)
                    waits.append(-self._levels[place] * 60 / limit)
            return max(waits)

    def settle(self, reserved: float, used: float, requests: float = 1.0) -> None:
        """Put right what was reserved, now that it is known how many tokens, and requests, were used."""
        with self._lock:
            self._fill()
            for place, (before, now) in enumerate(((1.0, requests), (reserved, used))):
                limit = self._limits[place]
                if limit is not None:
                    self._levels[place] = min(self._levels[place] + min(before, limit) - now, limit)

    def _fill(self) -> None:
        now = self._clock()
        seconds, self._filled = now - self._filled, now
        for place, limit in enumerate(self._limits):
            if limit is not None:
                self._levels[place] = min(self._levels[place] + seconds * limit / 60, limit)


class RateLimitBackend(WrapperBackend):
    """Waits before a request until the limiter has room for it and its tokens.

    The tokens are estimated from the text (four characters a token) and `max_tokens`, and corrected by the usage once
    it is known.
    """

    def __init__(self, backend: BaseModelBackend, limiter: RateLimiter) -> None:
        """limiter: one's own, or shared with other backends of the same account."""
        super().__init__(backend)
        self.limiter = limiter

    def _whole(self, messages: Any, arguments: Json) -> BaseMessage:
        estimate = self._wait(messages, arguments)
        answer = super()._whole(messages, arguments)
        self._correct(estimate, answer)
        return answer

    def _open(self, messages: Any, arguments: Json) -> Pieces:
        estimate = self._wait(messages, arguments)
        return self._counted(estimate, super()._open(messages, arguments))

    async def _awhole(self, messages: Any, arguments: Json) -> BaseMessage:
        estimate = await self._await(messages, arguments)
        answer = await super()._awhole(messages, arguments)
        self._correct(estimate, answer)
        return answer

    async def _aopen(self, messages: Any, arguments: Json) -> AsyncPieces:
        estimate = await self._await(messages, arguments)
        return self._acounted(estimate, await super()._aopen(messages, arguments))

    def _wait(self, messages: Any, arguments: Json) -> float:
        estimate = self._estimate(messages, arguments)
        time.sleep(self.limiter.reserve(estimate))
        return estimate

    async def _await(self, messages: Any, arguments: Json) -> float:
        estimate = self._estimate(messages, arguments)
        try:
            await asyncio.sleep(self.limiter.reserve(estimate))
        except asyncio.CancelledError:
            self.limiter.settle(estimate, used=0, requests=0)
            raise
        return estimate

    def _counted(self, estimate: float, pieces: Pieces) -> Pieces:
        message: BaseMessage | None = None
        with contextlib.closing(pieces):
            for message in pieces:
                yield message
        self._correct(estimate, message)

    async def _acounted(self, estimate: float, pieces: AsyncPieces) -> AsyncPieces:
        last: BaseMessage | None = None
        async with contextlib.aclosing(pieces):
            async for message in pieces:
                last = message
                yield message
        self._correct(estimate, last)

    def _estimate(self, messages: Any, arguments: Json) -> float:
        given = messages if isinstance(messages, list | tuple) else [messages]
        texts = (str(getattr(message, "content", message) or "") for message in given)
        asked = {**self.config, **arguments}
        longest = asked.get("max_completion_tokens") or asked.get("max_tokens") or 0
        return sum(len(text) / _CHARACTERS_A_TOKEN + 1 for text in texts) + max(longest, 0)

    def _correct(self, estimate: float, message: BaseMessage | None) -> None:
        usage = message.metadata.get("usage") if message is not None else None
        if usage is not None and usage.total_tokens:
            self.limiter.settle(estimate, usage.total_tokens)
