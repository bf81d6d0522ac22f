"""What all people did: messages, chats and tokens, counted by the database from indexes and sums, for administrators."""

from collections.abc import Collection
from typing import Any, Final, Literal

import msgspec
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from open_webui.constants import MESSAGE_BITS
from open_webui.models import messages, tables
from open_webui.models.base import ByDialect, among
from open_webui.models.messages import MessageRow
from open_webui.models.usages import DAY

Metric = Literal["messages", "tokens"]
MAX_MODELS: Final = 1_000
MAX_TAGS: Final = 10
# The wire's words for time without a beginning or an end. The end is a year that dates can have, whatever a message says.
FIRST, LAST = 0, 2**37
m, chat, user = tables.message, tables.chat, tables.user


class Span(msgspec.Struct, frozen=True, kw_only=True):
    """What is counted. start, end: seconds since the epoch, both count. group_id: of this group's members alone."""

    start: int = FIRST
    end: int = LAST
    group_id: str | None = None


class ModelCount(msgspec.Struct, frozen=True):
    model_id: str
    count: int
    unique_users: int
    unique_chats: int


class Totals(msgspec.Struct, frozen=True):
    total_messages: int
    total_chats: int
    total_models: int
    total_users: int


class Tokens(msgspec.Struct, frozen=True):
    """key: whose they are: a model's id, or a person's."""

    key: str
    input: int
    output: int


class PersonCount(msgspec.Struct, frozen=True):
    user_id: str
    name: str | None
    email: str | None
    count: int


class ModelChat(msgspec.Struct, frozen=True):
    """first_message: what the chat is called."""

    chat_id: str
    user_id: str | None
    user_name: str | None
    first_message: str | None
    updated_at: int


# The number of a message's chat, and whose it is as one word: both are in the index, and the rows with their texts are not read.
_CHAT: Final = f"(n >> {MESSAGE_BITS})"
_HIDDEN: Final = f"{_CHAT} NOT IN (SELECT n FROM chat WHERE hidden_at IS NOT NULL)"
_MEMBERS: Final = (
    "(CAST(:group_id AS TEXT) IS NULL OR owner IN"
    " (SELECT replace(lower(user_id), '-', '') FROM group_member WHERE group_id = :group_id))"
)
_WHERE: Final = f"FROM chat_message WHERE created_at >= :start AND created_at <= :end AND {_HIDDEN} AND {_MEMBERS}"
_ANSWERS: Final = f"{_WHERE} AND role = 'assistant' AND model_id IS NOT NULL"
# ruff: noqa: S608 - the statements are put together from parts of this module

_models = ByDialect(
    f"SELECT model_id, count(*), count(DISTINCT owner), count(DISTINCT {_CHAT}) {_ANSWERS}"
    " GROUP BY model_id ORDER BY 2 DESC, 1 LIMIT :limit"
)
_totals = ByDialect(
    "SELECT coalesce(sum(CASE WHEN role = 'assistant' THEN 1 ELSE 0 END), 0),"
    f" count(DISTINCT {_CHAT}), count(DISTINCT CASE WHEN role = 'assistant' THEN model_id END), count(DISTINCT owner) {_WHERE}"
)
_by_time = ByDialect(
    f"SELECT created_at / :step * :step AS moment, model_id, count(*) {_ANSWERS}"
    " GROUP BY moment, model_id ORDER BY moment LIMIT :limit"
)
# The people with most, and before them those who are asked for: whose they are says a chat of theirs.
_people = ByDialect(
    "SELECT c.user_id, u.name, u.email, found.count FROM"
    f" (SELECT owner, count(*) AS count, min({_CHAT}) AS chat_n {_WHERE} AND (:all_roles = 1 OR role = 'assistant')"
    " GROUP BY owner ORDER BY CASE WHEN owner IN <texts wanted> THEN 0 ELSE 1 END, count(*) DESC, owner LIMIT :limit) found"
    ' JOIN chat c ON c.n = found.chat_n LEFT JOIN "user" u ON u.id = c.user_id ORDER BY found.count DESC, c.user_id'
)
_OF_MODEL: Final = f"SELECT DISTINCT {_CHAT} AS chat_n {_ANSWERS} AND model_id = :model"
_chats_total = ByDialect(f"SELECT count(*) FROM ({_OF_MODEL}) found")
_tags = ByDialect(
    f"SELECT ct.tag_id, count(*) FROM ({_OF_MODEL}) found JOIN chat c ON c.n = found.chat_n"
    " JOIN chat_tag ct ON ct.chat_id = c.id GROUP BY ct.tag_id ORDER BY 2 DESC, 1 LIMIT :limit"
)


