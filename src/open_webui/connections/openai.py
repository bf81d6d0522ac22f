"""Endpoints that speak OpenAI's wire: their models, their streams, their whole answers."""

import asyncio
import re
from collections.abc import AsyncIterator, Callable
from typing import Any, Final, Self, TypeVar

import aiohttp
import msgspec

from llamaforge.events import Event
from llamaforge.events.openai import Decoder
from open_webui.connections.address import address_of
from open_webui.connections.base import Kind, ModelEntry, Reply, Tell
from open_webui.connections.chunks import NOT_UNDERSTOOD, ChunkReader, EventReader, StreamReader, error_of, to_chunks
from open_webui.connections.pace import PacedBody
from open_webui.connections.render import assemble
from open_webui.connections.specs import PersonToken, Spec, headers_of
from open_webui.connections.transport import FAILURES, failure, host_of, read_all, refusal, request
from open_webui.errors import ProviderError
from open_webui.internal.log import get_logger

# After the terminator the body ends within moments, and the connection can be used again; longer is not waited for.
_TAIL_SECONDS: Final = 0.05
# OpenAI's reasoning models know the limit by its newer name only.
_LIMIT: Final = "max_tokens"
_NEWER_LIMIT: Final = "max_completion_tokens"
_NEWER: Final = re.compile(r"o[1-9](-|$)|gpt-[5-9]")
log = get_logger(__name__)
T = TypeVar("T")
MAX_MODELS: Final = 10_000
NO_IDENTITY: Final = (
    "This server has no identity of its own at Azure."
    " An administrator can enter a token of Entra ID as the key of the connection."
)
UNNAMED: Final = (
    "Azure does not tell which deployments a resource has."
    " An administrator can name them as the model ids of the connection."
)


