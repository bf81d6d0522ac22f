"""Files that people upload: taken in as they arrive, listed, renamed, edited and deleted."""

import asyncio
import contextlib
import fnmatch
import re
from collections.abc import AsyncIterator, Callable, Iterable
from typing import Any, Final, Protocol

import msgspec

from open_webui.config import Config
from open_webui.constants import MAX_ID
from open_webui.errors import BadRequest, Forbidden, NotFound, TooLarge
from open_webui.internal.db import UnitOfWork
from open_webui.models import documents, files, uploads
from open_webui.models.base import clean, clean_json, new_id, now
from open_webui.models.files import NewFile
from open_webui.models.grants import Action
from open_webui.models.uploads import Status, Upload
from open_webui.principal import Principal
from open_webui.services import knowledge_places
from open_webui.services.deps import FileDeps
from open_webui.services.ingestion import Ingestion
from open_webui.storage.base import PIECE, BlobMissing, read_all
from open_webui.utils.multipart import Form, Part
from open_webui.utils.pictures import RASTER, TEXT, media_type

MAX_FILENAME: Final = 255
MAX_METADATA: Final = 64 * 1024
MAX_TEXT: Final = 20 * 2**20
# Bytes of text that a list carries: files beyond them come without.
MAX_LISTED_TEXT: Final = 8 * 2**20
# Files that are deleted in one unit of work.
_AT_ONCE: Final = 200
NO_UPLOADS: Final = "You may not upload files on this server."
NO_TEXT: Final = "The text of a file can't be empty. Delete the file instead."
NO_MATCH: Final = "No file has such a name."
MISSING: Final = "The form has no file in it."
TAKEN: Final = "There is a file with this id already."


class Deps(FileDeps, Protocol):
    """What it needs of the state."""

    config: Config
    ingestion: Ingestion


class Sent(msgspec.Struct):
    """What came with a form. head: the file's first bytes. metadata: what the page notes with it."""

    filename: str
    content_type: str
    hash: str
    size: int
    head: bytes
    metadata: dict[str, Any]


# Taking in


async def upload(
    deps: Deps, principal: Principal, content_type: str, body: AsyncIterator[bytes], *, read: bool
) -> Upload:
    """Stores the file of a form whose bytes are arriving. read: its text is taken out in the background.

    Its metadata may name a knowledge base that it is for, and a directory there. Raises BadRequest, NotFound, Forbidden,
    TooLarge, and StoreAway where the store can't take it; then there is no such file.
    """
    if not content_type.lower().startswith("multipart/form-data"):
        raise NoFile
    return await keep(deps, principal, await _take(deps, principal, Form(content_type, body)), read=read)


async def put(deps: Deps, principal: Principal, filename: str, content_type: str, data: bytes) -> Sent:
    """Puts bytes into the store that are going to be a file of somebody's. Raises Forbidden, BadRequest, TooLarge."""
    check_may_upload(principal)
    bound, too_large = await _bound(deps, principal)
    if len(data) > bound:
        raise TooLarge(too_large)
    name = file_name(filename)
    stored = await deps.blobs.put(data)
    return Sent(name, clean(content_type)[:MAX_FILENAME], stored.hash, stored.size, data[:512], {})


async def keep(deps: Deps, principal: Principal, sent: Sent, *, read: bool, file_id: str | None = None) -> Upload:
    """Notes bytes that the store has as a file of somebody's. file_id: one that was chosen. Raises as `upload`."""
    mime = media_type(sent.head)
    _check_extension(deps.config, sent.filename, mime)
    meta = {
        "name": sent.filename,
        "content_type": sent.content_type or mime,
        "size": sent.size,
        "file_hash": sent.hash,
        "data": sent.metadata,
    }
    new = NewFile(file_id or new_id(), sent.filename, sent.hash, sent.size, mime, embedded=False)
    async with deps.database.write() as unit:
        await _check_quota(deps, unit, principal, sent.size)
        if file_id is not None and await uploads.by_id(unit.connection, file_id) is not None:
            raise BadRequest(TAKEN)
        status: Status | None = "pending" if read else None
        stored = await uploads.insert(unit.connection, principal.id, new, meta, status)
        if read:
            await deps.ingestion.enqueue(unit, stored.id)
        # A page that fills a knowledge base says so with the file.
        base, place = (sent.metadata.get(name) or None for name in ("knowledge_id", "directory_id"))
        if base is not None:
            await knowledge_places.writable(unit, principal, _id(base))
            placed = {stored.id: None if place is None else _id(place)}
            await knowledge_places.place(deps, unit, principal, base, placed)
    return stored


