"""What an engine for embeddings is, and what is checked of every vector."""

import array
import asyncio
import math
import sys
from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import Final, Protocol

from open_webui.errors import OuiError, ProviderError

# More than any model makes.
MAX_DIMENSIONS: Final = 16_384


class Embedder(Protocol):
    """Texts become vectors: packed float32, little-endian, of length 1. Those of one embedder have one dimension."""

    # Engine, model and whatever else makes its vectors others.
    signature: str

    async def embed(self, texts: Sequence[str], *, query: bool = False) -> list[bytes]:
        """A vector for each text, in order. query: they are questions, which some models take in another form.

        Raises ProviderError, Unavailable.
        """

    async def close(self) -> None:
        """Lets go of what it holds."""


class Checked:
    """Packs the vectors of one model, and refuses what can't be one."""

    def __init__(self, name: str) -> None:
        """name: of the model, as people read it."""
        self._name = name
        self._dimensions = 0

    def pack(self, vectors: Sequence[Sequence[float]], count: int) -> list[bytes]:
        """`count` vectors, each made one of length 1. Raises ProviderError for another number, another dimension than
        before, or a vector without a direction (zeros, or what is no number).
        """
        if len(vectors) != count:
            raise ProviderError(f"The model {self._name} gave {len(vectors)} vectors for {count} texts.")
        return [self._packed(vector) for vector in vectors]

    def _packed(self, vector: Sequence[float]) -> bytes:
        self._dimensions = self._dimensions or len(vector)
        if len(vector) != self._dimensions or not 0 < len(vector) <= MAX_DIMENSIONS:
            raise ProviderError(
                f"The model {self._name} gave a vector of {len(vector)} numbers, where others have {self._dimensions}."
            )
        length = math.hypot(*vector)
        if not 0 < length < math.inf:
            raise ProviderError(f"The model {self._name} gave a vector that has no direction.")
        packed = array.array("f", [number / length for number in vector])
        if sys.byteorder == "big":
            packed.byteswap()
        return packed.tobytes()


def unlike(texts: Iterable[str]) -> list[str]:
    """Each text once, in order."""
    return list(dict.fromkeys(texts))


async def in_batches(
    texts: Sequence[str], size: int, at_once: int, embed: Callable[[Sequence[str]], Awaitable[list[bytes]]]
) -> list[bytes]:
    """The vectors of texts, asked for in batches of `size`, `at_once` at a time. What one raises ends the others."""
    once = unlike(texts)
    batches = [once[at : at + size] for at in range(0, len(once), size)]
    found: dict[str, bytes] = {}
    waiting = iter(batches)

    async def work() -> None:
        for batch in waiting:
            found.update(zip(batch, await embed(batch), strict=True))

    try:
        async with asyncio.TaskGroup() as group:
            for _ in range(min(at_once, len(batches))):
                group.create_task(work())
    except* OuiError as errors:
        raise errors.exceptions[0] from None
    return [found[text] for text in texts]