def _asked(span: Span, **more: Any) -> dict[str, Any]:
    return {"start": span.start, "end": span.end, "group_id": span.group_id} | more


async def models(connection: AsyncConnection, span: Span) -> list[ModelCount]:
    """Answers by model, the most used first."""
    rows = await _models.of(connection).all(connection, _asked(span, limit=MAX_MODELS))
    return [ModelCount(*row) for row in rows]


async def totals(connection: AsyncConnection, span: Span) -> Totals:
    """Answers, and the chats, models and people of all messages."""
    row = await _totals.of(connection).first(connection, _asked(span))
    return Totals(0, 0, 0, 0) if row is None else Totals(*(int(value) for value in row))


async def by_time(connection: AsyncConnection, span: Span, step: int, most: int) -> list[tuple[int, str, int]]:
    """Answers by time (the beginning of each step of so many seconds) and model."""
    rows = await _by_time.of(connection).all(connection, _asked(span, step=step, limit=most))
    return [(row[0], row[1], row[2]) for row in rows]


async def people(
    connection: AsyncConnection, span: Span, most: int, *, answers: bool, wanted: Collection[str] = ()
) -> list[PersonCount]:
    """Messages by person, the busiest first. answers: those of models alone. wanted: people who are among them first."""
    words = [messages.owner_word(one) for one in wanted]
    asked = _asked(span, all_roles=0 if answers else 1, wanted=words, limit=most)
    return [PersonCount(*row) for row in await _people.of(connection).all(connection, asked)]


async def chats_of(
    connection: AsyncConnection, model_id: str, span: Span, *, offset: int, limit: int, sort: str, ascending: bool
) -> tuple[list[ModelChat], int]:
    """The chats in which a model answered, and how many there are."""
    order = f"{_CHAT_SORTS.get(sort, 'c.updated_at')} {'ASC' if ascending else 'DESC'}, c.id"
    asked = _asked(span, model=model_id)
    query = _chats_by(order).of(connection)
    rows = await query.all(connection, asked | {"limit": limit, "offset": offset})
    total = await _chats_total.of(connection).first(connection, asked)
    return [ModelChat(*row) for row in rows], int(total[0]) if total else 0


_CHAT_SORTS: Final = {
    "updated_at": "c.updated_at",
    "created_at": "c.created_at",
    "title": "c.title",
    "user_name": "u.name",
}
_CHATS: Final[dict[str, ByDialect]] = {}


def _chats_by(order: str) -> ByDialect:
    """The statement in one of the few orders that there are."""
    if order not in _CHATS:
        _CHATS[order] = ByDialect(
            f"SELECT c.id, c.user_id, u.name, c.title, c.updated_at FROM ({_OF_MODEL}) found JOIN chat c ON c.n = found.chat_n"
            f' LEFT JOIN "user" u ON u.id = c.user_id ORDER BY {order} LIMIT :limit OFFSET :offset'
        )
    return _CHATS[order]


async def tags_of(connection: AsyncConnection, model_id: str, span: Span) -> list[tuple[str, int]]:
    """The most frequent tags of chats in which a model answered."""
    asked = _asked(span, model=model_id, limit=MAX_TAGS)
    return [(row[0], row[1]) for row in await _tags.of(connection).all(connection, asked)]


async def rows(
    connection: AsyncConnection,
    span: Span,
    *,
    model_id: str | None,
    user_id: str | None,
    chat_id: str | None,
    offset: int,
    limit: int,
) -> list[tuple[MessageRow, str]]:
    """Messages, the newest first, each with whose chat it is in."""
    visible = sa.select(chat.c.n).where(chat.c.hidden_at.is_not(None))
    where: list[sa.ColumnElement[bool]] = [m.c.created_at.between(span.start, span.end)]
    where.append(m.c.n.bitwise_rshift(sa.literal_column(str(MESSAGE_BITS))).not_in(visible))
    if model_id is not None:
        where.append(m.c.model_id == model_id)
    if user_id is not None:
        where.append(m.c.owner == messages.owner_word(user_id))
    if chat_id is not None:
        where.append(m.c.chat_id == chat_id)
    newest = sa.select(m.c.n).where(*where).order_by(m.c.created_at.desc(), m.c.n.desc()).limit(limit).offset(offset)
    numbers = list(await connection.scalars(newest))
    found = await messages.by_numbers(connection, numbers)
    owners = await connection.execute(
        sa.select(chat.c.id, chat.c.user_id).where(among(chat.c.id, list({row.chat_id for row in found})))
    )
    whose = {row[0]: row[1] for row in owners}
    place = {number: k for k, number in enumerate(numbers)}
    return [(row, whose.get(row.chat_id, "")) for row in sorted(found, key=lambda row: place[row.n])]