async def wait(deps: Deps, principal: Principal, stored: Upload) -> Upload:
    """Until a file's text is taken out. Raises BadRequest where that fails; then there is no such file."""
    found = await deps.ingestion.finished(stored.id)
    if found is not None and found.status == "failed":
        await delete(deps, principal, found.id)
        raise BadRequest(found.data.get("error"))
    return found or stored


def _id(given: Any) -> str:
    if not isinstance(given, str) or len(given) > MAX_ID:
        raise BadRequest("The metadata of a file names a knowledge base and a directory of it by their ids.")
    return given


async def _take(deps: Deps, principal: Principal, form: Form) -> Sent:
    sent: Sent | None = None
    metadata: dict[str, Any] = {}
    async for part in form:
        if part.name == "file" and part.filename is not None and sent is None:
            check_may_upload(principal)
            sent = await _take_file(deps, principal, part, form)
        elif part.name == "metadata":
            metadata = _metadata(await form.text(MAX_METADATA))
    if sent is None:
        raise NoFile
    sent.metadata = metadata
    return sent


class NoFile(BadRequest):
    """A form without a file."""

    status = 422
    detail = MISSING


def check_may_upload(principal: Principal) -> None:
    """Raises Forbidden for somebody who may not upload files."""
    if not principal.may("chat.file_upload"):
        raise Forbidden(NO_UPLOADS, status=403)


async def _take_file(deps: Deps, principal: Principal, part: Part, form: Form) -> Sent:
    bound, too_large = await _bound(deps, principal)
    size = 0

    async def bounded() -> AsyncIterator[bytes]:
        nonlocal size
        async for piece in form.content():
            size += len(piece)
            if size > bound:
                raise TooLarge(too_large)
            yield piece

    pieces = bounded()
    begun = b""
    async for piece in pieces:
        begun += piece
        if len(begun) > PIECE:
            stored = await deps.blobs.put(_chained(begun, pieces))
            break
    else:
        # A small file goes to the disk in one visit.
        stored = await deps.blobs.put(begun)
    kind = clean(part.content_type)[:MAX_FILENAME]
    return Sent(file_name(part.filename or ""), kind, stored.hash, stored.size, begun[:512], {})


