"""Who waits for a model is told what for."""

import asyncio
from typing import Final, Self

from open_webui.chat.delivery.sender import AnswerSender

SILENT: Final = "The model has been silent for a while. Still waiting for it."
# A model that is silent for this long is mentioned to the person who waits.
SILENCE: Final = 20.0


class Waiting:
    """Tells who waits what for: what the connection says, or that the model has been silent for long; and when it is over.

    One timer, moved lazily.
    """

    def __init__(self, sender: AnswerSender) -> None:
        self._sender = sender
        self._loop = asyncio.get_running_loop()
        self._last = self._loop.time()
        self._timer = self._loop.call_later(SILENCE, self._check_silence)
        self._told: str | None = None
        self._last_task: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_error: object) -> None:
        self._timer.cancel()
        self.over()
        if self._last_task is not None:
            await self._last_task

    def over(self) -> None:
        """Something arrived."""
        self._last = self._loop.time()
        if self._told is not None:
            self.tell(None)

    def tell(self, text: str | None) -> None:
        """Shows a sentence in place of the one before; None shows none any more."""
        self._last = self._loop.time()
        if text == self._told:
            return
        shown, self._told = text or self._told, text
        self._last_task = self._loop.create_task(self._send(self._last_task, shown, over=text is None))

    def _check_silence(self) -> None:
        quiet = self._loop.time() - self._last
        if quiet >= SILENCE and self._told is None:
            self.tell(SILENT)
        self._timer = self._loop.call_later(SILENCE - quiet if quiet < SILENCE else SILENCE, self._check_silence)

    async def _send(self, before: "asyncio.Task[None] | None", text: str | None, *, over: bool) -> None:
        """After what was told before, so that a late sentence never stays."""
        if before is not None:
            await before
        await self._sender.event("status", {"description": text, "done": over, "hidden": over})
