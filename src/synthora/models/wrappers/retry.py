"""RetryBackend: another attempt after what may pass."""

from __future__ import annotations

import asyncio
import itertools
import random
import time
from typing import Any

from synthora.messages import BaseMessage
from synthora.models.base import AsyncPieces, BaseModelBackend, Pieces
from synthora.models.clients import sent_once
from synthora.models.wrappers.base import Json, WrapperBackend, abegun, begun

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
        for attempt in itertools.count(1):
            try:
                with sent_once():
                    return super()._whole(messages, arguments)
            except Exception as error:
                if (pause := self._pause(error, attempt)) is None:
                    raise
            time.sleep(pause)
        raise AssertionError

    def _open(self, messages: Any, arguments: Json) -> Pieces:
        for attempt in itertools.count(1):
            try:
                with sent_once():
                    return begun(super()._open(messages, arguments))
            except Exception as error:
                if (pause := self._pause(error, attempt)) is None:
                    raise
            time.sleep(pause)
        raise AssertionError

    async def _awhole(self, messages: Any, arguments: Json) -> BaseMessage:
        for attempt in itertools.count(1):
            try:
                with sent_once():
                    return await super()._awhole(messages, arguments)
            except Exception as error:
                if (pause := self._pause(error, attempt)) is None:
                    raise
            await asyncio.sleep(pause)
        raise AssertionError

    async def _aopen(self, messages: Any, arguments: Json) -> AsyncPieces:
        for attempt in itertools.count(1):
            try:
                with sent_once():
                    return await abegun(await super()._aopen(messages, arguments))
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
