"""BaseModelBackend: the interface of everything that answers messages."""

from __future__ import annotations

import copy
from abc import ABC, abstractmethod
from collections.abc import AsyncGenerator, Generator, Iterable, Mapping
from typing import Any, Literal, Self, TypeAlias, overload

from llamaforge.exceptions import UnsupportedError
from synthora.callbacks import BaseCallBackHandler, get_callback_manager
from synthora.messages import BaseMessage, assistant
from synthora.types import ModelBackendType, Node, NodeType

Pieces: TypeAlias = Generator[BaseMessage, None, None]
AsyncPieces: TypeAlias = AsyncGenerator[BaseMessage, None]
# What a stream yields first, to the code that opens it: the request has been made.
OPENED = assistant("")


class BaseModelBackend(ABC):
    """A model, how to ask it, and who is told of it. Subclass ProviderBackend to add a provider, this one to wrap others.

    config: parameters of every request, by OpenAI's names; arguments of a call win over them. source: the node of this
    backend; the one it was made with is its ancestor. client: the provider's, None until it is needed.
    """

    def __init__(
        self,
        model_type: str,
        source: Node | None,
        backend_type: ModelBackendType,
        config: Mapping[str, Any] | None = None,
        name: str | None = None,
        handlers: Iterable[BaseCallBackHandler] | None = None,
    ) -> None:
        """name: of this backend, by default that of `source`, which is by default named as the model."""
        source = source or Node(name=model_type or "assistant", type=NodeType.AGENT)
        self.name = name or source.name
        self.model_type = model_type
        self.backend_type = backend_type
        self.config: dict[str, Any] = dict(config or {})
        self.source = Node(name=self.name, type=NodeType.MODEL, ancestor=source)
        self.callback_manager = get_callback_manager(handlers, self.source)
        self.client: Any = None

    @classmethod
    @abstractmethod
    def default(cls, *args: Any, **kwargs: Any) -> Self:
        """An instance with everything that is left out filled in: model_type, source, config, name, handlers."""
        raise NotImplementedError

    @overload
    @abstractmethod
    def run(self, messages: Any, *args: Any, stream: Literal[False], **kwargs: Any) -> BaseMessage: ...
    @overload
    @abstractmethod
    def run(self, messages: Any, *args: Any, stream: Literal[True], **kwargs: Any) -> Pieces: ...
    @overload
    @abstractmethod
    def run(self, messages: Any, *args: Any, **kwargs: Any) -> Any: ...
    @abstractmethod
    def run(self, messages: Any, *args: Any, **kwargs: Any) -> Any:
        """The answer to a message or a list of them: a BaseMessage, or a generator of them where streaming is wanted.

        Each message of a stream has the new piece in `chunk` and everything so far in `content`. The request is made by
        the call; closing or forgetting the generator ends it.

        kwargs: parameters of this request, over the configured ones; `stream` and `response_format` among them.
        """
        raise NotImplementedError

    @overload
    @abstractmethod
    async def async_run(self, messages: Any, *args: Any, stream: Literal[False], **kwargs: Any) -> BaseMessage: ...
    @overload
    @abstractmethod
    async def async_run(self, messages: Any, *args: Any, stream: Literal[True], **kwargs: Any) -> AsyncPieces: ...
    @overload
    @abstractmethod
    async def async_run(self, messages: Any, *args: Any, **kwargs: Any) -> Any: ...
    @abstractmethod
    async def async_run(self, messages: Any, *args: Any, **kwargs: Any) -> Any:
        """The same without blocking the event loop: a BaseMessage, or an asynchronous generator of them."""
        raise NotImplementedError

    def count_tokens(self, messages: Any, **kwargs: Any) -> int:  # noqa: ARG002 -- for those that can
        """How many tokens a request with these messages has, counted by the provider or the engine.

        kwargs: of the request; tools count, too. Raises UnsupportedError where nobody can count, and what `run` raises.
        """
        raise UnsupportedError(f"'{self.name}' can't count tokens.")

    async def async_count_tokens(self, messages: Any, **kwargs: Any) -> int:
        """The same without blocking the event loop."""
        return self.count_tokens(messages, **kwargs)

    @property
    def stream(self) -> bool:
        """Whether answers are streamed unless a call says otherwise."""
        return bool(self.config.get("stream", False))

    def set_stream(self, stream: bool) -> None:
        """Stream answers from now on, or don't."""
        self.config["stream"] = stream

    def add_handler(self, handler: BaseCallBackHandler, recursive: bool = True) -> None:  # noqa: ARG002
        """Tell a handler, too. recursive: for agents; a model has nothing below it. Raises TypeError."""
        self.callback_manager.add(handler)

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        """A backend of its own: with the same handlers, without the client."""
        twin = self.__class__.__new__(self.__class__)
        memo[id(self)] = twin
        for name, value in vars(self).items():
            if name == "callback_manager":
                manager = copy.copy(value)
                manager.handlers = list(value.handlers)
                setattr(twin, name, manager)
            else:
                setattr(twin, name, None if name == "client" else copy.deepcopy(value, memo))
        return twin
