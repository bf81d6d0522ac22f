"""WrapperBackend: a backend around another one, the same to its users."""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Sequence
from typing import Any, Literal, NoReturn, Self, cast, overload

from synthora.callbacks import BaseCallBackHandler
from synthora.messages import BaseMessage
from synthora.models.base import AsyncPieces, BaseModelBackend, Pieces

Json = dict[str, Any]


class WrapperBackend(BaseModelBackend):
    """Name, model, node, configuration and handlers are those of the backend inside.

    A subclass overrides the four ways of asking; each gets the messages and the arguments of a call.
    """

    def __init__(self, backend: BaseModelBackend) -> None:
        """backend: what is asked; it may be a wrapper itself."""
        if not isinstance(backend, BaseModelBackend):
            raise TypeError(f"{backend!r} is no backend.")
        self.backend = backend

    @classmethod
    def default(cls, *args: Any, **kwargs: Any) -> NoReturn:  # noqa: ARG003 -- whatever they are
        """There is none: a wrapper needs a backend. Raises TypeError."""
        raise TypeError(f"{cls.__name__} is made around a backend: {cls.__name__}(backend, ...).")

    def __getattr__(self, name: str) -> Any:
        """The attributes of the backend inside."""
        if name == "backend":
            raise AttributeError(name)  # not made yet
        return getattr(self.backend, name)

    def add_handler(self, handler: BaseCallBackHandler, recursive: bool = True) -> None:
        """Tell a handler, too."""
        self.backend.add_handler(handler, recursive)

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        """A wrapper around a copy of the backend; its limits and stores are shared."""
        twin = copy.copy(self)
        twin.backend = copy.deepcopy(self.backend, memo)
        return twin

    def count_tokens(self, messages: Any, **kwargs: Any) -> int:
        """As of the backend inside."""
        return self.backend.count_tokens(messages, **kwargs)

    async def async_count_tokens(self, messages: Any, **kwargs: Any) -> int:
        """As of the backend inside."""
        return await self.backend.async_count_tokens(messages, **kwargs)

    @overload
    def run(self, messages: Any, *args: Any, stream: Literal[False], **kwargs: Any) -> BaseMessage: ...
    @overload
    def run(self, messages: Any, *args: Any, stream: Literal[True], **kwargs: Any) -> Pieces: ...
    @overload
    def run(self, messages: Any, *args: Any, **kwargs: Any) -> Any: ...
    def run(self, messages: Any, *args: Any, **kwargs: Any) -> Any:  # noqa: ARG002 -- as published
        """As of the backend inside."""
        return self._open(messages, kwargs) if self._streams(kwargs) else self._whole(messages, kwargs)

    @overload
    async def async_run(self, messages: Any, *args: Any, stream: Literal[False], **kwargs: Any) -> BaseMessage: ...
    @overload
    async def async_run(self, messages: Any, *args: Any, stream: Literal[True], **kwargs: Any) -> AsyncPieces: ...
    @overload
    async def async_run(self, messages: Any, *args: Any, **kwargs: Any) -> Any: ...
    async def async_run(self, messages: Any, *args: Any, **kwargs: Any) -> Any:  # noqa: ARG002 -- as published
        """As of the backend inside."""
        if self._streams(kwargs):
            return await self._aopen(messages, kwargs)
        return await self._awhole(messages, kwargs)

    def _streams(self, arguments: Json) -> bool:
        return bool(arguments.get("stream", self.stream))

    def _whole(self, messages: Any, arguments: Json) -> BaseMessage:
        return self.backend.run(messages, **arguments)

    def _open(self, messages: Any, arguments: Json) -> Pieces:
        """A stream whose request is made now."""
        return cast("Pieces", self.backend.run(messages, **arguments))

    async def _awhole(self, messages: Any, arguments: Json) -> BaseMessage:
        return await self.backend.async_run(messages, **arguments)

    async def _aopen(self, messages: Any, arguments: Json) -> AsyncPieces:
        return cast("AsyncPieces", await self.backend.async_run(messages, **arguments))


def as_list(messages: Any) -> Sequence[Any]:
    """The messages that a backend was asked with, one or several."""
    return messages if isinstance(messages, list | tuple) else [messages]


def as_openai(message: Any) -> Any:
    """A message in OpenAI's form; what is no message as it is."""
    return message.to_openai_message() if isinstance(message, BaseMessage) else message


def begun(pieces: Pieces) -> Pieces:
    """`pieces` once the first has come, so that what goes wrong until then is raised here."""
    first = next(pieces, None)
    return _rejoined(first, pieces)


async def abegun(pieces: AsyncPieces) -> AsyncPieces:
    """The same of an asynchronous stream."""
    first = await anext(pieces, None)
    return _arejoined(first, pieces)


def _rejoined(first: BaseMessage | None, pieces: Pieces) -> Pieces:
    with contextlib.closing(pieces):
        if first is not None:
            yield first
            yield from pieces


async def _arejoined(first: BaseMessage | None, pieces: AsyncPieces) -> AsyncPieces:
    async with contextlib.aclosing(pieces):
        if first is not None:
            yield first
            async for message in pieces:
                yield message
