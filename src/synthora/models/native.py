"""Anthropic's Messages API and Gemini's generateContent, asked in their own form over HTTP, without their SDKs."""

from __future__ import annotations

import os
from abc import abstractmethod
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping
from importlib import import_module
from types import ModuleType
from typing import Any, ClassVar, NamedTuple, Self

import msgspec

from llamaforge.backends.api_errors import of_network, refusal, retry_after
from llamaforge.backends.loop_clients import AsyncClients
from llamaforge.events import Event, Usage, anthropic, gemini, lenient
from llamaforge.events.openai import UNREADABLE, message_of
from llamaforge.formats import anthropic as to_anthropic
from llamaforge.formats import gemini as to_gemini
from synthora.callbacks import BaseCallBackHandler
from synthora.exceptions import MissingExtraError, NoAnswerError
from synthora.messages import BaseMessage
from synthora.models.clients import Client
from synthora.models.profile import ANTHROPIC, GEMINI, Profile
from synthora.models.provider import Json, ProviderBackend
from synthora.types import ModelBackendType, Node

# Of a request, what is meant for the transport.
_OF_TRANSPORT = ("extra_headers", "timeout")
_SECONDS, _TO_CONNECT = 600.0, 5.0
_LONGEST = 300


class Piece(NamedTuple):
    """Events of an answer, what they were read from, and what the provider calls the answer and the model."""

    events: list[Event]
    raw: Any
    id: str | None
    model: str


class Call(NamedTuple):
    """A request as it is sent."""

    url: str
    body: Json
    headers: dict[str, str]
    timeout: Any

    def sent(self) -> Json:
        return {"json": self.body, "headers": self.headers, "timeout": self.timeout}


