"""Models that plugins ask: the person's rights and the person's count, no chat, no events."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager
from typing import Any, Final

import msgspec

from open_webui.chat.api import provider_payload
from open_webui.chat.request import parse_api_request
from open_webui.connections import remote_filters
from open_webui.connections.base import Reply
from open_webui.connections.gate import Gate
from open_webui.principal import Principal

# Lines that are read ahead of who asks for them.
_AHEAD: Final = 64
_END: Final = object()


async def complete(gate: Gate, principal: Principal, body: dict[str, Any]) -> dict[str, Any] | AsyncIterator[str]:
    """An OpenAI chat completion, whole or as the lines of its event stream, as `stream` in the body says.

    System prompts and parameters are the plugin's, so what a person may not set does not count here. Filters of pipelines
    servers see the question. Raises NotFound for a model that the person may not use, BadRequest, ProviderError, and OuiError
    where a filter refuses.
    """
    asked = parse_api_request(body)
    target = await gate.target(principal, asked.model)
    if isinstance(asked.payload.get("messages"), list):
        payload = await remote_filters.inlet(gate, principal, target, asked.payload)
        asked = msgspec.structs.replace(asked, payload=payload)
    opening = gate.chat(principal, target, provider_payload(asked, target), kind="api")
    if asked.stream:
        lines = Lines(opening)
        await lines.opened()
        return lines
    async with opening as reply:
        whole: dict[str, Any] = msgspec.json.decode(await reply.whole())
    return whole


class Lines(AsyncIterator[str]):
    """An answer's event stream. It is read in a task of its own, since each line may be asked for in another one."""

    def __init__(self, opening: AbstractAsyncContextManager[Reply]) -> None:
        self._lines: asyncio.Queue[Any] = asyncio.Queue()
        self._free = asyncio.Semaphore(_AHEAD)
        self._begun = asyncio.Event()
        self._task = asyncio.create_task(self._read(opening), name="an answer for a plugin")
        self._task.add_done_callback(self._end)

    async def opened(self) -> None:
        """Until the provider has begun. Raises what it refuses with."""
        try:
            await self._begun.wait()
        except asyncio.CancelledError:
            self._task.cancel()
            raise
        if self._task.done():
            self._task.result()

    async def __anext__(self) -> str:
        line = await self._lines.get()
        self._free.release()
        if line is not _END:
            text: str = line
            return text
        self._lines.put_nowait(_END)
        if not self._task.cancelled():
            self._task.result()
        raise StopAsyncIteration

    async def aclose(self) -> None:
        """Ends the provider's work."""
        self._task.cancel()
        await asyncio.wait({self._task})

    async def _read(self, opening: AbstractAsyncContextManager[Reply]) -> None:
        async with opening as reply:
            self._begun.set()
            async for batch in reply.batches():
                for payload in batch:
                    await self._put(f"data: {bytes(payload).decode('utf-8', 'replace')}\n\n")
        await self._put("data: [DONE]\n\n")

    async def _put(self, line: str) -> None:
        await self._free.acquire()
        self._lines.put_nowait(line)

    def _end(self, task: "asyncio.Task[None]") -> None:
        if not task.cancelled():
            task.exception()  # raised where the lines are read
        self._begun.set()
        self._lines.put_nowait(_END)
