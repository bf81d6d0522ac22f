"""Small pictures instead of large ones: made when somebody first looks, kept in the store until nobody has for an hour."""

import uuid
from typing import Final

from open_webui.errors import BadRequest, Unavailable
from open_webui.images.port import LARGEST
from open_webui.models import files
from open_webui.models.files import File, NewFile
from open_webui.services.deps import FileDeps
from open_webui.services.images.making import Pictures
from open_webui.storage.base import read_all

_NAMES: Final = uuid.UUID("6f75692d-7468-756d-8000-62736d616c6c")
# Smaller ones, and those that are too large to be decoded, are served as they are.
LEAST: Final = 48 * 1024


async def small(deps: FileDeps, pictures: Pictures, file: File) -> File:
    """The thumbnail of a picture that the caller may read; the picture itself where there is none, and where none is needed."""
    if not LEAST <= file.size <= LARGEST or file.user_id is None:
        return file
    file_id = str(uuid.uuid5(_NAMES, f"{file.user_id}/{file.blob}"))
    async with deps.database.read() as connection:
        found = (await files.by_id(connection, [file_id])).get(file_id)
    if found is not None and await deps.blobs.size(found.blob) == found.size:
        return found
    try:
        data = await pictures.checker.shrink(await read_all(deps.blobs, file.blob))
    except (BadRequest, Unavailable):
        return file
    if data is None or len(data) >= file.size:
        return file
    stored = await deps.blobs.put(data)
    new = NewFile(file_id, "thumbnail.webp", stored.hash, stored.size, "image/webp")
    async with deps.database.write() as unit:
        await files.add(unit.connection, file.user_id, [new])
        return (await files.by_id(unit.connection, [file_id]))[file_id]