# Tokens: whole days are summed already; of the first and the last day only a part may be asked for.

_USED: Final = "SELECT {key} AS key, prompt_tokens AS given, completion_tokens AS said FROM"
_OF_GROUP: Final = (
    "(CAST(:group_id AS TEXT) IS NULL OR user_id IN (SELECT user_id FROM group_member WHERE group_id = :group_id))"
)
_OF_PEOPLE: Final = f"{_OF_GROUP} AND (:anybody = 1 OR user_id IN <texts people>)"
_PARTS: Final = (
    f"{_USED} usage_day WHERE day >= :first AND day <= :last AND kind = 'chat' AND {_OF_PEOPLE}"
    f" UNION ALL {_USED} usage WHERE created_at >= :start AND created_at <= :until AND kind = 'chat' AND {_OF_PEOPLE}"
    f" UNION ALL {_USED} usage WHERE created_at >= :since AND created_at <= :end AND kind = 'chat' AND {_OF_PEOPLE}"
)
_SUMS: Final = "CAST(coalesce(sum(given), 0) AS BIGINT), CAST(coalesce(sum(said), 0) AS BIGINT)"
_tokens = {
    key: ByDialect(
        f"SELECT key, {_SUMS} FROM ({_PARTS.format(key=key)}) used GROUP BY key"
        " ORDER BY coalesce(sum(given), 0) + coalesce(sum(said), 0) DESC, key LIMIT :limit"
    )
    for key in ("model_id", "user_id")
}
_TIMED: Final = "SELECT {at} AS moment, model_id, prompt_tokens AS given, completion_tokens AS said FROM"
_WHOLE_DAYS: Final = _TIMED.format(at=f"day * {DAY}")
_SINGLE: Final = _TIMED.format(at=f"created_at / {DAY} * {DAY}")
_DAYS: Final = (
    f"{_WHOLE_DAYS} usage_day WHERE day >= :first AND day <= :last AND kind = 'chat' AND {_OF_GROUP}"
    f" UNION ALL {_SINGLE} usage WHERE created_at >= :start AND created_at <= :until AND kind = 'chat' AND {_OF_GROUP}"
    f" UNION ALL {_SINGLE} usage WHERE created_at >= :since AND created_at <= :end AND kind = 'chat' AND {_OF_GROUP}"
)
_tokens_by_day = ByDialect(
    f"SELECT moment, model_id, {_SUMS} FROM ({_DAYS}) used GROUP BY moment, model_id ORDER BY moment LIMIT :limit"
)
_tokens_by_time = ByDialect(
    f"SELECT moment, model_id, {_SUMS} FROM ({_TIMED.format(at='created_at / :step * :step')} usage"
    f" WHERE created_at >= :start AND created_at <= :end AND kind = 'chat' AND {_OF_GROUP}) used"
    " GROUP BY moment, model_id ORDER BY moment LIMIT :limit"
)


def _days(span: Span) -> dict[str, int]:
    """The whole days of a span, and where what is before and behind them ends and begins."""
    first, last = -(-span.start // DAY), (span.end + 1) // DAY - 1
    if first > last:
        return {"first": 1, "last": 0, "until": span.end, "since": span.end + 1}
    # Days are counted in 32 bits.
    return {"first": first, "last": min(last, 2**31 - 1), "until": first * DAY - 1, "since": (last + 1) * DAY}


async def tokens(
    connection: AsyncConnection,
    span: Span,
    by: Literal["model_id", "user_id"],
    most: int,
    people: Collection[str] | None = None,
) -> list[Tokens]:
    """Tokens of answers by model or by person, the most first. people: of these alone."""
    asked = _asked(span, limit=most, anybody=int(people is None), people=list(people or ())) | _days(span)
    return [Tokens(*row) for row in await _tokens[by].of(connection).all(connection, asked)]


async def tokens_by_time(connection: AsyncConnection, span: Span, step: int, most: int) -> list[tuple[int, str, int]]:
    """Tokens of answers, given and said together, by time and model."""
    asked = _asked(span, limit=most)
    if step == DAY:
        found = await _tokens_by_day.of(connection).all(connection, asked | _days(span))
    else:
        found = await _tokens_by_time.of(connection).all(connection, asked | {"step": step})
    return [(row[0], row[1], row[2] + row[3]) for row in found]


async def names(connection: AsyncConnection, ids: Collection[str]) -> dict[str, tuple[str, str]]:
    """Names and addresses of people by their ids."""
    found = await connection.execute(sa.select(user.c.id, user.c.name, user.c.email).where(among(user.c.id, ids)))
    return {row[0]: (row[1], row[2]) for row in found}
