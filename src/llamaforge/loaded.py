"""Models in memory: each loaded once, leased while it generates, the least recently used let go when room is needed."""

from __future__ import annotations

import os
import re
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from llamaforge.backends.base import BaseBackend
from llamaforge.exceptions import ConfigError, ModelLoadError

SHARE = 0.8
"""How much of the machine's (or the container's) memory models may take where no budget is set."""

PATIENCE = 60.0
"""How long a load waits for models in use to become free, in seconds."""

_SIZE = re.compile(r"\s*(\d+(?:\.\d+)?)\s*([kmgt]?)(i?)b?\s*", re.IGNORECASE)
_POWERS = {"": 0, "k": 1, "m": 2, "g": 3, "t": 4}


@dataclass(slots=True, eq=False)
class Loaded:
    """A backend with its model, and what a generation needs to know of it.

    settings: what it was loaded with, to tell a change. defaults: of generations. canonical: every spelling of the
    generation's parameters with its name. size: bytes reserved for it.
    """

    name: str
    backend: BaseBackend
    settings: Mapping[str, Any] = field(default_factory=dict)
    defaults: Mapping[str, Any] = field(default_factory=dict)
    canonical: Mapping[str, str] = field(default_factory=dict)
    size: int = 0
    used: float = 0.0
    users: list[int] = field(default_factory=list)  # the threads that hold a lease, one entry for each lease
    unloading: bool = False


class Lease:
    """The right to use a loaded model: it stays in memory until `release`."""

    __slots__ = ("_models", "_thread", "loaded")

    def __init__(self, models: LoadedModels, loaded: Loaded) -> None:
        self._models = models
        self._thread = threading.get_ident()
        self.loaded = loaded
        loaded.users.append(self._thread)

    def release(self) -> None:
        """Give it back, once, from any thread."""
        self._models._release(self.loaded, self._thread)  # noqa: SLF001 -- the two are one thing


