"""Lists of the files that knowledge bases hold: in pages, by directory, by name."""

from typing import Any, Final

import msgspec
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from open_webui.models import knowledge, tables
from open_webui.models.base import decode_json
from open_webui.models.repository import MAX_OFFSET, Query, contains
from open_webui.models.uploads import UNREAD, Upload
from open_webui.principal import Principal

held, file, blob = tables.knowledge_file, tables.file, tables.blob
# Of the files of a base, a reply that is about something else shows so many.
SHOWN: Final = 200
# Not read yet, so that no search finds them. Most often there are none, and an index says so that has the same words.
waiting = file.c.status.in_([sa.literal_column(f"'{status}'") for status in UNREAD])


class HeldFile(Upload, frozen=True, kw_only=True):
    """A file of a base, and where it lies there."""

    knowledge_id: str
    directory_id: str | None


_places: Final = {"blob": file.c.blob, "size": blob.c.size, "mime": blob.c.mime, "knowledge_id": held.c.knowledge_id,
                  "directory_id": held.c.directory_id}  # fmt: skip
_json: Final = ("data", "meta")
_columns: Final = [
    sa.cast(file.c[n], sa.Text) if n in _json else _places[n] if n in _places else file.c[n]
    for n in HeldFile.__struct_fields__
]
_held = sa.select(*_columns).select_from(held).join(file, file.c.id == held.c.file_id).join(blob)


class Page(msgspec.Struct, frozen=True):
    """Some files in order, and how many there are on all pages."""

    items: list[HeldFile]
    total: int


async def _files(connection: AsyncConnection, query: "sa.Select[Any]") -> list[HeldFile]:
    rows = await connection.execute(query)
    found = (dict(zip(HeldFile.__struct_fields__, row, strict=True)) for row in rows)
    return [HeldFile(**values | {n: decode_json(values[n]) or {} for n in _json}) for values in found]


async def newest(connection: AsyncConnection, knowledge_id: str, limit: int = SHOWN) -> list[HeldFile]:
    """What came into a base last."""
    wanted = _held.where(held.c.knowledge_id == knowledge_id)
    return await _files(connection, wanted.order_by(held.c.created_at.desc(), held.c.id).limit(limit))


async def pending(connection: AsyncConnection, knowledge_id: str, limit: int) -> list[HeldFile]:
    """The files of a base that are being read, the oldest first."""
    wanted = _held.where(held.c.knowledge_id == knowledge_id, waiting)
    return await _files(connection, wanted.order_by(held.c.created_at, held.c.id).limit(limit))


async def all_of(connection: AsyncConnection, knowledge_id: str, *, after: str = "", limit: int) -> list[HeldFile]:
    """The files of a base in the order of their ids, so many that come after one."""
    wanted = _held.where(held.c.knowledge_id == knowledge_id, held.c.file_id > after)
    return await _files(connection, wanted.order_by(held.c.file_id).limit(limit))


async def page(
    connection: AsyncConnection, principal: Principal, knowledge_id: str, query: Query, place: tuple[str | None, ...]
) -> Page:
    """A page of the files of a base that have been read. place: the directory, (None,) for the top, () for all of it."""
    lies = [held.c.directory_id == one if one else held.c.directory_id.is_(None) for one in place]
    inside = [held.c.knowledge_id == knowledge_id, *lies]
    return await _page(connection, principal, query, inside, in_one_directory=bool(lies))


async def search(connection: AsyncConnection, principal: Principal, query: Query) -> Page:
    """A page of the files of all bases that somebody may read."""
    bases = sa.select(knowledge.t.c.id).where(knowledge.repository.readable_by(principal))
    return await _page(connection, principal, query, [held.c.knowledge_id.in_(bases)])


async def _page(
    connection: AsyncConnection,
    principal: Principal,
    query: Query,
    inside: "list[sa.ColumnElement[bool]]",
    *,
    in_one_directory: bool = False,
) -> Page:
    narrowed = []
    if query.text:
        narrowed.append(contains([file.c.filename], query.text))
    if query.view in {"created", "shared"}:
        mine = sa.func.coalesce(file.c.user_id, "") == principal.id
        narrowed.append(mine if query.view == "created" else sa.not_(mine))
    offset = min((max(query.number, 1) - 1) * query.size, MAX_OFFSET)
    # Not said with COALESCE: PostgreSQL would take such files for few, and read all there are.
    read = sa.or_(file.c.status.is_(None), sa.not_(waiting))
    wanted = (
        _held.where(*inside, *narrowed, read)
        .order_by(*_sorted(query, in_one_directory=in_one_directory))
        .limit(query.size)
        .offset(offset)
    )
    return Page(await _files(connection, wanted), await _count(connection, inside, narrowed))


def _sorted(query: Query, *, in_one_directory: bool) -> "list[sa.ColumnElement[Any]]":
    """By the time that a file came into the base, the newest first, where nothing else is said."""
    if query.sort == "name":
        name = sa.func.lower(file.c.filename)
        return [name.desc() if query.direction == "desc" else name.asc(), held.c.id]
    by = {"created_at": held.c.created_at}.get(query.sort or "", held.c.updated_at)
    # In one directory the first is always the same; with it PostgreSQL sees that the index is in this order.
    first = [held.c.directory_id] if in_one_directory else []
    columns = [*first, by, held.c.id]
    return [column.asc() if query.direction == "asc" else column.desc() for column in columns]


async def _count(
    connection: AsyncConnection, inside: "list[sa.ColumnElement[bool]]", narrowed: "list[sa.ColumnElement[bool]]"
) -> int:
    """How many there are. Where no file is looked at, only an index is: those that wait are few, and taken off."""
    count, of_files = sa.select(sa.func.count()).select_from(held), held.join(file, file.c.id == held.c.file_id)
    all_of_them = count.select_from(of_files).where(*narrowed) if narrowed else count
    waits = sa.select(sa.func.count()).select_from(of_files).where(*inside, *narrowed, waiting)
    both = sa.select(all_of_them.where(*inside).scalar_subquery() - waits.scalar_subquery())
    return int(await connection.scalar(both) or 0)


class Place(msgspec.Struct, frozen=True):
    """Where a file of a base lies. blob: the SHA-256 of its bytes."""

    file_id: str
    filename: str
    directory_id: str | None
    blob: str


async def places(connection: AsyncConnection, knowledge_id: str) -> list[Place]:
    """Where all files of a base lie, in the order in which they came."""
    rows: Any = await connection.execute(
        sa.select(file.c.id, file.c.filename, held.c.directory_id, file.c.blob)
        .join(held, held.c.file_id == file.c.id)
        .where(held.c.knowledge_id == knowledge_id)
        .order_by(held.c.created_at, held.c.id)
    )
    return [Place(*row) for row in rows]
