"""Which models are served, and how each is to be run."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass
from typing import Protocol

from llamaforge.backends import get_backend
from llamaforge.config import Config
from llamaforge.exceptions import ModelLoadError, ModelNotFoundError
from llamaforge.library import Library
from llamaforge.loading import Plan, memory_by_device
from llamaforge.model import Model
from llamaforge.pool import Spec

_FRESH_SECONDS = 2.0


class Forge(Protocol):
    """What is needed of a LlamaForge."""

    config: Config

    def list_models(self) -> list[str]:
        """The names of all models."""

    def get_model(self, name: str) -> Model | None:
        """One of them."""


@dataclass(frozen=True, slots=True)
class Served:
    """A model as it is run, and the plan of its load."""

    spec: Spec
    plan: Plan


class Catalog:
    """The models of a forge by name and alias (`metadata.aliases`). What it reads is kept for two seconds."""

    def __init__(self, forge: Forge, slots: int) -> None:
        """slots: requests at a time for a model whose parameters don't say (`n_parallel`)."""
        self._forge = forge
        self._library = Library(forge.config)
        self._slots = slots
        self._served: dict[str, tuple[float, Served]] = {}

    async def names(self) -> list[str]:
        """The models there are, as listed."""
        return await asyncio.to_thread(self._forge.list_models)

    async def get(self, name: str) -> Served:
        """The model. Raises ModelNotFoundError, and what is wrong with its entry."""
        found = self._served.get(name)
        if found is None or time.monotonic() - found[0] > _FRESH_SECONDS:
            self._served.pop(name, None)
            found = (time.monotonic(), await asyncio.to_thread(self._read, name))
            self._served[name] = found
        return found[1]

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
        return Served(spec, plan)

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
