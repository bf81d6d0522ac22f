"""Pictures that a model or a tool gave, made files as they come, or else when the answer ends: its row holds their addresses."""

from typing import Any, Final

from sqlalchemy.exc import SQLAlchemyError

from open_webui.chat.context.stage import PictureReader
from open_webui.chat.running import RunningAnswer
from open_webui.errors import BadRequest, OuiError, TooLarge
from open_webui.internal.log import get_logger
from open_webui.storage.base import StoreAway

log = get_logger(__name__)
_MARK: Final = "data:"


async def keep_pictures(running: RunningAnswer, files: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Files of a message, as a model made them, as they are to be stored. None for a picture that can't be decoded.

    They stay data: URLs in a temporary chat, of which nothing is stored, and as they came where they can't be kept now.
    """
    if running.pictures is None:
        return files
    try:
        if running.turn.is_temporary:
            return [await _checked(running.pictures, file) for file in files]
        kept: list[dict[str, Any]] = await running.pictures.keep(files, strict=True)
    except (BadRequest, TooLarge) as error:
        log.info("a picture in an answer was dropped", model=running.turn.target.model_id, reason=error.detail)
        return []
    except (StoreAway, SQLAlchemyError, OSError):
        log.exception("an answer's pictures could not be kept as files", message_id=running.turn.message_id)
        return files
    return kept


async def _checked(pictures: PictureReader, file: dict[str, Any]) -> dict[str, Any]:
    """Raises BadRequest."""
    url = file.get("url")
    return file | {"url": await pictures.checked(url)} if isinstance(url, str) and url.startswith(_MARK) else file


def has_pictures_to_keep(running: RunningAnswer, content: str, body: dict[str, Any]) -> bool:
    """Whether `with_kept_pictures` may have something to do for an answer's message."""
    return running.pictures is not None and not running.turn.is_temporary and _may_hold_picture([content, body])


async def with_kept_pictures(running: RunningAnswer, content: str, body: dict[str, Any]) -> tuple[str, dict[str, Any]]:
    """Content and body of an answer's message as they are stored at its end, of one that `has_pictures_to_keep`.

    Where pictures can't be kept as files, a full disk for one, they stay where they are.
    """
    assert running.pictures is not None
    try:
        kept = await running.pictures.keep({"content": content, "body": body})
    except (OuiError, SQLAlchemyError, OSError):
        log.exception("an answer's pictures could not be kept as files", message_id=running.turn.message_id)
        return content, body
    return kept["content"], kept["body"]


def _may_hold_picture(value: Any) -> bool:
    """Whether some text in a JSON value may be a data: URL. Searching costs a fifth of encoding it, and less without colons."""
    left = [value]
    while left:
        match left.pop():
            case str() as text:
                if ":" in text and _MARK in text:
                    return True
            case dict() as members:
                left += members
                left += members.values()
            case list() | tuple() as items:
                left += items
    return False