class NativeBackend(ProviderBackend):
    """A provider with an API of its own. Parameters have OpenAI's names or the provider's own, which go to it as they are.

    A request is sent once; for further attempts there is RetryBackend. `extra_headers` and `timeout` (seconds) may be
    given with a request. A subclass says where requests go, what they are and how answers are read.
    """

    backend: ClassVar[ModelBackendType]
    keys: ClassVar[tuple[str, ...]]
    address: ClassVar[tuple[str, str]]
    version: ClassVar[str]
    own_profile: ClassVar[Profile]
    decoder: ClassVar[type[anthropic.Decoder | gemini.Decoder]]

    def __init__(  # noqa: PLR0917 -- in the order of the other backends
        self,
        model_type: str,
        api_key: str | None = None,
        base_url: str | None = None,
        source: Node | None = None,
        config: Mapping[str, Any] | None = None,
        name: str | None = None,
        handlers: Iterable[BaseCallBackHandler] | None = None,
        **options: Any,
    ) -> None:
        """api_key, base_url: else those of the provider's usual variables.

        options: timeout (seconds without a byte, 600 by default), default_headers, http_client (one of httpx's, for `run`),
        profile. Raises ValueError without a key, TypeError for another option, ConfigError for prices that are none.
        """
        if unknown := options.keys() - {"timeout", "default_headers", "http_client", "profile"}:
            raise TypeError(f"{type(self).__name__} takes no '{min(unknown)}'.")
        super().__init__(model_type, source, self.backend, config, name, handlers)
        key = api_key or next((os.environ[name] for name in self.keys if os.environ.get(name)), None)
        if not key:
            raise ValueError(f"{type(self).__name__} needs a key: give api_key, or set {self.keys[0]}.")
        variable, usual = self.address
        # With or without the version, as people write it.
        self.base_url = (base_url or os.environ.get(variable) or usual).rstrip("/").removesuffix(self.version)
        self.profile = options.get("profile") or self.own_profile
        self._key = key
        self._options = options
        self._forget_clients()

    @classmethod
    def default(cls, model_type: str, *args: Any, **kwargs: Any) -> Self:
        """As the constructor."""
        return cls(model_type, *args, **kwargs)

    def close(self) -> None:
        """Close the connections of `run`. Those of `async_run` are closed with their event loop."""
        client, self.client = self.client, None
        if client is not None:
            client.close()

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        """A backend of its own, without clients."""
        for shared in (self._async_clients, self._options):
            memo[id(shared)] = shared
        twin = super().__deepcopy__(memo)
        twin._forget_clients()  # noqa: SLF001 -- of the same class
        return twin

    # ---- what a subclass writes

    @abstractmethod
    def _path(self, *, stream: bool) -> str:
        """Where a request goes, below the API's version."""

    @abstractmethod
    def _body(self, parameters: Json) -> Json:
        """A request of OpenAI's shape in the API's."""

    @abstractmethod
    def _count_call(self, body: Json) -> tuple[str, Json]:
        """Path and body of a request for the number of tokens."""

    @abstractmethod
    def _named(self, raw: Json) -> tuple[str | None, str | None]:
        """What the provider calls the answer and the model."""

    # ---- asking

    def _ask(self, parameters: Json) -> Piece:
        return self._whole(self._post(self._call(parameters, stream=False)))

    async def _aask(self, parameters: Json) -> Piece:
        return self._whole(await self._apost(self._call(parameters, stream=False)))

    def _ask_stream(self, parameters: Json) -> Any:
        return _Stream(self, self._send(self._call(parameters, stream=True)))

    async def _aask_stream(self, parameters: Json) -> Any:
        return _Stream(self, await self._asend(self._call(parameters, stream=True)))

    def count_tokens(self, messages: Any, **kwargs: Any) -> int:
        """As the provider counts them, with a request of its own. Raises what `run` raises."""
        try:
            return self._counted(self._post(self._counting(messages, kwargs)))
        except _transport().HTTPError as error:
            raise self._as_ours(error) from error

    async def async_count_tokens(self, messages: Any, **kwargs: Any) -> int:
        """The same without blocking."""
        try:
            return self._counted(await self._apost(self._counting(messages, kwargs)))
        except _transport().HTTPError as error:
            raise self._as_ours(error) from error

    def _post(self, call: Call) -> Any:
        return self._json(self._send(call).read())

    async def _apost(self, call: Call) -> Any:
        response = await self._asend(call)
        try:
            return self._json(await response.aread())
        finally:
            await response.aclose()

    def _send(self, call: Call) -> Any:
        client = self._sync_client()
        response = client.send(client.build_request("POST", call.url, **call.sent()), stream=True)
        if response.status_code >= 400:
            raise self._refusal(response, response.read())
        return response

    async def _asend(self, call: Call) -> Any:
        client = (await self._async_clients.get()).now()
        response = await client.send(client.build_request("POST", call.url, **call.sent()), stream=True)
        if response.status_code >= 400:
            raise self._refusal(response, await response.aread())
        return response

    def _call(self, parameters: Json, *, stream: bool) -> Call:
        asked = {name: value for name, value in parameters.items() if name not in _OF_TRANSPORT}
        return self._to(self._path(stream=stream), self._body(asked), parameters)

    def _to(self, path: str, body: Json, parameters: Json) -> Call:
        headers = {
            **self._headers_of_key(),
            **(self._options.get("default_headers") or {}),
            **(parameters.get("extra_headers") or {}),
        }
        timeout = parameters.get("timeout", self._options.get("timeout", _SECONDS))
        if isinstance(timeout, int | float):
            timeout = _transport().Timeout(timeout, connect=min(timeout, _TO_CONNECT))
        return Call(self.base_url + self.version + path, body, headers, timeout)

    def _counting(self, messages: Any, given: Json) -> Call:
        parameters = self._request(messages, {**given, "stream": False}).parameters
        asked = {name: value for name, value in parameters.items() if name not in _OF_TRANSPORT}
        return self._to(*self._count_call(self._body(asked)), parameters)

    def _counted(self, answer: Any) -> int:
        for name in ("input_tokens", "totalTokens"):
            if isinstance(answer, dict) and isinstance(answer.get(name), int):
                return int(answer[name])
        raise NoAnswerError(f"{self.base_url} sent no number of tokens.")

    @abstractmethod
    def _headers_of_key(self) -> dict[str, str]:
        """With which the provider knows its customer."""

    # ---- reading

    def _json(self, body: bytes) -> Any:
        try:
            return msgspec.json.decode(body)
        except UNREADABLE as error:
            words = body.decode(errors="replace").replace(self._key, "***").strip()[:_LONGEST] or "nothing"
            raise NoAnswerError(f"{self.base_url} sent something that is no answer: {words}") from error

    def _whole(self, raw: Any) -> Piece:
        return self.piece(self.decoder().read(raw), raw, None)

    def piece(self, events: list[Event], raw: Any, before: Piece | None) -> Piece:
        found = [event for event in events if not getattr(event, "choice", 0)]
        id_, model = self._named(raw) if isinstance(raw, dict) else (None, None)
        if before is not None:
            id_, model = before.id or id_, before.model
        return Piece(found, raw, id_, model or self.model_type)

    def unstreamed(self, body: bytes) -> Piece:
        """What came where a stream should have come. Raises NoAnswerError."""
        return self._whole(self._json(body))

    def _message(self, response: Piece) -> BaseMessage:
        message = self._next_message(response, None)
        message.chunk = None
        if not response.events or not message.is_complete:
            raise NoAnswerError(f"{self.base_url} sent something that is no answer.")
        return message

    def _next_message(self, chunk: Piece, previous: BaseMessage | None) -> BaseMessage:
        return BaseMessage.from_events(
            chunk.events, self.source, previous, original=chunk.raw, id=chunk.id, model=chunk.model
        )

    def _refusal(self, response: Any, body: bytes) -> Exception:
        try:
            value = msgspec.json.decode(body)
        except UNREADABLE:
            value = body.decode(errors="replace")
        words = (message_of(value) or "it says nothing").replace(self._key, "***")[:_LONGEST]
        given = lenient.mapping(lenient.mapping(value).get("error"))
        code = given.get("status") or given.get("type")
        error = refusal(self.base_url, response.status_code, words, code=code, headers=response.headers)
        for detail in lenient.items(given.get("details")):  # where Gemini says how long to wait
            seconds = lenient.text(lenient.mapping(detail).get("retryDelay")).removesuffix("s")
            error.retry_after = error.retry_after or retry_after({"retry-after": seconds})
        return error

    def _as_ours(self, error: BaseException) -> BaseException:
        return of_network(_transport(), self.base_url, error) or error

    # ---- clients

    def _forget_clients(self) -> None:
        self.client = None
        self._process = os.getpid()
        self._async_clients = AsyncClients(lambda: Client(_transport().AsyncClient()))

    def _sync_client(self) -> Any:
        # A forked process must not write to the connections of its parent.
        if self.client is None or self._process != os.getpid():
            self.client = self._options.get("http_client") or _transport().Client()
            self._process = os.getpid()
        return self.client


