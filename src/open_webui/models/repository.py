"""What every repository over one table does: rows as typed values, one at a time, in pages, made, changed and deleted.

A subclass says who may see what (`allowed`); it is part of every query that a principal asks.
"""

import string
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any, Final, Generic, TypeVar, get_args, get_origin

import msgspec
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from open_webui.models import noted, tables
from open_webui.models.base import among, clean, decode_json, inserting, new_id, now
from open_webui.models.grants import Action, in_parts
from open_webui.principal import Principal, Role

R = TypeVar("R", bound=msgspec.Struct)
Condition = sa.ColumnElement[bool]
# Rows of the largest page, whatever is asked for.
MAX_PAGE_SIZE: Final = 5_000
# The last row that a page may begin at; keeps an offset inside 64 bits on both databases.
MAX_OFFSET: Final = 2**40
user = tables.user


class Query(msgspec.Struct, frozen=True, kw_only=True):
    """Which rows, in which order, and which page of them.

    action: only what the principal may do this with. text: a part of one of the texts that the resource searches, in any
    case. view: "created" for one's own, "shared" for other people's. sort: a name that the resource sorts by, else its
    own order. direction: "asc" or "desc"; texts begin with A where it isn't said, times with the newest. number: the
    page, from 1. size: rows of a page.
    """

    action: Action = "read"
    text: str | None = None
    view: str | None = None
    sort: str | None = None
    direction: str | None = None
    number: int = 1
    size: int = 30


class Owner(msgspec.Struct, frozen=True):
    """Whose a row is, as lists show it."""

    id: str
    name: str
    role: Role
    email: str

    def shown_to(self, principal: Principal | None) -> "Owner":
        """As somebody may see them: the address is for administrators and for themselves."""
        if principal is not None and (principal.is_admin or principal.id == self.id):
            return self
        return msgspec.structs.replace(self, email="")


class Page(msgspec.Struct, Generic[R]):
    """Some rows in order, how many there are on all pages, and the owners of these rows by id."""

    items: list[R]
    total: int
    owners: dict[str, Owner] = {}


