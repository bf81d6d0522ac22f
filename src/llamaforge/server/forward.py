"""A request handed to a model's process, and its answer handed back as the bytes that come."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass

import aiohttp
from starlette.responses import Response
from starlette.types import Message, Receive, Scope, Send

from llamaforge.exceptions import LlamaForgeError
from llamaforge.pool import Pool, Spec
from llamaforge.pool.client import open_request
from llamaforge.server.answers import Answer, payloads_in
from llamaforge.server.errors import Refusal
from llamaforge.server.metrics import Metrics

_EVENT_END = b"\n\n"
_COMMENT = b": at work\n\n"
_AT_ONCE = aiohttp.ClientTimeout(total=None, sock_connect=10)


@dataclass(frozen=True, slots=True)
class Upstream:
    """What all requests share."""

    pool: Pool
    session: aiohttp.ClientSession
    metrics: Metrics


class Forward(Response):
    """The answer to one request: waits for a slot, sends the request on and the answer back.

    A client that goes away ends it at any stage, which frees the slot and ends the generation. A process that dies in the
    middle of a stream is told in a last event with an error.
    """

    def __init__(
        self,
        upstream: Upstream,
        spec: Spec,
        path: str,
        asked: tuple[str, bytes],
        user: str,
        answer: Answer | None,
        *,
        at_once: bool = False,
    ) -> None:
        """path: that of the client's request, such as "/v1/completions". asked: path and body for the model's process.

        user: who takes turns with others. answer: how an answer goes on; None for one that is passed on as it is. at_once:
        whether the engine answers nothing until its end, for which there is no limit: the pool finds out if it hangs.
        """
        self.background = None  # all that the framework asks of a response; how it is sent is this one's own
        self._upstream = upstream
        self._spec = spec
        self._path = path
        self._asked = asked
        self._answered = answer
        self._user = user
        self._timeout = _AT_ONCE if at_once else None
        self._status = 0
        self._begun = time.perf_counter()
        self._first: float | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG002 -- ASGI's arguments
        work = asyncio.create_task(self._answer(send))
        gone = asyncio.create_task(_disconnected(receive))
        try:
            await asyncio.wait({work, gone}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in (work, gone):
                task.cancel()
            await asyncio.wait({work, gone})
            # 499: the client went away before the first byte.
            spent = time.perf_counter() - self._begun
            self._upstream.metrics.add(self._path, self._spec.name, self._status or 499, spent, self._first)
        if not work.cancelled():
            work.result()

    async def _answer(self, send: Send) -> None:
        pool, session = self._upstream.pool, self._upstream.session
        try:
            async with open_request(pool, session, self._spec, self._asked, user=self._user, timeout=self._timeout) as (
                _,
                response,
            ):
                await self._relay(response, send)
        except Refusal as refusal:
            await self._refuse(refusal, send)
        except LlamaForgeError as error:
            await self._refuse(Refusal.of(error), send)

    async def _relay(self, response: aiohttp.ClientResponse, send: Send) -> None:
        kind = response.headers.get("content-type", "application/json")
        answer = self._answered
        if not kind.startswith("text/event-stream"):
            whole = await response.read()
            if answer is not None:
                whole = answer.whole(response.status, whole)
            await self._send_whole(response.status, kind, whole, send, response.headers.get("retry-after"))
            return
        if answer is None or answer.streams:
            head = [(b"content-type", kind.encode("latin-1")), (b"cache-control", b"no-cache")]
            await self._start(response.status, [*head, (b"x-accel-buffering", b"no")], send)
        async for events in whole_events(response.content):
            if answer is None or answer.passes:
                await send({"type": "http.response.body", "body": events, "more_body": True})
            elif sent := b"".join(map(answer.feed, payloads_in(events))):
                await send({"type": "http.response.body", "body": sent, "more_body": True})
            elif answer.streams and events.startswith(b":"):  # nothing but a sign of life, which keeps the connection
                await send({"type": "http.response.body", "body": _COMMENT, "more_body": True})
        last = b"" if answer is None or answer.passes else answer.end()
        if answer is None or answer.streams:
            await send({"type": "http.response.body", "body": last})
        else:
            await self._send_whole(200, "application/json", last, send)

    async def _start(self, status: int, headers: list[tuple[bytes, bytes]], send: Send) -> None:
        self._status = status
        self._first = time.perf_counter() - self._begun
        await send({"type": "http.response.start", "status": status, "headers": headers})

    async def _send_whole(
        self, status: int, kind: str, body: bytes, send: Send, retry_after: str | None = None
    ) -> None:
        length = str(len(body)).encode()
        headers = [(b"content-type", kind.encode("latin-1")), (b"content-length", length)]
        if retry_after is not None:
            headers.append((b"retry-after", retry_after.encode("latin-1")))
        elif status >= 500:
            headers.append((b"x-should-retry", b"false"))
        await self._start(status, headers, send)
        await send({"type": "http.response.body", "body": body})

    async def _refuse(self, refusal: Refusal, send: Send) -> None:
        """The error as the whole answer, or as the last event of one that has begun."""
        answer = self._answered
        if self._status:
            event = refusal.event if answer is None else answer.broken(refusal)
            await send({"type": "http.response.body", "body": event})
            return
        headers = [(name.encode(), value.encode()) for name, value in refusal.headers.items()]
        body = refusal.body if answer is None else answer.whole(refusal.status, refusal.body)
        await self._start(refusal.status, [*headers, (b"content-length", str(len(body)).encode())], send)
        await send({"type": "http.response.body", "body": body})


async def whole_events(content: aiohttp.StreamReader) -> AsyncIterator[bytes]:
    """What arrives, cut after the last whole event, so that an error may follow at any time."""
    rest = b""
    async for arrived in content.iter_any():
        data = rest + arrived if rest else arrived
        if data.endswith(_EVENT_END):
            rest = b""
            yield data
            continue
        end = data.rfind(_EVENT_END) + len(_EVENT_END)
        if end >= len(_EVENT_END):
            yield data[:end]
            rest = data[end:]
        else:
            rest = data
    if rest:
        yield rest


async def _disconnected(receive: Receive) -> None:
    message: Message = {}
    while message.get("type") != "http.disconnect":
        message = await receive()