class AnthropicBackend(NativeBackend):
    """Claude by the Messages API: thoughts and their signatures go back with their calls, `cache_control` where you set it.

    ANTHROPIC_API_KEY and ANTHROPIC_BASE_URL count where nothing is given. `max_tokens` is 8192 where left out, as the API
    needs one. Its own parameters are taken besides, such as `thinking`.
    """

    backend = ModelBackendType.ANTHROPIC
    keys = ("ANTHROPIC_API_KEY",)
    address = ("ANTHROPIC_BASE_URL", "https://api.anthropic.com")
    version = "/v1"
    own_profile = ANTHROPIC
    decoder = anthropic.Decoder

    def _path(self, *, stream: bool) -> str:  # noqa: ARG002 -- the body says it
        return "/messages"

    def _body(self, parameters: Json) -> Json:
        return to_anthropic.encode_request(parameters)

    def _count_call(self, body: Json) -> tuple[str, Json]:
        counted = ("model", "messages", "system", "tools", "tool_choice", "thinking")
        return "/messages/count_tokens", {name: body[name] for name in counted if name in body}

    def _named(self, raw: Json) -> tuple[str | None, str | None]:
        message = raw.get("message") if raw.get("type") == "message_start" else raw
        found = lenient.mapping(message)
        return lenient.text(found.get("id")) or None, lenient.text(found.get("model")) or None

    def _headers_of_key(self) -> dict[str, str]:
        return {"x-api-key": self._key, "anthropic-version": "2023-06-01"}


