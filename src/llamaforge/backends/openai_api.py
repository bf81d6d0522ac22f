"""Models of OpenAI and of every server that speaks its API, through the official SDK."""

from __future__ import annotations

import os
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Generator, Iterator, Mapping, Sequence
from os import fspath
from types import ModuleType
from typing import TYPE_CHECKING, Any, Literal
from urllib.parse import urlsplit

from llamaforge.backends import openai_answer, openai_request
from llamaforge.backends.api_errors import Translator
from llamaforge.backends.base import (
    BackendInfo,
    BaseBackend,
    Message,
    ModelPath,
    Parameters,
    as_messages,
)
from llamaforge.backends.loop_clients import AsyncClients
from llamaforge.backends.openai_answer import Ending
from llamaforge.backends.openai_request import GENERATION_PARAMETERS, LOAD_PARAMETERS, Request
from llamaforge.exceptions import (
    LlamaForgeError,
    MissingExtraError,
    ModelLoadError,
    ModelNotLoadedError,
    ParameterError,
)
from llamaforge.formats.completions import Json, chunk_text
from llamaforge.parameters import resolve

if TYPE_CHECKING:
    import openai

_LIST_SECONDS = 5.0
_NO_KEY = "none"


class OpenAIBackend(BaseBackend):
    """A model of a provider. `model_path` is the provider's name for it.

    Load parameters: api_key (else OPENAI_API_KEY, which goes to OpenAI itself and to OPENAI_BASE_URL only), api_base
    (or base_url), organization, project, timeout (seconds), max_retries, default_headers, default_query, and for Azure
    azure_endpoint, azure_deployment, api_version. endpoint: "chat", "completions", or "auto", which is chat except for
    models of OpenAI that have none. A prompt given to `generate` is one user message where chat is the endpoint.

    Raises AuthenticationError, ModelNotFoundError, ContextLengthError and, for all else that a provider or the network
    does, APIError.
    """

    load_parameters = LOAD_PARAMETERS
    generation_parameters = GENERATION_PARAMETERS

    def __init__(self) -> None:
        super().__init__()
        self._connection: _Connection | None = None
        self._models: list[str] | None = None

    # ---- the model

    def load_model(self, model_path: ModelPath, parameters: Parameters | None = None) -> None:
        """Make ready; nothing is sent yet. Raises MissingExtraError, ParameterError, ModelLoadError without a key."""
        name = fspath(model_path)
        if not name.strip():
            raise ParameterError("The name of a model must not be blank.")
        given = resolve(parameters, LOAD_PARAMETERS)
        connection = _Connection(name, given)
        self.unload()
        self._connection = connection

    def is_model_loaded(self) -> bool:
        """Whether `load_model` has been called."""
        return self._connection is not None

    def unload(self) -> None:
        """Close the connections."""
        connection, self._connection, self._models = self._connection, None, None
        if connection is not None:
            connection.close()

    async def aclose(self) -> None:
        """`unload`, with the connections of this event loop closed before it returns."""
        connection, self._connection, self._models = self._connection, None, None
        if connection is not None:
            await connection.aclose()

    def list_models(self) -> list[str]:
        """The names that the provider lists. Raises what a generation does."""
        connection = self._ready()
        with connection.errors.translated():
            page = connection.client.with_options(timeout=_LIST_SECONDS, max_retries=0).models.list()
            return [model.id for model in page]

    @property
    def has_chat_template(self) -> bool:
        """Whether the model is asked at the provider's chat endpoint."""
        connection = self._connection
        return connection is not None and openai_request.is_chat(connection.model, connection.endpoint)

    def info(self) -> BackendInfo:
        """The provider's address and, asked for once, the models that it lists (None if it tells none)."""
        connection = self._connection
        if connection is None:
            return BackendInfo(name="openai", loaded=False)
        if self._models is None:
            try:
                self._models = self.list_models()
            except LlamaForgeError:
                self._models = []
        return BackendInfo(
            name="openai",
            loaded=True,
            model=connection.model,
            description=f"{connection.model} at {connection.base}",
            details={"api_base": connection.base, "endpoint": connection.endpoint, "models": self._models or None},
        )

    # ---- text

    def generate(self, prompt: str, parameters: Parameters | None = None) -> str:
        """The whole answer to `prompt`."""
        return openai_answer.text(self._ask(self._request(_prompt(prompt), parameters)))

    def generate_stream(self, prompt: str, parameters: Parameters | None = None) -> Iterator[str]:
        """The answer to `prompt` in pieces; closing the iterator closes the connection."""
        return _texts(self._chunks(self._request(_prompt(prompt), parameters, stream=True)))

    def chat(self, messages: Sequence[Message], parameters: Parameters | None = None) -> str:
        """The assistant's next turn."""
        return openai_answer.text(self._ask(self._request(as_messages(messages), parameters)))

    def chat_stream(self, messages: Sequence[Message], parameters: Parameters | None = None) -> Iterator[str]:
        """`chat` in pieces."""
        return _texts(self._chunks(self._request(as_messages(messages), parameters, stream=True)))

    # ---- in OpenAI's shapes

    def completion(self, prompt: str, parameters: Parameters | None = None) -> Json:
        """The provider's completion; one made of its chat completion where chat is the endpoint."""
        request = self._request(_prompt(prompt), parameters)
        return openai_answer.as_completion(self._ask(request)) if request.chat else self._ask(request)

    def completion_stream(self, prompt: str, parameters: Parameters | None = None) -> Iterator[Json]:
        """`completion` in chunks."""
        request = self._request(_prompt(prompt), parameters, stream=True)
        chunks = self._chunks(request)
        return _changed(chunks, openai_answer.as_completion) if request.chat else chunks

    def chat_completion(self, messages: Sequence[Message], parameters: Parameters | None = None) -> Json:
        """The provider's chat completion, as it came."""
        request = self._request(as_messages(messages), parameters)
        return self._ask(request) if request.chat else openai_answer.as_chat(self._ask(request))

    def chat_completion_stream(
        self, messages: Sequence[Message], parameters: Parameters | None = None
    ) -> Iterator[Json]:
        """The provider's chunks, as they come; the last one with the usage where it tells it."""
        request = self._request(as_messages(messages), parameters, stream=True)
        chunks = self._chunks(request)
        return chunks if request.chat else _changed(chunks, lambda chunk: openai_answer.as_chat(chunk, "delta"))

    def embed(self, texts: Sequence[str], parameters: Parameters | None = None) -> list[list[float]]:
        """A vector for each text."""
        connection = self._ready()
        return openai_answer.vectors(
            self._ask(openai_request.embeddings(connection.model, texts, parameters)), len(texts)
        )

    # ---- without blocking the event loop

    async def agenerate(self, prompt: str, parameters: Parameters | None = None) -> str:
        """`generate` on the event loop itself; cancelling closes the connection."""
        return openai_answer.text(await self._aask(self._request(_prompt(prompt), parameters)))

    def agenerate_stream(self, prompt: str, parameters: Parameters | None = None) -> AsyncIterator[str]:
        """`generate_stream` on the event loop itself."""
        return _atexts(self._achunks(self._request(_prompt(prompt), parameters, stream=True)))

    async def achat(self, messages: Sequence[Message], parameters: Parameters | None = None) -> str:
        """`chat` on the event loop itself; cancelling closes the connection."""
        return openai_answer.text(await self._aask(self._request(as_messages(messages), parameters)))

    def achat_stream(self, messages: Sequence[Message], parameters: Parameters | None = None) -> AsyncIterator[str]:
        """`chat_stream` on the event loop itself."""
        return _atexts(self._achunks(self._request(as_messages(messages), parameters, stream=True)))

    async def achat_completion_stream(
        self, messages: Sequence[Message], parameters: Parameters | None = None
    ) -> AsyncIterator[Json]:
        """`chat_completion_stream` on the event loop itself."""
        request = self._request(as_messages(messages), parameters, stream=True)
        chunks = self._achunks(request)
        try:
            async for chunk in chunks:
                yield chunk if request.chat else openai_answer.as_chat(chunk, "delta")
        finally:
            await chunks.aclose()

    async def aembed(self, texts: Sequence[str], parameters: Parameters | None = None) -> list[list[float]]:
        """`embed` on the event loop itself."""
        connection = self._ready()
        return openai_answer.vectors(
            await self._aask(openai_request.embeddings(connection.model, texts, parameters)), len(texts)
        )

    async def arequest(
        self, method: Literal["get", "post"], path: str, body: Json | None = None, *, timeout: float | None = None
    ) -> Any:
        """What the provider answers at `path`, below its address: for what its API has beside OpenAI's.

        body: of the request, as JSON. timeout: seconds, else that of the load. Raises what a generation does.
        """
        connection = self._ready()
        options = {} if timeout is None else {"timeout": timeout}
        sent = {} if body is None else {"body": body}
        with connection.errors.translated():
            client = await connection.async_clients.get()
            return await getattr(client, method)(path, cast_to=object, options=options, **sent)

    # ---- inside

    def _ready(self) -> _Connection:
        if self._connection is None:
            raise ModelNotLoadedError
        return self._connection

    def _model_name(self) -> str:
        return self._ready().model

    def _request(
        self, content: str | Sequence[Message], parameters: Parameters | None, *, stream: bool = False
    ) -> Request:
        connection = self._ready()
        return openai_request.generation(connection.model, content, parameters, connection.endpoint, stream=stream)

    def _ask(self, request: Request) -> Json:
        connection = self._ready()
        with connection.errors.translated():
            answer = connection.client.post(**_sent(request))
        return openai_answer.checked(answer, connection.base)

    def _chunks(self, request: Request) -> Generator[Json, None, None]:
        return self._read(self._ready(), request)

    @staticmethod
    def _read(connection: _Connection, request: Request) -> Generator[Json, None, None]:
        ending = Ending(connection.base)
        with connection.errors.translated():
            stream = connection.client.post(
                **_sent(request), stream=True, stream_cls=connection.sdk.Stream[object],
            )  # fmt: skip
        ending.watch(stream)
        try:
            while True:
                with connection.errors.translated():
                    chunk = next(stream, None)
                if chunk is None:
                    break
                yield ending.seen(chunk)
        finally:
            stream.close()
        yield from ending.rest()

    async def _aask(self, request: Request) -> Json:
        connection = self._ready()
        with connection.errors.translated():
            answer = await (await connection.async_clients.get()).post(**_sent(request))
        return openai_answer.checked(answer, connection.base)

    async def _achunks(self, request: Request) -> AsyncGenerator[Json, None]:
        connection = self._ready()
        ending = Ending(connection.base)
        with connection.errors.translated():
            stream = await (await connection.async_clients.get()).post(
                **_sent(request), stream=True, stream_cls=connection.sdk.AsyncStream[object],
            )  # fmt: skip
        ending.watch(stream)
        try:
            while True:
                with connection.errors.translated():
                    chunk = await anext(stream, None)
                if chunk is None:
                    break
                yield ending.seen(chunk)
        finally:
            await stream.close()
        for chunk in ending.rest():
            yield chunk


