"""Sentence models and cross-encoders as the server sees them: calls to their child process."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import msgspec

from open_webui.env import Settings
from open_webui.errors import Unavailable
from open_webui.internal.child.process import Child, Refused
from open_webui.retrieval.onnx.calls import Call

MODULE: Final = "open_webui.retrieval.onnx"
# Texts of one call, and their characters: about a second's work, so that a question that comes meanwhile soon has its turn.
CALL_TEXTS: Final = 32
CALL_CHARACTERS: Final = 64_000
# More of a text than this no model here reads.
_TEXT_CHARACTERS: Final = 32_000
# Seconds for a call, in which a model may have to be loaded.
CALL_SECONDS: Final = 180.0
_MOST_THREADS: Final = 4


class Runner:
    """The child process. It is started by the first call, and ends after a while without any."""

    def __init__(self, settings: Settings) -> None:
        self.threads = _threads()
        given = {"OMP_NUM_THREADS": str(self.threads), "RAYON_NUM_THREADS": str(self.threads)}
        idle_seconds = settings.local_models_idle_seconds
        self._child = Child(MODULE, "The process of the embedding models", idle_seconds=idle_seconds, environment=given)

    async def embed(self, folder: Path, texts: Sequence[str], *, query: bool = False) -> list[bytes]:
        """The vectors of texts: float32, little-endian, of length 1. Raises Unavailable."""
        found: list[bytes] = []
        for part in _parts(texts):
            call = Call(str(folder), self.threads, part, query=query)
            found += await self._ask(call, list[bytes], first=query)
        return found

    async def score(self, folder: Path, query: str, texts: Sequence[str]) -> list[float]:
        """How well each text answers a query, from 0 to 1. Raises Unavailable."""
        found: list[float] = []
        for part in _parts(texts):
            call = Call(str(folder), self.threads, part, ranks_for=query[:_TEXT_CHARACTERS])
            found += await self._ask(call, list[float], first=True)
        return found

    async def close(self) -> None:
        """Ends the process."""
        await self._child.close()

    async def _ask(self, call: Call, kind: Any, *, first: bool) -> Any:
        try:
            answer = await self._child.call(msgspec.msgpack.encode(call), timeout=CALL_SECONDS, first=first)
        except Refused as error:
            raise Unavailable(str(error)) from error
        return msgspec.msgpack.decode(answer, type=kind)


def _threads() -> int:
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, min(_MOST_THREADS, cores))


def _parts(texts: Sequence[str]) -> list[list[str]]:
    """The texts in their order, as many in each part as one call may have."""
    parts: list[list[str]] = []
    characters = 0
    for text in texts:
        cut = text[:_TEXT_CHARACTERS]
        characters += len(cut)
        if not parts or len(parts[-1]) >= CALL_TEXTS or characters > CALL_CHARACTERS:
            parts.append([])
            characters = len(cut)
        parts[-1].append(cut)
    return parts
