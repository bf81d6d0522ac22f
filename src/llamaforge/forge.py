"""LlamaForge: any model by its name, loaded when needed, with plugins around it."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from dataclasses import dataclass
from os import PathLike
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from llamaforge.backends.base import Message, Parameters, as_messages, checked_texts
from llamaforge.config import Config
from llamaforge.exceptions import ParameterError
from llamaforge.library import Library
from llamaforge.loaded import Loaded
from llamaforge.loading import as_mapping, overlay
from llamaforge.model import DEFAULT_BACKEND, Model
from llamaforge.plugins import PluginManager
from llamaforge.plugins.methods import PluginMethods
from llamaforge.threads import in_thread
from llamaforge.tokens import Tokens

if TYPE_CHECKING:
    from fastapi import FastAPI

    from llamaforge.chat import ChatInterface
    from llamaforge.server import ApiServer

Json = dict[str, Any]
Content = str | Sequence[Mapping[str, Any]]
# Of generations: parameters, the model that answers, a conversation, what is said in one, and what was said before.
Given = Parameters | None
Name = str | None
Chat = Sequence[Message]
Words = Content | None
Past = Chat | None


class LlamaForge(PluginMethods, Tokens):
    """Models by name. One object may be used from several threads, and several models may be loaded at once.

    A generation goes to the model named by `model`, else to the current one (the last given to `load_model`), else to
    the configuration's `default_model`. One that is not in memory is loaded first. Models stay in memory while they
    fit into `memory_budget` together; then the least recently used goes, but never while it generates.

    Parameters of a generation are given as a mapping, as keywords, or both; they lie over those stored with the model,
    which lie over `backends.NAME.default_parameters` of the configuration.

    Text passes the enabled plugins: prompts the preprocessors, answers the postprocessors. In a chat it is the user's
    new words that are preprocessed. OpenAI-shaped calls (`completion`, `chat_completion`, ...) bypass the plugins.
    """

    def __init__(self, config_path: str | PathLike[str] | None = None, log_level: str = "INFO") -> None:
        """config_path: see Config. log_level: of the package's loggers. Raises ConfigError, ParameterError."""
        try:
            logging.getLogger("llamaforge").setLevel(log_level)
        except (ValueError, TypeError) as error:
            raise ParameterError(f"{log_level!r} is no level of logging: use DEBUG, INFO, WARNING or ERROR.") from error
        self.config = Config(config_path)
        self._library = Library(self.config)
        self.plugins = PluginManager(self, self.config)

    # ---- which models there are

    @property
    def current_model(self) -> Model | None:
        """The model that generations go to unless another is named, in memory or not."""
        name = self._library.current
        return None if name is None else self._library.find(name)

    @property
    def default_model(self) -> str | None:
        """The configuration's model for when none is current."""
        name: str | None = self.config.get("default_model")
        return name

    def add_model(
        self,
        name: str,
        path: str | PathLike[str],
        backend: str = DEFAULT_BACKEND,
        parameters: Mapping[str, Any] | None = None,
        metadata: Mapping[str, Any] | None = None,
    ) -> None:
        """Note a model, in memory only until `forge.config.save()`. The backend may be registered later."""
        self.config.add_model(name, path, backend, parameters, metadata)

    def remove_model(self, name: str) -> bool:
        """Forget a model and unload it; whether there was one. Its file stays."""
        removed = self.config.remove_model(name)
        if removed:
            self._library.forget(name)
        return removed

    def list_models(self) -> list[str]:
        """The names of noted models, then of files and folders in `models_dir` that none of these points to."""
        return self._library.list_models()

    def get_model(self, name: str) -> Model | None:
        """The model if it is among `list_models()`, else None."""
        return self._library.get_model(name)

    def is_model_available(self, name: str) -> bool:
        """Whether `load_model` can have it without a download: noted, a path, in `models_dir` or in the hub's cache."""
        return self._library.is_available(name)

    def get_model_info(self, name: str) -> Json:
        """All that is known of a model, and whether it is loaded and current. Raises ModelNotFoundError."""
        loaded = self._library.loaded.get(name)
        return {
            **self._library.found(name).to_dict(),
            "loaded": loaded is not None,
            "current": name == self._library.current,
            "memory": None if loaded is None else loaded.size,
            "details": {} if loaded is None else dict(loaded.backend.info().details),
        }

    def has_chat_template(self, model: Name = None) -> bool:
        """Whether a model, loaded if need be, was made for conversations, so that `generate` asks it as `chat` does."""
        with self._library.using(model) as loaded:
            return loaded.backend.has_chat_template

    # ---- in memory

    def load_model(self, name: str, parameters: Mapping[str, Any] | None = None) -> None:
        """Load a model and make it the current one. Loaded already with the same parameters, it is not loaded again.

        name: of a noted model, a path to a GGUF file or a folder, of a model in the hub's cache ("gpt2" or "owner/name"),
        "owner/name" of one that is to be downloaded from the hub, or a name of OpenAI's.
        parameters: over the stored ones, also when the model is loaded again after it had to go.
        Raises ModelNotFoundError, ModelLoadError, BackendNotFoundError, ParameterError; the current model stays then.
        """
        self._library.load(name, {} if parameters is None else parameters).release()
        self._library.current = name

    def is_model_loaded(self, name: str | None = None) -> bool:
        """Whether this model, or any, is in memory."""
        return bool(self._library.loaded.names()) if name is None else self._library.loaded.get(name) is not None

    def loaded_models(self) -> list[str]:
        """The models in memory, the least recently used first."""
        return self._library.loaded.names()

    def unload_model(self, name: str | None = None) -> bool:
        """Let this model, or the current one, go: now, or when its running generations have ended. Always True."""
        name = self._library.current if name is None else name
        if name is not None:
            self._library.forget(name)
        return True

    def unload_all(self) -> None:
        """Let all models go, those in use when their generations have ended."""
        for name in self._library.loaded.names():
            self._library.forget(name)

    def close(self) -> None:
        """Unload everything and shut the plugins down."""
        self.unload_all()
        self.plugins.close()

    def __enter__(self) -> Self:
        """The forge itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Close it."""
        self.close()

    # ---- text

    def generate(
        self, prompt: str, parameters: Given = None, *, model: Name = None, raw: bool = False, **more: Any
    ) -> str:
        """The model's answer to `prompt`: given as a message where the model has a chat template, else continued.

        raw: continue the prompt as it stands, template or not.
        """
        asked = self._prompt(prompt, raw=raw)
        with self._library.using(model) as loaded:
            ask, given = _bound(loaded, "generate", asked)
            answer: str = ask(given, _merged(loaded, parameters, more))
        return self.plugins.postprocess(answer)

    def generate_stream(
        self, prompt: str, parameters: Given = None, *, model: Name = None, raw: bool = False, **more: Any
    ) -> Iterator[str]:
        """`generate` in pieces. The model is loaded now; closing the iterator ends the generation."""
        return self._stream("generate_stream", self._prompt(prompt, raw=raw), model, parameters, more)

    def chat(
        self, user_input: Words, chat_history: Past = None, parameters: Given = None, *, model: Name = None, **more: Any
    ) -> str:
        """The answer to `user_input` after `chat_history`, messages of {role, content}; the history is not changed.

        user_input: text, or a list of parts (text, images); None when the history itself ends with what to answer.
        """
        messages = self._messages(user_input, chat_history)
        with self._library.using(model) as loaded:
            answer = loaded.backend.chat(messages, _merged(loaded, parameters, more))
        return self.plugins.postprocess(answer)

    def chat_stream(
        self, user_input: Words, chat_history: Past = None, parameters: Given = None, *, model: Name = None, **more: Any
    ) -> Iterator[str]:
        """`chat` in pieces."""
        return self._stream("chat_stream", self._messages(user_input, chat_history), model, parameters, more)

    def embed(
        self, texts: str | Sequence[str], parameters: Given = None, *, model: Name = None, **more: Any
    ) -> list[list[float]]:
        """A vector for each text. Raises UnsupportedError where the backend makes none."""
        with self._library.using(model) as loaded:
            return loaded.backend.embed(_texts(texts), _merged(loaded, parameters, more))

    # ---- in OpenAI's shapes

    def completion(self, prompt: str, parameters: Given = None, *, model: Name = None, **more: Any) -> Json:
        """An OpenAI completion of `prompt`."""
        with self._library.using(model) as loaded:
            return loaded.backend.completion(prompt, _merged(loaded, parameters, more))

    def completion_stream(
        self, prompt: str, parameters: Given = None, *, model: Name = None, **more: Any
    ) -> Iterator[Json]:
        """The chunks of an OpenAI completion."""
        return self._pieces("completion_stream", prompt, self._ready(model), parameters, more)

    def chat_completion(
        self,
        messages: Chat,
        parameters: Given = None,
        *,
        model: Name = None,
        load_parameters: Given = None,
        **more: Any,
    ) -> Json:
        """An OpenAI chat completion: with tool calls, finish reason and usage, where the backend tells them.

        load_parameters: with which the model is to be loaded, over the stored ones; None takes one in memory as it is.
        """
        with self._library.using(model, load_parameters) as loaded:
            return loaded.backend.chat_completion(messages, _merged(loaded, parameters, more))

    def chat_completion_stream(
        self,
        messages: Chat,
        parameters: Given = None,
        *,
        model: Name = None,
        load_parameters: Given = None,
        **more: Any,
    ) -> Iterator[Json]:
        """The chunks of an OpenAI chat completion."""
        name = self._ready(model, load_parameters)
        return self._pieces("chat_completion_stream", messages, name, parameters, more, load_parameters)

    # ---- without blocking the event loop

    async def agenerate(
        self, prompt: str, parameters: Given = None, *, model: Name = None, raw: bool = False, **more: Any
    ) -> str:
        """`generate`; cancelling ends the generation."""
        asked = self._prompt(prompt, raw=raw)
        async with self._library.ausing(model) as loaded:
            ask, given = _bound(loaded, "agenerate", asked)
            answer: str = await ask(given, _merged(loaded, parameters, more))
        return self.plugins.postprocess(answer)

    def agenerate_stream(
        self, prompt: str, parameters: Given = None, *, model: Name = None, raw: bool = False, **more: Any
    ) -> AsyncIterator[str]:
        """`generate_stream`; the model is loaded with the first piece."""
        asked = self._prompt(prompt, raw=raw)
        return self._astream("agenerate_stream", "generate_stream", asked, model, parameters, more)

    async def achat(
        self, user_input: Words, chat_history: Past = None, parameters: Given = None, *, model: Name = None, **more: Any
    ) -> str:
        """`chat`; cancelling ends the generation."""
        messages = self._messages(user_input, chat_history)
        async with self._library.ausing(model) as loaded:
            answer = await loaded.backend.achat(messages, _merged(loaded, parameters, more))
        return self.plugins.postprocess(answer)

    def achat_stream(
        self, user_input: Words, chat_history: Past = None, parameters: Given = None, *, model: Name = None, **more: Any
    ) -> AsyncIterator[str]:
        """`chat_stream`; the model is loaded with the first piece."""
        messages = self._messages(user_input, chat_history)
        return self._astream("achat_stream", "chat_stream", messages, model, parameters, more)

    def achat_completion_stream(
        self,
        messages: Chat,
        parameters: Given = None,
        *,
        model: Name = None,
        load_parameters: Given = None,
        **more: Any,
    ) -> AsyncIterator[Json]:
        """`chat_completion_stream`; the model is loaded with the first chunk."""
        return self._apieces("achat_completion_stream", messages, model, parameters, more, load_parameters)

    async def aembed(
        self, texts: str | Sequence[str], parameters: Given = None, *, model: Name = None, **more: Any
    ) -> list[list[float]]:
        """`embed` without blocking the event loop."""
        async with self._library.ausing(model) as loaded:
            return await loaded.backend.aembed(_texts(texts), _merged(loaded, parameters, more))

    # ---- conversations and the server

    def create_chat_interface(self, model: Name = None, system_prompt: str | None = None) -> ChatInterface:
        """A conversation on the terminal: call its `start()`. model: left out, the current or default one."""
        from llamaforge.chat import ChatInterface  # noqa: PLC0415 -- only a terminal needs it

        return ChatInterface(self, model=model, system_prompt=system_prompt)

    def create_server_app(self, enable_cors: bool = False, api_key: str | None = None) -> FastAPI:
        """An ASGI application (FastAPI's) with OpenAI's API over all models, each run in a process of its own."""
        from llamaforge.server import create_api_server  # noqa: PLC0415 -- the web framework is loaded by those who serve

        return create_api_server(self, enable_cors=enable_cors, api_key=api_key)

    def start_server(
        self,
        host: str | None = None,
        port: int | None = None,
        enable_cors: bool = False,
        api_key: str | None = None,
        *,
        block: bool = True,
        **options: Any,
    ) -> ApiServer:
        """Serve OpenAI's API until a signal, or with `block=False` in a thread until the server's `stop()`.

        host, port: the configuration's where left out. options: those of `llamaforge.server.ApiServer`.
        Raises ConfigError when the address can't be had, or is public and there is no `api_key`.
        """
        from llamaforge.server import ApiServer  # noqa: PLC0415 -- as above

        if enable_cors:
            options["enable_cors"] = True  # else as the configuration says
        server = ApiServer(self, host, port, api_key=api_key, **options)
        if block:
            server.run()
            return server
        return server.start()

    # ---- inside

    def _prompt(self, prompt: str, *, raw: bool) -> str | _Question:
        if not isinstance(prompt, str):
            raise ParameterError("The prompt must be text.")
        text = self.plugins.preprocess(prompt)
        return text if raw else _Question(text)

    def _messages(self, user_input: Words, chat_history: Past) -> Chat:
        history = [] if chat_history is None else as_messages(chat_history)
        if user_input is None:
            return history
        content = self.plugins.preprocess(user_input) if isinstance(user_input, str) else user_input
        return [*history, {"role": "user", "content": content}]

    def _stream(self, method: str, given: Any, model: Name, parameters: Given, more: Json) -> Iterator[str]:
        return self.plugins.postprocess_stream(self._pieces(method, given, self._ready(model), parameters, more))

    def _ready(self, model: Name, load: Given = None) -> str:
        """The name of the model to use, which is in memory now: so that what is wrong with it is told at the call."""
        name = self._library.wanted(model)
        with self._library.using(name, load):
            return name

    def _pieces(
        self, method: str, given: Any, name: str, parameters: Given, more: Json, load: Given = None
    ) -> Iterator[Any]:
        # The lease is taken with the first piece: an iterator that is never begun holds nothing.
        with self._library.using(name, load) as loaded:
            ask, asked = _bound(loaded, method, given)
            yield from ask(asked, _merged(loaded, parameters, more))

    def _astream(
        self, method: str, blocking: str, given: Any, model: Name, parameters: Given, more: Json
    ) -> AsyncIterator[str]:
        nothing: Iterator[str] = iter(())
        if self.plugins.postprocess_stream(nothing) is nothing:
            return self._apieces(method, given, model, parameters, more)
        # Plugins are written for iterators that block.
        return in_thread(lambda: self._stream(blocking, given, model, parameters, more))

    async def _apieces(
        self, method: str, given: Any, model: Name, parameters: Given, more: Json, load: Given = None
    ) -> AsyncIterator[Any]:
        async with self._library.ausing(model, load) as loaded:
            ask, asked = _bound(loaded, method, given)
            pieces = ask(asked, _merged(loaded, parameters, more))
            try:
                async for piece in pieces:
                    yield piece
            finally:
                if hasattr(pieces, "aclose"):
                    await pieces.aclose()


@dataclass(frozen=True, slots=True)
class _Question:
    """A prompt that is given to a model as a message, if it has a chat template."""

    text: str


def _bound(loaded: Loaded, method: str, given: Any) -> tuple[Any, Any]:
    """The backend's method that is to be called, and what with."""
    if not isinstance(given, _Question):
        return getattr(loaded.backend, method), given
    if not loaded.backend.has_chat_template:
        return getattr(loaded.backend, method), given.text
    return getattr(loaded.backend, method.replace("generate", "chat")), [{"role": "user", "content": given.text}]


def _merged(loaded: Loaded, parameters: Given, more: Json) -> Json:
    """The parameters of a call over the defaults of its model."""
    return overlay(loaded.defaults, {**as_mapping(parameters), **more}, loaded.canonical)


def _texts(texts: str | Sequence[str]) -> list[str]:
    return checked_texts([texts] if isinstance(texts, str) else texts)
