"""Files as they are served, and the collection of what nothing needs any more."""

import time
from collections.abc import Collection
from typing import Any, Final

import msgspec
from sqlalchemy.ext.asyncio import AsyncConnection

from open_webui import constants
from open_webui.errors import BadRequest, NotFound, Unauthenticated
from open_webui.internal.log import get_logger
from open_webui.models import file_uses, files
from open_webui.models.file_uses import Thing
from open_webui.models.files import File
from open_webui.principal import Principal
from open_webui.services import intake
from open_webui.services.deps import FileDeps
from open_webui.storage.base import read_all
from open_webui.utils.addresses import id_in
from open_webui.utils.pictures import MAX_DATA_URL, RASTER

log = get_logger(__name__)
# What nothing refers to is kept for so many seconds: an upload of the same content may be under way.
GRACE: Final = 3600


PICTURE_BAD: Final = "The picture can't be used. It should be a PNG, JPEG, GIF or WebP file of at most 1 MB."


class Span(msgspec.Struct, frozen=True):
    """A part of a file's bytes: from `start`, `length` of them."""

    start: int
    length: int


class UnsatisfiableRange(NotFound):
    """A range that begins behind the end of the file."""

    status = 416
    detail = "The file ends before the range that was asked for."


async def get(deps: FileDeps, principal: Principal | None, file_id: str) -> File:
    """A file that the caller may read. Raises NotFound, for somebody without an account Unauthenticated."""
    async with deps.database.read() as connection:
        found = await files.get(connection, principal, file_id, admin_access=deps.settings.enable_admin_chat_access)
    if found is None:
        raise Unauthenticated(constants.NOT_AUTHENTICATED) if principal is None else NotFound()
    return found


async def picture_of(deps: FileDeps, thing: Thing, thing_id: str, url: str) -> File | None:
    """The raster picture whose address a thing has that the caller may see.

    None where it is none or is gone, and where the thing only names the address and may not use the file.
    """
    file_id = id_in(url)
    if file_id is None:
        return None
    async with deps.database.read() as connection:
        used = await file_uses.of(connection, thing, thing_id)
        file = (await files.by_id(connection, used & {file_id})).get(file_id)
    if file is None or not is_shown(file) or await deps.blobs.size(file.blob) != file.size:
        return None
    return file


async def check_picture(
    connection: AsyncConnection, thing: Thing, thing_id: str, url: str | None, *, known: bool = True
) -> None:
    """Raises BadRequest when the picture of a person or a model, as just stored, is a file that can't be one.

    known: also when there is no such file, or none that may be used here; else such an address just shows nothing.
    """
    file_id = id_in(url)
    if file_id is None:
        return
    file = (await files.by_id(connection, [file_id])).get(file_id)
    if file is None or file_id not in await file_uses.of(connection, thing, thing_id):
        if known:
            raise BadRequest(PICTURE_BAD)
    elif not is_shown(file) or file.size > MAX_DATA_URL * 3 // 4:
        raise BadRequest(PICTURE_BAD)


class Reader:
    """Stored files for one person, as the chat turn reads them (chat/context/stage.py, PictureReader)."""

    def __init__(self, deps: FileDeps, principal: Principal) -> None:
        self._deps = deps
        self._principal = principal
        self.limit = int(deps.settings.chat_history_max_picture_mb * 2**20)

    async def find(self, ids: Collection[str]) -> dict[str, File]:
        admin_access = self._deps.settings.enable_admin_chat_access
        async with self._deps.database.read() as connection:
            return await files.readable(connection, self._principal, ids, admin_access=admin_access)

    async def read(self, file: File) -> bytes:
        return await read_all(self._deps.blobs, file.blob)

    async def keep_text(self, filename: str, text: str) -> str:
        file = await intake.put(self._deps, self._principal.id, text.encode("utf-8", "replace"), filename)
        async with self._deps.database.write() as unit:
            await files.add(unit.connection, self._principal.id, [file])
        return file.id

    async def keep(self, value: Any, *, strict: bool = False) -> Any:
        return await intake.keep_made(self._deps, self._principal, value, strict=strict)


def is_shown(file: File) -> bool:
    """Whether a browser may show it in a page; anything but a raster picture is for saving only."""
    return file.mime in RASTER


def span_of(header: str | None, size: int) -> Span | None:
    """The part that a Range header asks for; None for the whole: there is no header, or one that means nothing to us.

    Raises UnsatisfiableRange.
    """
    unit, _, given = (header or "").partition("=")
    first, dash, last = given.strip().partition("-")
    if unit.strip().lower() != "bytes" or not dash or not all(_is_number(part) for part in (first, last)):
        return None
    if not first:
        start, end = max(0, size - int(last or 0)), size
        if not last:
            return None
    else:
        start, end = int(first), min(size, int(last) + 1 if last else size)
        if last and int(last) < start:
            return None
    if start >= size or start >= end:
        raise UnsatisfiableRange(headers={"content-range": f"bytes */{size}"})
    return Span(start, end - start)


def _is_number(text: str) -> bool:
    return not text or (text.isascii() and text.isdigit() and len(text) < 20)


async def collect(deps: FileDeps, *, grace: float = GRACE) -> int:
    """Removes files that nothing uses and blobs that no file needs, once they are older than the grace (seconds).

    Gives the number of blobs whose bytes are gone. A crash between the rows and the bytes leaves bytes that the next
    collection finds.
    """
    before = time.time() - grace
    gone = 0
    while True:
        async with deps.database.write() as unit:
            hashes = await files.collect(unit.connection, int(before))
        for key in hashes:
            gone += await deps.blobs.delete(key, before)
        if len(hashes) < files.BATCH:
            break
    async for keys in deps.blobs.untouched(before):
        async with deps.database.read() as connection:
            known = await files.known_blobs(connection, keys)
        for key in keys:
            if key not in known:
                gone += await deps.blobs.delete(key, before)
    if gone:
        log.info("blobs collected", count=gone)
    return gone
