"""Where pictures go out whole: addresses of files in an export become data: URLs, so that it can be imported elsewhere."""

import base64
from collections.abc import AsyncIterator, Mapping
from typing import Any

import msgspec

from open_webui.models import file_uses, files
from open_webui.models.files import File
from open_webui.services.deps import FileDeps
from open_webui.utils.addresses import addresses_in


async def used_in(deps: FileDeps, chat_id: str) -> dict[str, File]:
    """The files that a chat uses, by id; the caller has checked that it may be read."""
    async with deps.database.read() as connection:
        return await files.by_id(connection, await file_uses.of_chat(connection, chat_id))


async def used_by_model(deps: FileDeps, model_id: str) -> dict[str, File]:
    """The same for a model."""
    async with deps.database.read() as connection:
        return await files.by_id(connection, await file_uses.of(connection, "model_id", model_id))


async def value_with_pictures(deps: FileDeps, found: Mapping[str, File], value: Any) -> Any:
    """`with_pictures` of a small value."""
    pieces = [piece async for piece in with_pictures(deps, found, msgspec.json.encode(value))]
    return msgspec.json.decode(b"".join(pieces))


async def with_pictures(deps: FileDeps, found: Mapping[str, File], document: bytes) -> AsyncIterator[bytes]:
    """A piece of JSON with data: URLs instead of addresses of these files, in pieces. Other addresses stay."""
    at = 0
    for start, end, file_id in addresses_in(document) if found else ():
        file = found.get(file_id)
        if file is None or await deps.blobs.size(file.blob) != file.size:
            continue
        yield document[at:start]
        async for piece in _data_url(deps, file):
            yield piece
        at = end
    yield document[at:]


async def _data_url(deps: FileDeps, file: File) -> AsyncIterator[bytes]:
    yield f"data:{file.mime.replace(' ', '')};base64,".encode()
    left = b""
    async for piece in deps.blobs.read(file.blob):
        whole = left + piece
        cut = len(whole) - len(whole) % 3
        yield base64.b64encode(whole[:cut])
        left = whole[cut:]
    yield base64.b64encode(left)
