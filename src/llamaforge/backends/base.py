"""The interface of a backend: four methods to write, the rest derived from them."""

from __future__ import annotations

import types
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from os import PathLike
from typing import Any, ClassVar, cast

from llamaforge.exceptions import ParameterError, UnsupportedError
from llamaforge.formats import completions
from llamaforge.formats.request import Kind, Request, checked_messages
from llamaforge.memory.devices import RAM
from llamaforge.parameters import Parameter
from llamaforge.threads import call, in_thread

Parameters = Mapping[str, Any]
Message = Mapping[str, Any]
Content = str | Sequence[Message]  # a prompt, or a chat
Tools = Sequence[Mapping[str, Any]]
ModelPath = str | PathLike[str]
PATHS: Mapping[Kind, str] = {
    "chat": "/v1/chat/completions",
    "completion": "/v1/completions",
    "embeddings": "/v1/embeddings",
}
# Of the server that a process runs around a backend without one of its own: see `BaseBackend.alive_path`.
ALIVE_PATH = "/alive"
# Where the process of a model counts the tokens of a chat, asked with the body of one, and where it tells and joins them.
COUNT_PATH = f"{PATHS['chat']}/input_tokens"
TOKENIZE_PATH, DETOKENIZE_PATH = "/tokenize", "/detokenize"

_MOST_TOKENS = 2**31
_SPEAKERS = {"system": "System", "developer": "System", "user": "User", "assistant": "Assistant", "tool": "Tool"}


@dataclass(frozen=True, slots=True)
class BackendInfo:
    """What a backend says of itself."""

    name: str
    loaded: bool
    model: str | None = None
    description: str = ""
    details: Mapping[str, object] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where a loaded model answers HTTP in OpenAI's shapes: "http://127.0.0.1:4711" and the key it asks for."""

    url: str
    api_key: str = field(repr=False)


