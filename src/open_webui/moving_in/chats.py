"""Chats with all their branches. The document and the rows of messages are two copies of one tree; either may lack a part."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import msgspec
from fastapi.exceptions import RequestValidationError

from open_webui.constants import MAX_MESSAGES, MAX_TITLE
from open_webui.internal.db import UnitOfWork
from open_webui.models import chats, file_uses, files, grants, moved, tags
from open_webui.models.base import clean
from open_webui.models.chat_rows import LockedChat
from open_webui.models.chats import NewChat
from open_webui.models.files import NewFile
from open_webui.models.grants import GrantTriple
from open_webui.moving_in.move import Move, Part
from open_webui.moving_in.rows import Left, Row
from open_webui.schemas.chats import Document, read_document
from open_webui.services import staging
from open_webui.services.new_chats import NEW_TITLE

_encode = msgspec.json.encode
_decode = msgspec.json.decode
_raw_object = msgspec.json.Decoder(dict[str, msgspec.Raw])
# Fields of a message that are columns of its row: the row's name, and the document's.
_FIELDS: Final = {
    "output": "output", "files": "files", "sources": "sources", "embeds": "embeds", "status_history": "statusHistory",
    "error": "error", "usage": "usage",
}  # fmt: skip
_EMPTY: Final[tuple[Any, ...]] = (None, "", [], {})
_BROKEN: Final = "its document is no JSON; its messages are those that have rows"
_MAX_TAGS: Final = 100


@dataclass
class Made:
    """A chat to store. share: the row of its link. authors: who wrote messages, where that is not the owner."""

    new: NewChat
    files: list[NewFile]
    given: list[GrantTriple]
    share: dict[str, Any] | None


async def chat(move: Move, row: Row) -> Made:
    chat_id, owner = row.need_id(), move.owner(row)
    document, pictures = await _document(move, row, chat_id, owner)
    authors, title = _authors(move, owner, document), _title(row, document)
    read = await _read(row, document)
    if read.mended:
        row.mended.append("some of its messages were mended, or could not be read")
    share, more = await _share(move, row, chat_id, owner)
    new = await chats.draft(
        owner,
        title,
        read.body,
        read.fields or (),
        row.id("current_message_id") or read.current_id,
        **_columns(move, row, chat_id, owner),
        share_id=None if share is None else share["id"],
    )
    for message in new.rows:
        # What was being written there is not written any more.
        message.done = True
        message.role = clean(message.role) or "assistant"
        if message.id in authors:
            message.body["user_id"] = authors[message.id]
    new = msgspec.structs.replace(new, tags=await _tags(move, row))
    return Made(new, pictures + more, await move.grants("shared_chat", row, chat_id), share)


async def _read(row: Row, document: dict[str, msgspec.Raw]) -> Document:
    """The document, checked; if it can't be taken otherwise, without all but its messages. Raises Left."""
    document.pop("title", None)
    try:
        return await read_document(document, creating=True, mends=True)
    except RequestValidationError:
        row.mended.append("what its document says besides its messages could not be read")
    history = _raw(_member(document, "history")) or {}
    kept = {"messages": history["messages"]} if "messages" in history else {}
    try:
        return await read_document({"history": msgspec.Raw(_encode(kept))}, creating=True, mends=True)
    except RequestValidationError as error:
        problem = error.errors()[0]
        raise Left(f"its {'.'.join(str(part) for part in problem['loc'][1:])} {problem['msg']}") from None


def _title(row: Row, document: Mapping[str, msgspec.Raw]) -> str:
    title = (row.text("title", MAX_TITLE) or "").strip()
    if not title and "title" in document:
        said = _value(document["title"])
        title = said[:MAX_TITLE] if isinstance(said, str) else ""
    return title or NEW_TITLE


def _columns(move: Move, row: Row, chat_id: str, owner: str) -> dict[str, Any]:
    meta = row.object("meta") or {}
    inside = row.id("folder_id")
    if not move.is_theirs("folder", inside, owner):
        if inside:
            row.mended.append("the folder that it lay in did not come along")
        inside = None
    return {
        "id": chat_id,
        "meta": {name: value for name, value in meta.items() if name != "tags"},
        "variables": row.object("variables") or {},
        "tasks": row.json("tasks"),
        "summary": row.text("summary", 1_000_000),
        "archived": row.flag("archived"),
        "pinned": row.flag("pinned"),
        "folder_id": inside,
        "last_read_at": row.seconds("last_read_at"),
    } | row.times(move.at)