class Repository(Generic[R]):
    """The rows of a table with the columns `id`, `user_id`, `created_at` and `updated_at`, as values of a struct."""

    def __init__(
        self,
        table: sa.Table,
        row: type[R],
        *,
        computed: "Mapping[str, sa.ColumnElement[Any]] | None" = None,
        elsewhere: Collection[str] = (),
        searches: Collection[str] = ("name",),
        sorts: Collection[str] = ("name", "created_at", "updated_at"),
        order: "Sequence[sa.ColumnElement[Any]] | None" = None,
    ) -> None:
        """row: its fields are columns of the table, but for those that are `computed` in SQL or come from `elsewhere`.

        searches: the text columns that a query looks into. sorts: the columns that it may be sorted by. order: how rows
        stand where nothing is said, and which of two equal ones comes first; the newest change by default.
        """
        self.table = table
        self.row = row
        self._fields = [name for name in row.__struct_fields__ if name not in elsewhere]
        self._columns, self._json = _mapped(table, row, self._fields, computed or {})
        self._searches = [table.c[name] for name in searches]
        self._sorts = {name: table.c[name] for name in sorts}
        self._order = [table.c.updated_at.desc(), table.c.id] if order is None else list(order)

    def allowed(self, principal: Principal | None, action: Action) -> Condition:
        """The rows that a principal may do something with."""
        raise NotImplementedError

    # Reading

    async def get(self, connection: AsyncConnection, row_id: str, *, lock: bool = False) -> R | None:
        """A row whoever asks: for what was checked before, and for what the server itself does.

        lock: others who are about to change it wait until this unit of work ends.
        """
        return await self._first(connection, self.table.c.id == row_id, lock=lock)

    async def get_for(
        self,
        connection: AsyncConnection,
        principal: Principal | None,
        row_id: str,
        action: Action = "read",
        *,
        lock: bool = False,
    ) -> R | None:
        """A row that the principal may read or write; None for any other, and where there is none."""
        return await self._first(
            connection, sa.and_(self.table.c.id == row_id, self.allowed(principal, action)), lock=lock
        )

    async def get_own(self, connection: AsyncConnection, user_id: str, row_id: str, *, lock: bool = False) -> R | None:
        """A row of this person's."""
        own = sa.and_(self.table.c.id == row_id, self.table.c.user_id == user_id)
        return await self._first(connection, own, lock=lock)

    async def all(self, connection: AsyncConnection, *where: Condition) -> list[R]:
        """All rows whoever asks, the oldest first. For what is bounded, or asked by the server itself."""
        return await self._rows(connection, self._select(*where).order_by(self.table.c.created_at, self.table.c.id))

    async def page(
        self, connection: AsyncConnection, principal: Principal | None, query: Query, *where: Condition
    ) -> Page[R]:
        """The rows of a page that the principal may see. where: what the resource filters by besides."""
        matching = sa.and_(self.allowed(principal, query.action), *self._matching(principal, query), *where)
        size = max(1, min(query.size, MAX_PAGE_SIZE))
        offset = min((max(query.number, 1) - 1) * size, MAX_OFFSET)
        items = await self._rows(
            connection, self._select(matching).order_by(*self._sorted(query)).limit(size).offset(offset)
        )
        # A first page that is not full is all there is.
        is_all = offset == 0 and len(items) < size
        counted = None if is_all else sa.select(sa.func.count()).select_from(self.table).where(matching)
        total, owners = await total_and_owners(connection, counted, items)
        return Page(items, total, {who.id: who.shown_to(principal) for who in owners})

    def _matching(self, principal: Principal | None, query: Query) -> list[Condition]:
        out = []
        if query.text:
            out.append(contains(self._searches, query.text))
        if query.view in {"created", "shared"} and principal is not None:
            mine = self.table.c.user_id == principal.id
            out.append(mine if query.view == "created" else sa.not_(mine))
        return out

    def _sorted(self, query: Query) -> "list[sa.ColumnElement[Any]]":
        column = self._sorts.get(query.sort or "")
        if column is None:
            return self._order
        is_text = isinstance(column.type, sa.Text)
        by: sa.ColumnElement[Any] = sa.func.lower(column) if is_text else column
        descending = query.direction == "desc" if is_text else query.direction != "asc"
        return [by.desc() if descending else by.asc(), *self._order]

    # Writing

    async def create(
        self,
        connection: AsyncConnection,
        owner_id: str,
        values: Mapping[str, Any],
        *,
        row_id: str | None = None,
        unique: str = "id",
    ) -> R | None:
        """A new row, with an id of its own where none is given. None when another row has its value of the unique column."""
        row_id, at = new_id() if row_id is None else row_id, self.now()
        made = {"id": row_id, "user_id": owner_id, "created_at": at, "updated_at": at} | dict(values)
        statement = inserting(connection, self.table).values(made)
        done = await connection.execute(statement.on_conflict_do_nothing(index_elements=[self.table.c[unique]]))
        if done.rowcount != 1:
            return None
        noted.made(self.table, row_id, made)
        return await self.get(connection, row_id)

    async def change(
        self, connection: AsyncConnection, row_id: str, values: Mapping[str, Any], *, touch: bool = True
    ) -> None:
        """Stores some columns. touch: it counts as changed now.

        What was read to make these values was read with `lock`.
        """
        await noted.change(connection, self.table, row_id, values)
        stamped = {"updated_at": self.now()} | dict(values) if touch else dict(values)
        await connection.execute(self.table.update().where(self.table.c.id == row_id).values(stamped))

    async def delete(self, connection: AsyncConnection, ids: Collection[str]) -> int:
        """Removes rows. Says how many there were."""
        await noted.removal(connection, self.table, ids)
        count = 0
        for part in in_parts(ids):
            count += (await connection.execute(self.table.delete().where(self.table.c.id.in_(part)))).rowcount
        return count

    def now(self) -> int:
        """The time of a change, in the unit of the table: seconds. A table of nanoseconds says so in a subclass."""
        return now()

    # Rows as values

    def _select(self, *where: Condition) -> "sa.Select[Any]":
        return sa.select(*self._columns).where(*where)

    async def _first(self, connection: AsyncConnection, where: Condition, *, lock: bool) -> R | None:
        query = self._select(where)
        if lock:
            # FOR NO KEY UPDATE: rows that refer to this one may be made meanwhile, so that no two of these wait in a ring.
            query = query.with_for_update(of=self.table, key_share=True)
        found = await self._rows(connection, query)
        return found[0] if found else None

    async def _rows(self, connection: AsyncConnection, query: "sa.Select[Any]") -> list[R]:
        """The rows of a query of `_select`. A subclass may add what comes from elsewhere."""
        return [self.row(**values) for values in await self._values(connection, query)]

    async def _values(self, connection: AsyncConnection, query: "sa.Select[Any]") -> list[dict[str, Any]]:
        out = []
        for row in await connection.execute(query):
            values = dict(zip(self._fields, row, strict=True))
            for name, otherwise in self._json.items():
                values[name] = otherwise(decode_json(values[name]))
            out.append(values)
        return out


