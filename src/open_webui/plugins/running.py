"""A call that runs in a worker: its time, its result, and the questions that the plugin asks meanwhile."""

import asyncio
import itertools
from collections.abc import AsyncIterator, Callable
from typing import Any, Final

from open_webui.errors import OuiError
from open_webui.internal.log import get_logger
from open_webui.plugins.source import Answer, Call

log = get_logger(__name__)
# Seconds that a call may wait for a person, which are not its own.
PERSON_SECONDS: Final = 600.0
END: Final = object()
_EVENT_CALL: Final = "event_call"
_NEXT: Final = "stream.next"
_STREAM: Final = "$stream"
# Answers in parts of one call that are not at their end.
_MOST_STREAMS: Final = 16


class Running:
    """One call that runs."""

    def __init__(self, call: Call, answer: Answer | None, seconds: float) -> None:
        self.call = call
        self.done: asyncio.Future[dict[str, Any]] = asyncio.get_running_loop().create_future()
        self.chunks: asyncio.Queue[Any] = asyncio.Queue()
        self.seconds = seconds
        self.timed_out = False
        # Has the call end.
        self.stop: Callable[[], None] = lambda: None
        self.asking: set[asyncio.Task[None]] = set()
        self._answer = answer
        self._streams: dict[int, AsyncIterator[Any]] = {}
        self._numbers = itertools.count(1)
        self._timer: asyncio.TimerHandle | None = None
        self._left = seconds
        self._since = 0.0
        self._persons = 0
        self._closing: asyncio.Task[None] | None = None

    def begin(self) -> None:
        """Its time runs."""
        loop = asyncio.get_running_loop()
        self._since = loop.time()
        self._set_timer(self._left)

    def end(self, frame: dict[str, Any] | BaseException) -> None:
        """It has its result, or is lost."""
        self._clear()
        if not self.done.done():
            if isinstance(frame, BaseException):
                self.done.set_exception(frame)
                self.done.exception()  # else it is complained about where nobody waits any more
            else:
                self.done.set_result(frame)
        self.chunks.put_nowait(END)
        for task in self.asking:
            task.cancel()
        if self._streams:
            self._closing = asyncio.create_task(self._close_streams())

    async def _close_streams(self) -> None:
        """Answers in parts that nobody hears to their end."""
        if self.asking:
            await asyncio.wait(set(self.asking))
        for stream in self._streams.values():
            await _close(stream)
        self._streams.clear()

    async def ask(self, name: str, arguments: Any) -> dict[str, Any]:
        """The answer to one question: `value` or `error`."""
        try:
            return {"value": await self._answered(name, arguments)}
        except OuiError as error:
            return {"error": error.detail}
        except Exception:
            log.exception("a plugin's question failed", plugin=self.call.plugin, question=name[:100])
            return {"error": "The server could not answer."}

    async def _answered(self, name: str, arguments: Any) -> Any:
        if self._answer is None:
            raise OuiError("Nothing can be asked here.")
        if not isinstance(arguments, dict):
            raise OuiError("A question has arguments.")
        if name == _NEXT:
            return await self._parts(arguments.get("stream"))
        if name != _EVENT_CALL:
            value = await self._answer(self.call, name, arguments)
            return await self._begun(value) if isinstance(value, AsyncIterator) else value
        self._pause()
        try:
            return await self._answer(self.call, name, arguments)
        finally:
            self._go_on()

    async def _begun(self, stream: AsyncIterator[Any]) -> dict[str, int]:
        if len(self._streams) >= _MOST_STREAMS:
            await _close(stream)
            raise OuiError(f"At most {_MOST_STREAMS} streams can be open at once.")
        token = next(self._numbers)
        self._streams[token] = stream
        return {_STREAM: token}

    async def _parts(self, token: Any) -> list[Any] | None:
        """The next parts of an answer that comes in parts, None at its end."""
        stream = self._streams.get(token) if isinstance(token, int) else None
        if stream is None:
            return None
        try:
            return [await anext(stream)]
        except StopAsyncIteration:
            del self._streams[token]
            return None

    def _pause(self) -> None:
        """A person is asked, who has a time of their own."""
        if self._persons == 0 and not self.done.done():
            self._left = max(0.0, self._left - (asyncio.get_running_loop().time() - self._since))
            self._set_timer(PERSON_SECONDS)
        self._persons += 1

    def _go_on(self) -> None:
        self._persons -= 1
        if self._persons == 0 and not self.done.done():
            self.begin()

    def _set_timer(self, seconds: float) -> None:
        self._clear()
        self._timer = asyncio.get_running_loop().call_later(seconds, self._expire)

    def _expire(self) -> None:
        self.timed_out = True
        self.stop()

    def _clear(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None


async def _close(stream: AsyncIterator[Any]) -> None:
    close = getattr(stream, "aclose", None)
    if close is not None:
        await close()
