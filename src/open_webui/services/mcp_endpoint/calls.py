"""Calls that MCP clients wait for: a client cancels one by a message of its own, which may reach another process."""

import asyncio
from collections.abc import Coroutine
from typing import Any, Final, TypeVar

import msgspec

from open_webui.internal.bus.port import Bus
from open_webui.services.mcp_endpoint.messages import CANCELLED, Id, Problem

T = TypeVar("T")
TOPIC: Final = "mcp:cancelled"


class RunningCalls:
    """Those of this process, by person, session and the request's id."""

    def __init__(self, bus: Bus) -> None:
        self._bus = bus
        self._running: dict[tuple[str, str, str], asyncio.Task[Any]] = {}
        bus.subscribe(TOPIC, self._hear)

    async def run(self, user_id: str, session: str | None, request: Id, work: Coroutine[Any, Any, T]) -> T:
        """The result of some work, which ends with the task that waits for it. Raises Problem when it was cancelled.

        session: None where a request's id says nothing, since it may be another client's, too.
        """
        task = asyncio.create_task(work, name="an MCP call")
        key = None if session is None else (user_id, session, _name(request))
        if key is not None:
            self._running.setdefault(key, task)
        try:
            await asyncio.wait({task})
        finally:
            if key is not None and self._running.get(key) is task:
                del self._running[key]
            if not task.done():
                task.cancel()
                await asyncio.wait({task})
        if task.cancelled():
            raise Problem(CANCELLED, "The call was cancelled.")
        return task.result()

    def cancel(self, user_id: str, session: str, request: Id) -> None:
        """Ends a call, in whichever process it runs; nothing happens where there is none."""
        key = (user_id, session, _name(request))
        if not self._cancel(key):
            self._bus.publish(TOPIC, list(key))

    def _hear(self, _peer: str, key: Any) -> None:
        user_id, session, request = key
        self._cancel((user_id, session, request))

    def _cancel(self, key: tuple[str, str, str]) -> bool:
        task = self._running.get(key)
        if task is not None:
            task.cancel()
        return task is not None


def _name(request: Id) -> str:
    """1 is not "1"."""
    return msgspec.json.encode(request).decode()
