"""The interface of a backend that writes text under an emotional state: one method to write, the rest derived from it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from types import MappingProxyType
from typing import Any

from consciousness.emotions import checked_state
from consciousness.express import Settings, adjusted
from llamaforge.exceptions import GenerationError, ParameterError

Parameters = Mapping[str, Any]


class TextGenerationBackend(ABC):
    """A way to write text. A subclass needs only `generate`; one that streams also writes `generate_stream`.

    emotional_modifiers: the present state; `update_emotional_parameters` changes it.
    """

    emotional_modifiers: Mapping[str, float] = MappingProxyType({})

    @abstractmethod
    async def generate(self, prompt: str, model: str | None = None, **kwargs: Any) -> Any:
        """An answer to `prompt`: text, or an object with the text as its `text`. kwargs: parameters of sampling."""
        raise NotImplementedError

    async def generate_text(self, prompt: str, parameters: Parameters | None = None) -> str:
        """An answer to `prompt`, drawn with `parameters` under the present state. Raises what `generate` raises."""
        return text_of(await self.generate(prompt, **self.settings(parameters)))

    async def generate_stream(self, prompt: str, parameters: Parameters | None = None) -> AsyncIterator[str]:
        """The same in pieces: one, unless a subclass does better."""
        yield await self.generate_text(prompt, parameters)

    def supports_streaming(self) -> bool:
        """Whether an answer comes in more than one piece."""
        return type(self).generate_stream is not TextGenerationBackend.generate_stream

    def update_emotional_parameters(self, emotional_state: Mapping[str, float]) -> None:
        """Put this state in the place of the former; an empty one means no state.

        emotional_state: intensities from 0 to 1 of the eight emotions, and `creativity`.
        Raises ParameterError (a ValueError) for anything else, the former state staying.
        """
        self.emotional_modifiers = MappingProxyType(checked_state(emotional_state))

    def settings(self, parameters: Parameters | None = None) -> Settings:
        """The keywords that `generate` gets: the parameters, changed by the state. Raises ParameterError."""
        return adjusted(parameters, self.emotional_modifiers)


def text_of(answer: Any) -> str:
    """The text of what a `generate` returned. Raises GenerationError where there is none."""
    text = answer if isinstance(answer, str) else getattr(answer, "text", None)
    if not isinstance(text, str):
        raise GenerationError(f"The backend returned {type(answer).__name__} instead of text.")
    return text


@asynccontextmanager
async def closed(pieces: AsyncIterator[str]) -> AsyncIterator[AsyncIterator[str]]:
    """Closes an iterator in the end, if it can be: one that is left in the middle ends its generation now, not some day."""
    try:
        yield pieces
    finally:
        if hasattr(pieces, "aclose"):
            await pieces.aclose()


def checked_prompt(prompt: object) -> str:
    """`prompt` if it is text. Raises ParameterError."""
    if not isinstance(prompt, str):
        raise ParameterError("The prompt must be text.")
    return prompt
