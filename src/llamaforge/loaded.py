"""Models in memory: each loaded once, leased while it generates, the least recently used let go when room is needed."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future
from dataclasses import dataclass, field
from functools import partial
from typing import Any, NamedTuple

from llamaforge import threads
from llamaforge.backends.base import BaseBackend
from llamaforge.exceptions import ModelLoadError
from llamaforge.memory.devices import Memory, by_device
from llamaforge.memory.policy import Claim, Evict, Refuse, Resident, Start
from llamaforge.memory.queue import RoomQueue, Ticket

log = logging.getLogger(__name__)
EVICTION_TIMEOUT = 60.0
"""How long a load waits for models in use to become free, in seconds."""


class Caller(NamedTuple):
    """Who holds a lease or waits for one. Either may be None, where it says nothing."""

    thread: threading.Thread | None
    task: asyncio.Task[Any] | None

    @classmethod
    def current(cls) -> Caller:
        """Of the code that runs now. A thread that serves one caller after the other is none."""
        try:
            task = asyncio.current_task()
        except RuntimeError:  # there is no event loop
            task = None
        return cls(None if threads.is_own() else threading.current_thread(), task)

    def holds(self, other: Caller) -> bool:
        """Whether `other` can't go on while this one waits."""
        same_thread = self.thread is not None and self.thread is other.thread
        return same_thread or (self.task is not None and self.task is other.task)


@dataclass(slots=True, eq=False)
class Loaded:
    """A backend with its model, and what a generation needs to know of it.

    settings: what it was loaded with, to tell a change. defaults: of generations. canonical: every spelling of the
    generation's parameters with its name. memory: bytes reserved for it, by device. started, used: when its load began
    and when it was last used, on the monotonic clock. users: who holds a lease, one entry for each.
    """

    name: str
    backend: BaseBackend
    settings: Mapping[str, Any] = field(default_factory=dict)
    defaults: Mapping[str, Any] = field(default_factory=dict)
    canonical: Mapping[str, str] = field(default_factory=dict)
    memory: Memory = field(default_factory=dict)
    started: float = 0.0
    used: float = 0.0
    users: list[Caller] = field(default_factory=list)
    unloading: bool = False

    @property
    def size(self) -> int:
        """Bytes reserved for it on all devices."""
        return sum(self.memory.values())


class Lease:
    """The right to use a loaded model: it stays in memory until `release`."""

    __slots__ = ("_holder", "_models", "loaded")

    def __init__(self, models: LoadedModels, loaded: Loaded, holder: Caller) -> None:
        self._models = models
        self._holder = holder
        self.loaded = loaded
        loaded.used = time.monotonic()
        loaded.users.append(holder)

    def release(self) -> None:
        """Give it back, once, from any thread."""
        self._models._release(self.loaded, self._holder)  # noqa: SLF001 -- the two are one thing


@dataclass(slots=True, eq=False)
class _Load:
    """A load on its way. waiting: who gets a lease when it is done, and the future of that."""

    name: str
    memory: Memory
    settings: Mapping[str, Any]
    start: Callable[[], Loaded]
    caller: Caller
    waiting: list[tuple[Caller, Future[Lease]]] = field(default_factory=list)
    ticket: Ticket | None = None

    @property
    def has_room(self) -> bool:
        return self.ticket is not None and isinstance(self.ticket.decision, Start)


