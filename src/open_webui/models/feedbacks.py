"""Ratings of answers: whose they are, and what a leaderboard is made of."""

import secrets
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any, Final

import msgspec
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from open_webui.internal.prepared import Prepared
from open_webui.models import tables
from open_webui.models.base import decode_json
from open_webui.models.grants import Action
from open_webui.models.repository import MAX_OFFSET, Condition, Repository
from open_webui.models.usages import DAY
from open_webui.principal import Principal, Role

t, snapshot, user = tables.feedback, tables.feedback_snapshot, tables.user
PAGE_SIZE: Final = 30
# Rows that are read at once where all are wanted, and where what was said of each is wanted as well.
BATCH: Final = 2_000
BOARD_BATCH: Final = 500
# With their snapshots, which may be large.
WHOLE_BATCH: Final = 20
MAX_MODELS: Final = 1_000
_checked: Final = msgspec.json.Decoder(msgspec.Raw)
# Later than any time, where reading goes from the newest row to the oldest.
_END: Final = 2**62


class Feedback(msgspec.Struct, frozen=True, kw_only=True):
    """A rating without its snapshot, in the order of the wire."""

    id: str
    user_id: str
    version: int
    type: str
    data: dict[str, Any] | None
    meta: dict[str, Any] | None
    created_at: int
    updated_at: int


class Rater(msgspec.Struct, frozen=True, kw_only=True):
    """Who rated, as lists show them."""

    id: str
    name: str
    email: str
    role: Role
    last_active_at: int
    updated_at: int
    created_at: int


class Listed(Feedback, frozen=True, kw_only=True):
    user: Rater | None


class FeedbackId(msgspec.Struct, frozen=True, kw_only=True):
    id: str
    user_id: str
    created_at: int
    updated_at: int


class Feedbacks(Repository[Feedback]):
    """Everybody has their own. An administrator reads and removes all, and changes none but their own."""

    def allowed(self, principal: Principal | None, action: Action) -> Condition:
        """The ratings that a principal may read (and remove), or change."""
        if principal is None:
            return sa.false()
        return sa.true() if action == "read" and principal.is_admin else t.c.user_id == principal.id


repository: Final = Feedbacks(t, Feedback, searches=(), sorts=())
_SORTS: Final[dict[str, "sa.ColumnElement[Any]"]] = {
    "created_at": t.c.created_at,
    "updated_at": t.c.updated_at,
    "model_id": t.c.model_id,
    "rating": t.c.rating,
    "user": user.c.name,
    "username": user.c.name,
}
_FIELDS: Final = Feedback.__struct_fields__
_JSON: Final = {"data", "meta"}
_columns = [sa.cast(t.c[name], sa.Text).label(name) if name in _JSON else t.c[name] for name in _FIELDS]
_rater = [user.c[name].label(f"user_{name}") for name in Rater.__struct_fields__]


def stamped(values: Mapping[str, Any]) -> dict[str, Any]:
    """Columns of a row that is made or changed, with another stamp than before, and what is copied out of its data."""
    out = dict(values) | {"stamp": secrets.randbelow(2**31)}
    if (data := out.get("data")) is not None:
        out |= {"model_id": data.get("model_id"), "rating": verdict(data.get("rating"))}
    return out


def verdict(rating: Any) -> int | None:
    """1 for a good rating, -1 for a bad one, None for any other: pages send numbers, also as texts."""
    try:
        number = int(rating)
    except (TypeError, ValueError):
        return None
    return None if number == 0 else 1 if number > 0 else -1


async def page(
    connection: AsyncConnection, *where: Condition, number: int = 1, sort: str | None = None, ascending: bool = False
) -> tuple[list[Listed], int]:
    """A page of ratings with whose they are, and how many there are on all pages; the newest change first by default."""
    by = _SORTS.get(sort or "", t.c.updated_at)
    # Equal ones stand in one order always, that of the index.
    order = [column.asc() if ascending else column.desc() for column in (by, t.c.id)]
    rows = await connection.execute(
        sa.select(*_columns, *_rater)
        .join(user, user.c.id == t.c.user_id, isouter=True)
        .where(*where)
        .order_by(*order)
        .limit(PAGE_SIZE)
        .offset(min((number - 1) * PAGE_SIZE, MAX_OFFSET))
    )
    items = [_listed(row) for row in rows]
    total = await connection.scalar(sa.select(sa.func.count()).select_from(t).where(*where))
    return items, int(total or 0)


def _listed(row: Sequence[Any]) -> Listed:
    values, who = row[: len(_FIELDS)], row[len(_FIELDS) :]
    rater = None if who[0] is None else Rater(**dict(zip(Rater.__struct_fields__, who, strict=True)))
    return Listed(**_fields(values), user=rater)


def _fields(values: Sequence[Any]) -> dict[str, Any]:
    out = dict(zip(_FIELDS, values, strict=True))
    for name in _JSON:
        decoded = decode_json(out[name])
        out[name] = decoded if isinstance(decoded, dict) else None
    return out


async def snapshot_of(connection: AsyncConnection, feedback_id: str) -> str | None:
    """The chat as it was when it was rated: its JSON as it stands. `as_json` tells whether it is an object."""
    query = sa.select(sa.cast(snapshot.c.snapshot, sa.Text)).where(snapshot.c.feedback_id == feedback_id)
    found = await connection.scalar(query)
    return None if found is None else str(found)


def as_json(text: str | None) -> msgspec.Raw | None:
    """The JSON of an object, which goes out as it stands; None for anything else. For a thread: it may be large."""
    if text is None or not text.lstrip().startswith("{"):
        return None
    raw = text.encode()
    try:
        _checked.decode(raw)
    except (msgspec.DecodeError, RecursionError):
        return None
    return msgspec.Raw(raw)


