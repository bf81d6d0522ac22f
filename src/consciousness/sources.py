"""Where answers come from: backends that a program registers, models of this machine, connected servers."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

from consciousness.base import TextGenerationBackend, closed, text_of
from consciousness.endpoint import Endpoint
from llamaforge.exceptions import ParameterError

Kind = Literal["custom", "local", "connection"]
Message = Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Question:
    """What is asked. history: earlier messages of {role, content}. parameters: of sampling."""

    prompt: str
    history: Sequence[Message] = ()
    parameters: Mapping[str, Any] = field(default_factory=dict)

    @property
    def messages(self) -> list[Message]:
        """The history and the prompt as the user's last word."""
        return [*self.history, {"role": "user", "content": self.prompt}]

    @property
    def script(self) -> str:
        """All of it as one text, for a backend that takes a prompt only."""
        if not self.history:
            return self.prompt
        lines = [f"{message['role'].capitalize()}: {message['content']}" for message in self.messages]
        return "\n".join([*lines, "Assistant:"])


class Source(Protocol):
    """One model of one source."""

    async def answer(self, question: Question) -> str:
        """The whole answer."""
        ...

    def stream(self, question: Question) -> AsyncIterator[str]:
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

    async def answer(self, question: Question) -> str:
        backend = self.backend
        if _writes(backend, "generate_text"):
            return str(await backend.generate_text(question.script, question.parameters))
        parameters = question.parameters
        if isinstance(backend, TextGenerationBackend):
            parameters = backend.settings(parameters)
        return text_of(await backend.generate(prompt=question.script, model=self.name, **parameters))

    async def stream(self, question: Question) -> AsyncIterator[str]:
        if not _writes(self.backend, "generate_stream"):
            yield await self.answer(question)
            return
        async with closed(self.backend.generate_stream(question.script, question.parameters)) as pieces:
            async for piece in pieces:
                yield piece


@dataclass(frozen=True, slots=True)
class LocalSource:
    """A model of a forge."""

    name: str
    forge: Forge

    async def answer(self, question: Question) -> str:
        return await self.forge.achat(question.prompt, question.history, question.parameters, model=self.name)

    async def stream(self, question: Question) -> AsyncIterator[str]:
        stream = self.forge.achat_stream(question.prompt, question.history, question.parameters, model=self.name)
        async with closed(stream) as pieces:
            async for piece in pieces:
                yield piece


@dataclass(frozen=True, slots=True)
class Connection:
    """An OpenAI-compatible server. url: with or without "/v1". models: the ids it has, or None to ask it for them."""

    url: str
    api_key: str | None = field(default=None, repr=False)
    models: Sequence[str] | None = None

    def __post_init__(self) -> None:
        """Raises ParameterError for what is no address."""
        Endpoint(self.url)

    async def list_models(self, timeout: float) -> list[str]:
        """The ids it has. Raises ConnectionError, TimeoutError, APIError."""
        if self.models is not None:
            return list(self.models)
        found = (await Endpoint(self.url, self.api_key, timeout=timeout).get("/v1/models")).get("data")
        entries = found if isinstance(found, list) else []
        return [entry["id"] for entry in entries if isinstance(entry, dict) and isinstance(entry.get("id"), str)]


@dataclass(frozen=True, slots=True)
class ConnectionSource:
    """A model of a connected server. timeout: seconds without a word."""

    name: str
    connection: Connection
    timeout: float

    async def answer(self, question: Question) -> str:
        return await self._endpoint.complete("/v1/chat/completions", self._body(question))

    async def stream(self, question: Question) -> AsyncIterator[str]:
        async with closed(self._endpoint.stream("/v1/chat/completions", self._body(question))) as pieces:
            async for piece in pieces:
                yield piece

    @property
    def _endpoint(self) -> Endpoint:
        return Endpoint(self.connection.url, self.connection.api_key, timeout=self.timeout)

    def _body(self, question: Question) -> dict[str, Any]:
        return {**question.parameters, "model": self.name, "messages": question.messages}


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
