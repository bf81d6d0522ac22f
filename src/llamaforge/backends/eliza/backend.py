"""The built-in listener as a backend: an answer is a pure function of the conversation so far."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from os import fspath
from typing import NamedTuple

from llamaforge.backends.base import (
    BackendInfo,
    BaseBackend,
    Content,
    Message,
    ModelPath,
    Parameters,
    Tools,
    as_messages,
    message_text,
)
from llamaforge.backends.eliza.engine import LAST_CHARACTERS, NAME, answer
from llamaforge.exceptions import ModelNotFoundError, ModelNotLoadedError, ParameterError

LAST_TURNS = 100
"""How many of the person's turns count: the last ones."""

LONGEST_DELAY = 10.0
"""The longest time between two words, in seconds."""

_NAMES = ("eliza", "doctor")  # the second is its name in earlier configurations


class _Settings(NamedTuple):
    upper: bool = False
    delay: float = 0.0

    def with_(self, parameters: Parameters | None) -> _Settings:
        """These settings with the given ones in their place; None leaves one as it is."""
        upper, delay = self.upper, self.delay
        given = parameters or {}
        if given.get("upper") is not None:
            upper = given["upper"]
            if not isinstance(upper, bool):
                raise ParameterError("'upper' must be true or false.")
        if given.get("delay") is not None:
            delay = given["delay"]
            if isinstance(delay, bool) or not isinstance(delay, int | float) or not math.isfinite(delay):
                raise ParameterError("'delay' must be a number of seconds.")
            if not 0 <= delay <= LONGEST_DELAY:
                raise ParameterError(f"'delay' must be from 0 to {LONGEST_DELAY:g} seconds.")
        return _Settings(upper, float(delay))


class ElizaBackend(BaseBackend):
    """A patient listener: rules that turn what a person says into a question, no language model.

    Parameters, at load or per call: `upper` (bool) answers in capitals; `delay` (seconds, 0 to 10) is the time between
    two streamed words. Others, such as `temperature`, have nothing to act on here and are ignored.
    """

    def __init__(self) -> None:
        super().__init__()
        self._settings: _Settings | None = None

    def load_model(self, model_path: ModelPath, parameters: Parameters | None = None) -> None:
        """Make ready; the only model is "eliza". Raises ModelNotFoundError, ParameterError."""
        name = fspath(model_path)
        if name.lower() not in _NAMES:
            raise ModelNotFoundError(f"Eliza has no model '{name}'; the only one is 'eliza'.")
        self._settings = _Settings().with_(parameters)

    def generate(self, prompt: str, parameters: Parameters | None = None) -> str:
        """The answer to `prompt` as the first thing a person says, or the opening line if it is blank."""
        return self.chat(_as_messages(prompt), parameters)

    def generate_stream(self, prompt: str, parameters: Parameters | None = None) -> Iterator[str]:
        """`generate`, word by word."""
        return self.chat_stream(_as_messages(prompt), parameters)

    def is_model_loaded(self) -> bool:
        """Whether `load_model` has been called."""
        return self._settings is not None

    def chat(self, messages: Sequence[Message], parameters: Parameters | None = None) -> str:
        """The answer to the person's last message; the opening line if there is none.

        Raises ModelNotLoadedError, and ParameterError for malformed messages or parameters.
        """
        return _reply(messages, upper=self._resolve(parameters).upper)

    def chat_stream(self, messages: Sequence[Message], parameters: Parameters | None = None) -> Iterator[str]:
        """`chat`, word by word, `delay` seconds apart. Errors are raised here, before the first word."""
        settings = self._resolve(parameters)
        return _spaced_out(_chunks(_reply(messages, upper=settings.upper)), settings.delay)

    async def achat_stream(
        self, messages: Sequence[Message], parameters: Parameters | None = None
    ) -> AsyncIterator[str]:
        """`chat_stream` on the event loop itself: an answer takes microseconds, so no thread is worth its cost."""
        settings = self._resolve(parameters)
        for index, chunk in enumerate(_chunks(_reply(messages, upper=settings.upper))):
            if index and settings.delay:
                await asyncio.sleep(settings.delay)
            yield chunk

    def count_tokens(self, content: Content, tools: Tools = ()) -> int:  # noqa: ARG002
        """The words of a text or of messages, which is what it reads."""
        texts = [content] if isinstance(content, str) else [message_text(message) for message in as_messages(content)]
        return sum(len(text.split()) for text in texts)

    def unload(self) -> None:
        """Forget the settings given at load."""
        self._settings = None

    @property
    def has_chat_template(self) -> bool:
        """Always: it converses, and nothing else."""
        return True

    def info(self) -> BackendInfo:
        """What it is, said plainly: rules, not a language model."""
        return BackendInfo(
            name="eliza",
            loaded=self.is_model_loaded(),
            model="eliza",
            description="A small program that listens and asks back, by rules; no language model.",
            details={"last_characters": LAST_CHARACTERS, "last_turns": LAST_TURNS},
        )

    def _resolve(self, parameters: Parameters | None) -> _Settings:
        if self._settings is None:
            raise ModelNotLoadedError
        return self._settings.with_(parameters)


def _reply(messages: Sequence[Message], *, upper: bool) -> str:
    """The answer to the last of the person's turns that count, oldest first."""
    turns: list[str] = []
    answers: list[str] = []
    last_remark = ""
    for message in reversed(as_messages(messages)):
        text = message_text(message)
        if message.get("role") == "user" and len(turns) < LAST_TURNS:
            turns.append(text[-LAST_CHARACTERS:])
        elif message.get("role") == "assistant":
            answers.append(text)
            if len(turns) == 1:
                last_remark = last_remark or text
    # Who sends no answers along has had the first one.
    named = any(NAME.lower() in text.lower() for text in answers if len(text) < LAST_CHARACTERS)
    reply = answer(turns[::-1], last_remark, introduced=named or (len(turns) > 1 and not answers))
    return reply.upper() if upper else reply


def _as_messages(prompt: str) -> list[Message]:
    if not isinstance(prompt, str):
        raise ParameterError("The prompt must be text.")
    return [{"role": "user", "content": prompt}] if prompt.strip() else []


def _chunks(text: str) -> list[str]:
    """The words, each with the space that follows it."""
    *words, last = text.split(" ")
    return [*(word + " " for word in words), last]


def _spaced_out(chunks: Sequence[str], delay: float) -> Iterator[str]:
    for index, chunk in enumerate(chunks):
        if index and delay:
            time.sleep(delay)
        yield chunk
