"""Long results of tools, which were kept as files: read page by page."""

import asyncio
from typing import Any, Final

from open_webui.errors import BadRequest, NotFound
from open_webui.models import files
from open_webui.services.builtin.row import Use
from open_webui.storage.base import BlobMissing, read_all
from open_webui.utils.addresses import ID

_PAGE: Final = 20_000
_MOST: Final = 50_000
_LARGEST: Final = 64 * 2**20
UNKNOWN: Final = "There is no such result any more, or it is not this person's to read."
NO_TEXT: Final = "This file is no text that can be read here."


async def read(use: Use) -> dict[str, Any]:
    """A page of a result, with where the next one begins."""
    deps, file_id = use.deps, use.text("id", limit=100)
    file = None
    if ID.fullmatch(file_id):
        async with deps.database.read() as connection:
            file = await files.get(connection, use.asked.principal, file_id)
    if file is None:
        raise NotFound(UNKNOWN)
    if file.size > _LARGEST:
        raise BadRequest(NO_TEXT)
    try:
        data = await read_all(deps.blobs, file.blob)
        text = await asyncio.to_thread(data.decode)
    except BlobMissing:
        raise NotFound(UNKNOWN) from None
    except UnicodeDecodeError:
        raise BadRequest(NO_TEXT) from None
    start = use.number("offset", 0, most=len(text))
    end = min(start + use.number("max_chars", _PAGE, least=1, most=_MOST), len(text))
    return {
        "content": text[start:end],
        "offset": start,
        "length": len(text),
        "next_offset": end if end < len(text) else None,
    }
