"""Backends on models in this process, through llamaforge: GGUF files on llama.cpp, folders on Transformers."""

from __future__ import annotations

import threading
from collections.abc import AsyncIterator, Mapping
from os import PathLike, fspath
from types import MappingProxyType
from typing import Any, ClassVar

from consciousness.base import Parameters, TextGenerationBackend, checked_prompt, closed
from consciousness.express import Rule, Settings, merged
from llamaforge.backends import get_backend
from llamaforge.backends.base import BaseBackend
from llamaforge.exceptions import ParameterError
from llamaforge.parameters import resolve
from llamaforge.threads import call


class LocalBackend(TextGenerationBackend):
    """A model of this machine, loaded with the first answer, in a thread: the event loop is never blocked.

    engine: the name of llamaforge's backend, set by subclasses.
    Raises ModelLoadError (or another of llamaforge's errors) where the model can't be loaded or the engine is missing.
    """

    engine: ClassVar[str]

    def __init__(
        self, model: str | PathLike[str], *, rule: Rule = merged, raw: bool = False, **load_parameters: Any
    ) -> None:
        """model: its path or name.

        rule: how the state shapes the settings.
        raw: continue prompts as they stand, also where the model has a chat template.
        load_parameters: of llamaforge's backend, such as n_ctx, n_threads, device.
        Raises ParameterError for a blank name and an unknown parameter.
        """
        self.model_name = _checked_path(model)
        self.current_model: str | None = None
        self.emotional_modifiers = MappingProxyType({})
        self._load_parameters = _checked_parameters(self.engine, load_parameters)
        self._rule = rule
        self._raw = raw
        self._chats = False
        self._loading = threading.Lock()
        self._backend: BaseBackend | None = None

    async def generate(self, prompt: str, model: str | None = None, **kwargs: Any) -> str:
        """The model's answer to `prompt`, which it gets as a message where it has a chat template, else to continue.

        kwargs: given to the engine as they are, the state left aside.

        model: this backend's own, or None. Raises ParameterError for another.
        """
        if model not in {None, self.model_name}:
            raise ParameterError(f"This backend runs '{self.model_name}', not '{model}'.")
        prompt = checked_prompt(prompt)
        backend = await self._ready()
        if self._chats:
            return await backend.achat([{"role": "user", "content": prompt}], kwargs)
        return await backend.agenerate(prompt, kwargs)

    async def generate_text(self, prompt: str, parameters: Parameters | None = None) -> str:
        return await self.generate(prompt, **self.settings(parameters))

    async def generate_stream(self, prompt: str, parameters: Parameters | None = None) -> AsyncIterator[str]:
        prompt, settings = checked_prompt(prompt), self.settings(parameters)
        backend = await self._ready()
        if self._chats:
            stream = backend.achat_stream([{"role": "user", "content": prompt}], settings)
        else:
            stream = backend.agenerate_stream(prompt, settings)
        async with closed(stream) as pieces:
            async for piece in pieces:
                yield piece

    def settings(self, parameters: Parameters | None = None) -> Settings:
        """All that the engine is given: the parameters over the documented defaults, changed by the state."""
        return self._rule(parameters, self.emotional_modifiers)

    def close(self) -> None:
        """Free the model; the next answer loads it again."""
        with self._loading:
            backend, self._backend, self.current_model = self._backend, None, None
        if backend is not None:
            backend.unload()

    async def _ready(self) -> BaseBackend:
        backend = self._backend
        return await call(self._load) if backend is None else backend

    def _load(self) -> BaseBackend:
        with self._loading:
            if self._backend is not None:
                return self._backend
            backend = get_backend(self.engine)()
            backend.load_model(self.model_name, self._load_parameters)
            self._chats = not self._raw and backend.has_chat_template
            self._backend, self.current_model = backend, self.model_name
            return backend


class LlamaCppConsciousnessBackend(LocalBackend):
    """A GGUF file on llama.cpp."""

    engine = "llama.cpp"

    def __init__(self, model_path: str | PathLike[str], **options: Any) -> None:
        """model_path: of the file. options: those of LocalBackend."""
        super().__init__(model_path, **options)


class TransformersConsciousnessBackend(LocalBackend):
    """A Transformers model: a folder, or the name of a repository of the hub ("gpt2", "owner/name")."""

    engine = "huggingface"

    def __init__(self, model_name: str | PathLike[str], **options: Any) -> None:
        """model_name: the folder or repository. One in the hub's cache needs no network; another is downloaded.

        options: those of LocalBackend.
        """
        super().__init__(model_name, **options)


def _checked_path(model: object) -> str:
    if not isinstance(model, str | PathLike) or not str(fspath(model)).strip():
        raise ParameterError("The path or name of a model must be text that is not blank.")
    return str(fspath(model))


def _checked_parameters(engine: str, given: Mapping[str, Any]) -> dict[str, Any]:
    known = get_backend(engine).load_parameters
    return dict(given) if known is None else resolve(given, known, "load parameter")
