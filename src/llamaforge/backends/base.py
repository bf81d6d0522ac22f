"""The interface of a backend: four methods to write, the rest derived from them."""

from __future__ import annotations

import asyncio
import threading
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from os import PathLike
from typing import Any

from llamaforge.exceptions import ParameterError

Parameters = Mapping[str, Any]
Message = Mapping[str, Any]
ModelPath = str | PathLike[str]

_SPEAKERS = {"system": "System", "developer": "System", "user": "User", "assistant": "Assistant", "tool": "Tool"}


@dataclass(frozen=True, slots=True)
class BackendInfo:
    """What a backend says of itself."""

    name: str
    loaded: bool
    model: str | None = None
    description: str = ""
    details: Mapping[str, object] = field(default_factory=dict)


class BaseBackend(ABC):
    """A way to run a model. A subclass needs only the four abstract methods.

    `parameters` given to `load_model` are the model's own; those given to a generation apply to that call.
    A generation before a model is loaded raises ModelNotLoadedError (a RuntimeError).
    """

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

    def chat(self, messages: Sequence[Message], parameters: Parameters | None = None) -> str:
        """The assistant's next turn. A backend without a chat of its own continues the messages as one prompt."""
        return self.generate(messages_to_prompt(messages), parameters)

    def chat_stream(self, messages: Sequence[Message], parameters: Parameters | None = None) -> Iterator[str]:
        """`chat` in pieces."""
        return self.generate_stream(messages_to_prompt(messages), parameters)

    async def achat_stream(
        self, messages: Sequence[Message], parameters: Parameters | None = None
    ) -> AsyncIterator[str]:
        """`chat_stream` without blocking the event loop: each piece is fetched in a thread of the default pool.

        Cancelling returns at once. The engine cannot be interrupted within a piece: its iterator is closed in the
        background as soon as that piece is done, and never while it runs.
        """
        source = _ThreadedIterator(lambda: self.chat_stream(messages, parameters))
        try:
            while (chunk := await asyncio.to_thread(source.next)) is not None:
                yield chunk
        finally:
            source.close_soon()

    def unload(self) -> None:
        """Let go of the model. A backend that holds nothing worth freeing need not do anything."""
        return

    def info(self) -> BackendInfo:
        """Name, state and whatever else the backend tells about itself."""
        return BackendInfo(name=type(self).__name__, loaded=self.is_model_loaded())


def message_text(message: Message) -> str:
    """The words of a message: its text, or the text parts of a list, one a line; anything else is passed over.

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
    """Messages as a script of named lines that ends where the assistant is to speak."""
    lines = []
    for message in as_messages(messages):
        text = message_text(message)
        if text:
            speaker = _SPEAKERS.get(str(message.get("role")), "User")
            lines.append(f"{speaker}: {text}")
    lines.append("Assistant:")
    return "\n".join(lines)


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


class _ThreadedIterator:
    """A blocking iterator whose steps and closing come from different threads, never two at once."""

    def __init__(self, start: Callable[[], Iterator[str]]) -> None:
        self._start = start
        self._iterator: Iterator[str] | None = None
        self._closed = False
        self._lock = threading.Lock()

    def next(self) -> str | None:
        """The next piece, or None at the end. Blocks: call it in a thread."""
        with self._lock:
            if self._closed:
                return None
            if self._iterator is None:
                self._iterator = iter(self._start())
            return next(self._iterator, None)

    def close_soon(self) -> None:
        """Close the iterator now if it rests, else in a thread once its present step is over."""
        if self._lock.acquire(blocking=False):
            try:
                self._close()
            finally:
                self._lock.release()
        else:
            threading.Thread(target=self._close_when_free, daemon=True).start()

    def _close_when_free(self) -> None:
        with self._lock:
            self._close()

    def _close(self) -> None:
        self._closed = True
        close = getattr(self._iterator, "close", None)
        if close is not None:
            close()
