"""FallbackBackend: the next backend when one fails."""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Self, TypeVar

from synthora.callbacks import BaseCallBackHandler
from synthora.exceptions import FallbackError, MessageError
from synthora.messages import BaseMessage
from synthora.models.base import AsyncPieces, BaseModelBackend, Pieces
from synthora.models.wrappers.base import Json, WrapperBackend, abegun, begun

T = TypeVar("T")
Failures = list[tuple[str, Exception]]


class FallbackBackend(WrapperBackend):
    """Asks the first backend; where it raises, the second, and so on. Of a stream, before its first message only.

    The metadata of an answer that did not come from the first say so: `backend` (its name) and `failed`, the errors of
    those before it as {backend, error}. Name, configuration and `stream` are those of the first.
    """

    def __init__(self, backends: Sequence[BaseModelBackend]) -> None:
        """backends: in the order in which they are asked."""
        if not backends:
            raise ValueError("A fallback needs at least one backend.")
        super().__init__(backends[0])
        self.backends = list(backends)

    def add_handler(self, handler: BaseCallBackHandler, recursive: bool = True) -> None:
        """Tell a handler of all of them."""
        for backend in self.backends:
            backend.add_handler(handler, recursive)

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        """A fallback over copies of all of them."""
        twin = super().__deepcopy__(memo)
        twin.backends = copy.deepcopy(self.backends, memo)
        return twin

    def _whole(self, messages: Any, arguments: Json) -> BaseMessage:
        given = arguments | {"stream": False}
        return self._first(lambda backend, failures: _named(backend.run(messages, **given), backend, failures))

    def _open(self, messages: Any, arguments: Json) -> Pieces:
        given: Any = arguments | {"stream": True}
        return self._first(
            lambda backend, failures: _all_named(begun(backend.run(messages, **given)), backend, failures)
        )

    async def _awhole(self, messages: Any, arguments: Json) -> BaseMessage:
        async def ask(backend: BaseModelBackend, failures: Failures) -> BaseMessage:
            return _named(await backend.async_run(messages, **arguments | {"stream": False}), backend, failures)

        return await self._afirst(ask)

    async def _aopen(self, messages: Any, arguments: Json) -> AsyncPieces:
        async def ask(backend: BaseModelBackend, failures: Failures) -> AsyncPieces:
            opened: Any = await backend.async_run(messages, **arguments | {"stream": True})
            return _aall_named(await abegun(opened), backend, failures)

        return await self._afirst(ask)

    def _first(self, ask: Callable[[BaseModelBackend, Failures], T]) -> T:
        """What the first backend that does not fail answers. Raises FallbackError, MessageError."""
        failures: Failures = []
        for backend in self.backends:
            try:
                return ask(backend, failures)
            except Exception as error:  # noqa: BLE001 -- whatever it is, the next is asked
                _note(failures, backend, error)
        raise FallbackError(failures) from failures[-1][1]

    async def _afirst(self, ask: Callable[[BaseModelBackend, Failures], Awaitable[T]]) -> T:
        failures: Failures = []
        for backend in self.backends:
            try:
                return await ask(backend, failures)
            except Exception as error:  # noqa: BLE001 -- as above
                _note(failures, backend, error)
        raise FallbackError(failures) from failures[-1][1]


def _note(failures: Failures, backend: BaseModelBackend, error: Exception) -> None:
    """Remember a failure. What is wrong with the messages is wrong for every backend, and raised."""
    if isinstance(error, MessageError):
        raise error
    failures.append((backend.name, error))


def _named(message: BaseMessage, backend: BaseModelBackend, failures: Failures) -> BaseMessage:
    if failures:
        message.metadata["backend"] = backend.name
        message.metadata["failed"] = [{"backend": name, "error": str(error)} for name, error in failures]
    return message


def _all_named(pieces: Pieces, backend: BaseModelBackend, failures: Failures) -> Pieces:
    with contextlib.closing(pieces):
        for message in pieces:
            yield _named(message, backend, failures)


async def _aall_named(pieces: AsyncPieces, backend: BaseModelBackend, failures: Failures) -> AsyncPieces:
    async with contextlib.aclosing(pieces):
        async for message in pieces:
            yield _named(message, backend, failures)
