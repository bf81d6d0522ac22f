"""The models of one forge: found by name, loaded on demand within the budget, leased to generations."""

from __future__ import annotations

import contextlib
import difflib
import threading
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from llamaforge import hub_cache, threads
from llamaforge.config import Config
from llamaforge.exceptions import ConfigError, ModelNotFoundError, ModelNotLoadedError
from llamaforge.loaded import Lease, Loaded, LoadedModels
from llamaforge.loading import Plan, as_mapping, find_unlisted, is_here, memory_by_device, models_in, plan, start
from llamaforge.memory.devices import Memory, default_budget, parse_budget
from llamaforge.model import Model, checked_name

Json = dict[str, Any]
_SERVERS = frozenset(("api_base", "base_url", "azure_endpoint"))


class _Request(NamedTuple):
    """A load as it is asked for. memory: bytes by device. start: loads the model."""

    overrides: Json
    plan: Plan
    memory: Memory
    settings: Json
    start: Callable[[], Loaded]


class Library:
    """Models by name, safe from any thread.

    current: the name of the model that is meant where none is named, or None for the configuration's `default_model`.
    """

    def __init__(self, config: Config) -> None:
        """config: what is noted there counts at the time of each load."""
        self.config = config
        self.loaded = LoadedModels(self._budget)
        self.current: str | None = None
        self._overrides: dict[str, Json] = {}
        self._lock = threading.Lock()

    # ---- names

    def list_models(self) -> list[str]:
        """The names of noted models, then of what lies in `models_dir` and none of these points to."""
        noted = self.config.list_models()
        folder = self.config.models_dir
        paths = [Path(str((self.config.get_model(name) or {}).get("path"))) for name in noted]
        # A model may point to a file inside a folder that holds nothing else.
        free = (name for name in models_in(folder) if not any(path.is_relative_to(folder / name) for path in paths))
        return noted + [name for name in free if name not in noted]

    def find(self, name: str) -> Model | None:
        """The model of that name: noted, lying in `models_dir`, or named by its path, hub or provider."""
        entry = self.config.get_model(checked_name(name, "model"))
        return find_unlisted(name, self.config.models_dir) if entry is None else Model(name, config=entry)

    def get_model(self, name: str) -> Model | None:
        """The model if it is among `list_models()`, else None."""
        return self.find(name) if name in self.list_models() else None

    def is_available(self, name: str) -> bool:
        """Whether the model is noted or lies on this machine, the hub's cache included."""
        return self.config.get_model(checked_name(name, "model")) is not None or is_here(name, self.config.models_dir)

    def found(self, name: str) -> Model:
        """The same, or ModelNotFoundError with the nearest names."""
        model = self.find(name)
        if model is None:
            known = self.list_models()
            near = difflib.get_close_matches(name, known, n=3, cutoff=0.5)
            if near:
                hint = f" Did you mean {' or '.join(repr(other) for other in near)}?"
            else:
                hint = f" Known: {', '.join(known)}." if known else " None has been added yet."
                if hub_cache.is_name(name) and "." not in name:
                    hint += f" If the hub has it, download it: llamaforge add {name} hf:{name}"
            raise ModelNotFoundError(f"There is no model '{name}'.{hint}")
        return model

    def wanted(self, name: str | None) -> str:
        """`name`, else the current model, else the default one, which becomes current. Raises ModelNotLoadedError."""
        if name is not None:
            return name
        with self._lock:
            if self.current is None:
                self.current = self.config.get("default_model")
            if self.current is None:
                raise ModelNotLoadedError("No model loaded: call load_model(), or set a default_model.")
            return self.current

    def plan(self, model: Model, over: Mapping[str, Any] | None = None) -> Plan:
        """How the model is to be loaded, with the configuration's own parameters beneath its own and `over` above.

        Raises BackendNotFoundError, ParameterError.
        """
        over = over or {}
        return plan(model, (*self._beneath(model, over), model.parameters, over))

    # ---- memory

    def load(self, name: str, overrides: Mapping[str, Any] | None = None) -> Lease:
        """A lease of the model, loaded unless it is in memory with equal parameters.

        overrides: parameters over the stored ones, remembered until they are given anew or the model is forgotten;
        None for those remembered. Raises ModelNotFoundError, ModelLoadError, BackendNotFoundError, ParameterError.
        """
        request = self._request(name, overrides)
        return self._noted(request, self.loaded.load(name, request.memory, request.settings, request.start))

    async def aload(self, name: str, overrides: Mapping[str, Any] | None = None) -> Lease:
        """`load` without blocking the event loop, and without a thread for who waits for a load that runs already.

        A load that nobody waits for any more ends in the background.
        """
        request = await threads.call(self._request, name, overrides)
        return self._noted(request, await self.loaded.aload(name, request.memory, request.settings, request.start))

    def _request(self, name: str, overrides: Mapping[str, Any] | None) -> _Request:
        model = self.found(name)
        over = self._overrides.get(name, {}) if overrides is None else dict(as_mapping(overrides))
        how = self.plan(model, over)
        settings = {"backend": how.cls, "path": how.path, "parameters": how.load}

        def make() -> Loaded:
            return Loaded(name, start(name, how), settings, how.defaults, how.canonical)

        return _Request(over, how, memory_by_device(how.cls, how.path, how.load), settings, make)

    def _noted(self, request: _Request, lease: Lease) -> Lease:
        # One that was in memory already may have got other defaults since.
        lease.loaded.defaults, lease.loaded.canonical = request.plan.defaults, request.plan.canonical
        with self._lock:
            self._overrides[lease.loaded.name] = request.overrides
        return lease

    def forget(self, name: str) -> bool:
        """Let the model go as soon as nobody uses it; whether it was in memory. It is no longer the current one."""
        with self._lock:
            self._overrides.pop(name, None)
            if self.current == name:
                self.current = None
        return self.loaded.unload(name)

    @contextlib.contextmanager
    def using(self, name: str | None, overrides: Mapping[str, Any] | None = None) -> Iterator[Loaded]:
        """The model, loaded if need be, and kept in memory until the block is left.

        overrides: as of `load`; None takes it as it is.
        """
        name = self.wanted(name)
        lease = (self.loaded.take(name) if overrides is None else None) or self.load(name, overrides)
        try:
            yield lease.loaded
        finally:
            lease.release()

    @contextlib.asynccontextmanager
    async def ausing(self, name: str | None, overrides: Mapping[str, Any] | None = None) -> AsyncIterator[Loaded]:
        """`using` without blocking the event loop."""
        name = self.wanted(name)
        lease = (self.loaded.take(name) if overrides is None else None) or await self.aload(name, overrides)
        try:
            yield lease.loaded
        finally:
            lease.release()

    def _beneath(self, model: Model, over: Mapping[str, Any]) -> tuple[Mapping[str, Any], ...]:
        """What lies beneath a model's own parameters: the key for its backend, and the backend's defaults.

        A model that names a server of its own does not get the key, which belongs to another.
        """
        key = self.config.get(("api_keys", model.backend))
        elsewhere = not _SERVERS.isdisjoint(model.parameters) or not _SERVERS.isdisjoint(over)
        defaults = self.config.get(("backends", model.backend, "default_parameters"), {})
        return ({} if key is None or elsewhere else {"api_key": key}), defaults

    def _budget(self) -> Memory:
        """Bytes by device that all models may take. Raises ConfigError."""
        return configured_budget(self.config)


def configured_budget(config: Config) -> Memory:
    """The configuration's `memory_budget`, with a share of each device that it doesn't name. Raises ConfigError."""
    value = config.get("memory_budget")
    try:
        return default_budget({} if value is None else parse_budget(value))
    except ConfigError as error:
        raise ConfigError(f"'memory_budget' of the configuration: {error}") from error
