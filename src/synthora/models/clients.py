"""The openai SDK: its clients, its streams and its errors."""

from __future__ import annotations

import contextlib
import json
from collections.abc import AsyncIterator, Iterator
from contextvars import ContextVar
from typing import Any, Final

from llamaforge.backends.api_errors import Translator
from llamaforge.exceptions import LlamaForgeError
from synthora.exceptions import MissingExtraError, NoAnswerError
from synthora.messages.answers import failure

_SENT_ONCE: ContextVar[bool] = ContextVar("synthora_sent_once", default=False)
_NO_STREAM: Final = ("application/json", "text/html")


def sdk() -> Any:
    """The openai package. Raises MissingExtraError."""
    try:
        import openai  # noqa: PLC0415 -- half a second, and of an extra
    except ImportError as error:
        raise MissingExtraError("synthora", "openai") from error
    return openai


@contextlib.contextmanager
def sent_once() -> Iterator[None]:
    """Requests that are made inside are sent once: the SDK's own retries are off, as somebody else retries."""
    token = _SENT_ONCE.set(True)
    try:
        yield
    finally:
        _SENT_ONCE.reset(token)


class Client:
    """A client of the SDK's, and its twin that sends a request once, over the same connections.

    One of another library sends each request once anyway.
    """

    def __init__(self, client: Any) -> None:
        self.client = client
        self._once: Any = None

    def close(self) -> Any:
        """Close the connections; to be awaited where the client is asynchronous."""
        return (getattr(self.client, "aclose", None) or self.client.close)()

    def now(self) -> Any:
        """The one that is wanted here."""
        if not _SENT_ONCE.get() or not getattr(self.client, "max_retries", 0):
            return self.client
        if self._once is None:
            self._once = self.client.with_options(max_retries=0)
        return self._once


# ---- streams


class Chunks:
    """The chunks of a stream of either kind. done: whether its end was announced, as OpenAI's API does with "[DONE]"."""

    def __init__(self, stream: Any, body: bytes | None) -> None:
        """body: of what is no stream. Raises NoAnswerError where that holds no answer either."""
        self.done = False
        self._stream = stream
        self._here = None if body is None else _chunks_in(body)
        if body is None:
            # The SDK does not tell how a stream came to its end.
            events = stream._iter_events()  # noqa: SLF001
            watched = self._awatched(events) if hasattr(events, "__aiter__") else self._watched(events)
            stream._iter_events = lambda: watched  # noqa: SLF001

    @classmethod
    def of(cls, stream: Any) -> Chunks:
        return cls(stream, stream.response.read() if _is_no_stream(stream) else None)

    @classmethod
    async def aof(cls, stream: Any) -> Chunks:
        return cls(stream, await stream.response.aread() if _is_no_stream(stream) else None)

    def __iter__(self) -> Iterator[Any]:
        return iter(self._stream if self._here is None else self._here)

    def __aiter__(self) -> AsyncIterator[Any]:
        return _each(self._here) if self._here is not None else aiter(self._stream)

    def close(self) -> None:
        self._stream.close()

    async def aclose(self) -> None:
        await self._stream.close()

    def _watched(self, events: Iterator[Any]) -> Iterator[Any]:
        for event in events:
            self.done = self.done or event.data.startswith("[DONE]")
            yield event

    async def _awatched(self, events: AsyncIterator[Any]) -> AsyncIterator[Any]:
        async for event in events:
            self.done = self.done or event.data.startswith("[DONE]")
            yield event


def _is_no_stream(stream: Any) -> bool:
    kind: str = stream.response.headers.get("content-type", "")
    return kind.startswith(_NO_STREAM)


def _chunks_in(body: bytes) -> list[Any]:
    """The chunks of a body that does not call itself a stream: a stream all the same, or a whole answer as one chunk.

    Raises NoAnswerError.
    """
    text = body.decode(errors="replace")
    lines = [line.removeprefix("data:").strip() for line in text.splitlines() if line.startswith("data:")]
    try:
        values = [json.loads(line) for line in lines if line != "[DONE]"] if lines else [json.loads(text)]
    except ValueError:
        values = [text]
    if not lines and (error := failure(values[0])) is not None:
        raise error
    return values if lines else [_as_chunk(values[0])]


def _as_chunk(answer: Any) -> Any:
    choices = [{**choice, "delta": choice.get("message")} for choice in answer["choices"] if isinstance(choice, dict)]
    return {**answer, "choices": choices}


async def _each(chunks: list[Any]) -> AsyncIterator[Any]:
    for chunk in chunks:
        yield chunk


# ---- errors

# The classes that are both one of ours and one of the SDK's, by these two.
_BOTH: dict[tuple[type[LlamaForgeError], type[Exception]], type[Exception]] = {}


def translated(error: BaseException, base: str, key: str) -> BaseException:
    """An error of the SDK's as one of our family that is still the SDK's; any other error itself.

    base: the provider's address. key: kept out of the message.
    """
    if not isinstance(error, Exception) or isinstance(error, LlamaForgeError):
        return error
    ours = Translator(sdk(), base, key).ours(error)
    if ours is None:
        return error
    if isinstance(error, ValueError):  # of a body that can't be read
        return NoAnswerError(str(ours))
    kinds = (type(ours), type(error))
    if kinds not in _BOTH:
        about = {"__module__": type(error).__module__, "__doc__": type(ours).__doc__}
        _BOTH[kinds] = type(type(error).__name__, kinds, about)
    made = _BOTH[kinds](*ours.args)
    vars(made).update({**vars(error), **vars(ours)})
    return made
