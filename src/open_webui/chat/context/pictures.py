"""The stage that gives a provider the pictures of a conversation: the stored ones read, the newest kept, the others named."""

import asyncio
import base64
from collections.abc import Sequence
from typing import Any, Final

from msgspec.structs import replace

from open_webui.chat.context.stage import PictureReader, StageContext
from open_webui.chat.turn import Draft, Turn
from open_webui.models.files import File
from open_webui.storage.base import BlobMissing, StoreAway
from open_webui.utils.addresses import id_in
from open_webui.utils.pictures import RASTER

LEFT_OUT: Final = "[An earlier picture was left out here: only the newest pictures of a conversation are sent again.]"
GONE: Final = "[There was a picture here that can't be read any more.]"
AWAY: Final = "[There is a picture here that can't be read at the moment.]"
LIMIT: Final = 20 * 2**20
# Bytes that are encoded in one go, a multiple of three.
_PIECE: Final = 3 * 2**18
_HEAD: Final = "data:{};base64,"
# Characters of room for which a picture is made smaller.
_WORTH: Final = 2**17


async def pictures(_turn: Turn, draft: Draft, context: StageContext) -> Draft:
    """Puts the pictures' bytes, made to fit, in the place of their addresses, up to CHAT_HISTORY_MAX_PICTURE_MB together."""
    if not any(_places(message) for message in draft.messages):
        return draft
    reader = context.pictures
    return replace(draft, messages=await inline_pictures(draft.messages, reader, reader.limit if reader else LIMIT))


async def inline_pictures(
    messages: tuple[dict[str, Any], ...], reader: PictureReader | None, limit: int
) -> tuple[dict[str, Any], ...]:
    """The messages with data: URLs instead of addresses of files; pictures elsewhere in the web stay addresses.

    limit: characters of all data: URLs together. The newest pictures are kept; of others, and of those that can't be
    read, a sentence stands in their place.
    """
    places = [place for message in reversed(messages) for place in _places(message)]
    if not places:
        return messages
    ids = {i for part in places if (i := id_in(_url(part))) is not None}
    found = await reader.find(ids) if reader is not None and ids else {}
    urls: dict[int, str] = {}
    left = limit
    for part in places:
        url, left = await _take(_url(part), found, reader, left)
        urls[id(part)] = url
    return tuple(_with(message, urls) for message in messages)


async def _take(url: str, found: dict[str, File], reader: PictureReader | None, left: int) -> tuple[str, int]:
    """What stands in a picture's place (a data: URL, or a sentence), and how many characters there is room for then."""
    file_id = id_in(url)
    if file_id is None:
        if reader is not None and _may_fit(len(url), reader, left):
            url = await reader.sent_url(url)
        return (url, left - len(url)) if len(url) <= left else (LEFT_OUT, left)
    file = found.get(file_id)
    if file is None or file.mime not in RASTER or reader is None:
        return GONE, left
    if not _may_fit(_length(file.mime, file.size), reader, left):
        return LEFT_OUT, left
    try:
        mime, data = await reader.sent(file)
    except BlobMissing:
        return GONE, left
    except StoreAway:
        return AWAY, left
    size = _length(mime, len(data))
    if size > left:
        return LEFT_OUT, left
    return _HEAD.format(mime) + await asyncio.to_thread(_encoded, data), left - size


def _may_fit(size: int, reader: PictureReader, left: int) -> bool:
    """Whether a picture may be small enough, as it is or scaled, which is not tried where next to nothing is left."""
    return size <= left or (reader.scales and left >= _WORTH)


def _length(mime: str, size: int) -> int:
    return len(_HEAD.format(mime)) + (size + 2) // 3 * 4


def _encoded(data: bytes) -> str:
    return "".join(base64.b64encode(data[k : k + _PIECE]).decode() for k in range(0, len(data), _PIECE))


def _places(message: dict[str, Any]) -> Sequence[dict[str, Any]]:
    """The parts of a message that are pictures which take room: those of this server, and data: URLs."""
    content = message.get("content")
    parts = content if isinstance(content, list) else ()
    return [part for part in parts if id_in(_url(part)) is not None or _url(part).startswith("data:")]


def _url(part: Any) -> str:
    picture = part.get("image_url") if isinstance(part, dict) and part.get("type") == "image_url" else None
    url = picture.get("url") if isinstance(picture, dict) else picture
    return url if isinstance(url, str) else ""


def _with(message: dict[str, Any], urls: dict[int, str]) -> dict[str, Any]:
    content = message.get("content")
    if not isinstance(content, list) or not any(id(part) in urls for part in content):
        return message
    return message | {"content": [_part(part, urls.get(id(part))) for part in content]}


def _part(part: Any, url: str | None) -> Any:
    if url is None:
        return part
    if not url.startswith("data:"):
        return {"type": "text", "text": url}
    picture = part["image_url"]
    return part | {"image_url": (picture if isinstance(picture, dict) else {}) | {"url": url}}
