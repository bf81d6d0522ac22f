"""Channels and their messages, as far as the person may read them."""

from typing import Any, Final

from open_webui.errors import NotFound
from open_webui.models.channel_messages import Message
from open_webui.services.builtin.row import Use
from open_webui.services.channels import finding, mentions

UNKNOWN: Final = "There is no such message, or the person may not read it. search_channel_messages tells the ids."
MAX_ANSWERS: Final = 100
# Characters of a message among others that were found, and in a thread; names of people in a conversation, and of files.
_FOUND: Final = 500
_IN_THREAD: Final = 4_000
_MOST_NAMES: Final = 20
_NANOSECONDS: Final = 1_000_000_000
_KINDS: Final = {None: "open", "dm": "conversation"}


async def search(use: Use) -> dict[str, Any]:
    """Those with a text in their name or description, or all; first where somebody wrote last."""
    count = use.number("count", 10, least=1, most=50)
    found = await finding.called(use.deps, use.asked.principal, use.optional("query", limit=500) or "", count)
    return {
        "channels": [
            {
                "id": one.id,
                "name": one.name,
                "description": (one.description or "")[:_FOUND],
                "type": _KINDS.get(one.type, one.type),
            }
            | ({"people": list(one.people[:_MOST_NAMES])} if one.people else {})
            for one in found
        ]
    }


async def search_messages(use: Use) -> dict[str, Any]:
    """Those that have the words as they stand, the newest first; between two times, where given."""
    begin = use.number("start_timestamp", 0, most=2**33) * _NANOSECONDS
    end = use.number("end_timestamp", 2**33, most=2**33) * _NANOSECONDS
    text, count = use.text("query", limit=500), use.number("count", 10, least=1, most=50)
    found = await finding.saying(use.deps, use.asked.principal, text, begin, end, count)
    return {
        "messages": [
            {"channel_id": message.channel_id, "channel": name} | _shown(message, limit=_FOUND)
            for message, name in found
        ]
    }


def _shown(message: Message, *, limit: int | None = None) -> dict[str, Any]:
    """A message as a model reads it. limit: of its characters."""
    text = mentions.plain(message.content)
    shown = {
        "id": message.id,
        "author": message.author["name"],
        "content": text if limit is None or len(text) <= limit else f"{text[:limit]}...",
        "created_at": message.created_at // _NANOSECONDS,
    }
    # What it was written by where that is no person.
    if isinstance(model := (message.meta or {}).get("model_name"), str):
        shown["author"] = model
    if message.parent_id is not None:
        shown["parent_message_id"] = message.parent_id
    if message.reply_count:
        shown["answers"] = message.reply_count
    return shown


async def view_message(use: Use) -> dict[str, Any]:
    """All of a message, with what it quotes and the names of its files."""
    message_id = use.text("message_id", limit=300)
    try:
        read = await finding.message(use.deps, use.asked.principal, message_id)
    except NotFound:
        raise NotFound(UNKNOWN) from None
    (message,) = read.messages
    shown = {"channel_id": read.channel_id, "channel": read.channel} | _shown(message)
    if message.quote is not None:
        shown["quotes"] = _shown(message.quote, limit=_IN_THREAD)
    files = (message.data or {}).get("files")
    names = (
        [str(file.get("name") or "")[:200] for file in files if isinstance(file, dict)]
        if isinstance(files, list)
        else []
    )
    return shown | ({"files": names[:_MOST_NAMES]} if names else {})


async def view_thread(use: Use) -> dict[str, Any]:
    """A message and the newest answers in its thread, the oldest first."""
    message_id = use.text("parent_message_id", limit=300)
    try:
        read = await finding.thread(use.deps, use.asked.principal, message_id, MAX_ANSWERS)
    except NotFound:
        raise NotFound(UNKNOWN) from None
    first, *answers = read.messages
    left_out = max(first.reply_count - len(answers), 0)
    return {
        "channel_id": read.channel_id,
        "channel": read.channel,
        "message": _shown(first, limit=_IN_THREAD),
        "answers": [_shown(answer, limit=_IN_THREAD) for answer in answers],
    } | ({"older_answers": left_out} if left_out else {})
