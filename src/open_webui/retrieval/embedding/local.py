"""Embeddings by models of this machine: with onnxruntime in a child process, or with the engines that also answer."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import aiohttp
import msgspec

from open_webui.connections.local.models import LocalModels
from open_webui.connections.transport import encode_payload, read_all, refusal
from open_webui.errors import ProviderError
from open_webui.retrieval.embedding.base import Checked, in_batches, unlike
from open_webui.retrieval.onnx.folders import fingerprint
from open_webui.retrieval.onnx.runner import Runner

# Texts that an engine gets in one request.
_BATCH: Final = 16


class OnnxEmbedder:
    """A sentence model of a folder."""

    def __init__(self, runner: Runner, name: str, folder: Path, prefixes: tuple[str, str] = ("", "")) -> None:
        """prefixes: what questions and texts are preceded by, besides what the model's own files say."""
        self.signature = ":".join(("local", name, fingerprint(folder), *prefixes)).rstrip(":")
        self._runner = runner
        self._folder = folder
        self._prefixes = prefixes

    async def embed(self, texts: Sequence[str], *, query: bool = False) -> list[bytes]:
        """See `base.Embedder`."""
        once = unlike(texts)
        prefix = self._prefixes[0 if query else 1]
        vectors = await self._runner.embed(self._folder, [prefix + text for text in once], query=query)
        found = dict(zip(once, vectors, strict=True))
        return [found[text] for text in texts]

    async def close(self) -> None:
        """See `base.Embedder`. The process is others' too, and ends by itself."""


class EngineEmbedder:
    """A model for embeddings among the models of this machine, GGUF or Transformers, by its name."""

    def __init__(
        self, http: aiohttp.ClientSession, models: LocalModels, name: str, prefixes: tuple[str, str] = ("", "")
    ) -> None:
        """prefixes: what questions and texts are preceded by."""
        found = models.offers[name].found if name in models.offers else None
        state = "" if found is None else str(found.size)
        self.signature = ":".join(("llamaforge", name, state, *prefixes)).rstrip(":")
        self._http = http
        self._models = models
        self._name = name
        self._prefixes = prefixes
        self._checked = Checked(name)

    async def embed(self, texts: Sequence[str], *, query: bool = False) -> list[bytes]:
        """See `base.Embedder`."""
        prefix = self._prefixes[0 if query else 1]
        return await in_batches([prefix + text for text in texts], _BATCH, 1, self._asked)

    async def _asked(self, texts: Sequence[str]) -> list[bytes]:
        asked: dict[str, Any] = {"model": self._name, "input": list(texts)}
        path, sent = self._models.request_for(self._name, asked, "embeddings")
        body = encode_payload({**sent, "model": self._name})
        async with self._models.opened(self._http, self._name, (path, body), user="") as (lease, response):
            url = lease.url + path
            if response.status >= 300:
                raise await refusal(response, url)
            answer = await read_all(response, url)
        return self._checked.pack(vectors_of(answer, self._name), len(texts))

    async def close(self) -> None:
        """See `base.Embedder`. The engine is others' too, and ends by itself."""


class _Item(msgspec.Struct):
    embedding: list[float]
    index: int | None = None


class _Answer(msgspec.Struct):
    data: list[_Item]


def vectors_of(answer: bytes, name: str) -> list[list[float]]:
    """The vectors of an answer in OpenAI's form, in the order of the texts. Raises ProviderError."""
    try:
        items = msgspec.json.decode(answer, type=_Answer).data
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise ProviderError(f"The model {name} answered with something that are no embeddings.") from error
    if all(item.index is not None for item in items):
        items.sort(key=lambda item: item.index or 0)
    return [item.embedding for item in items]
