"""Which models are served, and how each is to be run."""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass
from typing import Any, Protocol

from llamaforge import threads
from llamaforge.backends import get_backend
from llamaforge.config import Config
from llamaforge.exceptions import ConfigError, ModelLoadError, ModelNotFoundError
from llamaforge.library import Library
from llamaforge.loading import Plan, memory_by_device
from llamaforge.model import Model
from llamaforge.pool import Spec

_FRESH_SECONDS = 2.0
log = logging.getLogger(__name__)


class Forge(Protocol):
    """What is needed of a LlamaForge."""

    config: Config

    def list_models(self) -> list[str]:
        """The names of all models."""

    def get_model(self, name: str) -> Model | None:
        """One of them."""


@dataclass(frozen=True, slots=True)
class Served:
    """A model as it is run, and the plan of its load. keep_alive: `metadata.keep_alive` of its entry."""

    spec: Spec
    plan: Plan
    keep_alive: Any = None


class Catalog:
    """The models of a forge by name and alias (`metadata.aliases`). What it reads is kept for two seconds."""

    def __init__(self, forge: Forge, slots: int) -> None:
        """slots: requests at a time for a model whose parameters don't say (`n_parallel`)."""
        self._forge = forge
        self._library = Library(forge.config)
        self._slots = slots
        self._served: dict[str, tuple[float, Served]] = {}

    async def refresh(self) -> bool:
        """Take in what was added to and removed from the configuration's file; whether it has changed. Raises ConfigError."""
        is_new = await threads.call(self._forge.config.refresh)
        if is_new:
            self._served.clear()
        return is_new

    async def names(self) -> list[str]:
        """The models there are, as listed."""
        await self._try_refresh()
        return await threads.call(self._forge.list_models)

    async def get(self, name: str) -> Served:
        """The model. Raises ModelNotFoundError, and what is wrong with its entry."""
        found = self._served.get(name)
        if found is None or time.monotonic() - found[0] > _FRESH_SECONDS:
            self._served.pop(name, None)
            await self._try_refresh()
            found = (time.monotonic(), await threads.call(self._read, name))
            self._served[name] = found
        return found[1]

    async def _try_refresh(self) -> None:
        try:
            await self.refresh()
        except ConfigError as error:  # others are writing it, or it is broken: what is known goes on
            log.warning("The models stay as they were: %s", error)

    def default(self) -> str | None:
        """The model for requests that name none."""
        name = self._forge.config.get("default_model")
        return name if isinstance(name, str) else None

    def _read(self, name: str) -> Served:
        model = self._forge.get_model(name) or self._by_alias(name)
        if model is None:
            raise ModelNotFoundError(f"The model '{name}' does not exist.")
        plan = self._library.plan(model)
        slots = plan.load.get("n_parallel") or self._slots
        spec = Spec(
            name=model.name,
            path=plan.path,
            backend=_importable(model.backend),
            parameters=plan.load,
            slots=slots,
            memory=memory_by_device(plan.cls, plan.path, {**plan.load, "n_parallel": slots}),
        )
        return Served(spec, plan, model.get_metadata("keep_alive"))

    def _by_alias(self, alias: str) -> Model | None:
        for name in self._forge.config.list_models():
            model = self._forge.get_model(name)
            aliases = None if model is None else model.get_metadata("aliases")
            if isinstance(aliases, list) and alias in aliases:
                return model
        return None


def _importable(backend: str) -> str:
    """The name under which a process of its own finds the backend: one registered here is not registered there."""
    cls = get_backend(backend)
    if cls.__module__.startswith("llamaforge.backends."):
        return backend
    if cls.__module__ == "__main__" or "<locals>" in cls.__qualname__:
        raise ModelLoadError(
            f"The backend '{backend}' can't be run in a process of its own: "
            "define its class at the top of a module that can be imported."
        )
    return f"{cls.__module__}:{cls.__qualname__}"