async def put_snapshot(connection: AsyncConnection, feedback_id: str, value: bytes | None) -> None:
    """Replaces it. value: JSON."""
    await connection.execute(snapshot.delete().where(snapshot.c.feedback_id == feedback_id))
    if value is not None:
        # It is not encoded once more.
        await connection.execute(snapshot.insert().values(feedback_id=feedback_id, snapshot=msgspec.Raw(value)))


async def held_by(connection: AsyncConnection, user_id: str, but: str = "") -> tuple[int, int]:
    """How many ratings a person has, and how many bytes they take, all but one. Read from an index.

    Who is about to add one holds the person's row (`users.lock`), so that no two count at once.
    """
    counted = sa.select(sa.func.count(), sa.func.coalesce(sa.func.sum(t.c.size), 0))
    row = (await connection.execute(counted.where(t.c.user_id == user_id, t.c.id != but))).one()
    return int(row[0]), int(row[1])


async def delete_where(connection: AsyncConnection, *where: Condition) -> int:
    """Removes ratings with their snapshots. Says how many there were."""
    return int((await connection.execute(t.delete().where(*where))).rowcount)


async def model_ids(connection: AsyncConnection) -> list[str]:
    """The models that were rated, by name; the first of very many."""
    rated = sa.select(t.c.model_id).where(t.c.model_id.is_not(None)).distinct()
    return list(await connection.scalars(rated.order_by(t.c.model_id).limit(MAX_MODELS)))


# All of them, in portions


def _before(at: int, row_id: str) -> "sa.ColumnElement[bool]":
    """The rows behind one, from the newest to the oldest."""
    return sa.tuple_(t.c.created_at, t.c.id) < sa.tuple_(sa.literal(at, sa.BigInteger), sa.literal(row_id))


_newest = (t.c.created_at.desc(), t.c.id.desc())


async def ids_before(connection: AsyncConnection, at: int = _END, row_id: str = "") -> list[FeedbackId]:
    """Some ratings by their ids, from the newest to the oldest."""
    names = FeedbackId.__struct_fields__
    query = sa.select(*(t.c[name] for name in names)).where(_before(at, row_id)).order_by(*_newest).limit(BATCH)
    return [FeedbackId(**dict(zip(names, row, strict=True))) for row in await connection.execute(query)]


async def whole_before(
    connection: AsyncConnection, model_id: str | None, at: int = _END, row_id: str = "", *, snapshots: bool = True
) -> Sequence[Sequence[Any]]:
    """Some ratings, from the newest to the oldest, as they stand; `whole` makes one of each. model_id: of this model alone."""
    rated = sa.true() if model_id is None else t.c.model_id == model_id
    text = sa.cast(snapshot.c.snapshot, sa.Text) if snapshots else sa.null()
    query = sa.select(*_columns, text).join(snapshot, snapshot.c.feedback_id == t.c.id, isouter=True)
    rows = await connection.execute(query.where(_before(at, row_id), rated).order_by(*_newest).limit(WHOLE_BATCH))
    return rows.all()


def whole(row: Sequence[Any]) -> dict[str, Any]:
    """A rating with the chat as it was, in the order of the wire. For a thread: it may be large."""
    fields = _fields(row[: len(_FIELDS)])
    times = {name: fields.pop(name) for name in ("created_at", "updated_at")}
    return fields | {"snapshot": as_json(row[-1])} | times


# What a leaderboard is made of

_board_rows = Prepared(
    sa.text(
        "SELECT created_at, id, model_id, rating, CAST(data AS TEXT) FROM feedback"
        " WHERE (created_at, id) < (:at, :id) AND rating IS NOT NULL AND model_id IS NOT NULL"
        " ORDER BY created_at DESC, id DESC LIMIT :count"
    )
)
_state = Prepared(sa.text("SELECT count(*), CAST(coalesce(sum(stamp), 0) AS BIGINT) FROM feedback"))
_by_day = Prepared(
    sa.text(
        f"SELECT created_at / {DAY} AS day, sum(CASE WHEN rating > 0 THEN 1 ELSE 0 END),"  # noqa: S608 - a number
        " sum(CASE WHEN rating < 0 THEN 1 ELSE 0 END) FROM feedback"
        f" WHERE model_id = :model AND created_at >= :since GROUP BY created_at / {DAY} ORDER BY day DESC LIMIT :count"
    )
)
# Of a row, what was rated how, and its data as JSON.
Rated = tuple[str, int, str]


async def state(connection: AsyncConnection) -> tuple[int, int]:
    """What differs when any rating was made, changed or removed, by whichever process. It is read from an index."""
    row = await _state.first(connection, {})
    return (0, 0) if row is None else (int(row[0]), int(row[1]))


async def rated(connection: AsyncConnection, most: int) -> AsyncIterator[list[Rated]]:
    """Ratings of models in portions, from the newest to the oldest, until there were so many."""
    at, row_id = _END, ""
    while most > 0:
        count = min(BOARD_BATCH, most)
        rows = await _board_rows.all(connection, {"at": at, "id": row_id, "count": count})
        if rows:
            at, row_id = rows[-1][0], rows[-1][1]
            yield [(row[2], row[3], row[4]) for row in rows]
        if len(rows) < count:
            return
        most -= len(rows)


async def by_day(connection: AsyncConnection, model_id: str, since: int, most: int) -> dict[int, tuple[int, int]]:
    """Good and bad ratings of a model by day (since the epoch, UTC): of the newest days that have any."""
    rows = await _by_day.all(connection, {"model": model_id, "since": since, "count": most})
    return {row[0]: (int(row[1]), int(row[2])) for row in rows}