async def _chained(begun: bytes, pieces: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    yield begun
    async for piece in pieces:
        yield piece


def file_name(given: str) -> str:
    """A file's name as it is kept: without folders and control characters, and no longer than disks allow.

    Raises BadRequest for one that is empty then.
    """
    name = re.split(r"[/\\]", given)[-1]
    name = "".join(c for c in name if c.isprintable()).strip()
    if len(name) > MAX_FILENAME:
        stem, dot, ending = name.rpartition(".")
        ending = dot + ending if dot and len(ending) < 20 else ""
        name = (stem or name)[: MAX_FILENAME - len(ending)] + ending
    if name in {"", ".", ".."}:
        raise BadRequest("A file needs a name.")
    return name


def _metadata(text: str) -> dict[str, Any]:
    try:
        value = msgspec.json.decode(text) if text.strip() else None
        if value is None:
            return {}
        if isinstance(value, dict):
            cleaned: dict[str, Any] = clean_json(value)
            return cleaned
    except (msgspec.DecodeError, RecursionError, ValueError):
        pass
    raise BadRequest("The metadata of a file should be a JSON object.")


async def _bound(deps: Deps, principal: Principal) -> tuple[int, str]:
    """How many bytes a file may have, and what is said about a larger one."""
    megabytes = deps.config["rag.file.max_size"] or deps.settings.max_body_mb
    bound, sentence = megabytes * 2**20, f"A file may have at most {megabytes} MB."
    quota = deps.config["file.user_quota"]
    if quota:
        async with deps.database.read() as connection:
            left = quota * 2**20 - await uploads.used_bytes(connection, principal.id)
        if left < bound:
            return left, _over_quota(quota)
    return bound, sentence


def _over_quota(quota: int) -> str:
    return (
        f"Your files may take up {quota} MB together, and this one does not fit any more. Delete some, then try again."
    )


async def _check_quota(deps: Deps, unit: UnitOfWork, principal: Principal, size: int) -> None:
    """Once more when it is noted: another may have come meanwhile."""
    quota = deps.config["file.user_quota"]
    if quota and await uploads.used_bytes(unit.connection, principal.id, lock=True) + size > quota * 2**20:
        raise TooLarge(_over_quota(quota))


def _check_extension(config: Config, filename: str, mime: str) -> None:
    """Raises BadRequest for a document that administrators don't want. Pictures belong to chats, and are not read."""
    allowed = {str(end).lower().lstrip(".") for end in config["rag.file.allowed_extensions"] if end}
    ending = filename.rpartition(".")[2].lower() if "." in filename else ""
    if allowed and ending not in allowed and mime not in RASTER:
        named = ", ".join(sorted(allowed))
        raise BadRequest(f"Files of this type can't be uploaded here. Those of these types can: {named}.")


# Reading


async def require(deps: Deps, principal: Principal, file_id: str, action: Action = "read") -> Upload:
    """A file that somebody may read or change. Raises NotFound."""
    found = await find(deps, principal, file_id, action)
    if found is None:
        raise NotFound
    return found


async def find(deps: Deps, principal: Principal, file_id: str, action: Action = "read") -> Upload | None:
    """The same, or None."""
    async with deps.database.read() as connection:
        return await uploads.get(connection, principal, file_id, action, admin_access=_admin_access(deps))


def _admin_access(deps: Deps) -> bool:
    return deps.settings.enable_admin_chat_access


def whose(deps: Deps, principal: Principal) -> str | None:
    """Whose files lists show somebody: admins see all (None), where they may see what people keep."""
    return None if principal.is_admin and _admin_access(deps) else principal.id


async def count(deps: Deps, user_id: str | None) -> int:
    """How many files somebody (None: everybody) has."""
    async with deps.database.read() as connection:
        return await uploads.count(connection, user_id)


async def page(deps: Deps, user_id: str | None, number: int, *, content: bool) -> dict[str, Any]:
    """A page of somebody's files (None: everybody's) as the wire has it."""
    async with deps.database.read() as connection:
        found = await uploads.page(connection, user_id, number)
        total = await uploads.count(connection, user_id)
    return {"items": await listed(deps, found, content=content), "total": total}


async def search(
    deps: Deps, user_id: str | None, pattern: str, *, skip: int, limit: int, content: bool
) -> list[dict[str, Any]]:
    """Files of somebody's whose names match a pattern ("*" for any characters, "?" for one), in any case."""
    matches = re.compile(fnmatch.translate(pattern), re.IGNORECASE).match
    ids: list[str] = []
    after: tuple[int, str] | None = None
    while len(ids) < skip + limit:
        async with deps.database.read() as connection:
            found = await uploads.names(connection, user_id, after)
        if not found:
            break
        ids += await asyncio.to_thread(_matching, matches, found)
        after = found[-1][2], found[-1][0]
    async with deps.database.read() as connection:
        rows = await uploads.by_ids(connection, ids[skip : skip + limit])
    return await listed(deps, rows, content=content)


def _matching(matches: Callable[[str], Any], rows: Iterable[tuple[str, str, int]]) -> list[str]:
    return [file_id for file_id, name, _ in rows if matches(name)]


async def text_of(deps: Deps, found: Upload) -> str | None:
    """What was taken out of a file; None where there is nothing yet."""
    return None if found.hash is None else (await read_all(deps.blobs, found.hash)).decode(errors="replace")


async def listed(deps: Deps, found: Iterable[Upload], *, content: bool) -> list[dict[str, Any]]:
    """Files as lists have them, with their texts as long as these are no more than MAX_LISTED_TEXT together.

    A file whose text is left out for that says so.
    """
    left = MAX_LISTED_TEXT
    out = []
    for one in found:
        text, is_left_out = None, False
        if content and one.hash is not None:
            size = await deps.blobs.size(one.hash) or 0
            is_left_out = size > left
            if not is_left_out:
                left -= size
                with contextlib.suppress(BlobMissing):
                    text = await text_of(deps, one)
        out.append(wire(one, text))
        if is_left_out and one.status is not None:
            out[-1]["data"]["content_left_out"] = True
    return out


def wire(found: Upload, text: str | None = None, *, path: bool = False) -> dict[str, Any]:
    """A file as the wire has it. path: with the name that it has here, which is no place on a disk."""
    data: dict[str, Any] = {}
    if found.status is not None:
        data = {"status": found.status}
        if text is not None:
            data["content"] = text
        if found.status in {"completed", "failed"}:
            data["error"] = found.data.get("error")
    meta = found.meta if found.hash is None else found.meta | {"collection_name": collection_of(found.id)}
    out = {
        "id": found.id,
        "user_id": found.user_id or "",
        "hash": found.hash,
        "filename": found.filename,
        "data": data,
        "meta": meta,
        "created_at": found.created_at,
        "updated_at": found.updated_at,
    }
    return out | {"path": f"{found.id}_{found.filename}"} if path else out


def collection_of(file_id: str) -> str:
    """What the wire calls the index of one file."""
    return f"file-{file_id}"


async def whole(deps: Deps, found: Upload) -> dict[str, Any]:
    """A file as the wire has it, with its text and its name here."""
    return wire(found, await text_of(deps, found), path=True)


def reading(found: Upload) -> dict[str, Any]:
    """How far a file is that is being read."""
    error = found.data.get("error")
    return {"status": found.status or "pending"} | ({"error": error} if error else {})


# Changing


async def rename(deps: Deps, principal: Principal, file_id: str, name: str) -> Upload:
    """Gives a file another name, under which it is found and cited from then on. Raises NotFound, BadRequest."""
    name = file_name(name)
    async with deps.database.write() as unit:
        found = await _held(deps, unit, principal, file_id)
        meta = found.meta | {"name": name}
        await uploads.change(unit.connection, file_id, filename=name, meta=meta)
        await documents.rename(unit.connection, file_id, name)
    return msgspec.structs.replace(found, filename=name, meta=meta, updated_at=now())


async def set_text(deps: Deps, principal: Principal, file_id: str, text: str) -> Upload:
    """Puts a text in the place of what was taken out of a file, and has it indexed.

    Raises NotFound, TooLarge, and BadRequest for a text that has nothing in it.
    """
    if not text.strip():
        raise BadRequest(NO_TEXT)
    data = clean(text).encode()
    if len(data) > MAX_TEXT:
        raise TooLarge(f"The text of a file may have at most {MAX_TEXT // 2**20} MB.")
    await require(deps, principal, file_id, "write")
    stored = await deps.blobs.put(data)
    async with deps.database.write() as unit:
        found = await _held(deps, unit, principal, file_id)
        await files.add_blob(unit.connection, stored.hash, stored.size, TEXT, now())
        await uploads.change(unit.connection, file_id, hash=stored.hash, status="pending", data={})
        await deps.ingestion.enqueue(unit, file_id)
    return msgspec.structs.replace(found, hash=stored.hash, status="pending", data={})


async def read_again(deps: Deps, principal: Principal, file_id: str) -> Upload:
    """Has the text of a file taken out of its bytes anew. Raises NotFound."""
    async with deps.database.write() as unit:
        found = await _held(deps, unit, principal, file_id)
        await uploads.change(unit.connection, file_id, hash=None, status="pending", data={})
        await deps.ingestion.enqueue(unit, file_id)
    return msgspec.structs.replace(found, hash=None, status="pending", data={})


async def _held(deps: Deps, unit: UnitOfWork, principal: Principal, file_id: str) -> Upload:
    found = await uploads.get(unit.connection, principal, file_id, "write", admin_access=_admin_access(deps), lock=True)
    if found is None:
        raise NotFound
    return found


async def delete(deps: Deps, principal: Principal, file_id: str) -> None:
    """Removes a file for everybody: messages that had it keep its name. Raises NotFound."""
    async with deps.database.write() as unit:
        found = await uploads.get(unit.connection, principal, file_id, "write", admin_access=_admin_access(deps))
        if found is None:
            raise NotFound
        await uploads.delete(unit.connection, [file_id])
        unit.after_commit(lambda: deps.ingestion.forget(file_id))


async def delete_all(deps: Deps) -> None:
    """Removes all that people uploaded."""
    while True:
        async with deps.database.write() as unit:
            ids = await uploads.all_ids(unit.connection, _AT_ONCE)
            await uploads.delete(unit.connection, ids)
        if len(ids) < _AT_ONCE:
            return
