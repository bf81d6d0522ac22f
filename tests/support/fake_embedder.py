"""An embedder without a model: texts that share words are near, and so are those that share a thing under other words."""

import hashlib
import math
import re
import struct
from collections.abc import Sequence

from open_webui.errors import Unavailable

DIMENSIONS = 64
# What is one thing for it.
SAME = {"car": "automobile", "cars": "automobile", "physician": "doctor", "buy": "purchase"}


class FakeEmbedder:
    """Vectors of hashed words. fails: while true, nothing is embedded."""

    def __init__(self, signature: str = "fake", dimensions: int = DIMENSIONS) -> None:
        self.signature = signature
        self.dimensions = dimensions
        self.fails = False
        self.asked: list[str] = []

    async def embed(self, texts: Sequence[str], *, query: bool = False) -> list[bytes]:  # noqa: ARG002
        if self.fails:
            raise Unavailable("The engine is away.")
        self.asked += texts
        return [vector(text, self.dimensions) for text in texts]

    async def close(self) -> None:
        pass


def vector(text: str, dimensions: int = DIMENSIONS) -> bytes:
    numbers = [1e-3] * dimensions
    for word in re.findall(r"\w+", text.lower()):
        digest = hashlib.sha256(SAME.get(word, word).encode()).digest()
        for k in range(0, 8, 2):
            numbers[int.from_bytes(digest[k : k + 2]) % dimensions] += 1 if digest[k + 8] % 2 else -1
    return unit(numbers)


def unit(numbers: Sequence[float]) -> bytes:
    length = math.sqrt(sum(x * x for x in numbers))
    return struct.pack(f"<{len(numbers)}f", *(x / length for x in numbers))


class FakeReranker:
    """Gives what shares the most letters with the question the highest score; from 0 to 1."""

    def __init__(self) -> None:
        self.fails = False
        self.asked: list[tuple[str, int]] = []

    async def score(self, query: str, texts: Sequence[str]) -> list[float]:
        if self.fails:
            raise Unavailable("The reranker is away.")
        self.asked.append((query, len(texts)))
        words = set(re.findall(r"\w+", query.lower()))
        return [len(words & set(re.findall(r"\w+", text.lower()))) / max(1, len(words)) for text in texts]
