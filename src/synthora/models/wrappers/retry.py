"""RetryBackend: another attempt after what may pass."""

from __future__ import annotations

import asyncio
import itertools
import random
import time
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

from synthora.messages import BaseMessage
from synthora.models.base import AsyncPieces, BaseModelBackend, Pieces
from synthora.models.clients import sent_once
from synthora.models.wrappers.base import Json, WrapperBackend, abegun, begun

T = TypeVar("T")
# Lost, where a backend of somebody else's raises what is not of our family.
_LOST = (ConnectionError, TimeoutError)


class RetryBackend(WrapperBackend):
    """Tries again after an overload, a lost connection or a timeout, waiting longer each time.

    What may be tried again says so itself (`retryable` of our errors); besides, built-in ConnectionErrors and
    TimeoutErrors. A stream is tried again only before its first message, for which `run` waits. Handlers hear of every
    attempt. The openai SDK's own retries are off for requests that are made here, whatever its `max_retries` is.
    """

    def __init__(
        self,
        backend: BaseModelBackend,
        attempts: int = 3,
        delay: float = 0.5,
        factor: float = 2.0,
        max_delay: float = 30.0,
    ) -> None:
        """attempts: in all. delay: seconds before the second, `factor` times more before each further one.

        max_delay: the longest wait in seconds. A provider that asks for more (Retry-After) is not asked again.
        """
        super().__init__(backend)
        if attempts < 1 or delay < 0 or factor < 1 or max_delay < 0:
            raise ValueError("A retry needs at least one attempt, delays of at least 0 and a factor of at least 1.")
        self.attempts = attempts
        self.delay = delay
        self.factor = factor
        self.max_delay = max_delay

    def _whole(self, messages: Any, arguments: Json) -> BaseMessage:
        return self._again(super()._whole, messages, arguments)

    def _open(self, messages: Any, arguments: Json) -> Pieces:
        opened = super()._open
        return self._again(lambda *given: begun(opened(*given)), messages, arguments)

    async def _awhole(self, messages: Any, arguments: Json) -> BaseMessage:
        return await self._aagain(super()._awhole, messages, arguments)

    async def _aopen(self, messages: Any, arguments: Json) -> AsyncPieces:
        opened = super()._aopen

        async def ask(*given: Any) -> AsyncPieces:
            return await abegun(await opened(*given))

        return await self._aagain(ask, messages, arguments)

    def _again(self, ask: Callable[..., T], *given: Any) -> T:
        """What `ask` returns, in one of the attempts; else the error of the last one is raised."""
        for attempt in itertools.count(1):
            try:
                with sent_once():
                    return ask(*given)
            except Exception as error:
                if (pause := self._pause(error, attempt)) is None:
                    raise
            time.sleep(pause)
        raise AssertionError

    async def _aagain(self, ask: Callable[..., Awaitable[T]], *given: Any) -> T:
        for attempt in itertools.count(1):
            try:
                with sent_once():
                    return await ask(*given)
            except Exception as error:
                if (pause := self._pause(error, attempt)) is None:
                    raise
            await asyncio.sleep(pause)
        raise AssertionError

    def _pause(self, error: Exception, attempt: int) -> float | None:
        """Seconds to wait after this attempt, None to give up."""
        if attempt >= self.attempts or not getattr(error, "retryable", isinstance(error, _LOST)):
            return None
        asked: float | None = getattr(error, "retry_after", None)
        if asked is not None:
            return asked if asked <= self.max_delay else None
        longest = min(self.delay * self.factor ** (attempt - 1), self.max_delay)
        # Many clients that failed together should not come back together.
        return longest * random.uniform(0.5, 1.0)  # noqa: S311