async def _tags(move: Move, row: Row) -> tuple[str, ...]:
    """The names of a chat's tags."""
    listed = (row.object("meta") or {}).get("tags")
    ids = [one for one in listed if isinstance(one, str)] if isinstance(listed, list) else []
    if not ids:
        # Older releases had them in a table.
        old = await move.source.select("chatidtag", "chat_id", [row.need_id()], limit=_MAX_TAGS)
        ids = [one.text("tag_name", 200) or "" for one in old]
    if not ids:
        return ()
    named = await move.source.select("tag", "user_id", [row.id("user_id") or ""], limit=10_000, only=["id", "name"])
    names = {one.text("id"): one.text("name", 200) for one in named}
    wanted = [(one[:200], names.get(one)) for one in ids[:_MAX_TAGS]]
    # A name that means another tag is none of this one.
    found = (name if name and tags.id_of(name) == tags.id_of(one) else one for one, name in wanted)
    return tuple(dict.fromkeys(name for name in found if tags.id_of(name) not in {"", "none"}))


# The document


async def _document(move: Move, row: Row, chat_id: str, owner: str) -> tuple[dict[str, msgspec.Raw], list[NewFile]]:
    """The document with all messages that there are, and the files that its pictures are now."""
    text, pictures = await move.kept(owner, (row.raw("chat") or "{}").encode("utf-8", "replace"))
    rows = await _message_rows(move, row, chat_id)
    document = _raw(text)
    if document is None:
        if not rows:
            raise Left("its document is no JSON, and it has no rows of messages")
        row.mended.append(_BROKEN)
        document = {}
    if rows:
        pictures += await _add_rows(move, row, chat_id, owner, document, rows)
    return document, pictures


def _raw(text: bytes) -> dict[str, msgspec.Raw] | None:
    try:
        return _raw_object.decode(text)
    except (msgspec.DecodeError, UnicodeError, RecursionError):
        return None


def _member(document: Mapping[str, msgspec.Raw], name: str) -> bytes:
    return bytes(document[name]) if name in document else b"{}"


def _value(raw: Any) -> Any:
    try:
        return _decode(raw)
    except (msgspec.DecodeError, UnicodeError, RecursionError):
        return None


async def _message_rows(move: Move, row: Row, chat_id: str) -> list[Row]:
    found = await move.source.select("chat_message", "chat_id", [chat_id], limit=MAX_MESSAGES + 1)
    if len(found) > MAX_MESSAGES:
        row.mended.append(f"it has more than {MAX_MESSAGES:,} messages; the others are left out")
    return sorted(found[:MAX_MESSAGES], key=lambda one: one.number("created_at") or 0)


async def _add_rows(
    move: Move, row: Row, chat_id: str, owner: str, document: dict[str, msgspec.Raw], rows: Sequence[Row]
) -> list[NewFile]:
    """Puts messages that only have rows into the history, and what only the rows have of the others."""
    history = _raw(_member(document, "history")) or {}
    messages = _raw(_member(history, "messages")) or {}
    pictures: list[NewFile] = []
    for one in rows:
        found = one.id()
        if found is None:
            row.mended.append("a row of a message has no id")
            continue
        message_id = found.removeprefix(f"{chat_id}-")
        stored = _value(messages[message_id]) if message_id in messages else None
        wire = _completed(stored if isinstance(stored, dict) else {"id": message_id}, one)
        if wire is None:
            continue
        encoded, more = await move.kept(owner, _encode(wire))
        pictures += more
        messages[message_id] = msgspec.Raw(encoded)
    document["history"] = msgspec.Raw(
        _encode({"messages": messages, "currentId": _value(history["currentId"]) if "currentId" in history else None})
    )
    return pictures