class GeminiBackend(NativeBackend):
    """Gemini by generateContent: signatures of thoughts go back with the calls and texts that had them.

    GEMINI_API_KEY or GOOGLE_API_KEY, and GOOGLE_GEMINI_BASE_URL, count where nothing is given. Its own parameters are taken
    besides, such as `safetySettings` and `generationConfig`. A question or an answer that is blocked is a refusal.
    """

    backend = ModelBackendType.GEMINI
    keys = ("GEMINI_API_KEY", "GOOGLE_API_KEY")
    address = ("GOOGLE_GEMINI_BASE_URL", "https://generativelanguage.googleapis.com")
    version = "/v1beta"
    own_profile = GEMINI
    decoder = gemini.Decoder

    @property
    def _model_name(self) -> str:
        return self.model_type if "/" in self.model_type else f"models/{self.model_type}"

    def _path(self, *, stream: bool) -> str:
        return f"/{self._model_name}:{'streamGenerateContent?alt=sse' if stream else 'generateContent'}"

    def _body(self, parameters: Json) -> Json:
        return to_gemini.encode_request(parameters)

    def _count_call(self, body: Json) -> tuple[str, Json]:
        given = {"model": self._model_name, **body}
        return f"/{self._model_name}:countTokens", {"generateContentRequest": given}

    def _named(self, raw: Json) -> tuple[str | None, str | None]:
        return lenient.text(raw.get("responseId")) or None, lenient.text(raw.get("modelVersion")) or None

    def _headers_of_key(self) -> dict[str, str]:
        return {"x-goog-api-key": self._key}


class _Reader:
    """The bytes of an event stream as pieces of an answer. Counts alone wait for what comes next: they say nothing yet."""

    def __init__(self, backend: NativeBackend) -> None:
        self._backend = backend
        self._decoder = backend.decoder()
        self._line: list[bytes] = []
        self._other: list[bytes] = []
        self._counts: list[Event] = []
        self._last: Piece | None = None

    def feed(self, data: bytes) -> Iterator[Piece]:
        """The pieces that are whole now."""
        *lines, rest = data.split(b"\n")
        for line in lines:
            yield from self._read(b"".join((*self._line, line)))
            self._line = []
        if rest:
            self._line.append(rest)

    def end(self) -> Iterator[Piece]:
        """What is left at the end. Raises NoAnswerError where it was no stream."""
        yield from self._read(b"".join(self._line))
        if self._last is None and self._other:
            yield self._backend.unstreamed(b"\n".join(self._other))
        elif self._counts and self._last is not None:
            yield self._last._replace(events=self._counts)

    def _read(self, line: bytes) -> Iterator[Piece]:
        if not line.startswith(b"data:"):
            if self._last is None and line.strip() and not line.startswith((b"event:", b"id:", b"retry:", b":")):
                self._other.append(line)
            return
        try:
            raw = msgspec.json.decode(line[5:])
        except UNREADABLE:
            return
        piece = self._last = self._backend.piece(self._decoder.read(raw), raw, self._last)
        if all(isinstance(event, Usage) for event in piece.events):
            self._counts = piece.events or self._counts
        else:
            yield piece._replace(events=[*self._counts, *piece.events])
            self._counts = []


class _Stream:
    """The pieces in an answer that comes, from either kind of client."""

    def __init__(self, backend: NativeBackend, response: Any) -> None:
        self._reader = _Reader(backend)
        self._response = response

    def __iter__(self) -> Iterator[Piece]:
        for data in self._response.iter_bytes():
            yield from self._reader.feed(data)
        yield from self._reader.end()

    async def __aiter__(self) -> AsyncIterator[Piece]:
        async for data in self._response.aiter_bytes():
            for piece in self._reader.feed(data):
                yield piece
        for piece in self._reader.end():
            yield piece

    def close(self) -> None:
        self._response.close()

    async def aclose(self) -> None:
        await self._response.aclose()


def _transport() -> ModuleType:
    """httpx2 or httpx, whichever is there. Raises MissingExtraError."""
    for name in ("httpx2", "httpx"):
        try:
            return import_module(name)
        except ImportError:
            continue
    raise MissingExtraError("synthora", "httpx")