class BaseBackend(ABC):
    """A way to run a model. A subclass needs only the four abstract methods.

    `parameters` given to `load_model` are the model's own; those given to a generation apply to that call.
    A generation before a model is loaded raises ModelNotLoadedError (a RuntimeError). Closing an iterator of a
    generation (or cancelling the task that awaits one) ends the generation.

    load_parameters, generation_parameters: what the two take, or None where the class checks by itself and may take
    anything. With them, parameters stored with a model are told apart: those of a load from the defaults of a generation.
    """

    load_parameters: ClassVar[tuple[Parameter, ...] | None] = None
    generation_parameters: ClassVar[tuple[Parameter, ...] | None] = None

    # ---- what a subclass writes

    @abstractmethod
    def load_model(self, model_path: ModelPath, parameters: Parameters | None = None) -> None:
        """Make the model at `model_path` ready to generate."""
        raise NotImplementedError

    @abstractmethod
    def generate(self, prompt: str, parameters: Parameters | None = None) -> str:
        """The whole continuation of `prompt`."""
        raise NotImplementedError

    @abstractmethod
    def generate_stream(self, prompt: str, parameters: Parameters | None = None) -> Iterator[str]:
        """The continuation of `prompt` in pieces, whose concatenation is the whole."""
        raise NotImplementedError

    @abstractmethod
    def is_model_loaded(self) -> bool:
        """Whether a generation can be asked for."""
        raise NotImplementedError

    # ---- over messages

    def chat(self, messages: Sequence[Message], parameters: Parameters | None = None) -> str:
        """The assistant's next turn. A backend without a chat of its own continues the messages as one prompt."""
        return self.generate(messages_to_prompt(messages), parameters)

    def chat_stream(self, messages: Sequence[Message], parameters: Parameters | None = None) -> Iterator[str]:
        """`chat` in pieces."""
        return self.generate_stream(messages_to_prompt(messages), parameters)

    # ---- in OpenAI's shapes, with what plain text has no place for: tool calls, finish reason, usage

    def completion(self, prompt: str, parameters: Parameters | None = None) -> dict[str, Any]:
        """`generate` as an OpenAI completion."""
        return completions.text_completion(self.generate(prompt, parameters), self._model_name())

    def completion_stream(self, prompt: str, parameters: Parameters | None = None) -> Iterator[dict[str, Any]]:
        """`generate_stream` as the chunks of an OpenAI completion; the last one may carry the usage."""
        return completions.text_chunks(self.generate_stream(prompt, parameters), self._model_name())

    def chat_completion(self, messages: Sequence[Message], parameters: Parameters | None = None) -> dict[str, Any]:
        """`chat` as an OpenAI chat completion."""
        return completions.chat_completion(self.chat(messages, parameters), self._model_name())

    def chat_completion_stream(
        self, messages: Sequence[Message], parameters: Parameters | None = None
    ) -> Iterator[dict[str, Any]]:
        """`chat_stream` as the chunks of an OpenAI chat completion; the last one may carry the usage."""
        return completions.chat_chunks(self.chat_stream(messages, parameters), self._model_name())

    def embed(self, texts: Sequence[str], parameters: Parameters | None = None) -> list[list[float]]:  # noqa: ARG002
        """A vector for each text. Raises UnsupportedError where the backend makes none."""
        raise UnsupportedError(f"{type(self).__name__} makes no embeddings.")

    # ---- tokens

    def count_tokens(self, content: Content, tools: Tools = ()) -> int:  # noqa: ARG002
        """How many tokens a prompt, or messages with the tools that the model is told of, have for the model.

        Raises UnsupportedError where the backend can't tell.
        """
        raise UnsupportedError(f"{type(self).__name__} can't count tokens.")

    def tokenize(self, text: str) -> list[int]:  # noqa: ARG002
        """The tokens of `text` by itself, without those that begin or end a prompt. Raises UnsupportedError, as above."""
        raise UnsupportedError(f"{type(self).__name__} can't tell the tokens of a text.")

    def detokenize(self, tokens: Sequence[int]) -> str:  # noqa: ARG002
        """The text of `tokens`, special ones included. Raises UnsupportedError, and ParameterError for what are none."""
        raise UnsupportedError(f"{type(self).__name__} can't tell the text of tokens.")

    # ---- without blocking the event loop

    async def agenerate(self, prompt: str, parameters: Parameters | None = None) -> str:
        """`generate`; cancelling ends the generation with its present piece."""
        return "".join([piece async for piece in self.agenerate_stream(prompt, parameters)])

    def agenerate_stream(self, prompt: str, parameters: Parameters | None = None) -> AsyncIterator[str]:
        """`generate_stream`, each piece fetched in a thread."""
        return in_thread(lambda: self.generate_stream(prompt, parameters))

    async def achat(self, messages: Sequence[Message], parameters: Parameters | None = None) -> str:
        """`chat`; cancelling ends the generation with its present piece."""
        return "".join([piece async for piece in self.achat_stream(messages, parameters)])

    def achat_stream(self, messages: Sequence[Message], parameters: Parameters | None = None) -> AsyncIterator[str]:
        """`chat_stream`, each piece fetched in a thread."""
        return in_thread(lambda: self.chat_stream(messages, parameters))

    def achat_completion_stream(
        self, messages: Sequence[Message], parameters: Parameters | None = None
    ) -> AsyncIterator[dict[str, Any]]:
        """`chat_completion_stream`, each chunk fetched in a thread."""
        return in_thread(lambda: self.chat_completion_stream(messages, parameters))

    async def aembed(self, texts: Sequence[str], parameters: Parameters | None = None) -> list[list[float]]:
        """`embed` in a thread."""
        return await call(self.embed, texts, parameters)

    async def acount_tokens(self, content: Content, tools: Tools = ()) -> int:
        """`count_tokens` in a thread."""
        return await call(self.count_tokens, content, tools)

    async def atokenize(self, text: str) -> list[int]:
        """`tokenize` in a thread."""
        return await call(self.tokenize, text)

    async def adetokenize(self, tokens: Sequence[int]) -> str:
        """`detokenize` in a thread."""
        return await call(self.detokenize, tokens)

    # ---- over HTTP

    @classmethod
    def http_request(cls, request: Request, load: Parameters) -> tuple[str, dict[str, Any]]:  # noqa: ARG003
        """The path and body with which the process of a model that was loaded with `load` is asked.

        Raises ParameterError, UnsupportedError.
        """
        return PATHS[request.kind], request.body()

    @classmethod
    def check_calls_tools(cls, path: str, load: Parameters) -> None:  # noqa: ARG003 -- for backends that can tell
        """Raises UnsupportedError for a model, loaded with `load`, that can't be made to call a tool."""
        return

    @classmethod
    def rerank_path(cls, load: Parameters) -> str | None:  # noqa: ARG003 -- for backends that can
        """The path at which a model's process ranks documents (see formats.rerank); None where the model doesn't."""
        return None

    # ---- the model

    def unload(self) -> None:
        """Let go of the model. A backend that holds nothing worth freeing need not do anything."""
        return

    @property
    def has_chat_template(self) -> bool:
        """Whether the loaded model was made for conversations, so that a question is asked by `chat`, not `generate`."""
        return False

    @classmethod
    def memory_device(cls, parameters: Parameters) -> str:  # noqa: ARG003 -- for backends that use others
        """Where a model loaded with `parameters` takes its memory: "ram", or a device as torch calls it, "cuda:0"."""
        return RAM

    @property
    def endpoint(self) -> Endpoint | None:
        """The HTTP server of the loaded model, where the engine brings one."""
        return None

    @classmethod
    def alive_path(cls) -> str | None:
        """What of the model's HTTP server answers a GET only if its computing goes on; None where nothing is known to."""
        return ALIVE_PATH if cls.endpoint is BaseBackend.endpoint else None

    def info(self) -> BackendInfo:
        """Name, state and whatever else the backend tells about itself."""
        return BackendInfo(name=type(self).__name__, loaded=self.is_model_loaded())

    def _model_name(self) -> str:
        return self.info().model or type(self).__name__


