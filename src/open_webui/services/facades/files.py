"""Files: found, read and made with the rights of the one who asks. `path` is a name of ours, and no place on a disk."""

import base64
import binascii
import re
from typing import Any, Final

import msgspec

from open_webui.errors import BadRequest, NotFound, TooLarge
from open_webui.models import uploads as stored_uploads
from open_webui.models.base import new_id
from open_webui.models.uploads import Upload
from open_webui.services import uploads
from open_webui.services.facades.use import Use
from open_webui.services.uploads import MAX_METADATA, MAX_TEXT, Sent
from open_webui.storage.base import read_all
from open_webui.utils.pictures import TEXT

# How bytes are written in JSON; the sandbox writes and reads them so.
BYTES: Final = "$bytes"
UPLOAD: Final = "$upload"
FILE: Final = "$file"
# Bytes that are given at once: they grow by a third on the way.
_MOST: Final = 11 * 2**20
_MOST_FILES: Final = 500
_ID: Final = re.compile(r"[A-Za-z0-9-]{1,100}")
_STAGED: Final = "staged"


# Reading


async def by_id(use: Use) -> dict[str, Any] | None:
    """A file with its text."""
    found = await uploads.find(use.deps, use.principal, use.text("id"))
    return None if found is None else await uploads.whole(use.deps, found)


async def metadata(use: Use) -> dict[str, Any] | None:
    found = await uploads.find(use.deps, use.principal, use.text("id"))
    if found is None:
        return None
    wire = uploads.wire(found, path=True)
    return {name: wire[name] for name in ("id", "hash", "meta", "created_at", "updated_at")}


async def by_ids(use: Use) -> list[dict[str, Any]]:
    """Those of some files that the person may read, without their texts."""
    wanted = use.ids("ids", most=_MOST_FILES)
    found = [await uploads.find(use.deps, use.principal, file_id) for file_id in dict.fromkeys(wanted)]
    return [uploads.wire(one, path=True) for one in found if one is not None]