class LoadedModels:
    """The table of loaded models. Safe from any thread; different models load side by side.

    A model is unloaded when nobody uses it: one that is told to go while it generates takes no new users, counts
    against the budget until the last has ended, and goes then.
    """

    def __init__(self, budget: Callable[[], int | None], patience: float = PATIENCE) -> None:
        """budget: tells how many bytes all models together may take, None for any number. patience: in seconds."""
        self._budget = budget
        self._patience = patience
        self._changed = threading.Condition()
        self._ready: dict[str, Loaded] = {}
        self._leaving: list[Loaded] = []
        self._loading: dict[str, int] = {}

    def names(self) -> list[str]:
        """The models that are ready, the least recently used first."""
        with self._changed:
            return [loaded.name for loaded in sorted(self._ready.values(), key=lambda loaded: loaded.used)]

    def get(self, name: str) -> Loaded | None:
        """The model if it is ready. It may go at any time: take a lease to use it."""
        return self._ready.get(name)

    def used_bytes(self) -> int:
        """What models that load, are ready or are leaving have reserved."""
        with self._changed:
            return self._used()

    def take(self, name: str) -> Lease | None:
        """A lease of the model, or None if it is not ready."""
        with self._changed:
            loaded = self._ready.get(name)
            return None if loaded is None else self._lease(loaded)

    def load(self, name: str, size: int, settings: Mapping[str, Any], start: Callable[[], Loaded]) -> Lease:
        """A lease of the model called `name`, made by `start` unless it is there with equal `settings`.

        One with other settings makes way first. Others are unloaded until `size` bytes are free, the least recently
        used first; for those in use it waits. Raises ModelLoadError when that is in vain, and whatever `start` raises.
        """
        with self._changed:
            while name in self._loading:
                self._changed.wait()
            present = self._ready.get(name)
            if present is not None and present.settings == settings:
                return self._lease(present)
            self._loading[name] = 0
            if present is not None:
                self._retire(present)
        lease = None
        try:
            self._sweep()
            self._make_room(name, size)
            loaded = start()
            loaded.size = size
            with self._changed:
                self._ready[name] = loaded
                lease = self._lease(loaded)
        finally:
            with self._changed:
                del self._loading[name]
                self._changed.notify_all()
        return lease

    def unload(self, name: str) -> bool:
        """Let the model go, now or when its last user has ended; whether there was one."""
        with self._changed:
            loaded = self._ready.get(name)
            if loaded is not None:
                self._retire(loaded)
        self._sweep()
        return loaded is not None

    def _lease(self, loaded: Loaded) -> Lease:
        loaded.used = time.monotonic()
        return Lease(self, loaded)

    def _release(self, loaded: Loaded, thread: int) -> None:
        with self._changed:
            loaded.users.remove(thread)
            loaded.used = time.monotonic()
            leaving = bool(self._leaving)
            self._changed.notify_all()
        if leaving:
            self._sweep()

    def _retire(self, loaded: Loaded) -> None:
        del self._ready[loaded.name]
        self._leaving.append(loaded)

    def _sweep(self) -> None:
        """Unload, outside the lock, what was told to go and has no user left."""
        with self._changed:
            idle = [loaded for loaded in self._leaving if not loaded.users and not loaded.unloading]
            for loaded in idle:
                loaded.unloading = True
        for loaded in idle:
            try:
                loaded.backend.unload()
            finally:
                with self._changed:
                    self._leaving.remove(loaded)
                    self._changed.notify_all()

    def _used(self) -> int:
        present = sum(loaded.size for loaded in (*self._ready.values(), *self._leaving))
        return present + sum(self._loading.values())

    def _make_room(self, name: str, size: int) -> None:
        """Reserve `size` bytes for the model that is being loaded."""
        budget = self._budget()
        if budget is not None and size > budget:
            raise ModelLoadError(
                f"The model '{name}' needs about {readable(size)} of memory, and all models together may take "
                f"{readable(budget)} ('memory_budget' of the configuration). A smaller n_ctx needs less."
            )
        deadline = time.monotonic() + self._patience
        while not self._reserved(name, size, budget, deadline):
            self._sweep()

    def _reserved(self, name: str, size: int, budget: int | None, deadline: float) -> bool:
        """Whether the bytes are reserved; if not, a model was told to go, or something has changed meanwhile."""
        with self._changed:
            if budget is None or self._used() + size <= budget:
                self._loading[name] = size
                return True
            idle = [loaded for loaded in self._ready.values() if not loaded.users]
            if idle:
                self._retire(min(idle, key=lambda loaded: loaded.used))
                return False
            me = threading.get_ident()
            busy = [loaded for loaded in (*self._ready.values(), *self._leaving) if loaded.users]
            others = len(self._loading) > 1 or any(loaded.unloading for loaded in self._leaving)
            others = others or any(user != me for loaded in busy for user in loaded.users)
            left = deadline - time.monotonic()
            # What this very thread uses can't end while it waits here.
            if not others or left <= 0:
                raise ModelLoadError(
                    f"There is no room for the model '{name}' ({readable(size)} of {readable(budget)}): "
                    f"in use are {', '.join(loaded.name for loaded in busy) or 'others that are being loaded'}."
                )
            self._changed.wait(left)
            return False


def parse_size(value: object) -> int:
    """Bytes from a number, or from a text such as "12GB" (10^9 each) or "12GiB" (2^30). Raises ConfigError."""
    if isinstance(value, int) and not isinstance(value, bool) and value > 0:
        return value
    match = _SIZE.fullmatch(value) if isinstance(value, str) else None
    size = 0
    if match is not None:
        number, unit, binary = match.groups()
        size = int(float(number) * (1024 if binary else 1000) ** _POWERS[unit.lower()])
    if not size:
        raise ConfigError(f"{value!r} is no amount of memory: give bytes, or a text such as '12GB' or '12GiB'.")
    return size


def readable(size: int) -> str:
    """Bytes as a person reads them, in powers of ten."""
    for power, unit in ((4, "TB"), (3, "GB"), (2, "MB"), (1, "kB")):
        if size >= 1000**power:
            return f"{size / 1000**power:.1f} {unit}"
    return f"{size} B"


def machine_memory() -> int | None:
    """Bytes of memory of the machine, or of the container where that is less; None where it can't be known."""
    try:
        found = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):
        return None
    for limit in ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"):
        try:
            found = min(found, int(Path(limit).read_text(encoding="ascii")))
        except (OSError, ValueError):  # no such file, or "max"
            continue
    return found