class OpenAIConnection:
    """One configured endpoint."""

    kind: Kind = "openai"
    takes_stream_options = True

    def __init__(
        self, http: aiohttp.ClientSession, spec: Spec, list_timeout: float, person_token: PersonToken | None = None
    ) -> None:
        self.spec = spec
        self.key = spec.id
        self._http = http
        self._list_timeout = list_timeout
        self._person_token = person_token
        self._address = address_of(spec.url, azure=spec.azure, version=spec.api_version)
        # Models that want the newer name, by what they said.
        self._newer: set[str] = set()

    async def list_models(self) -> list[ModelEntry]:
        self._check_sign_in()
        named = self.spec.model_ids or ((self._address.deployment,) if self._address.deployment else ())
        if named:
            return [self.entry({"id": model_id}) for model_id in named]
        if self.spec.azure:
            raise ProviderError(UNNAMED)
        listed = model_list(await self.raw_models())
        if listed is None:
            raise ProviderError(
                f"The provider at {host_of(self.spec.url)} answered with something that is no list of models."
            )
        return [self.entry(model) for model in listed[:MAX_MODELS]]

    async def raw_models(self, user: dict[str, str] | None = None) -> Any:
        """The provider's own answer to the question for its models. user: who asks; None: the server. Raises ProviderError."""
        self._check_sign_in()
        body = await self.call("GET", "/models", user=user, timeout=self._list_timeout)
        try:
            return msgspec.json.decode(body)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            raise ProviderError(_not_json(self.spec.url, body)) from None

    def _check_sign_in(self) -> None:
        """Raises ProviderError for a sign-in that needs what this server has not."""
        if self.spec.entra and not self.spec.key:
            raise ProviderError(NO_IDENTITY)

    def entry(self, model: dict[str, Any]) -> ModelEntry:
        """A model of the provider's list; it has an `id`."""
        remote = model["id"]
        created = model.get("created")
        name = model.get("name")
        return ModelEntry(
            id=self.spec.model_id(remote),
            name=name if isinstance(name, str) and name else remote,
            remote_id=remote,
            connection=self.key,
            kind=self.kind,
            index=self.spec.index,
            created=created if isinstance(created, int) else 0,
            connection_type=self.spec.connection_type,
            raw=model,
            tags=self.spec.tags,
            returns_reasoning=self.spec.returns_reasoning,
        )

    def open(
        self,
        entry: ModelEntry,
        payload: dict[str, Any],
        user: dict[str, str] | None = None,
        tell: Tell | None = None,  # noqa: ARG002
        *,
        patient: bool = False,  # noqa: ARG002
    ) -> "_Opening":
        return _Opening(self, {**payload, "model": entry.remote_id}, user)

    async def ask(self, payload: dict[str, Any], user: dict[str, str] | None) -> "OpenAIReply":
        """The opened answer to a request as it is sent, which the caller leaves. Raises ProviderError.

        The limit of tokens is sent under the name that the model wants, which is found out where it refuses the usual one.
        """
        if _LIMIT not in payload:
            return await self._ask(payload, user)
        model = payload["model"]
        if model in self._newer or _NEWER.match(model.rpartition("/")[2]):
            return await self._ask(_renamed(payload), user)
        try:
            return await self._ask(payload, user)
        except ProviderError as error:
            if error.status not in {400, 422} or _NEWER_LIMIT not in error.detail or _NEWER_LIMIT in payload:
                raise
        reply = await self._ask(_renamed(payload), user)
        self._newer.add(model)
        return reply

    async def _ask(self, payload: dict[str, Any], user: dict[str, str] | None) -> "OpenAIReply":
        url = self._address.of("/chat/completions", payload["model"])
        headers = await headers_of(self.spec, user, self._person_token)
        return OpenAIReply(await request(self._http, "POST", url, headers=headers, payload=payload), url)

    async def embed(self, entry: ModelEntry, payload: dict[str, Any], user: dict[str, str] | None = None) -> bytes:
        return await self.call("POST", "/embeddings", {**payload, "model": entry.remote_id}, user=user)

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
        url = self._address.of(path, None if payload is None else payload.get("model"))
        headers = await headers_of(self.spec, user, self._person_token)
        response = await request(self._http, method, url, headers=headers, payload=payload, timeout=timeout)
        async with response:
            return await read_all(response, url)

    async def send_file(
        self, path: str, filename: str, data: bytes, *, user: dict[str, str] | None = None, timeout: float
    ) -> bytes:
        """A form with one file, `file`, and the whole answer. Raises ProviderError."""
        url = self._address.of(path)
        form = aiohttp.FormData()
        form.add_field("file", data, filename=filename, content_type="text/x-python")
        limits = aiohttp.ClientTimeout(total=timeout, sock_connect=10)
        headers = await headers_of(self.spec, user, self._person_token)
        try:
            response = await self._http.post(url, data=form, headers=headers, allow_redirects=False, timeout=limits)
        except FAILURES as error:
            raise failure(error, url) from error
        async with response:
            if response.status >= 300:
                raise await refusal(response, url)
            return await read_all(response, url)


def _renamed(payload: dict[str, Any]) -> dict[str, Any]:
    """The payload with the limit under its newer name; one that has both keeps the newer."""
    rest = {name: value for name, value in payload.items() if name != _LIMIT}
    return {_NEWER_LIMIT: payload[_LIMIT]} | rest


def model_list(body: Any) -> list[dict[str, Any]] | None:
    """The models in an answer: under `data` (or `models`), or a bare list; None when there is no list."""
    found = body
    if isinstance(body, dict):
        found = body.get("data", body.get("models"))
    if not isinstance(found, list):
        return None
    out = []
    for model in found:
        if isinstance(model, str):
            model = {"id": model}  # noqa: PLW2901
        if isinstance(model, dict) and isinstance(model.get("id"), str) and model["id"]:
            out.append(model)
    return out


def _not_json(url: str, body: bytes) -> str:
    if body.lstrip()[:1] == b"<":
        return (
            f"{host_of(url)} answered with a web page, not with OpenAI's API."
            " An administrator can correct the connection's address (many end with /v1)."
        )
    return NOT_UNDERSTOOD


class _Opening:
    """A chat request that is sent when it is entered. By hand: a generator's context manager costs three times as much."""

    __slots__ = ("_connection", "_payload", "_reply", "_user")

    def __init__(self, connection: OpenAIConnection, payload: dict[str, Any], user: dict[str, str] | None) -> None:
        self._connection = connection
        self._payload = payload
        self._user = user
        self._reply: OpenAIReply | None = None

    async def __aenter__(self) -> Reply:
        self._reply = await self._connection.ask(self._payload, self._user)
        return self._reply

    async def __aexit__(self, *_error: object) -> None:
        if self._reply is not None:
            await self._reply.close()


