"""Files that people uploaded: lists, what was taken out of them, and their ends. Who may read one says models/files.py."""

from collections.abc import Collection, Sequence
from typing import Any, Final, Literal

import msgspec
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from open_webui.internal import acts
from open_webui.internal.prepared import Prepared
from open_webui.models import documents, files, tables
from open_webui.models.base import among, clean, decode_json, inserting, now
from open_webui.models.files import NewFile
from open_webui.models.grants import Action
from open_webui.principal import Principal

t, blob = tables.file, tables.blob
Status = Literal["pending", "processing", "completed", "failed"]
# Its text is being taken out, or is about to be.
UNREAD: Final[tuple[Status, ...]] = ("pending", "processing")
PAGE_SIZE: Final = 50
# Names that are compared with a pattern at once.
_NAMES: Final = 2_000


class Upload(msgspec.Struct, frozen=True):
    """A row with its blob. hash: of the text that was taken out, which is a blob of this name. status: None where nobody
    asked for it. data: `error`, why it could not be read. meta: what the wire has there.
    """

    id: str
    user_id: str | None
    filename: str
    blob: str
    size: int
    mime: str
    hash: str | None
    status: Status | None
    data: dict[str, Any]
    meta: dict[str, Any]
    created_at: int
    updated_at: int


_columns = (t.c.id, t.c.user_id, t.c.filename, t.c.blob, blob.c.size, blob.c.mime, t.c.hash, t.c.status, t.c.data,
            t.c.meta, t.c.created_at, t.c.updated_at)  # fmt: skip
_uploads = sa.select(*_columns).join(blob, blob.c.hash == t.c.blob)
_one = Prepared(_uploads.where(t.c.id == sa.bindparam("id")))
_locked = Prepared(_uploads.where(t.c.id == sa.bindparam("id")).with_for_update(of=t, key_share=True))
_newest_first = (t.c.updated_at.desc(), t.c.id.desc())


def _upload(row: Any) -> Upload:
    values = dict(zip(Upload.__struct_fields__, row, strict=True))
    for name in ("data", "meta"):
        value = values[name] if isinstance(values[name], dict) else decode_json(values[name])
        values[name] = value if isinstance(value, dict) else {}
    return Upload(**values)


async def get(
    connection: AsyncConnection,
    principal: Principal,
    file_id: str,
    action: Action = "read",
    *,
    admin_access: bool = False,
    lock: bool = False,
) -> Upload | None:
    """A file that somebody may read, or change. lock: others who change it wait until the unit of work ends."""
    found = await by_id(connection, file_id, lock=lock)
    if found is None or (found.user_id == principal.id and action == "read"):
        return found
    allowed = files.readable_by if action == "read" else files.writable_by
    query = sa.select(t.c.id).where(t.c.id == file_id, allowed(principal, admin_access=admin_access))
    if await connection.scalar(query) is None:
        return None
    if action == "read" and admin_access:
        await files.note_opened(connection, principal, file_id, found.user_id)
    return found


async def by_id(connection: AsyncConnection, file_id: str, *, lock: bool = False) -> Upload | None:
    """A file whoever asks."""
    row = await (_locked if lock else _one).first(connection, {"id": file_id})
    return None if row is None else _upload(row)


def listed_for(user_id: str | None) -> "sa.ColumnElement[bool]":
    """What a list of somebody's files has; None: of everybody's."""
    return sa.and_(sa.not_(t.c.embedded), sa.true() if user_id is None else t.c.user_id == user_id)


async def page(connection: AsyncConnection, user_id: str | None, number: int) -> list[Upload]:
    """A page of somebody's files, the last changed first."""
    query = _uploads.where(listed_for(user_id)).order_by(*_newest_first)
    rows = await connection.execute(query.limit(PAGE_SIZE).offset((number - 1) * PAGE_SIZE))
    return [_upload(row) for row in rows]


async def made(connection: AsyncConnection, user_id: str, number: int) -> list[Upload]:
    """A page of the pictures that were made for somebody, the last first."""
    mine = sa.and_(listed_for(user_id), t.c.meta[("data", "made")].as_boolean())
    query = _uploads.where(mine).order_by(t.c.created_at.desc(), t.c.id.desc())
    rows = await connection.execute(query.limit(PAGE_SIZE).offset((number - 1) * PAGE_SIZE))
    return [_upload(row) for row in rows]


async def count(connection: AsyncConnection, user_id: str | None) -> int:
    return int(await connection.scalar(sa.select(sa.func.count()).select_from(t).where(listed_for(user_id))) or 0)


