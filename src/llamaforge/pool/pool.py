"""Any number of models, each in a process of its own while it is wanted."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator, Mapping
from typing import Self

from llamaforge.exceptions import LlamaForgeError, ModelBusyError, ModelLoadError
from llamaforge.memory import readable
from llamaforge.pool.child import Child
from llamaforge.pool.queue import FairQueue, OnWait
from llamaforge.pool.spec import Limits, ModelStatus, Spec, State

OnProgress = Callable[[float], object]

_TICK = 0.1
_MAX_TICK = 5.0
_MISSED_CHECKS = 3
_STABLE_SECONDS = 60.0
_LONGEST_PAUSE = 60.0
_REST = 300.0
log = logging.getLogger(__name__)


class Lease:
    """The right to send one request to a model at a time: add "/v1/..." to `url` and send `key` as the bearer.

    failed: set when the model's process has ended under it; `failure` then says why. model: the name to ask for.
    """

    __slots__ = ("_child", "model")

    def __init__(self, child: Child) -> None:
        self._child = child
        self.model = child.spec.name

    @property
    def url(self) -> str:
        """The address of the model's server, such as "http://127.0.0.1:4711"."""
        return self._child.url

    @property
    def key(self) -> str:
        """The key that it asks for."""
        return self._child.key

    @property
    def failed(self) -> asyncio.Event:
        """Set when the process has ended."""
        return self._child.gone

    async def failure(self, timeout: float = 1.0) -> ModelLoadError | None:
        """After a broken connection: why the process ended, or None if it has not within `timeout` seconds."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout):
                await self._child.gone.wait()
            return self._child.crashed or ModelLoadError(f"The model '{self.model}' was unloaded.")
        return None


class _Model:
    """What the pool knows of one name."""

    def __init__(self, spec: Spec, limit: int) -> None:
        self.spec = spec
        self.queue = FairQueue(spec.slots, limit)
        self.child: Child | None = None
        self.loading: asyncio.Task[LlamaForgeError | None] | None = None
        self.loaded: Spec | None = None  # what was loaded last
        self.progress = 0.0
        self.error: LlamaForgeError | None = None
        self.crashed = False  # rather than refused in so many words
        self.strikes = 0
        self.not_before = 0.0
        self.restarts = 0
        self.touched = 0.0
        self.last_used: float | None = None
        self._listeners: set[OnProgress] = set()

    @property
    def state(self) -> State:
        if self.loading is not None:
            return "loading"
        if self.child is not None:
            return "ready"
        return "stopped" if self.error is None else "failed"

    @property
    def idle(self) -> bool:
        return self.child is not None and self.loading is None and not self.queue.in_use and not self.queue.waiting

    def forgive(self) -> None:
        self.strikes, self.not_before, self.error = 0, 0.0, None

    def became_ready(self, child: Child) -> None:
        if self.crashed and self.error is not None:
            self.restarts += 1
        self.child, self.loaded, self.error, self.touched = child, child.spec, None, time.monotonic()

    def tell(self, progress: float) -> float:
        self.progress = progress
        for listener in self._listeners:
            # From the loop: what a listener raises must not hit the load.
            asyncio.get_running_loop().call_soon(listener, progress)
        return progress

    @contextlib.contextmanager
    def telling(self, listener: OnProgress | None) -> Iterator[None]:
        if listener is None:
            yield
            return
        self._listeners.add(listener)
        try:
            yield
        finally:
            self._listeners.discard(listener)

    def status(self) -> ModelStatus:
        child = self.child
        return ModelStatus(
            name=self.spec.name,
            state=self.state,
            progress={"loading": self.progress, "ready": 1.0}.get(self.state, 0.0),
            pid=None if child is None else child.pid,
            memory=0 if child is None else child.memory(),
            slots=self.spec.slots,
            in_use=self.queue.in_use,
            queued=self.queue.waiting,
            last_used=self.last_used,
            error=None if self.error is None else str(self.error),
            restarts=self.restarts,
        )


class Pool:
    """Loads a model when it is leased and lets it go when it is idle or its room is needed.

    Every method belongs to one event loop. Nothing happens before the first lease or load; `close` ends all processes,
    as does the end of the loop or of this process, however it comes about.
    """

    def __init__(
        self,
        *,
        memory_budget: int | None = None,
        idle_seconds: float | None = None,
        load_timeout: float = 600.0,
        niceness: int = 0,
        environment: Mapping[str, str] | None = None,
        limits: Limits | None = None,
    ) -> None:
        """memory_budget: bytes for all models together, None for any number. idle_seconds: unused for so long, a model
        goes; None keeps it. load_timeout: seconds for a load, waiting for room included. niceness: of the processes.
        environment: of the processes; this one's where None.
        """
        self._budget = memory_budget
        self._idle_seconds = idle_seconds
        self._load_timeout = load_timeout
        self._niceness = niceness
        self._environment = environment
        self._limits = limits or Limits()
        self._models: dict[str, _Model] = {}
        self._children: set[Child] = set()
        self._room = asyncio.Lock()
        self._changed = asyncio.Event()
        self._tasks: set[asyncio.Task[None]] = set()
        self._housekeeper: asyncio.Task[None] | None = None
        self._closed = False

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_error: object) -> None:
        await self.close()

    # ---- what callers do

    @contextlib.asynccontextmanager
    async def lease(
        self,
        spec: Spec,
        *,
        user: str = "",
        on_wait: OnWait | None = None,
        on_progress: OnProgress | None = None,
    ) -> AsyncIterator[Lease]:
        """A slot of the model, loaded if it is not. A spec that differs from the last one loads the model anew.

        user: who asks; when slots are full, users take turns. on_wait: gets the place in the line, from 1, whenever it
        changes. on_progress: gets 0 to 1 while the model loads. Both are called from the event loop.
        Raises ModelLoadError, ModelNotFoundError or ParameterError as the load does, and ModelBusyError.
        """
        model = self._model(spec)
        await model.queue.acquire(user, on_wait)
        try:
            child = await self._ready(model, on_progress)
            child.leases += 1
            try:
                yield Lease(child)
            finally:
                child.leases -= 1
                model.last_used, model.touched = time.time(), time.monotonic()
        finally:
            model.queue.release()
            self._sweep()

    async def load(self, spec: Spec, progress: OnProgress | None = None) -> None:
        """Have the model ready, now, whatever its past. `progress` gets 0 to 1. Raises as `lease` does."""
        model = self._model(spec)
        if model.loading is None:
            model.forgive()
        while self._present(model) is None:
            await self._join_load(model, progress)
            if model.loaded == spec:
                break  # it was ready, even if others have needed its room since

    async def unload(self, name: str, *, force: bool = False) -> bool:
        """End the model's process, once its running requests have ended; `force` doesn't wait for them.

        Returns False when there was none. A load in progress is broken off.
        """
        model = self._models.get(name)
        if model is None or (model.child is None and model.loading is None):
            return False
        if model.loading is not None:
            model.loading.cancel()
            await asyncio.wait({model.loading})
        model.error = None
        child, model.child = model.child, None
        if child is not None:
            child.retired = True
            while child.leases and not force and not child.gone.is_set():
                self._changed.clear()
                await self._changed.wait()
            await child.stop()
        return True

    def status(self) -> list[ModelStatus]:
        """Every model that was ever asked for, by name."""
        return [model.status() for _, model in sorted(self._models.items())]

    async def close(self) -> None:
        """End everything: who waits is sent away, processes are ended and reaped. The pool can't be used again."""
        self._closed = True
        for model in self._models.values():
            model.queue.fail(_closing())
        tasks = [*self._tasks, *(model.loading for model in self._models.values() if model.loading is not None)]
        if self._housekeeper is not None:
            tasks.append(self._housekeeper)
        for task in tasks:
            task.cancel()
        children = tuple(self._children)
        try:
            await asyncio.gather(*(child.stop() for child in children))
            await asyncio.gather(*tasks, return_exceptions=True)
        finally:
            for child in children:
                child.kill()
            for child in children:
                await child.gone.wait()

    # ---- loading

    def _model(self, spec: Spec) -> _Model:
        if self._closed:
            raise _closing()
        model = self._models.get(spec.name)
        if model is None:
            model = self._models[spec.name] = _Model(spec, self._limits.max_waiting)
        elif model.spec != spec:
            model.spec = spec
            model.forgive()
            model.queue.resize(spec.slots)
        if self._housekeeper is None:
            self._housekeeper = asyncio.create_task(self._keep_house(), name="models' housekeeper")
        return model

    async def _ready(self, model: _Model, on_progress: OnProgress | None) -> Child:
        """The model's process, able to take a request now. For who holds a slot: without one, it might be let go again."""
        while (child := self._present(model)) is None:
            await self._join_load(model, on_progress)
        return child

    def _present(self, model: _Model) -> Child | None:
        child = model.child
        if self._closed:
            raise _closing()
        if model.loading is None and child is not None and child.alive and child.spec == model.spec:
            return child
        return None

    async def _join_load(self, model: _Model, on_progress: OnProgress | None) -> None:
        """Wait for the load that runs, or for one begun here. Raises what it fails with."""
        loading = model.loading
        if loading is None:
            self._refuse_early(model)
            loading = model.loading = asyncio.create_task(self._load(model), name=f"load {model.spec.name}")
        with model.telling(on_progress):
            # Waits beside the task: cancelling one who waits must not break off the load of the others.
            await asyncio.wait({loading})
        if loading.cancelled():
            raise ModelLoadError(f"The model '{model.spec.name}' was unloaded before it was ready.")
        error = loading.result()
        if error is not None:
            raise type(error)(str(error))

    def _refuse_early(self, model: _Model) -> None:
        """Raise what the last load said, while trying again makes no sense."""
        left = model.not_before - time.monotonic()
        if model.error is None or left <= 0:
            return
        if model.strikes >= self._limits.max_crashes:
            raise ModelLoadError(
                f"{model.error} That was {model.strikes} times in a row; it is tried again in {left:.0f} seconds."
            )
        if not model.crashed:
            raise type(model.error)(str(model.error))

    async def _load(self, model: _Model) -> LlamaForgeError | None:
        """One load. Returns why it failed."""
        spec, child = model.spec, None
        error: LlamaForgeError | None = None
        try:
            async with asyncio.timeout(self._load_timeout):
                await asyncio.sleep(max(0.0, model.not_before - time.monotonic()))
                self._retire(model)
                async with self._room:
                    await self._make_room(spec)
                    child = self._start(model)
                await _watch(model, child)
            model.became_ready(child)
        except TimeoutError:
            late = ModelLoadError(f"The model '{spec.name}' was not ready after {self._load_timeout:g} seconds.")
            self._strike(model, error := late, crashed=True)
        except LlamaForgeError as refusal:
            error = refusal
            if child is not None:
                self._strike(model, refusal, crashed=child.crashed is not None)
        finally:
            try:
                if child is not None and model.child is not child:
                    await child.stop(grace=0)
            finally:
                model.loading = None
                self._changed.set()
        return error

    def _start(self, model: _Model) -> Child:
        child = Child(model.spec, environment=self._environment, niceness=self._niceness)
        self._children.add(child)
        child.on_gone = lambda child: self._on_gone(model, child)
        return child

    def _on_gone(self, model: _Model, child: Child) -> None:
        self._children.discard(child)
        self._changed.set()
        if model.child is child:
            model.child = None
            if child.crashed is not None:
                if time.monotonic() - child.since > _STABLE_SECONDS:
                    model.forgive()
                self._strike(model, child.crashed, crashed=True)

    def _strike(self, model: _Model, error: LlamaForgeError, *, crashed: bool) -> None:
        """Note a failure: the first costs no pause, each further one twice as long as the last."""
        model.error, model.crashed = error, crashed
        model.strikes += 1
        pause = 0.0 if model.strikes == 1 else min(self._limits.crash_pause * 2 ** (model.strikes - 2), _LONGEST_PAUSE)
        model.not_before = time.monotonic() + (_REST if model.strikes >= self._limits.max_crashes else pause)

    # ---- memory

    def _used(self) -> int:
        return sum(max(child.spec.memory, child.memory()) for child in self._children)

    async def _make_room(self, spec: Spec) -> None:
        """Unload what is idle until the model fits. Called by one load at a time."""
        budget = self._budget
        if budget is None:
            return
        if spec.memory > budget:
            raise ModelLoadError(
                f"The model '{spec.name}' needs {readable(spec.memory)}; all models together may take {readable(budget)}."
            )
        try:
            async with asyncio.timeout(self._limits.room_seconds):
                while self._used() + spec.memory > budget and self._children:
                    self._changed.clear()
                    victim = self._least_recent()
                    if victim is not None:
                        await self._let_go(victim, "to make room")
                    else:
                        await self._changed.wait()
        except TimeoutError:
            busy = ", ".join(sorted({child.spec.name for child in self._children}))
            raise ModelBusyError(
                f"There is no room for the model '{spec.name}' ({readable(spec.memory)} of {readable(budget)}) "
                f"while these are in use: {busy}."
            ) from None

    def _least_recent(self) -> _Model | None:
        idle = (model for model in self._models.values() if model.idle)
        return min(idle, key=lambda model: model.touched, default=None)

    async def _let_go(self, model: _Model, why: str) -> None:
        child = model.child
        if child is not None and model.idle:
            log.info("Unloading the model '%s' %s.", model.spec.name, why)
            model.child, child.retired = None, True
            await child.stop()

    def _retire(self, model: _Model) -> None:
        """Take the process away from its model; it ends with its last request."""
        if model.child is not None:
            model.child.retired = True
            model.child = None
            self._sweep()

    def _sweep(self) -> None:
        """End retired processes that nobody uses any more."""
        self._changed.set()
        for child in self._children:
            if child.retired and not child.leases and not child.stopping:
                self._in_background(child.stop())

    # ---- housekeeping

    async def _keep_house(self) -> None:
        pause = min(self._limits.health_seconds, _MAX_TICK, (self._idle_seconds or _MAX_TICK) / 4)
        next_check = time.monotonic() + self._limits.health_seconds
        while True:
            await asyncio.sleep(pause)
            now = time.monotonic()
            for model in self._models.values():
                if self._idle_seconds is not None and model.idle and now - model.touched >= self._idle_seconds:
                    self._in_background(self._let_go(model, "after its idle time"))
            if self._budget is not None and self._used() > self._budget and (victim := self._least_recent()):
                self._in_background(self._let_go(victim, "since the models take more than they may"))
            if now >= next_check:
                await asyncio.gather(*(self._check(child) for child in tuple(self._children) if child.alive))
                next_check = time.monotonic() + self._limits.health_seconds

    async def _check(self, child: Child) -> None:
        healthy = await child.healthy(self._limits.health_seconds)
        child.missed = 0 if healthy else child.missed + 1
        if child.missed >= _MISSED_CHECKS:
            child.fail(f"The model '{child.spec.name}' does not answer any more, and was ended.")

    def _in_background(self, work: Coroutine[object, object, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


async def _watch(model: _Model, child: Child) -> None:
    """Until the process is ready: tell how far it is."""
    told = -1.0
    while not child.ready.done():
        if child.spec.memory:
            child.progress = max(child.progress, min(child.memory() / child.spec.memory, 0.99))
        if child.progress != told:
            told = model.tell(child.progress)
        await asyncio.wait({child.ready}, timeout=_TICK)
    child.ready.result()
    model.tell(1.0)


def _closing() -> ModelBusyError:
    return ModelBusyError("The models are being shut down.")
