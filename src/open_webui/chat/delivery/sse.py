"""The answer as a response: the provider's chunks passed on as server-sent events, nothing re-serialised."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager
from typing import Any, Final, Protocol, TypeVar

import msgspec
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from open_webui.connections.base import Reply
from open_webui.errors import OuiError

B = TypeVar("B")
HEADERS: Final = [
    (b"content-type", b"text/event-stream; charset=utf-8"),
    (b"cache-control", b"no-cache"),
    # Proxies of the nginx kind would hold the stream back.
    (b"x-accel-buffering", b"no"),
]
DONE: Final = b"data: [DONE]\n\n"
PING: Final = b": still waiting\n\n"
PING_SECONDS: Final = 15.0


class Form(Protocol[B]):
    """How an answer is written down for a client."""

    @property
    def headers(self) -> list[tuple[bytes, bytes]]: ...

    @property
    def ping(self) -> bytes | None:
        """What may be said while the provider is silent, if anything."""
        ...

    def read(self, reply: Reply) -> AsyncIterator[B]:
        """The answer as this form writes it down: OpenAI's chunks, or events; a read of them at a time."""
        ...

    def batch(self, batch: B) -> bytes:
        """A read's, written down; empty where it says nothing."""
        ...

    def end(self) -> bytes: ...

    def error(self, error: OuiError) -> bytes: ...


class Events:
    """Server-sent events, the chunks as they came."""

    headers: Final = HEADERS
    ping: Final = PING

    def read(self, reply: Reply) -> AsyncIterator[list[bytes]]:
        return reply.batches()

    def batch(self, batch: list[bytes]) -> bytes:
        return b"data: " + b"\n\ndata: ".join(batch) + b"\n\n"

    def end(self) -> bytes:
        return DONE

    def error(self, error: OuiError) -> bytes:
        return error_event(error)


class Stream(Response):
    """An answer as a response: it is asked for when the response is sent, so that it is closed however that ends.

    A provider's refusal is raised as long as nothing was sent, and told in the stream after that. A client that goes away
    ends the provider's work within moments.
    """

    def __init__(self, opening: AbstractAsyncContextManager[Reply], form: Form[Any], first: bytes = b"") -> None:
        """first: what is said before the provider says anything."""
        self._first = first
        self._opening = opening
        self._form = form
        self.status_code = 200
        self.background = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        task = asyncio.current_task()
        assert task is not None, "a response is sent in a task"
        watcher = asyncio.create_task(self._watch(receive, task))
        begun = False
        try:
            async with self._opening as reply:
                begun = True
                await send({"type": "http.response.start", "status": 200, "headers": list(self._form.headers)})
                if self._first:
                    await send({"type": "http.response.body", "body": self._first, "more_body": True})
                await self._pass_on(reply, send)
        except asyncio.CancelledError:
            # The client is gone, or its right is: there is nobody to tell.
            if watcher.done():
                task.uncancel()
            if not begun:
                await Response(status_code=499)(scope, receive, send)
        finally:
            watcher.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await watcher

    async def _watch(self, receive: Receive, task: "asyncio.Task[None]") -> None:
        while (await receive())["type"] != "http.disconnect":
            pass
        task.cancel()

    async def _pass_on(self, reply: Reply, send: Send) -> None:
        write = self._form.batch
        pinger = _Pinger(send, self._form.ping)
        try:
            async for batch in self._form.read(reply):
                pinger.quiet = False
                if body := write(batch):
                    await send({"type": "http.response.body", "body": body, "more_body": True})
            last = self._form.end()
        except OuiError as error:
            last = self._form.error(error)
        finally:
            pinger.stop()
        await send({"type": "http.response.body", "body": last, "more_body": False})


class _Pinger:
    """Sends a comment when the provider is silent for long, so that proxies keep the connection."""

    def __init__(self, send: Send, said: bytes | None) -> None:
        self._send = send
        self._said = said
        self.quiet = True
        self._loop = asyncio.get_running_loop()
        self._timer = self._loop.call_later(PING_SECONDS, self._check_silence)
        self._tasks: set[asyncio.Task[None]] = set()

    def _check_silence(self) -> None:
        if self.quiet and self._said is not None:
            task = self._loop.create_task(self._ping())
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        self.quiet = True
        self._timer = self._loop.call_later(PING_SECONDS, self._check_silence)

    async def _ping(self) -> None:
        await self._send({"type": "http.response.body", "body": self._said, "more_body": True})

    def stop(self) -> None:
        self._timer.cancel()
        for task in self._tasks:
            task.cancel()


def error_event(error: OuiError) -> bytes:
    """The provider's error inside a stream, as OpenAI's clients understand it."""
    body: Any = getattr(error, "body", None)
    if not (isinstance(body, dict) and "error" in body):
        body = {"error": {"message": error.detail, "type": "provider_error", "code": error.status}}
    return b"data: " + msgspec.json.encode(body) + b"\n\n"
