"""Notes: texts that people write, alone or together, whose they are, and who may read and change them.

A note that somebody has opened in an editor has a document: the updates in `note_update`, in whichever order they are
applied. Its text is made of them, and `made_of` and `made_up_to` say of which.
"""

import copy
import time
from collections.abc import Collection, Sequence
from typing import Any, Final

import msgspec
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from open_webui.internal.prepared import Prepared
from open_webui.models import grants, tables, versions
from open_webui.models.base import among, inserting, now
from open_webui.models.grants import Grant
from open_webui.models.repository import Page, Query, R
from open_webui.models.resource import Resource, Sharing
from open_webui.principal import Principal

KIND: Final = "note"
t, updates, pins, beside, chat = (
    tables.note, tables.note_update, tables.pinned_note, tables.note_chat, tables.chat,
)  # fmt: skip
# Characters of a note's text that a list shows.
SHOWN: Final = 1_000
# Notes of the list of those that one has pinned.
MAX_PINNED: Final = 200
# Chats of one person beside a note that are listed.
MAX_CHATS: Final = 100
_reader: "sa.BindParameter[str]" = sa.bindparam("reader", "")
_is_pinned = sa.exists().where(pins.c.note_id == t.c.id, pins.c.user_id == _reader)


class Note(msgspec.Struct, frozen=True, kw_only=True):
    """A note with its text. content: `html` and `json`. data: all else that pages keep with it."""

    id: str
    user_id: str
    title: str
    md: str
    content: dict[str, Any]
    data: dict[str, Any]
    meta: dict[str, Any] | None
    is_pinned: bool
    made_of: int | None
    made_up_to: int | None
    version_at: int
    created_at: int
    updated_at: int
    access_grants: tuple[Grant, ...] = ()

    @property
    def has_document(self) -> bool:
        return self.made_of is not None


class Listed(msgspec.Struct, frozen=True, kw_only=True):
    """A note as lists have it. md: how its text begins."""

    id: str
    user_id: str
    title: str
    md: str
    meta: dict[str, Any] | None
    is_pinned: bool
    created_at: int
    updated_at: int
    access_grants: tuple[Grant, ...] = ()


class Updates(msgspec.Struct, frozen=True):
    """All updates of a document. numbers: of their rows, in order."""

    numbers: list[int]
    data: list[bytes]

    @property
    def count(self) -> int:
        return len(self.numbers)

    @property
    def last(self) -> int:
        return self.numbers[-1] if self.numbers else 0

    @property
    def size(self) -> int:
        return sum(map(len, self.data))


class Extent(msgspec.Struct, frozen=True):
    """How many updates a document has, the newest one's number, and how many bytes they are."""

    count: int
    last: int
    size: int


class _Notes(Resource[R]):
    """Whether a note is pinned is another thing for each reader."""

    _read_by = ""

    def seen_by(self, principal: Principal) -> "_Notes[R]":
        """The same notes, as this person sees them."""
        mine = copy.copy(self)
        mine._read_by = principal.id  # noqa: SLF001 - of its own class
        return mine

    def _select(self, *where: "sa.ColumnElement[bool]") -> "sa.Select[Any]":
        return super()._select(*where).params(reader=self._read_by)

    def now(self) -> int:
        return time.time_ns()


def _resource(row: type[R], **computed: "sa.ColumnElement[Any]") -> _Notes[R]:
    return _Notes(
        KIND,
        t,
        row,
        sharing=Sharing(people="sharing.notes", public="sharing.public_notes"),
        computed={"is_pinned": _is_pinned, **computed},
        searches=("title", "md"),
        sorts=("title", "created_at", "updated_at"),
        belongings=(versions.clear_where,),
    )


# What people write is theirs: administrators have no way in that others haven't.
repository: Final[_Notes[Note]] = _resource(Note)
listed: Final[_Notes[Listed]] = _resource(Listed, md=sa.func.substr(t.c.md, 1, SHOWN))


_any_pin = Prepared(sa.select(pins.c.note_id).where(pins.c.user_id == sa.bindparam("person")).limit(1))


async def page(connection: AsyncConnection, principal: Principal, query: Query) -> Page[Listed]:
    """A page of the notes that somebody may use."""
    return await listed.seen_by(principal).page(connection, principal, query)


