"""What somebody holds who may send a request to a model's process."""

from __future__ import annotations

import asyncio
import contextlib
from typing import Protocol

from llamaforge.exceptions import ModelLoadError
from llamaforge.pool.spec import Spec


class LeasedProcess(Protocol):
    """What a lease knows of its process. See `WorkerProcess`."""

    spec: Spec
    url: str
    key: str
    gone: asyncio.Event
    crashed: ModelLoadError | None


class Lease:
    """The right to send one request to a model at a time: add "/v1/..." to `url` and send `key` as the bearer.

    failed: set when the model's process has ended under it; `failure` then says why. model: the name to ask for.
    """

    __slots__ = ("_process", "model")

    def __init__(self, process: LeasedProcess) -> None:
        self._process = process
        self.model = process.spec.name

    @property
    def url(self) -> str:
        """The address of the model's server, such as "http://127.0.0.1:4711"."""
        return self._process.url

    @property
    def key(self) -> str:
        """The key that it asks for."""
        return self._process.key

    @property
    def failed(self) -> asyncio.Event:
        """Set when the process has ended."""
        return self._process.gone

    @property
    def crashed(self) -> bool:
        """Whether the process has ended unasked."""
        return self._process.crashed is not None

    async def failure(self, timeout: float = 1.0) -> ModelLoadError | None:
        """After a broken connection: why the process ended, or None if it has not within `timeout` seconds."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout):
                await self._process.gone.wait()
            return self._process.crashed or ModelLoadError(f"The model '{self.model}' was unloaded.")
        return None