async def own(use: Use) -> list[dict[str, Any]]:
    """One's own files, the last changed first, without their texts."""
    if use.has("user_id") and not use.is_own():
        return []
    found: list[Upload] = []
    async with use.deps.database.read() as connection:
        for number in range(1, _MOST_FILES // stored_uploads.PAGE_SIZE + 1):
            page = await stored_uploads.page(connection, use.principal.id, number)
            found += page
            if len(page) < stored_uploads.PAGE_SIZE:
                break
    return [uploads.wire(one, path=True) for one in found]


async def content(use: Use) -> dict[str, Any]:
    """The bytes of a file, as a response has them. Raises NotFound, TooLarge."""
    found = await uploads.require(use.deps, use.principal, use.text("id"))
    body = {BYTES: _written(await _bytes(use, found.blob, found.size))}
    return {"status_code": 200, "media_type": found.mime, "filename": found.filename, "body": body}


async def fetch(use: Use) -> dict[str, Any]:
    """A file of the storage by its path; the sandbox puts it among its own files. Raises NotFound, TooLarge."""
    path = use.text("path", limit=2_000)
    if (sent := use.memory.staged.get(path)) is not None:
        return {FILE: {"name": sent.filename, "data": _written(await _bytes(use, sent.hash, sent.size))}}
    file_id = path.replace("\\", "/").rpartition("/")[2].partition("_")[0]
    found = await uploads.find(use.deps, use.principal, file_id)
    if found is None:
        raise NotFound("There is no such file in the storage, or it is not yours to read.")
    return {FILE: {"name": found.filename, "data": _written(await _bytes(use, found.blob, found.size))}}


async def _bytes(use: Use, blob: str, size: int) -> bytes:
    if size > _MOST:
        raise TooLarge(f"The file has more than {_MOST // 2**20} MB, which is more than a plugin is given at once.")
    return await read_all(use.deps.blobs, blob)


def _written(data: bytes) -> str:
    return base64.b64encode(data).decode()


# Making


def _read(use: Use, name: str, value: Any) -> bytes:
    """Bytes as the sandbox writes them. Raises BadRequest."""
    text = value.get(BYTES) if isinstance(value, dict) else None
    if not isinstance(text, str):
        raise BadRequest(f"{use.name}: '{name}' should be bytes.")
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise BadRequest(f"{use.name}: '{name}' should be bytes.") from None


async def upload(use: Use) -> dict[str, Any]:
    """A new file of the person's own, read as one that a page uploads."""
    given = use.arguments.get("file")
    given = given.get(UPLOAD) if isinstance(given, dict) else None
    if not isinstance(given, dict):
        raise BadRequest(f"{use.name}: 'file' should be an UploadFile.")
    name, kind = given.get("filename"), given.get("content_type")
    data = _read(use, "file", given.get("data"))
    noted = _metadata(use, use.arguments.get("metadata"))
    sent = await uploads.put(use.deps, use.principal, str(name or "file"), str(kind or ""), data)
    sent.metadata = noted
    read = use.arguments.get("process") is not False
    stored = await uploads.keep(use.deps, use.principal, sent, read=read)
    if read and use.arguments.get("process_in_background") is False:
        stored = await uploads.wait(use.deps, use.principal, stored)
    return uploads.wire(stored, path=True) | {"status": True}


def _metadata(use: Use, value: Any) -> dict[str, Any]:
    """What is noted with a file: an object, or its text. Raises BadRequest."""
    if value is None or value == "":
        return {}
    if isinstance(value, str):
        try:
            value = msgspec.json.decode(value)
        except (msgspec.DecodeError, RecursionError):
            value = None
    if not isinstance(value, dict) or len(msgspec.json.encode(value)) > MAX_METADATA:
        raise BadRequest(f"{use.name}: 'metadata' should be a dictionary of at most {MAX_METADATA // 1024} KB.")
    return msgspec.structs.replace(use, arguments={"metadata": value}).object("metadata")


async def stage(use: Use) -> list[Any]:
    """Puts bytes into the storage: they are nobody's file until `insert_new_file` names their path, and go if nobody does."""
    data = _read(use, "file", use.arguments.get("file"))
    sent = await uploads.put(use.deps, use.principal, use.text("filename", limit=2_000), "", data)
    path = f"{_STAGED}-{new_id()}_{sent.filename}"
    use.memory.stage(path, sent)
    return [use.arguments["file"], path]


async def create(use: Use) -> dict[str, Any]:
    """A file of the person's own, of bytes that were put into the storage in this call, or of a text."""
    if not use.is_own():
        raise BadRequest(f"{use.name}: a plugin works for the person who called it, and for nobody else.")
    form = use.object("form_data")
    file_id, meta, data = form.get("id"), form.get("meta"), form.get("data")
    if not isinstance(file_id, str) or _ID.fullmatch(file_id) is None:
        raise BadRequest(f"{use.name}: 'id' should be a text of letters, digits and '-', such as a UUID.")
    meta = meta if isinstance(meta, dict) else {}
    sent = await _sent(use, form, data.get("content") if isinstance(data, dict) else None)
    sent.metadata = _metadata(use, meta.get("data"))
    if isinstance(kind := meta.get("content_type"), str):
        sent.content_type = kind[: uploads.MAX_FILENAME]
    if isinstance(name := form.get("filename"), str) and name:
        sent.filename = uploads.file_name(name)
    stored = await uploads.keep(use.deps, use.principal, sent, read=False, file_id=file_id)
    use.memory.staged.pop(str(form.get("path")), None)
    return uploads.wire(stored, path=True)


async def _sent(use: Use, form: dict[str, Any], text: Any) -> Sent:
    path = form.get("path")
    if isinstance(path, str) and path in use.memory.staged:
        return msgspec.structs.replace(use.memory.staged[path])
    if isinstance(text, str) and len(text) <= MAX_TEXT:
        return await uploads.put(use.deps, use.principal, str(form.get("filename") or "file.txt"), TEXT, text.encode())
    raise BadRequest(f"{use.name}: 'path' should be one that Storage.upload_file gave in this call.")


# Changing


async def set_data(use: Use) -> dict[str, Any] | None:
    """Puts a text in the place of what was taken out of a file."""
    text = use.object("data").get("content")
    if not isinstance(text, str):
        raise BadRequest(f"{use.name}: of a file's data only 'content', a text, can be set.")
    return uploads.wire(await uploads.set_text(use.deps, use.principal, use.text("id"), text), path=True)


async def set_metadata(use: Use) -> dict[str, Any] | None:
    """Gives a file another name; nothing else of it can be set."""
    name = use.object("meta").get("name")
    if not isinstance(name, str):
        raise BadRequest(f"{use.name}: of a file's metadata only 'name' can be set on this server.")
    return uploads.wire(await uploads.rename(use.deps, use.principal, use.text("id"), name), path=True)


async def delete(use: Use) -> bool:
    try:
        await uploads.delete(use.deps, use.principal, use.text("id"))
    except NotFound:
        return False
    return True