class _Connection:
    """The SDK's clients for one model of one provider, with its address and key."""

    def __init__(self, model: str, given: Mapping[str, Any]) -> None:
        self.sdk = _sdk()
        self.model = model
        self.endpoint = openai_request.checked_endpoint(given.get("endpoint", "auto"))
        self._azure = "azure_endpoint" in given or "api_version" in given
        self._options = self._client_options(given)
        try:
            self.client: openai.OpenAI = self._class("")(**self._options)
        except self.sdk.OpenAIError as error:
            raise ModelLoadError(f"The model '{model}' can't be reached: {error}") from error
        self.base = str(self.client.base_url).rstrip("/")
        key = str(self.client.api_key or "")
        self.errors = Translator(self.sdk, self.base, "" if key == _NO_KEY else key)
        self.async_clients: AsyncClients[openai.AsyncOpenAI] = AsyncClients(
            lambda: self._class("Async")(**self._options)
        )

    def close(self) -> None:
        """Close what can be closed from here; connections of running event loops are closed by their loops soon."""
        self.client.close()
        self.async_clients.close()

    async def aclose(self) -> None:
        """Close all, that of the running event loop before this returns."""
        self.client.close()
        await self.async_clients.aclose()

    def _class(self, prefix: str) -> Any:
        return getattr(self.sdk, f"{prefix}AzureOpenAI" if self._azure else f"{prefix}OpenAI")

    def _client_options(self, given: Mapping[str, Any]) -> Json:
        names = ("organization", "project", "max_retries", "default_headers", "default_query")
        options = {name: given[name] for name in names if name in given}
        if "api_base" in given:
            options["base_url"] = checked_address(given["api_base"])
        if "timeout" in given:
            options["timeout"] = self.sdk.Timeout(given["timeout"], connect=min(given["timeout"], 5.0))
        if self._azure:
            azure = ("azure_endpoint", "azure_deployment", "api_version", "api_key")
            return options | {name: given[name] for name in azure if name in given}
        return options | {"api_key": _key(given, self.model)}


