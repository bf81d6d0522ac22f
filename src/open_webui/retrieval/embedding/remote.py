"""Embeddings by providers: OpenAI and what speaks like it, Azure, Ollama."""

from collections.abc import Sequence
from typing import Any, Final

import aiohttp
import msgspec

from open_webui.connections.address import address_of
from open_webui.connections.services import call_service
from open_webui.errors import ProviderError
from open_webui.retrieval.embedding.base import Checked, in_batches
from open_webui.retrieval.embedding.local import vectors_of

# Requests at once where no number is set.
AT_ONCE: Final = 8
TIMEOUT: Final = 120.0


class Provider(msgspec.Struct, frozen=True, kw_only=True):
    """Where embeddings are asked for. kind: "openai", "azure_openai" or "ollama". version: Azure's, of its API.

    batch: texts of a request. at_once: requests at a time. prefixes: what questions and texts are preceded by.
    """

    kind: str
    url: str
    key: str
    model: str
    version: str = ""
    batch: int = 1
    at_once: int = AT_ONCE
    prefixes: tuple[str, str] = ("", "")


class _Ollama(msgspec.Struct):
    embeddings: list[list[float]]


class RemoteEmbedder:
    """A provider's model for embeddings."""

    def __init__(self, http: aiohttp.ClientSession, provider: Provider) -> None:
        self.signature = ":".join((provider.kind, provider.url, provider.model, *provider.prefixes)).rstrip(":")
        self._http = http
        self._provider = provider
        self._checked = Checked(provider.model)
        azure = provider.kind == "azure_openai"
        address = address_of(provider.url, azure=azure, version=provider.version)
        path = "/api/embed" if provider.kind == "ollama" else "/embeddings"
        self._url = address.of(path, provider.model)
        named = {"api-key": provider.key} if azure else {"authorization": f"Bearer {provider.key}"}
        self._headers = named if provider.key else {}

    async def embed(self, texts: Sequence[str], *, query: bool = False) -> list[bytes]:
        """See `base.Embedder`."""
        provider = self._provider
        prefix = provider.prefixes[0 if query else 1]
        return await in_batches([prefix + text for text in texts], provider.batch, provider.at_once, self._asked)

    async def _asked(self, texts: Sequence[str]) -> list[bytes]:
        asked: dict[str, Any] = {"model": self._provider.model, "input": list(texts)}
        answer = await call_service(
            self._http,
            "POST",
            self._url,
            headers=self._headers,
            payload=asked,
            timeout=TIMEOUT,
            secrets=(self._provider.key,),
        )
        return self._checked.pack(self._vectors(answer), len(texts))

    def _vectors(self, answer: bytes) -> list[list[float]]:
        name = self._provider.model
        if self._provider.kind != "ollama":
            return vectors_of(answer, name)
        try:
            return msgspec.json.decode(answer, type=_Ollama).embeddings
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise ProviderError(f"The model {name} answered with something that are no embeddings.") from error

    async def close(self) -> None:
        """See `base.Embedder`."""
