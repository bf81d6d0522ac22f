"""Answers by the name of a model, from wherever that model is, with other models to fall back on."""

from __future__ import annotations

import asyncio
import difflib
import logging
import threading
from collections.abc import AsyncIterator, Mapping, MutableMapping, Sequence
from os import PathLike
from typing import Any

from consciousness.answers import GeneratedText, GenerationStream
from consciousness.base import checked_prompt
from consciousness.emotions import is_number
from consciousness.express import shaped, style_sentence
from consciousness.sources import (
    Connection,
    ConnectionSource,
    CustomSource,
    Forge,
    GenerationRequest,
    Kind,
    LocalSource,
    Message,
    Source,
    checked_backend,
)
from llamaforge import threads
from llamaforge.backends.openai_api import OpenAIBackend
from llamaforge.exceptions import LlamaForgeError, ModelNotFoundError, ParameterError
from llamaforge.model import checked_name
from llamaforge.parameters import unknown

_FAILURES = (OSError, RuntimeError, LlamaForgeError)  # ConnectionError and TimeoutError are OSErrors
log = logging.getLogger(__name__)


class ResponseGenerator:
    """Answers of models by their ids: registered backends first, then models of this machine, then connected servers.

    A model that fails (ConnectionError, TimeoutError, any error of llamaforge, RuntimeError) or does not answer within its
    deadline is followed by the next of `fallbacks`; the answer names the model that wrote it. If all fail, the error of the
    first is raised, with those of the others as its notes. Mistakes of the caller (ParameterError) and an id that nobody
    knows are raised at once.

    _custom_backends: the registered backends by id, live; `register_backend` checks what it adds.
    """

    def __init__(
        self,
        config: Mapping[str, Any] | None = None,
        *,
        forge: Forge | None = None,
        models_dir: str | PathLike[str] | None = None,
        connections: Sequence[Connection] = (),
        fallbacks: Sequence[str] = (),
        timeout: float = 120.0,
        timeouts: Mapping[str, float] | None = None,
        default_model: str | None = None,
    ) -> None:
        """config: the arguments below as one mapping. forge: local models, else those of llamaforge's configuration.
        models_dir: of a forge made for this generator. timeout: seconds for each model's answer, or until each piece of a
        stream; timeouts: others for some models. default_model: where none is named, else the first there is.
        Raises ParameterError.
        """
        given: dict[str, Any] = {
            "forge": forge,
            "models_dir": models_dir,
            "connections": connections,
            "fallbacks": fallbacks,
            "timeout": timeout,
            "timeouts": timeouts or {},
            "default_model": default_model,
        }
        for name, value in (config or {}).items():
            if name not in given:
                raise ParameterError(unknown(name, given, "setting of a generator"))
            given[name] = value
        self._custom_backends: MutableMapping[str, Any] = {}
        self._forge: Forge | None = given["forge"]
        self._models_dir = given["models_dir"]
        self._making = threading.Lock()
        self._connections = tuple(map(_checked_connection, given["connections"]))
        self._fallbacks = tuple(given["fallbacks"])
        self._timeout = _seconds(given["timeout"])
        self._timeouts = {name: _seconds(seconds) for name, seconds in given["timeouts"].items()}
        self._default = given["default_model"]
        self._remote: dict[tuple[Connection, str], OpenAIBackend] = {}
        self._listed: dict[Connection, list[str]] = {
            connection: list(connection.models) for connection in self._connections if connection.models is not None
        }

    # ---- which models there are

    def register_backend(self, model_id: str, backend: Any) -> None:
        """Answer for `model_id` with `backend`, in the place of one registered before. Raises ParameterError."""
        self._custom_backends[checked_name(model_id, "model")] = checked_backend(backend)

    def get_available_models(self) -> list[dict[str, str]]:
        """Every known model as {id, source}, those that are asked first first. See `refresh_models`."""
        found: dict[str, str] = dict.fromkeys(self._custom_backends, "custom")
        for name in self._local().list_models():
            found.setdefault(name, "local")
        for names in self._listed.values():
            for name in names:
                found.setdefault(name, "connection")
        return [{"id": name, "source": source} for name, source in found.items()]

    async def refresh_models(self) -> list[str]:
        """Ask the connected servers which models they have; the sentences of those that failed to say."""
        asked = [connection for connection in self._connections if connection.models is None]
        answers = await asyncio.gather(*(threads.call(c.list_models) for c in asked), return_exceptions=True)
        failures = []
        for connection, answer in zip(asked, answers, strict=True):
            if isinstance(answer, list):
                self._listed[connection] = answer
            elif isinstance(answer, _FAILURES):
                failures.append(str(answer))
            else:
                raise answer
        return failures

    # ---- answers

    async def generate_response(
        self,
        prompt: str,
        model_id: str | None = None,
        context: Sequence[Message] | None = None,
        parameters: Mapping[str, Any] | None = None,
        *,
        emotional_state: Mapping[str, float] | None = None,
    ) -> GeneratedText:
        """An answer to `prompt`.

        context: earlier messages of {role, content}. parameters: of sampling. emotional_state: shapes the parameters
        (`consciousness.express.shaped`) and adds a system message on style; registered backends have states of their own,
        so for them it is the shaped parameters only. Raises ModelNotFoundError with the nearest ids, and what models raise.
        """
        request = _request(prompt, context, parameters, emotional_state)
        requested = _checked_id(model_id) or self._default or await threads.call(self._first_model)
        failures: dict[str, Exception] = {}
        for name in self._chain(requested):
            try:
                kind, source = await self._find(name)
                text = await _in_time(source.answer(request), self._deadline(name), name)
            except _FAILURES as error:
                _note(failures, name, error)
                if isinstance(error, ModelNotFoundError) and name == requested and not await self._known(name):
                    raise
            else:
                reasons = {model: str(error) for model, error in failures.items()}
                return GeneratedText(text, model_id=name, requested_model=requested, source=kind, failures=reasons)
        raise _first(failures)

    def generate_stream(
        self,
        prompt: str,
        model_id: str | None = None,
        context: Sequence[Message] | None = None,
        parameters: Mapping[str, Any] | None = None,
        *,
        emotional_state: Mapping[str, float] | None = None,
    ) -> GenerationStream:
        """The same in pieces. Lazy: the model is looked for and asked with the first piece; deadlines are for each piece."""
        request = _request(prompt, context, parameters, emotional_state)
        return GenerationStream(_checked_id(model_id) or self._default, lambda stream: self._stream(stream, request))

    async def _stream(self, stream: GenerationStream, request: GenerationRequest) -> AsyncIterator[str]:
        failures: dict[str, Exception] = {}
        if stream.requested_model is None:
            stream.requested_model = await threads.call(self._first_model)
        for name in self._chain(stream.requested_model):
            pieces: Any = None
            try:
                kind, source = await self._find(name)
                pieces = source.stream(request)
                piece = await _in_time(anext(pieces, None), self._deadline(name), name)
            except _FAILURES as error:
                if pieces is not None:
                    await pieces.aclose()
                _note(failures, name, error)
                stream.failures[name] = str(error)
                if (
                    isinstance(error, ModelNotFoundError)
                    and name == stream.requested_model
                    and not await self._known(name)
                ):
                    raise
                continue
            stream.model_id, stream.source = name, kind
            try:
                while piece is not None:
                    yield piece
                    piece = await _in_time(anext(pieces, None), self._deadline(name), name)
            finally:
                await pieces.aclose()
            return
        raise _first(failures)

    # ---- inside

    def _first_model(self) -> str:
        known = self.get_available_models()
        if not known:
            raise ModelNotFoundError("There is no model: register a backend, add a local model, or connect a server.")
        return known[0]["id"]

    def _chain(self, requested: str) -> list[str]:
        return list(dict.fromkeys((requested, *self._fallbacks)))

    async def _find(self, name: str) -> tuple[Kind, Source]:
        found = await self._source(name)
        if found is None:
            failures = await self.refresh_models()
            found = await self._connected(name)
            if found is None:
                hint = await threads.call(self._hint, name)
                raise ModelNotFoundError(" ".join([f"There is no model '{name}'.{hint}", *failures]))
        return found

    async def _source(self, name: str) -> tuple[Kind, Source] | None:
        if name in self._custom_backends:
            return "custom", CustomSource(name, self._custom_backends[name])
        # Looks at files and folders, which may be slow.
        if await threads.call(lambda: self._local().is_model_available(name)):
            return "local", LocalSource(name, self._local())
        return await self._connected(name)

    async def _connected(self, name: str) -> tuple[Kind, Source] | None:
        for connection in self._connections:
            if name in self._listed.get(connection, ()):
                key = (connection, name)
                if key not in self._remote:
                    made = await threads.call(connection.backend, name, self._deadline(name))
                    if self._remote.setdefault(key, made) is not made:
                        made.unload()  # another task was first
                return "connection", ConnectionSource(self._remote[key])
        return None

    async def _known(self, name: str) -> bool:
        return await self._source(name) is not None

    def _hint(self, name: str) -> str:
        known = [model["id"] for model in self.get_available_models()]
        near = difflib.get_close_matches(name, known, n=3, cutoff=0.5)
        if near:
            return f" Did you mean {' or '.join(repr(other) for other in near)}?"
        return f" Known: {', '.join(known)}." if known else ""

    def _local(self) -> Forge:
        if self._forge is None:
            from llamaforge.forge import LlamaForge  # noqa: PLC0415 -- reads the user's configuration, once it is needed

            with self._making:
                if self._forge is None:
                    forge = LlamaForge()
                    if self._models_dir is not None:
                        forge.config.set("models_dir", str(self._models_dir))
                    self._forge = forge
        return self._forge

    def _deadline(self, name: str) -> float:
        return self._timeouts.get(name, self._timeout)


