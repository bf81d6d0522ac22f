"""LlamaForgeBackend: any model that llamaforge can run or reach, without a server between."""

from __future__ import annotations

import threading
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping
from os import PathLike
from typing import TYPE_CHECKING, Any, Self

from synthora.callbacks import BaseCallBackHandler
from synthora.messages import BaseMessage
from synthora.models.profile import Profile
from synthora.models.provider import Json, ProviderBackend
from synthora.types import ModelBackendType, Node

if TYPE_CHECKING:
    from llamaforge import LlamaForge

# What llamaforge is told in another way, or tells by itself.
_NOT_PARAMETERS = frozenset(("model", "messages", "stream", "stream_options"))


class LlamaForgeBackend(ProviderBackend):
    """`config` has generation parameters by llamaforge's or OpenAI's names; the model is loaded with the first request.

    `async_run` doesn't block the event loop, and cancelling it ends the generation.
    """

    def __init__(  # noqa: PLR0917 -- in the order of the other backends
        self,
        model_type: str,
        forge: LlamaForge | None = None,
        config_path: str | PathLike[str] | None = None,
        source: Node | None = None,
        config: Mapping[str, Any] | None = None,
        name: str | None = None,
        handlers: Iterable[BaseCallBackHandler] | None = None,
        load_parameters: Mapping[str, Any] | None = None,
    ) -> None:
        """model_type: a model by its name, or the path of a file or folder, as `LlamaForge.load_model` takes it.

        forge: whose models they are; it stays the caller's to close, and its current model the same. Without it, one of
        this backend's own, with the configuration at `config_path`; `close()` closes it. load_parameters: for loading the
        model (n_ctx, ...): each request has a model that was loaded with them, over the stored ones.
        """
        super().__init__(model_type, source, ModelBackendType.LLAMAFORGE, config, name, handlers)
        # Chat templates take thoughts under this name.
        self.profile = Profile(returns_reasoning="reasoning_content")
        self._forge = forge
        self._config_path = config_path
        self._load_parameters = dict(load_parameters) if load_parameters else None
        self._lock = threading.RLock()

    @classmethod
    def default(cls, model_type: str, *args: Any, **kwargs: Any) -> Self:
        """As the constructor; there is no model that everybody has."""
        return cls(model_type, *args, **kwargs)

    def close(self) -> None:
        """Let go of the models of a forge of one's own."""
        with self._lock:
            forge, self.client = self.client, None
        if forge is not None and forge is not self._forge:
            forge.close()

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        """A backend of its own, with the same forge if one was given."""
        for shared in (self._forge, self._lock):
            memo[id(shared)] = shared
        twin = super().__deepcopy__(memo)
        twin._lock = threading.RLock()  # noqa: SLF001 -- of the same class
        return twin

    def _models(self) -> LlamaForge:
        with self._lock:
            if self.client is None:
                from llamaforge import LlamaForge  # noqa: PLC0415 -- brings its configuration and plugins

                self.client = self._forge or LlamaForge(self._config_path)
            forge: LlamaForge = self.client
            return forge

    def _asked(self, parameters: Json) -> Json:
        """What the forge is called with."""
        given = {name: value for name, value in parameters.items() if name not in _NOT_PARAMETERS}
        about = {"model": self.model_type, "load_parameters": self._load_parameters}
        return {"messages": parameters["messages"], "parameters": given, **about}

    def count_tokens(self, messages: Any, **kwargs: Any) -> int:
        """As the model's own tokenizer and chat template make them; the model is loaded if need be."""
        return self._models().count_tokens(**self._counted(messages, kwargs))

    async def async_count_tokens(self, messages: Any, **kwargs: Any) -> int:
        """The same without blocking the event loop."""
        return await self._models().acount_tokens(**self._counted(messages, kwargs))

    def _counted(self, messages: Any, given: Json) -> Json:
        asked = self._asked(self._request(messages, {**given, "stream": False}).parameters)
        about = {name: asked[name] for name in ("model", "load_parameters")}
        return {"content": asked["messages"], "tools": asked["parameters"].get("tools", ()), **about}

    def _ask(self, parameters: Json) -> Json:
        return self._models().chat_completion(**self._asked(parameters))

    def _ask_stream(self, parameters: Json) -> Iterator[Json]:
        return self._models().chat_completion_stream(**self._asked(parameters))

    async def _aask(self, parameters: Json) -> Any:
        """The last message of the stream: of a whole answer in a thread, nothing could end the generation."""
        message: BaseMessage | None = None
        chunks = await self._aask_stream(parameters)
        try:
            async for chunk in chunks:
                message = self._next_message(chunk, message)
        finally:
            await chunks.aclose()  # type: ignore[attr-defined]
        return message

    def _message(self, response: Any) -> BaseMessage:
        if isinstance(response, BaseMessage):
            response.chunk = None
            return response
        return super()._message(response)

    async def _aask_stream(self, parameters: Json) -> AsyncIterator[Json]:
        return self._models().achat_completion_stream(**self._asked(parameters))
