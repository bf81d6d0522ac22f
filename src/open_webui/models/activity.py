"""What one person did: messages, chats and tokens by day, counted by the database."""

from typing import Any, Final

import msgspec
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from open_webui.constants import MESSAGE_BITS
from open_webui.models import tables
from open_webui.models.base import ByDialect
from open_webui.models.chat_rows import visible
from open_webui.models.usages import DAY

chat, usage, usage_day = tables.chat, tables.usage, tables.usage_day


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


# One chat of the person after the other, whose messages lie side by side: neither database reads other people's, or needs an
# index for it. SQLite is told by CROSS, PostgreSQL by OFFSET.
_MINE: Final = "c.user_id = :user AND c.hidden_at IS NULL"
_ITS: Final = (
    f"m.n >= c.n << {MESSAGE_BITS} AND m.n < (c.n + 1) << {MESSAGE_BITS} AND m.created_at BETWEEN :start AND :end"
)
_COUNTS: Final = f"SELECT m.created_at / {DAY} AS day, m.role, m.model_id, count(*) FROM chat c CROSS JOIN"  # noqa: S608 - parts of a statement
_GROUPS: Final = "GROUP BY day, m.role, m.model_id"
_messages: Final = ByDialect(
    f"{_COUNTS} chat_message m WHERE {_MINE} AND {_ITS} {_GROUPS}",
    postgresql=f"""{_COUNTS} LATERAL (SELECT created_at, role, model_id FROM chat_message m WHERE {_ITS} OFFSET 0) m
    WHERE {_MINE} {_GROUPS}""",  # noqa: S608 - parts of a statement
)
_longest_chat: Final = ByDialect(
    f"""SELECT max((SELECT max(m.created_at) - min(m.created_at) FROM chat_message m WHERE {_ITS}))
    FROM chat c WHERE {_MINE}"""  # noqa: S608 - parts of a statement
)


async def messages(connection: AsyncConnection, user_id: str, start: int, end: int) -> list[Messages]:
    asked = {"user": user_id, "start": start, "end": end}
    return [Messages(*row) for row in await _messages.of(connection).all(connection, asked)]


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
    found = await _longest_chat.of(connection).first(connection, {"user": user_id, "start": start, "end": end})
    return (found and found[0]) or 0
