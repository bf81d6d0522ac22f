"""Where answers come from: backends that a program registers, models of this machine, connected servers."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

from consciousness.base import TextGenerationBackend, closed, text_of
from llamaforge.backends.openai_api import OpenAIBackend, checked_address
from llamaforge.exceptions import ParameterError

Kind = Literal["custom", "local", "connection"]
Message = Mapping[str, str]


@dataclass(frozen=True, slots=True)
class GenerationRequest:
    """What is asked. history: earlier messages of {role, content}. parameters: of sampling."""

    prompt: str
    history: Sequence[Message] = ()
    parameters: Mapping[str, Any] = field(default_factory=dict)

    @property
    def messages(self) -> list[Message]:
        """The history and the prompt as the user's last word."""
        return [*self.history, {"role": "user", "content": self.prompt}]

    @property
    def as_prompt(self) -> str:
        """All of it as one text, for a backend that takes a prompt only."""
        if not self.history:
            return self.prompt
        lines = [f"{message['role'].capitalize()}: {message['content']}" for message in self.messages]
        return "\n".join([*lines, "Assistant:"])


class Source(Protocol):
    """One model of one source."""

    async def answer(self, request: GenerationRequest) -> str:
        """The whole answer."""
        ...

    def stream(self, request: GenerationRequest) -> AsyncIterator[str]:
        """The answer in pieces."""
        ...


class Forge(Protocol):
    """What is used of llamaforge.LlamaForge."""

    def list_models(self) -> list[str]:
        """The names of the models there are."""
        ...

    def is_model_available(self, name: str) -> bool:
        """Whether it is one of them, or lies on this machine under that name."""
        ...

    async def achat(
        self, user_input: Any, chat_history: Any = None, parameters: Any = None, *, model: str | None = None
    ) -> str:
        """An answer."""
        ...

    def achat_stream(
        self, user_input: Any, chat_history: Any = None, parameters: Any = None, *, model: str | None = None
    ) -> AsyncIterator[str]:
        """An answer in pieces."""
        ...


@dataclass(frozen=True, slots=True)
class CustomSource:
    """A registered backend. One with a `generate_text` of its own is asked by it; else `generate` gets the model's name."""

    name: str
    backend: Any

    async def answer(self, request: GenerationRequest) -> str:
        backend = self.backend
        if _writes(backend, "generate_text"):
            return str(await backend.generate_text(request.as_prompt, request.parameters))
        parameters = request.parameters
        if isinstance(backend, TextGenerationBackend):
            parameters = backend.settings(parameters)
        return text_of(await backend.generate(prompt=request.as_prompt, model=self.name, **parameters))

    async def stream(self, request: GenerationRequest) -> AsyncIterator[str]:
        if not _writes(self.backend, "generate_stream"):
            yield await self.answer(request)
            return
        async with closed(self.backend.generate_stream(request.as_prompt, request.parameters)) as pieces:
            async for piece in pieces:
                yield piece


@dataclass(frozen=True, slots=True)
class LocalSource:
    """A model of a forge."""

    name: str
    forge: Forge

    async def answer(self, request: GenerationRequest) -> str:
        return await self.forge.achat(request.prompt, request.history, request.parameters, model=self.name)

    def stream(self, request: GenerationRequest) -> AsyncIterator[str]:
        return self.forge.achat_stream(request.prompt, request.history, request.parameters, model=self.name)


@dataclass(frozen=True, slots=True)
class Connection:
    """An OpenAI-compatible server. url: with or without "/v1". models: the ids it has, or None to ask it for them."""

    url: str
    api_key: str | None = field(default=None, repr=False)
    models: Sequence[str] | None = None

    def __post_init__(self) -> None:
        """Raises ParameterError for what is no address."""
        api_base(self.url)

    def backend(self, model: str, timeout: float) -> OpenAIBackend:
        """One of its models. timeout: seconds without a byte. Blocks for the import of the SDK; nothing is sent.

        Raises MissingExtraError without the SDK.
        """
        return connected(self.url, self.api_key, model, timeout)

    def list_models(self) -> list[str]:
        """The ids it has. Blocks for five seconds at most. Raises APIConnectionError, APITimeoutError, APIError."""
        if self.models is not None:
            return list(self.models)
        backend = self.backend("models", 5.0)
        try:
            return backend.list_models()
        finally:
            backend.unload()


@dataclass(frozen=True, slots=True)
class ConnectionSource:
    """A model of a connected server."""

    backend: OpenAIBackend

    async def answer(self, request: GenerationRequest) -> str:
        return await self.backend.achat(request.messages, request.parameters)

    def stream(self, request: GenerationRequest) -> AsyncIterator[str]:
        return self.backend.achat_stream(request.messages, request.parameters)


def api_base(url: str) -> str:
    """The address of a server's API, with its "/v1". Raises ParameterError for what is no address."""
    checked_address(url)
    return url.rstrip("/").removesuffix("/v1").rstrip("/") + "/v1"


def connected(url: str, api_key: str | None, model: str, timeout: float) -> OpenAIBackend:
    """A model of an OpenAI-compatible server; each request is sent once."""
    backend = OpenAIBackend()
    key = {"api_key": api_key} if api_key else {}
    backend.load_model(model, {"api_base": api_base(url), "timeout": timeout, "max_retries": 0, **key})
    return backend


def checked_backend(backend: object) -> object:
    """`backend` if it can write text. Raises ParameterError."""
    if isinstance(backend, type) or not callable(getattr(backend, "generate", None)):
        raise ParameterError(
            "A backend must be an object with an asynchronous method 'generate(prompt, model, **kwargs)'."
        )
    return backend


def _writes(backend: object, method: str) -> bool:
    """Whether the backend has this method itself, rather than by derivation from `generate`."""
    own = getattr(type(backend), method, None)
    return own is not None and own is not getattr(TextGenerationBackend, method)
