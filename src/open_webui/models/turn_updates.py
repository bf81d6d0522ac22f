"""The small writes of a chat turn: titles, follow-ups, tags, times, and what a folder says to a model."""

from collections.abc import Collection
from typing import Any

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from open_webui.internal.prepared import Prepared
from open_webui.models import messages, tables
from open_webui.models.base import among, clean, clean_json, now
from open_webui.models.chat_rows import LockedChat, visible

chat, message, folder = tables.chat, tables.message, tables.folder


# Statements of every turn are built once: putting one together costs more than running it.
_touch = Prepared(chat.update().where(chat.c.id == sa.bindparam("chat")).values(updated_at=sa.bindparam("at")))
_advance = Prepared(
    chat.update()
    .where(chat.c.id == sa.bindparam("chat"))
    .values(updated_at=sa.bindparam("at"), current_message_id=sa.bindparam("message"))
)


async def touch(connection: AsyncConnection, chat_ids: Collection[str]) -> None:
    """Marks chats as changed now, in the order of their ids. For the journal, before it writes messages of theirs."""
    if chat_ids:
        at = now()
        await _touch.run_many(connection, [{"chat": chat_id, "at": at} for chat_id in sorted(chat_ids)])


async def advance(connection: AsyncConnection, held: LockedChat, message_id: str) -> None:
    """Moves a chat to a message, and marks it as changed now."""
    await _advance.run(connection, {"chat": held.id, "message": message_id, "at": now()})


async def set_title(connection: AsyncConnection, held: LockedChat, title: str) -> None:
    """Gives a chat its title. Its place in lists stays."""
    await connection.execute(chat.update().where(chat.c.n == held.n).values(title=clean(title)))


_title = Prepared(sa.select(chat.c.title).where(chat.c.id == sa.bindparam("chat")))


async def title_of(connection: AsyncConnection, chat_id: str) -> str | None:
    """What a chat is called."""
    row = await _title.first(connection, {"chat": chat_id})
    return None if row is None else str(row[0])


async def patch_body(connection: AsyncConnection, held: LockedChat, message_id: str, fields: dict[str, Any]) -> bool:
    """Sets further fields of an answer that is done.

    False when it is gone, or is being given anew: what is said is about the former one.
    """
    row = await messages.lock(connection, held, message_id)
    if row is None or not row.done:
        return False
    row.body |= clean_json(fields)
    row.updated_at = now()
    await messages.update(connection, held, [row], {"body"})
    return True


async def existing(connection: AsyncConnection, chat_ids: Collection[str]) -> set[str]:
    """Those of the chats that exist."""
    rows = await connection.execute(sa.select(chat.c.id).where(among(chat.c.id, chat_ids), visible))
    return {row[0] for row in rows}


async def folder_brings(connection: AsyncConnection, folder_id: str) -> tuple[str | None, list[dict[str, Any]]]:
    """The system prompt of a folder, if it has one, and what is attached to it, as the wire has it."""
    data = await connection.scalar(sa.select(folder.c.data).where(folder.c.id == folder_id))
    if not isinstance(data, dict):
        return None, []
    prompt, files = data.get("system_prompt"), data.get("files")
    attached = [entry for entry in files if isinstance(entry, dict)] if isinstance(files, list) else []
    return prompt if isinstance(prompt, str) else None, attached


async def authors(connection: AsyncConnection, chat_id: str, message_ids: Collection[str]) -> dict[str, str | None]:
    """Who wrote those of the messages that exist, by their ids; None for the chat's owner."""
    rows = await connection.execute(
        sa.select(message.c.id, message.c.body).where(message.c.chat_id == chat_id, among(message.c.id, message_ids))
    )
    return {key: body.get("user_id") if isinstance(body, dict) else None for key, body in rows}
