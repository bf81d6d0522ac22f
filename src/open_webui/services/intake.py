"""Where pictures come in: data: URLs in a document become files of whoever sends it, and their addresses stand there instead.

It works on JSON as it arrives, so one place serves every document: routes whose policy says `keeping_files` pass their
bodies through here before anybody decodes them (routing.py). What refers to a file notes that itself (models/file_uses.py).
"""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, Final, Protocol

import msgspec

from open_webui.access.permissions import check_uploads
from open_webui.errors import BadRequest, TooLarge
from open_webui.models import files
from open_webui.models.files import NewFile, embedded_id
from open_webui.principal import Principal
from open_webui.services.deps import FileDeps
from open_webui.storage.base import Stored
from open_webui.utils import data_urls
from open_webui.utils.addresses import address
from open_webui.utils.pictures import UNKNOWN, extension, media_type, sniff

# Of one request. Each picture is written to disk and waited for.
MAX_PICTURES: Final = 2_000
MAX_SIZE: Final = 32 * 2**20
# Of one message.
MAX_IN_MESSAGE: Final = 64
_BIG: Final = 64 * 1024


# A picture's bytes as they are to be kept. Raises BadRequest for what is none.
Clean = Callable[[bytes], Awaitable[bytes]]


class Puts(Protocol):
    """What takes bytes: a store of blobs."""

    async def put(self, content: bytes) -> Stored: ...


class Keeps(Protocol):
    """What taking pictures out of a document needs."""

    @property
    def blobs(self) -> Puts: ...


class Taken(msgspec.Struct, frozen=True):
    """A document without its data: URLs, and the files that they are now; their bytes are stored, their rows not yet."""

    document: bytes
    files: list[NewFile]


async def take(
    deps: Keeps,
    owner_id: str,
    document: bytes,
    *,
    at_most: int = MAX_PICTURES,
    largest: int = MAX_SIZE,
    strict: bool = True,
    clean: Clean | None = None,
    least: int = data_urls.LEAST,
) -> Taken:
    """Puts the pictures of a document into the store. strict: one that can't be decoded is refused, else it stays a text.
    clean: asked of each picture; what it refuses is for saving only, or refused where it is strict, as is what is no picture
    then. least: characters of a data: URL that is worth a file.

    Raises BadRequest for a picture that can't be read, TooLarge for one that is too large or one too many.
    """
    if data_urls.MARK not in document:
        return Taken(document, [])
    parts: list[bytes] = []
    new: list[NewFile] = []
    at = 0
    while (found := await _find(document, at, strict, least)) is not None:
        if len(new) == at_most:
            raise TooLarge(f"At most {at_most:,} pictures can come at once.")
        if len(found.data) > largest:
            raise TooLarge(f"A picture may have at most {largest // 2**20} MB.")
        if clean is None:
            file = await put(deps, owner_id, found.data)
        else:
            file = await _put_clean(deps, owner_id, found.data, clean, strict=strict)
        new.append(file)
        parts += [document[at : found.start], address(file.id).encode()]
        at = found.end
    return Taken(b"".join([*parts, document[at:]]), new) if new else Taken(document, [])


async def _put_clean(deps: Keeps, owner_id: str, data: bytes, clean: Clean, *, strict: bool) -> NewFile:
    if sniff(data) is None and not strict:
        return await put(deps, owner_id, data)
    try:
        return await put(deps, owner_id, await clean(data))
    except BadRequest:
        if strict:
            raise
    # No browser is to show it, and no model to be sent it.
    stored = await deps.blobs.put(data)
    return NewFile(embedded_id(owner_id, stored.hash), "file.bin", stored.hash, stored.size, UNKNOWN)


async def _find(document: bytes, at: int, strict: bool, least: int) -> data_urls.DataUrl | None:
    try:
        if len(document) <= _BIG:
            return data_urls.find(document, at, strict, least)
        return await asyncio.to_thread(data_urls.find, document, at, strict, least)
    except data_urls.BadDataUrl as error:
        raise BadRequest(str(error)) from None


async def put(deps: Keeps, owner_id: str, data: bytes, filename: str | None = None) -> NewFile:
    """Stores bytes as an embedded file of somebody, whose row the caller adds."""
    stored = await deps.blobs.put(data)
    mime = media_type(data[:512])
    name = filename or ("picture" if mime.startswith("image/") else "file") + extension(mime)
    return NewFile(embedded_id(owner_id, stored.hash), name, stored.hash, stored.size, mime)


async def keep(
    deps: FileDeps, principal: Principal, document: bytes, *, at_most: int = MAX_PICTURES, attaching: bool = True
) -> bytes:
    """The document with addresses in place of its data: URLs, which are stored files of the principal then.

    A file that nothing comes to use, since the request is refused, is collected like any other. attaching: it is a chat's.
    Raises Forbidden for somebody who may not attach files to chats.
    """
    if attaching:
        check_attached(principal, document)
    return await _noted(deps, principal.id, await take(deps, principal.id, document, at_most=at_most))


def check_attached(principal: Principal, document: bytes) -> None:
    """Raises Forbidden for a chat's document with files in it, from somebody who may not attach any."""
    if not principal.may("chat.file_upload") and data_urls.holds_any(document):
        check_uploads(principal)


async def _noted(deps: FileDeps, owner_id: str, taken: Taken) -> bytes:
    if taken.files:
        async with deps.database.write() as unit:
            await files.add(unit.connection, owner_id, taken.files)
    return taken.document


async def keep_question(deps: FileDeps, principal: Principal, value: Any) -> Any:
    """The same for a decoded message of a page."""
    encoded = msgspec.json.encode(value)
    document = await keep(deps, principal, encoded, at_most=MAX_IN_MESSAGE)
    return value if document is encoded else msgspec.json.decode(document)


async def keep_made(
    deps: FileDeps,
    principal: Principal,
    value: Any,
    *,
    strict: bool = True,
    clean: Clean | None = None,
    least: int = data_urls.LEAST,
) -> Any:
    """The same for what a model made for a person, who needs no permission to attach files for that.

    strict, clean, least: as for `take`. Raises BadRequest, TooLarge as it.
    """
    document = msgspec.json.encode(value)
    taken = await take(deps, principal.id, document, at_most=MAX_IN_MESSAGE, strict=strict, clean=clean, least=least)
    return msgspec.json.decode(await _noted(deps, principal.id, taken)) if taken.files else value


def refuse(value: Any) -> None:
    """For what keeps no pictures. Raises BadRequest when a JSON value holds one."""
    try:
        found = data_urls.find(msgspec.json.encode(value)) is not None
    except data_urls.BadDataUrl:
        found = True
    if found:
        raise BadRequest("Pictures can't be kept here. Give the address of one instead.")
