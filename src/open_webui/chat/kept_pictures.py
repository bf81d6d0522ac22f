"""Pictures that a model or a tool gave, made files when an answer ends: its row holds their addresses."""

from typing import Any, Final

import msgspec
from sqlalchemy.exc import SQLAlchemyError

from open_webui.chat.running import RunningAnswer
from open_webui.errors import OuiError
from open_webui.internal.log import get_logger

log = get_logger(__name__)
_MARK: Final = b"data:"


async def with_kept_pictures(running: RunningAnswer, content: str, body: dict[str, Any]) -> tuple[str, dict[str, Any]]:
    """Content and body of an answer's message as they are stored at its end.

    Never raises: where pictures can't be kept as files, a full disk for one, they stay where they are.
    """
    if running.pictures is None or running.turn.is_temporary or _MARK not in msgspec.json.encode([content, body]):
        return content, body
    try:
        kept = await running.pictures.keep({"content": content, "body": body})
    except (OuiError, SQLAlchemyError, OSError):
        log.exception("an answer's pictures could not be kept as files", message_id=running.turn.message_id)
        return content, body
    return kept["content"], kept["body"]
