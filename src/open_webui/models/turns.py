"""The small writes of a chat turn: titles, follow-ups, tags, times, and what a folder says to a model."""

from collections.abc import Collection, Sequence
from typing import Any

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from open_webui.internal.prepared import Prepared
from open_webui.models import grants, tables
from open_webui.models.base import clean, clean_json, inserting, now
from open_webui.principal import Principal

chat, message, folder, tag, chat_tag = tables.chat, tables.message, tables.folder, tables.tag, tables.chat_tag


# Statements of every turn are built once: putting one together costs more than running it.
_touch = Prepared(chat.update().where(chat.c.id == sa.bindparam("chat")).values(updated_at=sa.bindparam("at")))
_advance = Prepared(
    chat.update()
    .where(chat.c.id == sa.bindparam("chat"))
    .values(updated_at=sa.bindparam("at"), current_message_id=sa.bindparam("message"))
)


async def touch(connection: AsyncConnection, chat_ids: Collection[str]) -> None:
    """Marks chats as changed now."""
    if chat_ids:
        at = now()
        await _touch.run_many(connection, [{"chat": chat_id, "at": at} for chat_id in chat_ids])


async def advance(connection: AsyncConnection, chat_id: str, message_id: str) -> None:
    """Moves a chat to a message, and marks it as changed now."""
    await _advance.run(connection, {"chat": chat_id, "message": message_id, "at": now()})


async def set_title(connection: AsyncConnection, chat_id: str, title: str) -> bool:
    """Gives a chat its title; False when it is gone."""
    changed = await connection.execute(chat.update().where(chat.c.id == chat_id).values(title=clean(title)))
    return changed.rowcount > 0


async def mark_read(connection: AsyncConnection, user_id: str, chat_id: str, at: int) -> bool:
    """Notes that the owner has seen a chat; False when it isn't his."""
    mine = (chat.c.id == chat_id) & (chat.c.user_id == user_id)
    changed = await connection.execute(chat.update().where(mine).values(last_read_at=at))
    return changed.rowcount > 0


async def patch_body(connection: AsyncConnection, chat_id: str, message_id: str, fields: dict[str, Any]) -> None:
    """Sets further fields of one message."""
    key = (message.c.chat_id == chat_id) & (message.c.id == message_id)
    body = await connection.scalar(sa.select(message.c.body).where(key))
    if isinstance(body, dict):
        await connection.execute(message.update().where(key).values(body=body | clean_json(fields)))


async def replace_tags(connection: AsyncConnection, user_id: str, chat_id: str, names: Sequence[str]) -> None:
    """Gives a chat exactly these tags; ids are the names in lower case with _ for blanks."""
    found = {name.strip().lower().replace(" ", "_"): clean(name.strip()) for name in names if name.strip()}
    await connection.execute(chat_tag.delete().where(chat_tag.c.chat_id == chat_id))
    if not found or not await connection.scalar(sa.select(sa.exists().where(chat.c.id == chat_id))):
        return
    rows = [{"id": key, "user_id": user_id, "name": name} for key, name in found.items()]
    await connection.execute(inserting(connection, tag).on_conflict_do_nothing(), rows)
    await connection.execute(
        chat_tag.insert(), [{"chat_id": chat_id, "tag_id": key, "user_id": user_id} for key in found]
    )


async def existing(connection: AsyncConnection, chat_ids: Collection[str]) -> set[str]:
    """Those of the chats that exist."""
    rows = await connection.execute(sa.select(chat.c.id).where(chat.c.id.in_(list(chat_ids))))
    return {row[0] for row in rows}


async def folder_is_writable(connection: AsyncConnection, principal: Principal, folder_id: str) -> bool:
    """Whether somebody may put a chat into a folder."""
    mine = sa.or_(folder.c.user_id == principal.id, grants.granted("folder", folder.c.id, principal, "write"))
    return bool(await connection.scalar(sa.select(sa.exists().where(folder.c.id == folder_id, mine))))


async def folder_prompt(connection: AsyncConnection, folder_id: str) -> str | None:
    """The system prompt of a folder, if it has one."""
    data = await connection.scalar(sa.select(folder.c.data).where(folder.c.id == folder_id))
    prompt = data.get("system_prompt") if isinstance(data, dict) else None
    return prompt if isinstance(prompt, str) else None


async def authors(connection: AsyncConnection, chat_id: str, message_ids: Collection[str]) -> dict[str, str | None]:
    """Who wrote those of the messages that exist, by their ids; None for the chat's owner."""
    rows = await connection.execute(
        sa.select(message.c.id, message.c.body).where(message.c.chat_id == chat_id, message.c.id.in_(list(message_ids)))
    )
    return {key: body.get("user_id") if isinstance(body, dict) else None for key, body in rows}