def _completed(wire: dict[str, Any], row: Row) -> dict[str, Any] | None:
    """A message of the document with what only its row has; None where that is nothing."""
    more: dict[str, Any] = {}
    is_new = "role" not in wire and "content" not in wire
    if wire.get("content") in _EMPTY:
        more["content"] = _content(row)
    for column, name in _FIELDS.items():
        if wire.get(name) in _EMPTY and (row.raw(column) or "null") != "null":
            more[name] = row.json(column)
    if is_new:
        more |= {"role": row.text("role", 32), "parentId": row.text("parent_id", 1_000), "childrenIds": []}
        more |= {"timestamp": row.seconds("created_at"), "model": row.text("model_id", 1_000), "done": True}
        more |= {"user_id": row.id("user_id")}
    more = {name: value for name, value in more.items() if value not in _EMPTY or (is_new and name == "content")}
    return wire | more if more else None


def _content(row: Row) -> Any:
    """A text or a list of parts. Some rows have the text as it is, others as JSON."""
    text = row.text("content", 2**27) or ""
    value = _value(text.encode())
    return value if isinstance(value, str | list) else "" if value is None and text in {"", "null"} else text


class _Author(msgspec.Struct):
    user_id: Any = None


class _Authors(msgspec.Struct):
    messages: dict[str, _Author] = {}


_authors_of = msgspec.json.Decoder(_Authors)


def _authors(move: Move, owner: str, document: Mapping[str, msgspec.Raw]) -> dict[str, str]:
    """Who wrote which message, where that is somebody else than the owner who came along."""
    try:
        messages = _authors_of.decode(_member(document, "history")).messages
    except (msgspec.DecodeError, UnicodeError, RecursionError):
        return {}
    named = {message_id: move.people.get(str(message.user_id)) for message_id, message in messages.items()}
    return {message_id: author for message_id, author in named.items() if author is not None and author != owner}


# Its link


async def _share(move: Move, row: Row, chat_id: str, owner: str) -> tuple[dict[str, Any] | None, list[NewFile]]:
    """The link to a chat, if it is the one that the chat names; the document of a snapshot is kept as JSON."""
    found = await move.source.select("shared_chat", "chat_id", [chat_id], limit=10)
    wanted = row.id("share_id")
    for one in found:
        if wanted is None or one.id() != wanted:
            continue
        async with move.database.read() as connection:
            is_taken = await moved.owners(connection, "shared_chat", [wanted])
        if is_taken:
            row.mended.append("its link is another chat's here, and is left out")
            break
        text, pictures = await move.kept(owner, (one.raw("chat") or "null").encode("utf-8", "replace"))
        snapshot = _value(text)
        if snapshot is not None and not isinstance(snapshot, dict):
            row.mended.append("its link showed what is no chat, and is left out")
            break
        values = {
            "id": wanted,
            "chat_id": chat_id,
            "user_id": owner,
            "title": one.text("title", MAX_TITLE) or NEW_TITLE,
            "mode": "snapshot" if snapshot else "continue",
            "chat": snapshot or None,
        } | one.times(move.at)
        return values, pictures
    return None, []


async def store_chat(move: Move, made: Made) -> bool:
    new, owner = made.new, move.principal(made.new.values["user_id"])
    if made.files:
        async with move.database.write() as unit:
            await files.add(unit.connection, owner.id, made.files)

    async def finish(unit: UnitOfWork, stored: Sequence[LockedChat]) -> None:
        connection, chat_id = unit.connection, stored[0].id
        if made.share is not None and await moved.insert(connection, "shared_chat", made.share):
            await file_uses.share(connection, made.share["id"], chat_id if made.share["chat"] is not None else None)
        await grants.replace(connection, "shared_chat", chat_id, made.given)

    await staging.store_new(move.database, owner, [new], finish)
    return True


async def clear(move: Move, ids: list[str]) -> None:
    """Removes what an import that was killed has left hidden."""
    async with move.database.read() as connection:
        left = await moved.hidden(connection, ids)
    if left and not move.dry_run:
        await staging.remove_hidden(move.database, left)


CHATS: Final = Part("chat", "chat", ("id", "user_id", "chat"), chat, store_chat, at_once=1, clear=clear)
