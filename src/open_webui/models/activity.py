"""What one person did: messages, chats and tokens by day, counted by the database."""

from typing import Any

import msgspec
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from open_webui.models import tables
from open_webui.models.chat_rows import visible
from open_webui.models.usages import DAY

chat, message, usage, usage_day = tables.chat, tables.message, tables.usage, tables.usage_day


class Messages(msgspec.Struct, frozen=True):
    """Messages of one day (since the epoch, UTC), role and model."""

    day: int
    role: str
    model_id: str | None
    count: int


class TokenCounts(msgspec.Struct, frozen=True):
    day: int
    model_id: str
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
    """Whole days are summed already; of the first and the last day only a part may be asked for."""
    first, last = -(-start // DAY), (end + 1) // DAY - 1
    edges = [(start, first * DAY - 1), ((last + 1) * DAY, end)] if first <= last else [(start, end)]
    day = usage_day.c
    whole = sa.select(
        day.day, day.model_id, day.prompt_tokens.label("given"), day.completion_tokens.label("said")
    ).where(day.user_id == user_id, day.day.between(first, last))
    single = [
        sa.select(_day(usage.c.created_at), usage.c.model_id, usage.c.prompt_tokens, usage.c.completion_tokens).where(
            usage.c.user_id == user_id, usage.c.created_at.between(since, until)
        )
        for since, until in edges
        if since <= until
    ]
    used = sa.union_all(whole, *single).subquery()
    sums = [sa.cast(sa.func.coalesce(sa.func.sum(column), 0), sa.BigInteger) for column in (used.c.given, used.c.said)]
    rows = await connection.execute(sa.select(used.c.day, used.c.model_id, *sums).group_by(used.c.day, used.c.model_id))
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
