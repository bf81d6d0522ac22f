"""What a pool has to know of a model, and what it says of one."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from llamaforge.memory.devices import Memory, by_device

State = Literal["stopped", "loading", "ready", "failed"]


@dataclass(frozen=True, slots=True)
class Spec:
    """A model to run.

    name: the caller's name for it, one process each. path: what the backend loads. backend: a registered name, or
    "module:Class" of one's own, importable in a fresh interpreter. parameters: of the load, as JSON can carry them; may
    hold keys, so they are kept out of `repr` and of the command line. slots: requests that run at a time. memory: bytes it is
    expected to take (of RAM where a number, else by device), counted against the budget until more is measured; 0 where
    unknown.
    """

    name: str
    path: str
    backend: str = "llama.cpp"
    parameters: Mapping[str, Any] = field(default_factory=dict, repr=False)
    slots: int = 4
    memory: int | Memory = 0

    def __post_init__(self) -> None:
        if self.slots < 1:
            raise ValueError("A model needs at least one slot.")

    @property
    def memory_by_device(self) -> Memory:
        """The bytes it is expected to take."""
        return by_device(self.memory)


@dataclass(frozen=True, slots=True)
class ModelStatus:
    """How a model stands.

    progress: of a load, 0 to 1, an estimate from the memory it has taken where the engine tells nothing. memory: bytes
    resident in its process. in_use, queued: requests that hold a slot, that wait for one. last_used: seconds since the epoch,
    None if never. error: why it failed, for a person. restarts: times it was started again after a crash.
    """

    name: str
    state: State
    progress: float
    pid: int | None
    memory: int
    slots: int
    in_use: int
    queued: int
    last_used: float | None
    error: str | None
    restarts: int


@dataclass(frozen=True, slots=True)
class Limits:
    """Times and numbers that are seldom changed.

    max_waiting: requests that may wait for one model. health_seconds: between two checks of each process, which has as long
    to answer; after three misses in a row it is killed. hang_seconds: without a step of the engine while requests run, after
    which it is killed, too; twelve times that while it uses CPU. crash_pause: seconds before the second start after a crash,
    doubled for each further one. max_crashes: in a row, after which a model rests for five minutes. eviction_timeout: seconds for
    which a load waits for room that models in use take. max_remembered: models that are remembered; of more, those that
    were used longest ago and don't run are forgotten.
    """

    max_waiting: int = 256
    health_seconds: float = 10.0
    hang_seconds: float = 300.0
    crash_pause: float = 1.0
    max_crashes: int = 5
    eviction_timeout: float = 60.0
    max_remembered: int = 256