def _sdk() -> ModuleType:
    try:
        import openai  # noqa: PLC0415 - half a second that only those pay who use it
    except ImportError as error:
        raise MissingExtraError("openai", "openai") from error
    return openai


def _key(given: Mapping[str, Any], model: str) -> str:
    """The key to send. That of the environment is not for addresses that only a model's parameters name."""
    if given.get("api_key"):
        return str(given["api_key"])
    base = given.get("api_base")
    of_environment = os.environ.get("OPENAI_API_KEY")
    if of_environment and (base is None or _is_openai(base) or base == os.environ.get("OPENAI_BASE_URL")):
        return of_environment
    if base is None or _is_openai(base):
        raise ModelLoadError(f"The model '{model}' needs a key: give 'api_key' or set OPENAI_API_KEY.")
    return _NO_KEY


def _is_openai(address: str) -> bool:
    parts = urlsplit(address)
    host = parts.hostname or ""
    return parts.scheme == "https" and (host == "openai.com" or host.endswith(".openai.com"))


def checked_address(address: str) -> str:
    """`address` if it is one of HTTP. Raises ParameterError."""
    try:
        parts = urlsplit(address)
        usable = parts.scheme in {"http", "https"} and bool(parts.hostname) and parts.port != 0
    except (ValueError, TypeError, AttributeError):
        usable = False
    if not usable:
        raise ParameterError(f"The address of a server must be such as http://127.0.0.1:8000/v1, not {address!r}.")
    return address


def _prompt(prompt: str) -> str:
    if not isinstance(prompt, str):
        raise ParameterError("The prompt must be text.")
    return prompt


def _texts(chunks: Generator[Json, None, None]) -> Iterator[str]:
    try:
        for chunk in chunks:
            if text := chunk_text(chunk):
                yield text
    finally:
        chunks.close()


def _changed(chunks: Generator[Json, None, None], change: Callable[[Json], Json]) -> Iterator[Json]:
    try:
        for chunk in chunks:
            yield change(chunk)
    finally:
        chunks.close()


async def _atexts(chunks: AsyncGenerator[Json, None]) -> AsyncIterator[str]:
    try:
        async for chunk in chunks:
            if text := chunk_text(chunk):
                yield text
    finally:
        await chunks.aclose()


def _sent(request: Request) -> Json:
    """The arguments of the SDK's client for a request of any kind."""
    options = {"headers": request.headers}
    return {"path": request.path, "cast_to": object, "body": request.body, "options": options}