def checked_tokens(tokens: object) -> list[int]:
    """`tokens` as a list, if they are whole numbers that tokens could be. Raises ParameterError."""
    if isinstance(tokens, Sequence) and not isinstance(tokens, str | bytes):
        numbers = list(tokens)
        if all(type(number) is int and 0 <= number < _MOST_TOKENS for number in numbers):
            return numbers
    raise ParameterError("The tokens must be a list of whole numbers that are not negative.")


def checked_text(text: object) -> str:
    """`text` if it is text. Raises ParameterError."""
    if isinstance(text, str):
        return text
    raise ParameterError("What is to be told in tokens must be text.")


def checked_texts(texts: object) -> list[str]:
    """`texts` as a list, if they are a list of texts; a text alone is none. Raises ParameterError."""
    if isinstance(texts, Sequence) and not isinstance(texts, str) and all(isinstance(text, str) for text in texts):
        return list(texts)
    raise ParameterError("The texts must be a list of texts.")


def full_class(cls: type) -> type[BaseBackend]:
    """`cls` itself, or for one that only has the four methods, a class derived from it that has all the rest, too."""
    if issubclass(cls, BaseBackend):
        return cls
    return cast("type[BaseBackend]", types.new_class(cls.__name__, (cls, BaseBackend)))


def message_text(message: Message) -> str:
    """The words of a message: its text, or the text parts of a list, one a line; anything else is passed over.

    For the built-in listener, to whom a picture says nothing. What a model is asked goes through `checked_messages`.
    Raises ParameterError when the message is not a mapping or its content has no form known to chat APIs.
    """
    if not isinstance(message, Mapping):
        raise ParameterError("Each message must be an object with 'role' and 'content'.")
    content = message.get("content")
    if content is None:
        return ""
    if isinstance(content, str):
        return content
    if isinstance(content, list | tuple):
        return "\n".join(text for text in map(_part_text, content) if text)
    raise ParameterError("The content of a message must be text, a list of parts, or null.")


def messages_to_prompt(messages: Sequence[Message]) -> str:
    """Messages as a script of named lines that ends where the assistant is to speak.

    Raises ParameterError for what are no messages, UnsupportedError for a part that is no text.
    """
    said = [(message["role"], message["content"]) for message in checked_messages(messages)]
    lines = [f"{_SPEAKERS.get(role, 'User')}: {content}" for role, content in said if content]
    return "\n".join([*lines, "Assistant:"])


def as_messages(messages: object) -> Sequence[Message]:
    """`messages` itself if it is a list of messages. Raises ParameterError for text and other mistakes."""
    if isinstance(messages, Sequence) and not isinstance(messages, str | bytes):
        return messages
    raise ParameterError("The messages must be a list.")


def _part_text(part: object) -> str:
    """The text of one part of a message's content; images and the like have none."""
    if isinstance(part, str):
        return part
    if isinstance(part, Mapping):
        text = part.get("text")
        if isinstance(text, str):
            return text
    return ""
