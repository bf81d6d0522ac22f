"""What a generator returns: text that knows which model wrote it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping
from typing import Any, Self, cast

from consciousness.sources import Kind


class GeneratedText(str):
    """An answer, which is its text, and where it came from.

    model_id: the model that wrote it. requested_model: the one that was asked. failures: why those before it in the chain
    did not answer, by model.
    """

    __slots__ = ("failures", "model_id", "requested_model", "source")
    model_id: str
    requested_model: str
    source: Kind
    failures: dict[str, str]

    def __new__(
        cls, text: str, *, model_id: str, requested_model: str, source: Kind, failures: Mapping[str, str]
    ) -> Self:
        """source: what kind of place the model is in."""
        made = super().__new__(cls, text)
        made.model_id, made.requested_model, made.source = model_id, requested_model, source
        made.failures = dict(failures)
        return made

    @property
    def fallback(self) -> bool:
        """Whether another model than the one asked for wrote it."""
        return self.model_id != self.requested_model

    @property
    def metadata(self) -> dict[str, Any]:
        """All of that as a dictionary."""
        return {
            "model_id": self.model_id,
            "requested_model": self.requested_model,
            "source": self.source,
            "fallback": self.fallback,
            "failures": dict(self.failures),
        }


class GenerationStream(AsyncIterator[str]):
    """An answer in pieces. model_id, source, failures and fallback are known with the first piece.

    requested_model: the one that was asked; where none was named, it is known with the first piece, too.
    Models are tried until one has begun; what fails after that is raised, since another model can't go on with it.
    """

    def __init__(self, requested_model: str | None, pieces: Callable[[GenerationStream], AsyncIterator[str]]) -> None:
        self.requested_model: str | None = requested_model
        self.model_id: str | None = None
        self.source: Kind | None = None
        self.failures: dict[str, str] = {}
        self._pieces = pieces(self)

    @property
    def fallback(self) -> bool:
        """Whether another model than the one asked for writes."""
        return self.model_id is not None and self.model_id != self.requested_model

    async def __anext__(self) -> str:
        return await anext(self._pieces)

    async def aclose(self) -> None:
        """End the generation."""
        await cast("Any", self._pieces).aclose()
