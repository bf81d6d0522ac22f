"""Ollama servers: their models, their chat by way of ollama_wire.py, and calls that are passed through."""

import contextlib
from collections.abc import AsyncIterator, Callable
from datetime import datetime
from typing import Any, Self

import aiohttp
import msgspec

from llamaforge.events import Event
from llamaforge.events.openai import notice_of
from open_webui.connections.address import address_of
from open_webui.connections.base import Kind, ModelEntry, Reply, Tell
from open_webui.connections.chunks import CUT_OFF, PARTS_MISSING
from open_webui.connections.ollama_wire import LineDecoder, chat_request, generate_request
from open_webui.connections.openai import MAX_MODELS
from open_webui.connections.pace import PacedBody
from open_webui.connections.render import as_chunks, as_completion
from open_webui.connections.specs import PersonToken, Spec, headers_of
from open_webui.connections.transport import FAILURES, failure, host_of, read_all, request
from open_webui.errors import ProviderError
from open_webui.internal.log import get_logger

log = get_logger(__name__)


class OllamaConnection:
    """One configured server."""

    kind: Kind = "ollama"
    takes_stream_options = False

    def __init__(
        self, http: aiohttp.ClientSession, spec: Spec, list_timeout: float, person_token: PersonToken | None = None
    ) -> None:
        self.spec = spec
        self.key = spec.id
        self._http = http
        self._list_timeout = list_timeout
        self._person_token = person_token
        self._address = address_of(spec.url)

    async def list_models(self) -> list[ModelEntry]:
        body = await self.json("GET", "/api/tags", timeout=self._list_timeout)
        models = body.get("models")
        if not isinstance(models, list):
            raise ProviderError(f"{host_of(self.spec.url)} answered with something that is no list of models.")
        entries = []
        for model in models[:MAX_MODELS]:
            name = model.get("model") or model.get("name") if isinstance(model, dict) else None
            if isinstance(name, str) and name and (not self.spec.model_ids or name in self.spec.model_ids):
                entries.append(self._entry(name, model))
        return entries

    def _entry(self, remote: str, model: dict[str, Any]) -> ModelEntry:
        name = model.get("name")
        return ModelEntry(
            id=self.spec.model_id(remote),
            name=name if isinstance(name, str) and name else remote,
            remote_id=remote,
            connection=self.key,
            kind=self.kind,
            index=self.spec.index,
            created=_seconds(model.get("modified_at")),
            connection_type=self.spec.connection_type,
            raw=model,
            tags=self.spec.tags,
            returns_reasoning=self.spec.returns_reasoning,
        )

    @contextlib.asynccontextmanager
    async def open(
        self,
        entry: ModelEntry,
        payload: dict[str, Any],
        user: dict[str, str] | None = None,
        tell: Tell | None = None,  # noqa: ARG002
        *,
        patient: bool = False,  # noqa: ARG002
    ) -> AsyncIterator[Reply]:
        generates = "prompt" in payload and "messages" not in payload
        sent = (generate_request if generates else chat_request)(payload, entry.remote_id)
        response = await self.send("POST", "/api/generate" if generates else "/api/chat", sent, user=user)
        async with OllamaReply(response, self.spec.url, entry.id) as reply:
            yield reply

    async def embed(self, entry: ModelEntry, payload: dict[str, Any], user: dict[str, str] | None = None) -> bytes:
        # Ollama speaks OpenAI's embeddings itself.
        return await self.call("POST", "/v1/embeddings", {**payload, "model": entry.remote_id}, user=user)

    async def send(
        self,
        method: str,
        path: str,
        payload: dict[str, Any] | None = None,
        *,
        user: dict[str, str] | None = None,
        timeout: float | None = None,
    ) -> aiohttp.ClientResponse:
        """The open response to a request, good by its status; the caller closes it. Raises ProviderError."""
        headers = await headers_of(self.spec, user, self._person_token)
        url = self._address.of(path)
        return await request(self._http, method, url, headers=headers, payload=payload, timeout=timeout)

    async def call(
        self,
        method: str,
        path: str,
        payload: dict[str, Any] | None = None,
        *,
        user: dict[str, str] | None = None,
        timeout: float | None = None,
    ) -> bytes:
        """One request with a whole answer. Raises ProviderError."""
        async with await self.send(method, path, payload, user=user, timeout=timeout) as response:
            return await read_all(response, self.spec.url)

    async def json(
        self, method: str, path: str, payload: dict[str, Any] | None = None, *, timeout: float | None = None
    ) -> dict[str, Any]:
        """The object that a request is answered with. Raises ProviderError."""
        body = await self.call(method, path, payload, timeout=timeout)
        try:
            value = msgspec.json.decode(body)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            value = None
        if not isinstance(value, dict):
            raise ProviderError(f"{host_of(self.spec.url)} does not answer as Ollama does. Check its address.")
        return value


def _seconds(moment: Any) -> int:
    try:
        return int(datetime.fromisoformat(moment).timestamp())
    except (TypeError, ValueError, OverflowError):
        return 0


class OllamaReply:
    """An opened answer of Ollama's chat."""

    def __init__(self, response: aiohttp.ClientResponse, url: str, model_id: str) -> None:
        self._response = response
        self._url = url
        self._model_id = model_id
        self._lines = LineDecoder()
        self._body = PacedBody(response)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_error: object) -> None:
        self._response.close()
        if self.dropped:
            log.info("parts of an answer could not be read", provider=host_of(self._url), count=self.dropped)

    def pace(self, wait: Callable[[], float]) -> None:
        """See `base.Reply`."""
        self._body.wait = wait

    @property
    def dropped(self) -> int:
        return self._lines.dropped

    async def events(self) -> AsyncIterator[list[Event]]:
        lines, readany = self._lines, self._body.read
        while True:
            try:
                read = await readany()
            except FAILURES as error:
                raise failure(error, self._url, started=True) from error
            yield lines.feed(read)
            if lines.error is not None:
                raise lines.error
            if not read:
                break
        if not lines.done:
            raise ProviderError(CUT_OFF, retryable=True)
        if lines.unreadable:
            raise ProviderError(PARTS_MISSING.format(lines.unreadable))
        if said := notice_of(lines.dropped - lines.strays):
            yield said

    def batches(self) -> AsyncIterator[list[bytes]]:
        return as_chunks(self.events(), self._model_id)

    async def whole(self) -> bytes:
        return await as_completion(self.events(), self._model_id)