async def names(
    connection: AsyncConnection, user_id: str | None, after: tuple[int, str] | None
) -> list[tuple[str, str, int]]:
    """Ids, names and times of change of some of somebody's files, the last changed first, after one of them (time, id)."""
    query = sa.select(t.c.id, t.c.filename, t.c.updated_at).where(listed_for(user_id)).order_by(*_newest_first)
    if after is not None:
        at, file_id = after
        query = query.where(sa.or_(t.c.updated_at < at, sa.and_(t.c.updated_at == at, t.c.id < file_id)))
    return [tuple(row) for row in await connection.execute(query.limit(_NAMES))]


async def by_ids(connection: AsyncConnection, ids: Sequence[str]) -> list[Upload]:
    """Files whoever asks, in this order; those that are gone are left out."""
    found: dict[str, Upload] = {}
    for k in range(0, len(ids), files.BATCH):
        rows = await connection.execute(_uploads.where(t.c.id.in_(ids[k : k + files.BATCH])))
        found.update((row[0], _upload(row)) for row in rows)
    return [found[i] for i in ids if i in found]


async def used_bytes(connection: AsyncConnection, user_id: str, *, lock: bool = False) -> int:
    """How many bytes somebody's uploaded files have. lock: nobody else who asks so adds to them meanwhile."""
    if lock:
        await connection.execute(sa.select(tables.user.c.id).where(tables.user.c.id == user_id).with_for_update())
    query = sa.select(sa.func.sum(blob.c.size)).select_from(t.join(blob, blob.c.hash == t.c.blob))
    return int(await connection.scalar(query.where(listed_for(user_id))) or 0)


async def insert(
    connection: AsyncConnection, owner_id: str, new: NewFile, meta: dict[str, Any], status: Status | None
) -> Upload:
    """Notes a file of somebody's whose bytes a store has."""
    at = now()
    await files.add_blob(connection, new.blob, new.size, new.mime, at)
    acts.about("file", new.id)
    values: dict[str, Any] = {
        "id": new.id,
        "user_id": owner_id,
        "filename": clean(new.filename),
        "blob": new.blob,
        "embedded": False,
        "hash": None,
        "status": status,
        "data": {},
        "meta": meta,
        "created_at": at,
        "updated_at": at,
    }
    await connection.execute(inserting(connection, t).values(values))
    return Upload(size=new.size, mime=new.mime, **{k: v for k, v in values.items() if k != "embedded"})


async def change(connection: AsyncConnection, file_id: str, **values: Any) -> bool:
    """Changes columns of a file. False where it is gone."""
    statement = t.update().where(t.c.id == file_id).values(updated_at=now(), **values)
    return (await connection.execute(statement)).rowcount == 1


async def begin(connection: AsyncConnection, file_id: str) -> bool:
    """Notes that a file is being read which waited for that. False for any other."""
    statement = t.update().where(t.c.id == file_id, t.c.status == "pending").values(status="processing")
    return (await connection.execute(statement)).rowcount == 1


async def have_indexed(connection: AsyncConnection, after: str, limit: int) -> list[str]:
    """Marks files as to be read that have been and that are in the index or in a knowledge base, so many that come after one
    by their ids. Gives their ids.
    """
    held = (sa.exists().where(other.c.file_id == t.c.id) for other in (tables.knowledge_file, tables.document))
    where = t.c.id > after, t.c.status == "completed", sa.or_(*held)
    ids = sa.select(t.c.id).where(*where).order_by(t.c.id).limit(limit)
    found = list(await connection.scalars(ids))
    await connection.execute(t.update().where(among(t.c.id, found)).values(status="pending"))
    return found


async def have_read(connection: AsyncConnection, ids: Collection[str], *, failed: bool = False) -> list[str]:
    """Marks those of the files as to be read that nobody had read, and (failed) those that could not be. Gives their ids."""
    unread = t.c.status.is_(None)
    which = t.update().where(among(t.c.id, ids), sa.or_(unread, t.c.status == "failed") if failed else unread)
    return list(await connection.scalars(which.values(status="pending", data={}).returning(t.c.id)))


async def delete(connection: AsyncConnection, ids: Collection[str]) -> None:
    """Removes files from wherever they are used, with what was taken out of them. Their blobs are collected later.

    The rows of knowledge bases that hold them are held first, as whoever changes these does.
    """
    listed = sorted(ids)
    for k in range(0, len(listed), files.BATCH):
        part = listed[k : k + files.BATCH]
        await documents.changed_files(connection, part)
        await connection.execute(files.use.delete().where(files.use.c.file_id.in_(part)))
        await connection.execute(t.delete().where(t.c.id.in_(part)))


async def all_ids(connection: AsyncConnection, limit: int) -> list[str]:
    """The ids of some uploaded files of everybody."""
    return list(await connection.scalars(sa.select(t.c.id).where(listed_for(None)).limit(limit)))