async def pinned(connection: AsyncConnection, principal: Principal) -> Page[Listed]:
    """The notes that somebody has pinned and may still read. Most people have pinned none, which is cheap to know."""
    if await _any_pin.first(connection, {"person": principal.id}) is None:
        return Page([], 0)
    mine = sa.exists().where(pins.c.note_id == t.c.id, pins.c.user_id == principal.id)
    return await listed.seen_by(principal).page(connection, principal, Query(size=MAX_PINNED), mine)


async def may(connection: AsyncConnection, principal: Principal, note_id: str, action: grants.Action) -> bool:
    """Whether somebody may read or change a note."""
    query = sa.select(t.c.id).where(t.c.id == note_id, repository.allowed(principal, action))
    return (await connection.execute(query)).first() is not None


async def owners(connection: AsyncConnection, note_ids: Collection[str]) -> dict[str, str]:
    """The owners of those of the notes that exist."""
    rows = await connection.execute(sa.select(t.c.id, t.c.user_id).where(among(t.c.id, note_ids)))
    return {row[0]: row[1] for row in rows}


async def toggle_pin(connection: AsyncConnection, user_id: str, note_id: str) -> None:
    """Pins a note for somebody, or takes the pin away."""
    gone = await connection.execute(pins.delete().where(pins.c.user_id == user_id, pins.c.note_id == note_id))
    if not gone.rowcount:
        made = {"user_id": user_id, "note_id": note_id, "created_at": now()}
        await connection.execute(inserting(connection, pins).values(made).on_conflict_do_nothing())


# The document


async def add_update(connection: AsyncConnection, note_id: str, data: bytes, user_id: str | None) -> int:
    """Keeps an update of a note's document, and gives its number."""
    made = {"note_id": note_id, "user_id": user_id, "data": data, "size": len(data), "created_at": now()}
    number = await connection.scalar(updates.insert().values(made).returning(updates.c.n))
    return int(number or 0)


async def updates_of(connection: AsyncConnection, note_id: str) -> Updates:
    """All that was written into a note's document."""
    query = sa.select(updates.c.n, updates.c.data).where(updates.c.note_id == note_id).order_by(updates.c.n)
    rows = (await connection.execute(query)).all()
    return Updates([row[0] for row in rows], [bytes(row[1]) for row in rows])


async def extent(connection: AsyncConnection, note_id: str) -> Extent:
    """How much that is."""
    counted = sa.select(sa.func.count(), sa.func.max(updates.c.n), sa.func.sum(updates.c.size))
    row = (await connection.execute(counted.where(updates.c.note_id == note_id))).one()
    return Extent(int(row[0]), int(row[1] or 0), int(row[2] or 0))


async def make_one(connection: AsyncConnection, note_id: str, numbers: Sequence[int], data: bytes) -> int | None:
    """Puts one update in the place of several, which it holds all of. The caller holds the note's row.

    None: not all of them are there any more, and nothing was changed.
    """
    these = sa.and_(updates.c.note_id == note_id, among(updates.c.n, numbers))
    if await connection.scalar(sa.select(sa.func.count()).where(these)) != len(numbers):
        return None
    await connection.execute(updates.delete().where(these))
    return await add_update(connection, note_id, data, None)


async def without_text(connection: AsyncConnection, limit: int) -> list[str]:
    """Ids of notes whose text isn't made of all of their updates: a process ended before it was made."""
    newest = sa.select(sa.func.max(updates.c.n)).where(updates.c.note_id == t.c.id).scalar_subquery()
    query = sa.select(t.c.id).where(t.c.made_of.is_not(None), newest > sa.func.coalesce(t.c.made_up_to, 0))
    return list(await connection.scalars(query.limit(limit)))


# Chats beside a note


async def add_chat(connection: AsyncConnection, note_id: str, chat_id: str) -> None:
    """Notes that a chat was begun beside a note."""
    await connection.execute(beside.insert().values(note_id=note_id, chat_id=chat_id))


async def chats_beside(connection: AsyncConnection, note_id: str, user_id: str) -> list[str]:
    """The ids of somebody's chats beside a note, the last changed one first."""
    query = (
        sa.select(chat.c.id)
        .join_from(beside, chat, chat.c.id == beside.c.chat_id)
        .where(beside.c.note_id == note_id, chat.c.user_id == user_id, chat.c.hidden_at.is_(None))
        .order_by(chat.c.updated_at.desc(), chat.c.id)
    )
    return list(await connection.scalars(query.limit(MAX_CHATS)))
