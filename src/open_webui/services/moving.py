"""Moves the pictures that rows of earlier releases hold to files: once, in small steps that go on after a restart."""

from collections.abc import Awaitable, Callable
from typing import Any, Final

import msgspec

from open_webui.errors import OuiError
from open_webui.internal.log import get_logger
from open_webui.models import embedded, files
from open_webui.models.embedded import PLACES, PictureLocation
from open_webui.services import intake
from open_webui.services.deps import FileDeps
from open_webui.storage.base import StoreAway

log = get_logger(__name__)
# Rows that are looked at in one query.
STEP: Final = 200
_ANY: Final = 10**9


async def move_pictures(deps: FileDeps, reload: Callable[[], Awaitable[Any]] | None = None, *, step: int = STEP) -> int:
    """Moves what is left and says how many rows changed. reload: takes over models whose rows changed.

    Each row is changed in a unit of its own, and only if it still is what was read. One that can't be moved stays.
    Raises StoreAway: the next run goes on from there.
    """
    async with deps.database.read() as connection:
        at = await embedded.noted(connection)
    if at is None:
        return 0
    moved = 0
    number, after = at
    for place in PLACES[number:]:
        moved_here = 0
        while True:
            async with deps.database.read() as connection:
                keys, after = await embedded.next_keys(connection, place, after, step)
            for key in keys:
                moved_here += await _moved(deps, place, key)
            if after is None:
                break
            if keys:
                await _note(deps, (PLACES.index(place), after))
        moved += moved_here
        if moved_here and place.thing == "model_id" and reload is not None:
            await reload()
    await _note(deps, None)
    if moved:
        log.info("pictures moved out of the database", rows=moved)
    return moved


async def _note(deps: FileDeps, at: tuple[int, Any] | None) -> None:
    async with deps.database.write() as unit:
        await embedded.note(unit.connection, at)


async def _moved(deps: FileDeps, place: PictureLocation, key: Any) -> bool:
    """Moves the pictures of one row; False where there are none, or where it can't be."""
    while True:
        async with deps.database.read() as connection:
            row = await embedded.read(connection, place, key)
        if row is None:
            return False
        changed: dict[str, bytes] = {}
        new: list[files.NewFile] = []
        try:
            for name, value in row.values.items():
                if value is not None:
                    taken = await intake.take(deps, row.owner_id, value, at_most=_ANY, largest=_ANY, strict=False)
                    if taken.files:
                        msgspec.json.decode(taken.document)
                        changed[name] = embedded.as_pages_show(place, row, name, taken.document)
                        new += taken.files
        except StoreAway:
            raise
        except (OuiError, msgspec.DecodeError, RecursionError) as error:
            log.warning("the pictures of a row could not be moved", table=place.table.name, key=key, error=str(error))
            return False
        if not changed:
            return False
        async with deps.database.write() as unit:
            await files.add(unit.connection, row.owner_id, new)
            if await embedded.replace(unit.connection, place, row, changed):
                return True