class OpenAIReply:
    """An opened answer. Also for a provider that streams unasked, or doesn't although it was asked to."""

    __slots__ = ("_body", "_reader", "_response", "_url")

    def __init__(self, response: aiohttp.ClientResponse, url: str) -> None:
        self._response = response
        self._url = url
        self._reader: StreamReader[Any] | None = None
        self._body = PacedBody(response)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_error: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Ends the provider's work, or keeps the connection where the answer was read to its end."""
        content = self._response.content
        if self._reader is not None and self._reader.done and not content.at_eof():
            try:
                async with asyncio.timeout(_TAIL_SECONDS):
                    while await content.readany():
                        pass
            except FAILURES:
                pass
        # Released to the pool when its body was read to the end, closed otherwise.
        self._response.close()
        if self.dropped:
            log.info("parts of an answer could not be read", provider=host_of(self._url), count=self.dropped)

    def pace(self, wait: Callable[[], float]) -> None:
        """See `base.Reply`."""
        self._body.wait = wait

    @property
    def dropped(self) -> int:
        return 0 if self._reader is None else self._reader.dropped

    def batches(self) -> AsyncIterator[list[bytes]]:
        return self._through(ChunkReader(), to_chunks)

    def events(self) -> AsyncIterator[list[Event]]:
        return self._through(EventReader(), whole_events)

    async def _through(
        self, reader: StreamReader[T], of_whole: Callable[[dict[str, Any]], list[T]]
    ) -> AsyncIterator[list[T]]:
        self._reader = reader
        readany = self._body.read
        first = True
        while True:
            try:
                read = await readany()
            except FAILURES as error:
                raise failure(error, self._url, started=True) from error
            if not read:
                break
            # Some send blank lines before a whole answer, to keep the connection.
            if first and not read.isspace():
                first = False
                if self._may_be_whole(read):
                    yield of_whole(completion(read + await read_all(self._response, self._url), self._url))
                    return
            batch = reader.feed(read)
            if batch or reader.says_all:
                yield batch
            if reader.error is not None or reader.done:
                break
        if rest := reader.close():
            yield rest
        reader.check_end()
        if said := reader.told_at_end():
            yield said

    def _may_be_whole(self, read: bytes) -> bool:
        """Whether the body is one JSON value (or a page) instead of events."""
        kind = self._response.content_type
        return kind != "text/event-stream" and (
            read.lstrip()[:1] in {b"{", b"["} or (kind == "text/html" and read.lstrip()[:1] == b"<")
        )

    async def whole(self) -> bytes:
        body = await read_all(self._response, self._url)
        if self._response.content_type != "text/event-stream" and body.lstrip()[:1] in {b"{", b"[", b"<"}:
            completion(body, self._url)
            return body
        chunks = self._reader = ChunkReader()
        good: list[bytes] = chunks.feed(body) + chunks.close()
        if not good and chunks.error is None:
            raise ProviderError(_not_json(self._url, body))
        chunks.check_end()
        return assemble(good)


def whole_events(whole: dict[str, Any]) -> list[Event]:
    """The events of a whole completion. Raises ProviderError."""
    choices = whole.get("choices")
    if not isinstance(choices, list) or not all(
        isinstance(c, dict) and isinstance(c.get("message"), dict) for c in choices
    ):
        raise ProviderError(NOT_UNDERSTOOD, body=whole)
    decoder = Decoder()
    return decoder.read(whole) + decoder.told_at_end()


def completion(body: bytes, url: str) -> dict[str, Any]:
    """The object of a whole answer. Raises ProviderError when it is none, or tells of an error."""
    if (error := error_of(body)) is not None:
        raise error
    try:
        whole = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise ProviderError(_not_json(url, body)) from None
    if not isinstance(whole, dict):
        raise ProviderError(NOT_UNDERSTOOD)
    return whole
