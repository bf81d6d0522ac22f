"""What one person did: messages, chats and tokens by day, counted by the database."""

from typing import Any

import msgspec
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from open_webui.models import tables
from open_webui.models.chat_rows import visible

chat, message, usage = tables.chat, tables.message, tables.usage
DAY = 86_400


class Messages(msgspec.Struct, frozen=True):
    """Messages of one day (since the epoch, UTC), role and model."""

    day: int
    role: str
    model_id: str | None
    count: int


class TokenCounts(msgspec.Struct, frozen=True):
    day: int
    model_id: str
    calls: int
    input: int
    output: int


def _day(column: "sa.ColumnElement[Any]") -> "sa.ColumnElement[int]":
    return column // sa.literal_column(str(DAY))


async def messages(connection: AsyncConnection, user_id: str, start: int, end: int) -> list[Messages]:
    day = _day(message.c.created_at)
    rows = await connection.execute(
        sa.select(day, message.c.role, message.c.model_id, sa.func.count())
        .join(chat, chat.c.id == message.c.chat_id)
        .where(chat.c.user_id == user_id, visible, message.c.created_at.between(start, end))
        .group_by(day, message.c.role, message.c.model_id)
    )
    return [Messages(*row) for row in rows]


async def chats(connection: AsyncConnection, user_id: str, start: int, end: int) -> dict[int, int]:
    """How many chats were made on each day."""
    day = _day(chat.c.created_at)
    rows = await connection.execute(
        sa.select(day, sa.func.count())
        .where(chat.c.user_id == user_id, visible, chat.c.created_at.between(start, end))
        .group_by(day)
    )
    return {row[0]: row[1] for row in rows}


async def tokens(connection: AsyncConnection, user_id: str, start: int, end: int) -> list[TokenCounts]:
    day = _day(usage.c.created_at)
    rows = await connection.execute(
        sa.select(
            day,
            usage.c.model_id,
            sa.func.count(),
            sa.func.coalesce(sa.func.sum(usage.c.prompt_tokens), 0),
            sa.func.coalesce(sa.func.sum(usage.c.completion_tokens), 0),
        )
        .where(usage.c.user_id == user_id, usage.c.created_at.between(start, end))
        .group_by(day, usage.c.model_id)
    )
    return [TokenCounts(*row) for row in rows]


async def longest_chat(connection: AsyncConnection, user_id: str, start: int, end: int) -> int:
    """Seconds from the first to the last message of the chat that went on longest."""
    spans = (
        sa.select((sa.func.max(message.c.created_at) - sa.func.min(message.c.created_at)).label("span"))
        .join(chat, chat.c.id == message.c.chat_id)
        .where(chat.c.user_id == user_id, visible, message.c.created_at.between(start, end))
        .group_by(message.c.chat_id)
        .subquery()
    )
    return await connection.scalar(sa.select(sa.func.max(spans.c.span))) or 0
