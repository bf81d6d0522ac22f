"""Any number of models, each in a process of its own while it is wanted."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import logging
import time
from collections.abc import AsyncIterator, Coroutine, Iterator, Mapping
from typing import Self

from llamaforge.exceptions import LlamaForgeError, ModelBusyError, ModelLoadError
from llamaforge.memory.devices import RAM, Memory, by_device
from llamaforge.memory.policy import Claim, Evict, Resident, ResidentState, Start, overflow
from llamaforge.memory.queue import RoomQueue
from llamaforge.pool.lease import Lease
from llamaforge.pool.model import OnProgress, PooledModel, was_unloaded
from llamaforge.pool.process import WorkerProcess
from llamaforge.pool.queue import GiveWay, OnWait
from llamaforge.pool.spec import Limits, ModelStatus, Spec
from llamaforge.pool.supervisor import Supervisor

_TICK = 0.1
_MAX_TICK = 5.0
_MISSED_CHECKS = 3
_STABLE_SECONDS = 60.0
# An engine that computes, by its CPU time, and gets no step further has so many times `Limits.hang_seconds`: a small machine
# may read for ten minutes before it looks up. Below this share of a core nobody computes.
_PATIENCE_WITH_WORK = 12
_WORKING = 0.05
log = logging.getLogger(__name__)


class Pool:
    """Loads a model when it is leased and lets it go when it is idle or its room is needed.

    Every method belongs to one event loop. Nothing happens before the first lease or load; `close` ends all processes,
    as does the end of the loop or of this process, however it comes about.
    """

    def __init__(
        self,
        *,
        memory_budget: int | Memory | None = None,
        idle_seconds: float | None = None,
        load_timeout: float = 600.0,
        niceness: int = 0,
        environment: Mapping[str, str] | None = None,
        limits: Limits | None = None,
    ) -> None:
        """memory_budget: bytes for all models together (of RAM where a number, else by device), None for any number.
        idle_seconds: unused for so long, a model goes; None keeps it. load_timeout: seconds for a load, waiting for room
        included. niceness: of the processes. environment: of the processes; this one's where None.
        """
        self._budget = by_device(memory_budget)
        self._idle_seconds = idle_seconds
        self._load_timeout = load_timeout
        self._niceness = niceness
        self._environment = environment
        self._limits = limits or Limits()
        self._models: dict[str, PooledModel] = {}
        self._processes: set[WorkerProcess] = set()
        self._supervisor = Supervisor()
        self._queue = RoomQueue()
        self._tasks: set[asyncio.Task[None]] = set()
        self._monitor_task: asyncio.Task[None] | None = None
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
        patient: bool = False,
    ) -> AsyncIterator[Lease]:
        """A slot of the model, loaded if it is not. A spec that differs from the last one loads the model anew.

        user: who asks; when slots are full, users take turns. on_wait: gets the place in the line, from 1, whenever it
        changes. on_progress: gets 0 to 1 while the model loads. Both are called from the event loop.
        patient: others come first; when one of them has to wait, the block is cancelled, and ModelBusyError raised.
        Raises ModelLoadError, ModelNotFoundError or ParameterError as the load does, and ModelBusyError.
        """
        if not patient:
            async with self._leased(self._model(spec), user, on_wait, on_progress, None) as lease:
                yield lease
            return
        try:
            async with asyncio.timeout(None) as wanted:
                give_way = functools.partial(_end_now, wanted)
                async with self._leased(self._model(spec), user, on_wait, on_progress, give_way) as lease:
                    yield lease
        except TimeoutError:
            if not wanted.expired():
                raise
            raise ModelBusyError(f"The model '{spec.name}' is wanted by somebody who waits for it.") from None

    @contextlib.asynccontextmanager
    async def _leased(
        self,
        model: PooledModel,
        user: str,
        on_wait: OnWait | None,
        on_progress: OnProgress | None,
        give_way: GiveWay | None,
    ) -> AsyncIterator[Lease]:
        await model.queue.acquire(user, on_wait, give_way)
        try:
            process = await self._ensure_loaded(model, on_progress)
            process.leases += 1
            try:
                yield Lease(process)
            finally:
                process.leases -= 1
                model.touch()
        finally:
            model.queue.release(give_way)
            self._stop_drained()
            self._decide()

    async def load(self, spec: Spec, progress: OnProgress | None = None) -> None:
        """Have the model ready, now, whatever its past. `progress` gets 0 to 1. Raises as `lease` does."""
        model = self._model(spec)
        if model.loading is None:
            model.reset_failures()
        while self._current_process(model) is None:
            await self._join_load(model, progress)
            if model.loaded == spec:
                break  # it was ready, even if others have needed its room since

    async def unload(self, name: str, *, force: bool = False) -> bool:
        """End the model's process, once its running requests have ended; `force` doesn't wait for them.

        Returns when it has ended; False when there was none. Those who wait for a slot are sent away, and a load in progress
        is broken off. Who asks later gets a new process, after the old one has ended.
        """
        model = self._models.get(name)
        if model is None or not (model.process or model.loading or model.leaving):
            return False
        model.unloads += 1
        model.queue.fail(was_unloaded(name))
        process, model.process = model.process, None
        if process is not None:
            process.retired = True
            model.leaving.add(process)
        if model.loading is not None:
            model.loading.cancel()
            await asyncio.wait({model.loading})
        model.error = None
        self._stop_drained()
        for leaving in tuple(model.leaving):
            await (leaving.stop() if force else leaving.gone.wait())
        return True

    def status(self) -> list[ModelStatus]:
        """The models that were asked for, by name; see `Limits.max_remembered`."""
        return [model.status() for _, model in sorted(self._models.items())]

    async def close(self) -> None:
        """End everything: who waits is sent away, processes are ended and reaped. The pool can't be used again."""
        self._closed = True
        for model in self._models.values():
            model.queue.fail(_closing())
        tasks = [*self._tasks, *(model.loading for model in self._models.values() if model.loading is not None)]
        if self._monitor_task is not None:
            tasks.append(self._monitor_task)
        for task in tasks:
            task.cancel()
        processes = tuple(self._processes)
        try:
            await asyncio.gather(*(process.stop() for process in processes))
            await asyncio.gather(*tasks, return_exceptions=True)
        finally:
            for process in processes:
                process.kill()
            for process in processes:
                await process.gone.wait()
            self._supervisor.close()

    # ---- loading

    def _model(self, spec: Spec) -> PooledModel:
        if self._closed:
            raise _closing()
        model = self._models.get(spec.name)
        if model is None:
            self._forget_some()
            model = self._models[spec.name] = PooledModel(spec, self._limits)
        elif model.spec != spec:
            model.spec = spec
            model.reset_failures()
            model.queue.resize(spec.slots)
        if self._monitor_task is None:
            self._monitor_task = asyncio.create_task(self._monitor(), name="monitor of the models")
        return model

    def _forget_some(self) -> None:
        """Make room for one more name: names may come from anywhere."""
        while len(self._models) >= self._limits.max_remembered:
            old = [model for model in self._models.values() if model.is_forgettable]
            if not old:
                return
            del self._models[min(old, key=lambda model: model.touched).spec.name]

    async def _ensure_loaded(self, model: PooledModel, on_progress: OnProgress | None) -> WorkerProcess:
        """The model's process, able to take a request now. For who holds a slot: without one, it might be evicted again."""
        unloads = model.unloads
        while (process := self._current_process(model)) is None:
            if model.unloads != unloads:  # between the end of the load and this step
                raise was_unloaded(model.spec.name)
            await self._join_load(model, on_progress)
        return process

    def _current_process(self, model: PooledModel) -> WorkerProcess | None:
        process = model.process
        if self._closed:
            raise _closing()
        if model.loading is None and process is not None and process.alive and process.spec == model.spec:
            return process
        return None

    async def _join_load(self, model: PooledModel, on_progress: OnProgress | None) -> None:
        """Wait for the load that runs, or for one begun here. Raises what it fails with."""
        loading = model.loading
        if loading is None:
            _refuse_early(model, self._limits)
            loading = model.loading = asyncio.create_task(self._load(model), name=f"load {model.spec.name}")
            # A callback, so that it happens even to a task that was cancelled before its first step.
            loading.add_done_callback(lambda _: self._load_ended(model))
        with model.listening(on_progress):
            # Waits beside the task: cancelling one who waits must not break off the load of the others.
            await asyncio.wait({loading})
        if loading.cancelled():
            raise ModelLoadError(f"The model '{model.spec.name}' was unloaded before it was ready.")
        error = loading.result()
        if error is not None:
            raise type(error)(str(error))

    async def _load(self, model: PooledModel) -> LlamaForgeError | None:
        """One load. Returns why it failed."""
        spec, process = model.spec, None
        error: LlamaForgeError | None = None
        try:
            async with asyncio.timeout(self._load_timeout):
                await asyncio.sleep(max(0.0, model.not_before - time.monotonic()))
                self._drain(model)
                for old in tuple(model.leaving):
                    await old.gone.wait()
                await self._wait_for_room(model, spec)
                process = self._start(model)
                await _watch(model, process)
            model.became_ready(process)
        except TimeoutError:
            late = ModelLoadError(f"The model '{spec.name}' was not ready after {self._load_timeout:g} seconds.")
            model.record_failure(error := late, crashed=True)
        except LlamaForgeError as refusal:
            error = refusal
            if process is not None:
                model.record_failure(refusal, crashed=process.crashed is not None)
        finally:
            if process is not None and model.process is not process:
                await process.stop(grace=0)
        return error

    def _load_ended(self, model: PooledModel) -> None:
        model.loading = None
        self._decide()

    def _start(self, model: PooledModel) -> WorkerProcess:
        process = WorkerProcess(model.spec, self._supervisor, environment=self._environment, niceness=self._niceness)
        self._processes.add(process)
        process.on_gone = lambda process: self._on_gone(model, process)
        return process

    def _on_gone(self, model: PooledModel, process: WorkerProcess) -> None:
        self._processes.discard(process)
        model.leaving.discard(process)
        if model.process is process:
            model.process = None
            if process.crashed is not None:
                if time.monotonic() - process.since > _STABLE_SECONDS:
                    model.reset_failures()
                model.record_failure(process.crashed, crashed=True)
        self._decide()

    # ---- memory

    async def _wait_for_room(self, model: PooledModel, spec: Spec) -> None:
        """Returns when the model may start, at once. Raises ModelLoadError for one too large, and ModelBusyError."""
        now = time.monotonic()
        deadline = now + self._limits.eviction_timeout
        ticket = model.ticket = self._queue.join(Claim(spec.name, spec.memory_by_device, now, deadline))
        room = model.room = asyncio.get_running_loop().create_future()
        try:
            self._decide()
            while not room.done():
                await asyncio.wait({room}, timeout=max(deadline - time.monotonic(), _TICK))
                self._decide()
            room.result()
        finally:
            self._queue.leave(ticket)
            model.ticket = model.room = None

    def _decide(self) -> None:
        """Act by the policy; after every change."""
        if self._closed:
            return
        for ticket, decision in self._queue.decide(lambda _: self._residents(), self._budget, time.monotonic()):
            model = self._models[ticket.claim.name]
            if isinstance(decision, Evict):
                for name in decision.names:
                    self._evict(self._models[name], "to make room")
            elif model.room is not None and not model.room.done():
                if isinstance(decision, Start):
                    model.room.set_result(None)
                else:
                    refusal = ModelLoadError if decision.too_large else ModelBusyError
                    model.room.set_exception(refusal(f"{decision.reason}."))

    def _residents(self) -> Iterator[Resident]:
        for process in self._processes:
            model = self._models.get(process.spec.name)
            state: ResidentState = "busy"
            if process.stopping or (process.retired and not process.leases):
                state = "leaving"
            elif model is not None and model.process is process and model.is_idle:
                state = "idle"
            used = 0.0 if model is None else model.touched
            yield Resident(process.spec.name, process.reserved(), state, used, process.started)
        for model in self._models.values():
            if model.got_room and model.ticket is not None:
                yield Resident(model.spec.name, model.ticket.claim.memory, "busy", started=model.ticket.claim.since)

    def _evict(self, model: PooledModel, why: str) -> None:
        if model.is_idle:
            log.info("Unloading the model '%s' %s.", model.spec.name, why)
            self._drain(model)

    def _drain(self, model: PooledModel) -> None:
        """Take the process away from its model; it ends with its last request."""
        if model.process is not None:
            model.process.retired = True
            model.process = None
            self._stop_drained()

    def _stop_drained(self) -> None:
        """End retired processes that nobody uses any more."""
        for process in self._processes:
            if process.retired and not process.leases and not process.stopping:
                process.stopping = True
                self._in_background(process.stop())

    # ---- monitoring

    async def _monitor(self) -> None:
        pause = min(self._limits.health_seconds, _MAX_TICK, (self._idle_seconds or _MAX_TICK) / 4)
        while True:
            await asyncio.sleep(pause)
            try:
                self._look_after_all(time.monotonic())
            except Exception:
                log.exception("Looking after the models failed; it is tried again.")

    def _look_after_all(self, now: float) -> None:
        """One round: unload what is idle for long or too much, and ask the processes how they are, each beside the others."""
        for model in tuple(self._models.values()):
            if self._idle_seconds is not None and model.is_idle and now - model.touched >= self._idle_seconds:
                self._evict(model, "after its idle time")
        for name in overflow(self._residents(), self._budget):
            self._evict(self._models[name], "since the models take more than they may")
        self._decide()
        for process in self._processes:
            if process.alive and not process.checking and now >= process.next_check:
                process.next_check = now + self._limits.health_seconds
                self._in_background(self._check(process))
                if process.leases and not process.probing:
                    self._in_background(self._probe(process))

    async def _check(self, process: WorkerProcess) -> None:
        process.checking = True
        try:
            healthy = await process.healthy(self._limits.health_seconds)
        finally:
            process.checking = False
        process.missed = 0 if healthy else process.missed + 1
        if process.missed >= _MISSED_CHECKS:
            process.fail(f"The model '{process.spec.name}' does not answer any more, and was ended.")

    async def _probe(self, process: WorkerProcess) -> None:
        """Its HTTP server may answer, and say that it lives within a stream, while what it computes hangs."""
        process.probing = True
        patience = self._limits.hang_seconds
        began = time.monotonic()
        try:
            for _ in range(_PATIENCE_WITH_WORK):
                before = process.computed()
                if not await process.hangs(patience):
                    return
                after = process.computed()
                if before is not None and after is not None and after - before < patience * _WORKING:
                    break
        finally:
            process.probing = False
        if process.alive and process.crashed is None:
            waited = round(time.monotonic() - began)
            process.fail(f"The model '{process.spec.name}' got no further for {waited} seconds, and was ended.")

    def _in_background(self, work: Coroutine[object, object, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


def _refuse_early(model: PooledModel, limits: Limits) -> None:
    """Raise what the last load said, while trying again makes no sense."""
    left = model.not_before - time.monotonic()
    if model.error is None or left <= 0:
        return
    if model.failures >= limits.max_crashes:
        raise ModelLoadError(
            f"{model.error} That was {model.failures} times in a row; it is tried again in {left:.0f} seconds."
        )
    if not model.crashed:
        raise type(model.error)(str(model.error))


async def _watch(model: PooledModel, process: WorkerProcess) -> None:
    """Until the process is ready: report how far it is."""
    reported = -1.0
    while not process.ready.done():
        expected = process.spec.memory_by_device.get(RAM)
        if expected:
            process.progress = max(process.progress, min(process.memory() / expected, 0.99))
        if process.progress != reported:
            reported = model.report_progress(process.progress)
        await asyncio.wait({process.ready}, timeout=_TICK)
    process.ready.result()
    model.report_progress(1.0)


def _closing() -> ModelBusyError:
    return ModelBusyError("The models are being shut down.")


def _end_now(block: asyncio.Timeout) -> None:
    """Cancels a block that can be ended early. One that is being left already is."""
    with contextlib.suppress(RuntimeError):
        block.reschedule(asyncio.get_running_loop().time())