class LoadedModels:
    """The table of loaded models. Safe from any thread and any event loop; different models load side by side.

    A model is unloaded when nobody uses it: one that is told to go while it generates takes no new users, counts
    against the budget until the last has ended, and goes then.
    """

    def __init__(self, budget: Callable[[], int | Memory | None], eviction_timeout: float = EVICTION_TIMEOUT) -> None:
        """budget: tells how many bytes all models together may take (a number is of RAM), None for any number.
        eviction_timeout: how long a load waits for models in use to become free, in seconds.
        """
        self._budget = budget
        self._limits: Memory = {}  # the budget at the last load
        self.eviction_timeout = eviction_timeout
        self._changed = threading.Condition()
        self._ready: dict[str, Loaded] = {}
        self._leaving: list[Loaded] = []
        self._loads: dict[str, list[_Load]] = {}  # by name: the first runs, the others (with other settings) follow
        self._queue = RoomQueue()

    def names(self) -> list[str]:
        """The models that are ready, the least recently used first."""
        with self._changed:
            return [loaded.name for loaded in sorted(self._ready.values(), key=lambda loaded: loaded.used)]

    def get(self, name: str) -> Loaded | None:
        """The model if it is ready. It may go at any time: take a lease to use it."""
        return self._ready.get(name)

    def used_bytes(self) -> int:
        """What models that load, are ready or are leaving have reserved, on all devices."""
        with self._changed:
            return sum(sum(one.memory.values()) for one in self._residents(None))

    def take(self, name: str) -> Lease | None:
        """A lease of the model, or None if it is not ready."""
        with self._changed:
            loaded = self._ready.get(name)
            return None if loaded is None else Lease(self, loaded, Caller.current())

    def load(self, name: str, memory: int | Memory, settings: Mapping[str, Any], start: Callable[[], Loaded]) -> Lease:
        """A lease of the model called `name`, made by `start` unless it is there with equal `settings`.

        One with other settings makes way first. Callers that want the same share one load and its failure. Others are
        unloaded until `memory` (bytes, of RAM where a number) is free, the least recently used first; those in use are
        waited for, but not one that this very thread uses. Raises ModelLoadError when there is no room, and whatever
        `start` raises.
        """
        caller = Caller.current()._replace(task=None)  # the whole thread waits, whatever its tasks
        load, lease = self._join(name, by_device(memory), settings, start, caller)
        with _taken(lease):
            if load is not None:
                self._run(load)
            return lease.result()

    async def aload(
        self, name: str, memory: int | Memory, settings: Mapping[str, Any], start: Callable[[], Loaded]
    ) -> Lease:
        """`load` in a thread of our own. One that nobody waits for any more ends in the background.

        Those who wait for a load that runs hold no thread. What this very task uses is not waited for.
        """
        caller = Caller.current()._replace(thread=None)
        load, lease = self._join(name, by_device(memory), settings, start, caller)
        if load is not None:
            try:
                threads.start(partial(self._run, load))
            except RuntimeError as error:  # the system gives no more threads
                self._finish(load, None, ModelLoadError(f"The model '{name}' could not be loaded: {error}."))
        with _taken(lease):
            return await asyncio.wrap_future(lease)

    def unload(self, name: str) -> bool:
        """Let the model go, now or when its last user has ended; whether there was one."""
        with self._changed:
            loaded = self._ready.get(name)
            if loaded is not None:
                self._retire(loaded)
        self._unload_retired()
        return loaded is not None

    # ---- loads

    def _join(
        self, name: str, memory: Memory, settings: Mapping[str, Any], start: Callable[[], Loaded], caller: Caller
    ) -> tuple[_Load | None, Future[Lease]]:
        """The future of a lease, and the load if it is for the caller to run."""
        lease: Future[Lease] = Future()
        holder = Caller.current()
        with self._changed:
            loads = self._loads.get(name, [])
            present = self._ready.get(name)
            if not loads and present is not None and present.settings == settings:
                lease.set_result(Lease(self, present, holder))
                return None, lease
            if loads and loads[-1].settings == settings:
                loads[-1].waiting.append((holder, lease))
                return None, lease
            load = _Load(name, memory, settings, start, caller, [(holder, lease)])
            self._loads.setdefault(name, []).append(load)
            return load, lease

    def _run(self, load: _Load) -> None:
        loaded: Loaded | None = None
        error: Exception = ModelLoadError(f"The load of the model '{load.name}' was interrupted.")
        try:
            with self._changed:
                while self._loads[load.name][0] is not load:
                    self._changed.wait()
                present = self._ready.get(load.name)
                if present is not None:
                    self._retire(present)
            started = time.monotonic()
            self._wait_for_room(load)
            loaded = load.start()
            loaded.memory, loaded.started = load.memory, started
        except Exception as failure:  # noqa: BLE001 -- raised by all who wait for it
            error = failure
        finally:
            self._finish(load, loaded, error)

    def _finish(self, load: _Load, loaded: Loaded | None, error: Exception) -> None:
        """Leases or the error for everybody who waits."""
        with self._changed:
            self._loads[load.name].remove(load)
            if not self._loads[load.name]:
                del self._loads[load.name]
            if loaded is not None:
                self._ready[load.name] = loaded
            waiting = [(holder, lease) for holder, lease in load.waiting if lease.set_running_or_notify_cancel()]
            leases = [Lease(self, loaded, holder) for holder, _ in waiting] if loaded is not None else []
            self._decide()
            self._changed.notify_all()
        for number, (_, future) in enumerate(waiting):
            if leases:
                future.set_result(leases[number])
            else:
                future.set_exception(error)

    def _wait_for_room(self, load: _Load) -> None:
        limits = by_device(self._budget())
        now = time.monotonic()
        deadline = now + self.eviction_timeout
        with self._changed:
            self._limits = limits
            ticket = load.ticket = self._queue.join(Claim(load.name, load.memory, now, deadline))
        try:
            while True:
                self._unload_retired()
                with self._changed:
                    self._decide()
                    if isinstance(ticket.decision, Start):
                        return
                    if isinstance(ticket.decision, Refuse):
                        raise ModelLoadError(_refusal(ticket.decision))
                    if not self._to_unload():
                        self._changed.wait(max(deadline - time.monotonic(), 0.01))
        finally:
            with self._changed:
                self._queue.leave(ticket)

    def _decide(self) -> None:
        """Act by the policy. With the lock held, after every change."""
        decided = False
        for _, decision in self._queue.decide(self._residents, self._limits, time.monotonic()):
            decided = True
            if isinstance(decision, Evict):
                for name in decision.names:
                    self._retire(self._ready[name])
        if decided:
            self._changed.notify_all()

    def _residents(self, ticket: Ticket | None) -> Iterator[Resident]:
        loads = [load for loads in self._loads.values() for load in loads]
        caller = next((load.caller for load in loads if load.ticket is ticket), Caller(None, None))
        for loaded in (*self._ready.values(), *self._leaving):
            pinned = any(caller.holds(user) for user in loaded.users)
            unused = "leaving" if loaded in self._leaving else "idle"
            state = "busy" if loaded.users else unused
            yield Resident(loaded.name, loaded.memory, state, loaded.used, loaded.started, pinned)  # type: ignore[arg-type]
        for load in loads:
            if load.has_room and load.ticket is not None:
                yield Resident(load.name, load.memory, "busy", started=load.ticket.claim.since)

    # ---- leases and the end

    def _release(self, loaded: Loaded, holder: Caller) -> None:
        with self._changed:
            loaded.users.remove(holder)
            loaded.used = time.monotonic()
            unload = loaded in self._to_unload()
            self._decide()
        if not unload:
            return
        if holder.task is None:
            self._unload_retired()
        else:
            threads.start(self._unload_retired)  # it would block the event loop

    def _retire(self, loaded: Loaded) -> None:
        del self._ready[loaded.name]
        self._leaving.append(loaded)

    def _to_unload(self) -> list[Loaded]:
        return [loaded for loaded in self._leaving if not loaded.users and not loaded.unloading]

    def _unload_retired(self) -> None:
        """Unload, outside the lock, what was told to go and has no user left."""
        with self._changed:
            idle = self._to_unload()
            for loaded in idle:
                loaded.unloading = True
        for loaded in idle:
            try:
                loaded.backend.unload()
            except Exception:
                log.exception("The backend of the model '%s' failed to unload it.", loaded.name)
            with self._changed:
                self._leaving.remove(loaded)
                self._decide()


@contextlib.contextmanager
def _taken(lease: Future[Lease]) -> Iterator[None]:
    """Gives a lease back that comes to a caller who was interrupted or cancelled."""
    taken = False
    try:
        yield
        taken = True
    finally:
        if not taken and not lease.cancel():
            lease.add_done_callback(_give_back)


def _give_back(future: Future[Lease]) -> None:
    if not future.cancelled() and future.exception() is None:
        future.result().release()


def _refusal(refusal: Refuse) -> str:
    if refusal.too_large:
        return f"{refusal.reason} ('memory_budget' of the configuration). A smaller n_ctx needs less."
    return f"{refusal.reason}."
