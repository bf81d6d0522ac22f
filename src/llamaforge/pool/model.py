"""What a pool knows of one model: its process, its queue, its load and its failures."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable, Iterator

from llamaforge.exceptions import LlamaForgeError, ModelBusyError
from llamaforge.memory.policy import Start
from llamaforge.memory.queue import Ticket
from llamaforge.pool.process import WorkerProcess
from llamaforge.pool.queue import FairQueue
from llamaforge.pool.spec import Limits, ModelStatus, Spec, State

OnProgress = Callable[[float], object]

_LONGEST_PAUSE = 60.0
_REST = 300.0


class PooledModel:
    """One name of a pool.

    spec: as it was last asked for. loaded: the spec that was loaded last. leaving: processes that were told to end by
    `unload`. ticket: of the load that waits for room or has just got it. touched: when it was last used, on the monotonic
    clock.
    """

    def __init__(self, spec: Spec, limits: Limits) -> None:
        self.spec = spec
        self.queue = FairQueue(spec.slots, limits.max_waiting)
        self.process: WorkerProcess | None = None
        self.leaving: set[WorkerProcess] = set()
        self.unloads = 0  # how often `unload` has ended it
        self.loading: asyncio.Task[LlamaForgeError | None] | None = None
        self.loaded: Spec | None = None
        self.ticket: Ticket | None = None
        self.room: asyncio.Future[None] | None = None
        self.progress = 0.0
        self.error: LlamaForgeError | None = None
        self.crashed = False  # rather than refused in so many words
        self.failures = 0
        self.not_before = 0.0
        self.restarts = 0
        self.touched = 0.0
        self.last_used: float | None = None
        self._limits = limits
        self._listeners: set[OnProgress] = set()

    @property
    def state(self) -> State:
        """How it stands."""
        if self.loading is not None:
            return "loading"
        if self.process is not None:
            return "ready"
        return "stopped" if self.error is None else "failed"

    @property
    def is_idle(self) -> bool:
        """Whether its process runs and nobody wants it."""
        return self.process is not None and self.loading is None and not self.queue.in_use and not self.queue.waiting

    @property
    def is_forgettable(self) -> bool:
        """Whether nothing of it runs, and nothing that was noted matters."""
        runs = self.process is not None or self.loading is not None or self.leaving
        return not (runs or self.queue.in_use or self.queue.waiting or self.not_before > time.monotonic())

    @property
    def got_room(self) -> bool:
        """Whether its load may start, and has not started its process yet."""
        return self.ticket is not None and isinstance(self.ticket.decision, Start)

    def record_failure(self, error: LlamaForgeError, *, crashed: bool) -> None:
        """Note a failure: the first costs no pause, each further one twice as long as the last."""
        self.error, self.crashed = error, crashed
        self.failures += 1
        pause = self._limits.crash_pause * 2 ** (self.failures - 2) if self.failures > 1 else 0.0
        rests = self.failures >= self._limits.max_crashes
        self.not_before = time.monotonic() + (_REST if rests else min(pause, _LONGEST_PAUSE))

    def reset_failures(self) -> None:
        """Begin anew."""
        self.failures, self.not_before, self.error = 0, 0.0, None

    def became_ready(self, process: WorkerProcess) -> None:
        """Take requests in this process from now on."""
        if self.crashed and self.error is not None:
            self.restarts += 1
        self.process, self.loaded, self.error, self.touched = process, process.spec, None, time.monotonic()

    def touch(self) -> None:
        """Note that it has been used."""
        self.last_used, self.touched = time.time(), time.monotonic()

    def report_progress(self, progress: float) -> float:
        """Tell those who listen how far the load is."""
        self.progress = progress
        for listener in self._listeners:
            # From the loop: what a listener raises must not hit the load.
            asyncio.get_running_loop().call_soon(listener, progress)
        return progress

    @contextlib.contextmanager
    def listening(self, listener: OnProgress | None) -> Iterator[None]:
        """Within the block, `listener` gets the progress of loads."""
        if listener is None:
            yield
            return
        self._listeners.add(listener)
        try:
            yield
        finally:
            self._listeners.discard(listener)

    def status(self) -> ModelStatus:
        """For callers of the pool."""
        process = self.process
        return ModelStatus(
            name=self.spec.name,
            state=self.state,
            progress={"loading": self.progress, "ready": 1.0}.get(self.state, 0.0),
            pid=None if process is None else process.pid,
            memory=0 if process is None else process.memory(),
            slots=self.spec.slots,
            in_use=self.queue.in_use,
            queued=self.queue.waiting,
            last_used=self.last_used,
            error=None if self.error is None else str(self.error),
            restarts=self.restarts,
        )


def was_unloaded(name: str) -> ModelBusyError:
    """For who waited while the model was unloaded. Asking again would load it again: not to be done by itself."""
    error = ModelBusyError(f"The model '{name}' was unloaded.")
    error.code, error.retryable, error.retry_after = "model_unloaded", False, None
    return error
