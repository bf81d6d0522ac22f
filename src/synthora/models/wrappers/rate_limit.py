"""RateLimitBackend: no more requests and tokens a minute than a provider allows; what is too early waits its turn."""

from __future__ import annotations

import asyncio
import contextlib
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from llamaforge.exceptions import LlamaForgeError
from synthora.messages import BaseMessage
from synthora.models.base import OPENED, AsyncPieces, BaseModelBackend, Pieces
from synthora.models.wrappers.base import Json, WrapperBackend, as_list

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
        # A bucket holds a minute's, but at least one request.
        self._sizes = [max(limit or 0.0, 1.0) for limit in self._limits]
        self._levels = [*self._sizes]
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
                    self._levels[place] -= min(amount, self._sizes[place])
                    waits.append(-self._levels[place] * 60 / limit)
            return max(waits)

    def settle(self, reserved: float, used: float, requests: float = 1.0) -> None:
        """Put right what was reserved, now that it is known how many tokens, and requests, were used."""
        with self._lock:
            self._fill()
            for place, (before, now) in enumerate(((1.0, requests), (reserved, used))):
                limit = self._limits[place]
                if limit is not None:
                    size = self._sizes[place]
                    self._levels[place] = min(self._levels[place] + min(before, size) - now, size)

    def _fill(self) -> None:
        now = self._clock()
        seconds, self._filled = now - self._filled, now
        for place, limit in enumerate(self._limits):
            if limit is not None:
                self._levels[place] = min(self._levels[place] + seconds * limit / 60, self._sizes[place])


class RateLimitBackend(WrapperBackend):
    """Waits before a request until the limiter has room for it and its tokens.

    The tokens are estimated from the text (four characters a token), or counted, and `max_tokens`. Once the request is
    over, what it did not use is given back: all but the tokens that the provider counted, or about those of what was read
    of a stream that broke off or was closed; of a request that failed all tokens.
    """

    def __init__(self, backend: BaseModelBackend, limiter: RateLimiter, exact: bool = False) -> None:
        """limiter: one's own, or shared with other backends of the same account.

        exact: the messages' tokens are counted by the backend where it can, with a request of its own to a provider.
        """
        super().__init__(backend)
        self.limiter = limiter
        self.exact = exact

    def _whole(self, messages: Any, arguments: Json) -> BaseMessage:
        answer: BaseMessage | None = None
        turn = self._wait(messages, arguments)
        try:
            answer = super()._whole(messages, arguments)
        finally:
            turn.end(answer)
        return answer

    def _open(self, messages: Any, arguments: Json) -> Pieces:
        pieces = self._counted(messages, arguments)
        next(pieces)  # the request is made now; begun, the generator gives back however it ends
        return pieces

    async def _awhole(self, messages: Any, arguments: Json) -> BaseMessage:
        answer: BaseMessage | None = None
        turn = await self._await(messages, arguments)
        try:
            answer = await super()._awhole(messages, arguments)
        finally:
            turn.end(answer)
        return answer

    async def _aopen(self, messages: Any, arguments: Json) -> AsyncPieces:
        pieces = self._acounted(messages, arguments)
        await anext(pieces)
        return pieces

    def _wait(self, messages: Any, arguments: Json) -> _Turn:
        prompt = _estimate(messages)
        if self.exact:
            with contextlib.suppress(LlamaForgeError):
                prompt = self.backend.count_tokens(messages, **arguments)
        turn = self._turn(prompt, arguments)
        try:
            time.sleep(self.limiter.reserve(turn.reserved))
        except BaseException:
            turn.give_up()
            raise
        return turn

    async def _await(self, messages: Any, arguments: Json) -> _Turn:
        prompt = _estimate(messages)
        if self.exact:
            with contextlib.suppress(LlamaForgeError):
                prompt = await self.backend.async_count_tokens(messages, **arguments)
        turn = self._turn(prompt, arguments)
        try:
            await asyncio.sleep(self.limiter.reserve(turn.reserved))
        except BaseException:
            turn.give_up()
            raise
        return turn

    def _counted(self, messages: Any, arguments: Json) -> Pieces:
        """The stream, after one message that only says that it has been opened."""
        message: BaseMessage | None = None
        turn = self._wait(messages, arguments)
        try:
            with contextlib.closing(super()._open(messages, arguments)) as pieces:
                yield OPENED
                for message in pieces:
                    yield message
        finally:
            turn.end(message)

    async def _acounted(self, messages: Any, arguments: Json) -> AsyncPieces:
        last: BaseMessage | None = None
        turn = await self._await(messages, arguments)
        try:
            async with contextlib.aclosing(await super()._aopen(messages, arguments)) as pieces:
                yield OPENED
                async for message in pieces:
                    last = message
                    yield message
        finally:
            turn.end(last)

    def _turn(self, prompt: float, arguments: Json) -> _Turn:
        asked = {**self.config, **arguments}
        longest = asked.get("max_completion_tokens") or asked.get("max_tokens") or 0
        return _Turn(self.limiter, prompt, prompt + max(longest, 0))


def _estimate(messages: Any) -> float:
    texts = (str(getattr(message, "content", message) or "") for message in as_list(messages))
    return sum(len(text) / _CHARACTERS_A_TOKEN + 1 for text in texts)


@dataclass(frozen=True, slots=True)
class _Turn:
    """What a request has reserved. prompt: the tokens of its messages. reserved: these and those of its answer."""

    limiter: RateLimiter
    prompt: float
    reserved: float

    def end(self, message: BaseMessage | None) -> None:
        """The request is over. message: what came of its answer, None for nothing."""
        used = 0.0
        if message is not None:
            usage = message.metadata.get("usage")
            counted = 0 if usage is None else usage.total_tokens
            used = counted or self.prompt + len(message.content or "") / _CHARACTERS_A_TOKEN
        self.limiter.settle(self.reserved, used)

    def give_up(self) -> None:
        """The request was never made."""
        self.limiter.settle(self.reserved, used=0, requests=0)