async def _in_time(work: Any, seconds: float, name: str) -> Any:
    try:
        async with asyncio.timeout(seconds) as deadline:
            return await work
    except TimeoutError as error:
        if not deadline.expired():
            raise
        raise TimeoutError(f"The model '{name}' did not answer within {seconds:g} seconds.") from error


def _request(
    prompt: str,
    context: Sequence[Message] | None,
    parameters: Mapping[str, Any] | None,
    state: Mapping[str, float] | None,
) -> GenerationRequest:
    history = list(_checked_history(context))
    if parameters is not None and not isinstance(parameters, Mapping):
        raise ParameterError("The parameters must be a mapping of names to values.")
    settings = dict(parameters or {})
    if state is not None:
        settings = shaped(parameters, state)
        # OpenAI's name, which every source understands.
        if "max_new_tokens" in settings:
            settings["max_tokens"] = settings.pop("max_new_tokens")
        if sentence := style_sentence(state):
            history.insert(0, {"role": "system", "content": sentence})
    return GenerationRequest(checked_prompt(prompt), history, settings)


def _checked_id(model_id: object) -> str | None:
    if model_id is None or isinstance(model_id, str):
        return model_id
    raise ParameterError("The id of a model must be text.")


def _checked_history(context: object) -> Sequence[Message]:
    if context is None:
        return ()
    if not isinstance(context, Sequence) or isinstance(context, str | bytes):
        raise ParameterError("The context must be a list of messages.")
    for message in context:
        if not isinstance(message, Mapping) or not all(isinstance(message.get(n), str) for n in ("role", "content")):
            raise ParameterError("Each message of the context must be an object with 'role' and 'content', both text.")
    return context


def _checked_connection(connection: object) -> Connection:
    if not isinstance(connection, Connection):
        raise ParameterError("The connections must be Connection objects.")
    return Connection(
        connection.url, connection.api_key, None if connection.models is None else tuple(connection.models)
    )


def _seconds(value: object) -> float:
    if not is_number(value) or value <= 0:
        raise ParameterError("A timeout must be a positive number of seconds.")
    return float(value)


def _note(failures: dict[str, Exception], name: str, error: Exception) -> None:
    """Record the failure, unless it is the caller's own mistake, which no other model would take."""
    if isinstance(error, ParameterError):
        raise error
    log.warning("the model '%s' did not answer: %s", name, error)
    failures[name] = error


def _first(failures: Mapping[str, Exception]) -> Exception:
    """The error of the model that was asked for, with those of the others as its notes."""
    error, *others = failures.values()
    for name, other in zip(list(failures)[1:], others, strict=True):
        error.add_note(f"The fallback '{name}' failed, too: {other}")
    return error