def _mapped(
    table: sa.Table, row: type[msgspec.Struct], fields: Sequence[str], computed: "Mapping[str, sa.ColumnElement[Any]]"
) -> "tuple[list[sa.ColumnElement[Any]], dict[str, Callable[[Any], Any]]]":
    """The columns of a struct's fields; and of those that are JSON, what makes a decoded value fit the field.

    JSON is read as text and decoded one by one: a value that somebody broke must not take the list with it.
    """
    types = {field.name: field.type for field in msgspec.structs.fields(row)}
    columns: list[sa.ColumnElement[Any]] = []
    json: dict[str, Callable[[Any], Any]] = {}
    for name in fields:
        column = computed[name] if name in computed else table.c[name]
        if isinstance(column.type, sa.JSON):
            json[name] = _fitting(types[name])
            column = sa.cast(column, sa.Text)
        columns.append(column.label(name))
    return columns, json


def _fitting(field: Any) -> Callable[[Any], Any]:
    """Where a field holds objects, another value is an empty one, or None if the field may be that."""
    if get_origin(field) is dict:
        return lambda value: value if isinstance(value, dict) else {}
    if any(get_origin(one) is dict for one in get_args(field)):
        return lambda value: value if isinstance(value, dict) else None
    return lambda value: value


_owner = tuple(user.c[name] for name in Owner.__struct_fields__)


async def owners_of(
    connection: AsyncConnection, principal: Principal | None, rows: Collection[Any]
) -> dict[str, Owner]:
    """Whose some rows are, by the owner's id, as somebody may see them."""
    ids = {row.user_id for row in rows}
    if not ids:
        return {}
    found = await connection.execute(sa.select(*_owner).where(among(user.c.id, ids)))
    return {row.id: Owner(*row).shown_to(principal) for row in found}


async def total_and_owners(
    connection: AsyncConnection, counted: "sa.Select[Any] | None", rows_shown: Collection[Any]
) -> tuple[int, list[Owner]]:
    """What a query counts, and whose some rows are; both in one statement where there are rows. None: the rows are all."""
    ids = {row.user_id for row in rows_shown}
    if ids:
        total = sa.literal(len(rows_shown)) if counted is None else counted.correlate(None).scalar_subquery()
        rows = (await connection.execute(sa.select(*_owner, total).where(among(user.c.id, ids)))).all()
        if rows:
            return int(rows[0][-1]), [Owner(*row[:-1]) for row in rows]
    if counted is None:
        return len(rows_shown), []
    return int(await connection.scalar(counted) or 0), []


def contains(columns: "Collection[sa.ColumnElement[str]]", text: str) -> Condition:
    """One of some columns contains a text, in any case.

    SQLite, and PostgreSQL with some locales, know the case of ASCII letters only; others are looked for as they are
    written, small, large, and with a large first letter.
    """
    text = clean(text)
    spelled = (text.lower(), text, text.upper(), text.capitalize(), text.title())
    return sa.or_(
        *(
            sa.func.lower(column).contains(spelling, autoescape=True)
            for spelling in dict.fromkeys(s.translate(_SMALL) for s in spelled)
            for column in columns
        )
    )


# What SQLite's `lower` does.
_SMALL: Final = str.maketrans(string.ascii_uppercase, string.ascii_lowercase)
