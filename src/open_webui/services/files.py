"""Files as they are served, and the collection of what nothing needs any more."""

import asyncio
import base64
import binascii
import time
from collections.abc import Callable, Collection
from functools import partial
from typing import TYPE_CHECKING, Any, Final

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
from open_webui.utils import data_urls
from open_webui.utils.addresses import id_in
from open_webui.utils.pictures import MAX_DATA_URL, RASTER, sniff

if TYPE_CHECKING:
    from open_webui.services.images.making import Pictures

log = get_logger(__name__)
# What nothing refers to is kept for so many seconds: an upload of the same content may be under way.
GRACE: Final = 3600


PICTURE_BAD: Final = "The picture can't be used. It should be a PNG, JPEG, GIF or WebP file of at most 1 MB."
NO_PICTURE: Final = "This is no picture that can be kept: PNG, JPEG, GIF or WebP."


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

    def __init__(self, deps: FileDeps, principal: Principal, pictures: "Callable[[], Pictures] | None" = None) -> None:
        """pictures: gives what checks and scales them; without it they are kept and sent as they are."""
        self._deps = deps
        self._principal = principal
        self._pictures = pictures
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

    @property
    def scales(self) -> bool:
        return self._pictures is not None and self._pictures().sending.scales

    async def sent(self, file: File) -> tuple[str, bytes]:
        found = None
        if self._pictures is not None:
            found = await self._pictures().sending.found(file.blob, file.mime, partial(self.read, file))
        return (file.mime, await self.read(file)) if found is None else (found.mime, found.data)

    async def sent_url(self, url: str) -> str:
        given = await asyncio.to_thread(_of_url, url)
        if given is None or self._pictures is None:
            return url
        mime, data = given
        found = await self._pictures().sending.fitted(data, mime)
        return url if found.data is data else await asyncio.to_thread(_url_of, found.mime, found.data)

    async def checked(self, url: str) -> str:
        given = await asyncio.to_thread(_of_url, url)
        if given is None:
            raise BadRequest(NO_PICTURE)
        mime, data = given
        clean = data if self._pictures is None else await self._pictures().checker.made(data)
        return url if clean == data else await asyncio.to_thread(_url_of, mime, clean)

    async def keep(self, value: Any, *, strict: bool = False) -> Any:
        clean = None if self._pictures is None else self._pictures().checker.made
        least = 1 if strict else data_urls.LEAST
        return await intake.keep_made(self._deps, self._principal, value, strict=strict, clean=clean, least=least)


def _of_url(url: str) -> tuple[str, bytes] | None:
    """Type and bytes of a raster picture in a data: URL; None for what is none."""
    head, comma, body = url.partition(",")
    if not comma or not head.startswith("data:") or not head.endswith(";base64"):
        return None
    try:
        data = base64.b64decode(body, validate=True)
    except (binascii.Error, ValueError):
        return None
    mime = sniff(data)
    return None if mime is None else (mime, data)


def _url_of(mime: str, data: bytes) -> str:
    return f"data:{mime};base64,{base64.b64encode(data).decode()}"


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
