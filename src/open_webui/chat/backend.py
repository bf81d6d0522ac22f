"""The server's connections as a synthora backend: what asks a model beside the chat turn does it as scripts do.

Imported with the first such question: synthora's messages take some 20 ms to load.
"""

import asyncio
import threading
from collections import deque
from collections.abc import AsyncIterator, Coroutine, Iterable, Iterator, Mapping
from contextlib import AbstractAsyncContextManager
from typing import Any, Self

import msgspec

from open_webui.connections import remote_filters
from open_webui.connections.base import Reply, Target
from open_webui.connections.gate import Gate
from open_webui.errors import ProviderError
from open_webui.principal import Principal
from synthora.callbacks import BaseCallBackHandler
from synthora.messages import BaseMessage
from synthora.models import Profile, RetryBackend
from synthora.models.provider import ProviderBackend
from synthora.types import ModelBackendType, Node

NOT_UNDERSTOOD = "The model's answer could not be understood."


class ConnectionBackend(ProviderBackend):
    """A model of the catalogue. Made in the server's event loop; errors are ProviderError, with the provider's status.

    `original_response` of a whole answer is the provider's JSON as it came, in bytes. `run` is for other threads than the
    loop's. Each request is counted by the gate.
    """

    def __init__(
        self,
        gate: Gate,
        principal: Principal,
        target: Target,
        config: Mapping[str, Any] | None = None,
        handlers: Iterable[BaseCallBackHandler] | None = None,
        source: Node | None = None,
        *,
        patient: bool = False,
    ) -> None:
        """principal: who asks, and pays. patient: nobody waits for the answers, so that others come first."""
        super().__init__(target.model_id, source, ModelBackendType.OPENAI_CHAT, config, None, handlers)
        self.profile = Profile(sends_names=False)  # some providers refuse them
        self._gate = gate
        self._principal = principal
        self._target = target
        self._patient = patient
        self._loop = asyncio.get_running_loop()
        self._thread = threading.get_ident()

    @classmethod
    def default(cls, gate: Gate, principal: Principal, target: Target, *args: Any, **kwargs: Any) -> Self:
        """As the constructor."""
        return cls(gate, principal, target, *args, **kwargs)

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        """A backend of its own for the same model, over the same gate."""
        for shared in (self._gate, self._target, self._loop):
            memo[id(shared)] = shared
        return super().__deepcopy__(memo)

    def _message(self, response: bytes) -> BaseMessage:
        try:
            # Who asks gets the provider's JSON, whatever it says.
            message = BaseMessage.from_openai_chat_response(msgspec.json.decode(response), self.source)
        except (ValueError, RecursionError) as error:
            raise ProviderError(NOT_UNDERSTOOD) from error
        message.original_response = response
        return message

    async def _aask(self, parameters: dict[str, Any]) -> bytes:
        async with self._opening(await self._filtered(parameters), stream=False) as reply:
            return await reply.whole()

    async def _aask_stream(self, parameters: dict[str, Any]) -> AsyncIterator[Any]:
        opening = self._opening(await self._filtered(parameters), stream=True)
        return _Chunks(opening, await opening.__aenter__())

    def _ask(self, parameters: dict[str, Any]) -> bytes:
        answer: bytes = self._wait(self._aask(parameters))
        return answer

    def _ask_stream(self, parameters: dict[str, Any]) -> Iterator[Any]:
        return _Pulled(self, self._wait(self._aask_stream(parameters)))

    async def _filtered(self, parameters: dict[str, Any]) -> dict[str, Any]:
        """What filters of pipelines servers leave of a question: they see what the server asks by itself, too."""
        return await remote_filters.inlet(self._gate, self._principal, self._target, parameters)

    def _opening(self, parameters: dict[str, Any], *, stream: bool) -> AbstractAsyncContextManager[Reply]:
        payload = {k: v for k, v in parameters.items() if k != "model"} | {"stream": stream}
        return self._gate.chat(self._principal, self._target, payload, kind="task", patient=self._patient)

    def _wait(self, work: Coroutine[Any, Any, Any]) -> Any:
        """What the server's loop makes of `work`. Raises RuntimeError in the loop itself, which would wait for ever."""
        if threading.get_ident() == self._thread:
            work.close()
            raise RuntimeError("In the server's event loop a model is asked with async_run.")
        return asyncio.run_coroutine_threadsafe(work, self._loop).result()


class _Chunks:
    """The chunks of an opened reply, one by one. `aclose` ends it."""

    def __init__(self, opened: AbstractAsyncContextManager[Reply], reply: Reply) -> None:
        self._opened = opened
        self._batches = reply.batches()
        self._here: deque[bytes] = deque()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Any:
        while not self._here:
            self._here.extend(await anext(self._batches))
        return msgspec.json.decode(self._here.popleft())

    async def next(self) -> Any:
        """None at the end."""
        return await anext(self, None)

    async def aclose(self) -> None:
        await self._opened.__aexit__(None, None, None)


class _Pulled:
    """The same for another thread than the loop's."""

    def __init__(self, backend: ConnectionBackend, chunks: _Chunks) -> None:
        self._backend = backend
        self._chunks = chunks

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> Any:
        chunk = self._backend._wait(self._chunks.next())  # noqa: SLF001 -- of the same module
        if chunk is None:
            raise StopIteration
        return chunk

    def close(self) -> None:
        self._backend._wait(self._chunks.aclose())  # noqa: SLF001


class Asking(RetryBackend):
    """Another attempt only where the provider has not worked on the first one: what it may have begun may be paid, too."""

    def _pause(self, error: Exception, attempt: int) -> float | None:
        if isinstance(error, ProviderError) and not error.untouched:
            return None
        return super()._pause(error, attempt)
