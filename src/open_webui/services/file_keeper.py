"""What is done to files in the background: pictures of earlier releases are moved once, and what nothing uses is collected."""

from collections.abc import Awaitable, Callable
from typing import Any, Final

from open_webui.jobs.kinds import Every, Kind, Nothing, Retry, Run
from open_webui.models import documents
from open_webui.models.base import now
from open_webui.services.deps import FileDeps
from open_webui.services.files import collect
from open_webui.services.moving import move_pictures

# Seconds between two collections; after a start, so that it delays nothing; after a database or a disk failed.
EVERY: Final = 3_600
FIRST: Final = 10.0
AGAIN: Final = 60.0


def keeping_files(deps: FileDeps, reload: Callable[[], Awaitable[Any]]) -> Kind[Nothing]:
    """The job that does it. reload: takes over models whose rows changed."""

    async def keep(_run: Run, _nothing: Nothing) -> None:
        await move_pictures(deps, reload)
        await _remove_expired(deps)
        await collect(deps)

    every = Every(EVERY, after_start=FIRST)
    return Kind(name="keep files", payload=Nothing, handler=keep, retry=Retry(first=AGAIN, longest=AGAIN), every=every)


async def _remove_expired(deps: FileDeps) -> None:
    """Removes documents whose time is over, and those that nobody went on writing."""
    while True:
        async with deps.database.write() as unit:
            if await documents.delete_expired(unit.connection, now()) == 0:
                return
