"""What is done to files in the background: pictures of earlier releases are moved once, and what nothing uses is collected."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, Final

from sqlalchemy.exc import SQLAlchemyError

from open_webui.internal.log import get_logger
from open_webui.internal.supervise import supervise
from open_webui.services.deps import FileDeps
from open_webui.services.files import collect
from open_webui.services.moving import move_pictures

log = get_logger(__name__)
# Seconds after the start, so that it delays nothing; between two collections; after a database or a disk failed.
FIRST: Final = 10.0
EVERY: Final = 3600.0
AGAIN: Final = 60.0


class FileKeeper:
    """The task that does it, from `open` to `close`. reload: takes over models whose rows changed."""

    def __init__(self, deps: FileDeps, reload: Callable[[], Awaitable[Any]]) -> None:
        self._deps = deps
        self._reload = reload
        self._task: asyncio.Task[None] | None = None

    def open(self) -> None:
        self._task = supervise("keeping files", self._run)

    async def close(self) -> None:
        """Ends it; what it was about to store is not stored."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def _run(self) -> None:
        wait = FIRST
        while True:
            await asyncio.sleep(wait)
            try:
                await move_pictures(self._deps, self._reload)
                await collect(self._deps)
                wait = EVERY
            except (SQLAlchemyError, OSError) as error:
                log.warning("files could not be looked after; tried again soon", error=str(error))
                wait = AGAIN
