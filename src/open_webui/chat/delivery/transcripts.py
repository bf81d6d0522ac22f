"""A transcript as it is written down: server-sent events as OpenAI's packages read them."""

import asyncio
import contextlib
from typing import Any, Final, Protocol

import msgspec
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from open_webui.audio.base import Telling
from open_webui.chat.delivery.sse import DONE, HEADERS, error_event
from open_webui.errors import OuiError

_DELTA: Final = "transcript.text.delta"
_DONE: Final = "transcript.text.done"


class Transcribe(Protocol):
    """What listens; gives what a form is answered with."""

    async def __call__(self, telling: Telling) -> dict[str, Any]: ...


class _Events(Telling):
    """See `Telling`: the words as events, which begin the response."""

    def __init__(self, send: Send) -> None:
        self._send = send
        self.is_begun = False

    async def said(self, text: str) -> None:
        """See `Telling`. The first begins without the space that is between each two."""
        await self.tell({"type": _DELTA, "delta": " " * self.is_begun + text})

    async def tell(self, event: dict[str, str]) -> None:
        await self.write(b"data: " + msgspec.json.encode(event) + b"\n\n")

    async def write(self, said: bytes, *, more: bool = True) -> None:
        if not self.is_begun:
            self.is_begun = True
            await self._send({"type": "http.response.start", "status": 200, "headers": list(HEADERS)})
        await self._send({"type": "http.response.body", "body": said, "more_body": more})


class Transcribed(Response):
    """A transcript as a response: it is listened to when the response is sent.

    What fails before the first words is raised, and told in the stream after that. A client that goes away ends the listening.
    """

    def __init__(self, transcribe: Transcribe, holding: contextlib.AsyncExitStack) -> None:
        """holding: what it is made of, closed however it ends."""
        self._transcribe = transcribe
        self._holding = holding
        self.status_code = 200
        self.background = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        task = asyncio.current_task()
        assert task is not None, "a response is sent in a task"
        events = _Events(send)
        async with self._holding:
            watcher = asyncio.create_task(_watch(receive, task))
            try:
                await self._pass_on(events)
            except asyncio.CancelledError:
                # The client is gone, or its right is: there is nobody to tell.
                if watcher.done():
                    task.uncancel()
                if not events.is_begun:
                    await Response(status_code=499)(scope, receive, send)
            finally:
                watcher.cancel()
                with contextlib.suppress(asyncio.CancelledError):
                    await watcher

    async def _pass_on(self, events: _Events) -> None:
        try:
            found = await self._transcribe(events)
        except OuiError as error:
            if not events.is_begun:
                raise
            await events.write(error_event(error), more=False)
            return
        await events.tell({"type": _DONE, "text": found["text"], "filename": found["filename"]})
        await events.write(DONE, more=False)


async def _watch(receive: Receive, task: "asyncio.Task[None]") -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
    task.cancel()
