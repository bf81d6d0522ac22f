"""Files and the blobs below them: who may read them, how they are made, and which of them nothing needs any more."""

import uuid
from collections.abc import Collection, Sequence
from typing import Any, Final

import msgspec
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from open_webui.internal import acts
from open_webui.models import channel_messages, chats, folders, knowledge, models, shares, tables
from open_webui.models.base import clean, inserting, now
from open_webui.principal import Principal

t, blob, use = tables.file, tables.blob, tables.file_use
message, chat, share, folder, model = (
    tables.message,
    tables.chat,
    tables.shared_chat,
    tables.folder,
    tables.model,
)
# The names of embedded files: the same content of the same person is the same file, however often it comes.
_EMBEDDED: Final = uuid.UUID("6f75692d-6669-4c65-8000-656d62656464")
BATCH: Final = 500


class File(msgspec.Struct, frozen=True):
    """A file with its blob. blob: the SHA-256 of its bytes. mime: by its first bytes. size: in bytes."""

    id: str
    user_id: str | None
    filename: str
    blob: str
    embedded: bool
    size: int
    mime: str
    created_at: int
    updated_at: int


class NewFile(msgspec.Struct, frozen=True):
    """A file to note whose bytes a store has. about: what is known of it besides."""

    id: str
    filename: str
    blob: str
    size: int
    mime: str
    embedded: bool = True
    about: dict[str, Any] = {}


def embedded_id(owner_id: str, blob_hash: str) -> str:
    """The id of somebody's embedded file with this content."""
    return str(uuid.uuid5(_EMBEDDED, f"{owner_id}/{blob_hash}"))


_columns = (t.c.id, t.c.user_id, t.c.filename, t.c.blob, t.c.embedded, blob.c.size, blob.c.mime, t.c.created_at,
            t.c.updated_at)  # fmt: skip
_files = sa.select(*_columns).join(blob, blob.c.hash == t.c.blob)


def readable_by(principal: Principal | None, *, admin_access: bool = False) -> "sa.ColumnElement[bool]":
    """The files that somebody (None: without an account) may read: own ones, and what readable things use or hold.

    admin_access: admins read all that was uploaded.
    """
    in_chats = chats.readable_by(principal, admin_access=admin_access)
    sees_all = admin_access and principal is not None and principal.is_admin
    shared = sa.true() if sees_all else shares.repository.readable_by(principal)
    ways = [
        _used(
            sa.select(message.c.n).join(chat, chat.c.id == message.c.chat_id).where(in_chats),
            use.c.message_n,
            message.c.n,
        ),
        _used(sa.select(chat.c.id).where(in_chats), use.c.chat_id, chat.c.id),
        _used(sa.select(share.c.id).where(shared), use.c.share_id, share.c.id),
    ]
    if principal is not None:
        ways.append(t.c.user_id == principal.id)
        ways.append(sa.exists().where(use.c.file_id == t.c.id, use.c.settings_id == principal.id))
    if principal is not None and principal.is_active:
        in_folders, in_models = folders.repository.readable_by(principal), models.repository.readable_by(principal)
        ways.append(sa.exists().where(use.c.file_id == t.c.id, use.c.profile_id.is_not(None)))
        ways.append(_used(sa.select(folder.c.id).where(in_folders), use.c.folder_id, folder.c.id))
        ways.append(_used(sa.select(model.c.id).where(in_models), use.c.model_id, model.c.id))
        ways.append(knowledge.holding(principal))
        ways.append(channel_messages.holding(principal))
    if sees_all:
        ways.append(sa.not_(t.c.embedded))
    return sa.or_(*ways)


def writable_by(principal: Principal, *, admin_access: bool = False) -> "sa.ColumnElement[bool]":
    """The uploaded files that somebody may change and delete: own ones, and those in knowledge bases that they may change.

    What came inside a document is changed with it alone.
    """
    if not principal.is_active:
        return sa.false()
    sees_all = admin_access and principal.is_admin
    ways = sa.true() if sees_all else sa.or_(t.c.user_id == principal.id, knowledge.holding(principal, "write"))
    return sa.and_(sa.not_(t.c.embedded), ways)


def _used(things: "sa.Select[Any]", by: "sa.ColumnElement[Any]", key: "sa.ColumnElement[Any]") -> Any:
    """A condition: one of these things uses the file."""
    return sa.exists(things.join(use, by == key).where(use.c.file_id == t.c.id).correlate(t))


async def get(
    connection: AsyncConnection, principal: Principal | None, file_id: str, *, admin_access: bool = False
) -> File | None:
    """A file that somebody may read."""
    # Mostly the owner asks.
    row = (await connection.execute(_files.where(t.c.id == file_id))).first()
    if row is None or (principal is not None and row[1] == principal.id):
        return None if row is None else File(*row)
    allowed = sa.select(t.c.id).where(t.c.id == file_id, readable_by(principal, admin_access=admin_access))
    if await connection.scalar(allowed) is None:
        return None
    if admin_access:
        await note_opened(connection, principal, file_id, row[1])
    return File(*row)


async def note_opened(
    connection: AsyncConnection, principal: Principal | None, file_id: str, owner_id: str | None
) -> None:
    """To be called where somebody reads a file that may be open to administrators alone. Raises ReasonNeeded."""
    if principal is None or not principal.is_admin or owner_id == principal.id:
        return
    if await connection.scalar(sa.select(t.c.id).where(t.c.id == file_id, readable_by(principal))) is None:
        acts.opened("file", file_id, owner_id or "")


async def readable(
    connection: AsyncConnection, principal: Principal, ids: Collection[str], *, admin_access: bool = False
) -> dict[str, File]:
    """Those of the files that somebody may read, by id."""
    out: dict[str, File] = {}
    listed = sorted(ids)
    for k in range(0, len(listed), BATCH):
        wanted = _files.where(t.c.id.in_(listed[k : k + BATCH]), readable_by(principal, admin_access=admin_access))
        out.update((row[0], File(*row)) for row in await connection.execute(wanted))
    return out


async def by_id(connection: AsyncConnection, ids: Collection[str]) -> dict[str, File]:
    """Files whoever asks: the caller knows already that it may read what uses them."""
    out: dict[str, File] = {}
    listed = sorted(ids)
    for k in range(0, len(listed), BATCH):
        rows = await connection.execute(_files.where(t.c.id.in_(listed[k : k + BATCH])))
        out.update((row[0], File(*row)) for row in rows)
    return out


async def add_blob(connection: AsyncConnection, key: str, size: int, mime: str, at: int) -> None:
    """Notes a blob that was put now."""
    values = {"hash": key, "size": size, "mime": mime, "created_at": at, "touched_at": at}
    await connection.execute(
        inserting(connection, blob).on_conflict_do_update(index_elements=[blob.c.hash], set_={"touched_at": at}), values
    )


async def add(connection: AsyncConnection, owner_id: str, given: Sequence[NewFile]) -> None:
    """Notes files of somebody, and their blobs. One that is there already is marked as put now."""
    at = now()
    new = list({f.id: f for f in given}.values())
    for k in range(0, len(new), BATCH):
        part = new[k : k + BATCH]
        blobs = {
            f.blob: {"hash": f.blob, "size": f.size, "mime": f.mime, "created_at": at, "touched_at": at} for f in part
        }
        await connection.execute(
            inserting(connection, blob).on_conflict_do_update(index_elements=[blob.c.hash], set_={"touched_at": at}),
            # In one order always, so that two that put the same contents don't wait for each other in a circle.
            [blobs[key] for key in sorted(blobs)],
        )
        await connection.execute(
            inserting(connection, t).on_conflict_do_update(index_elements=[t.c.id], set_={"updated_at": at}),
            [_values(f, owner_id, at) for f in sorted(part, key=lambda f: f.id)],
        )


def _values(given: NewFile, owner_id: str, at: int) -> dict[str, Any]:
    return {
        "id": given.id,
        "user_id": owner_id,
        "filename": clean(given.filename),
        "blob": given.blob,
        "embedded": given.embedded,
        "hash": None,
        "data": {},
        "meta": {"name": clean(given.filename), "content_type": given.mime, "size": given.size, "data": given.about},
        "created_at": at,
        "updated_at": at,
    }


async def collect(connection: AsyncConnection, before: int, limit: int = BATCH) -> list[str]:
    """Removes some files that nothing has used since a moment, and blobs that no file and no document refers to.

    Gives the hashes of these blobs, whose bytes the caller removes from the store after the commit. What another process has
    just come to use or is removing itself, it leaves to the next time.
    """
    unused = sa.and_(
        sa.or_(t.c.embedded, t.c.user_id.is_(None)),
        t.c.updated_at < before,
        sa.not_(sa.exists().where(use.c.file_id == t.c.id)),
        sa.not_(sa.exists().where(knowledge.held.c.file_id == t.c.id)),
        sa.not_(sa.exists().where(channel_messages.held.c.file_id == t.c.id)),
    )
    old = sa.select(t.c.id).where(unused).limit(limit).with_for_update(skip_locked=True)
    await connection.execute(t.delete().where(t.c.id.in_(old), unused))
    # A blob is needed by the files whose bytes it is, by those whose text it is, and by documents that have no file.
    needed = (t.c.blob, t.c.hash, tables.document.c.hash)
    lone = sa.and_(blob.c.touched_at < before, *(sa.not_(sa.exists().where(c == blob.c.hash)) for c in needed))
    of_nobody = sa.select(blob.c.hash).where(lone).limit(limit).with_for_update(skip_locked=True)
    gone = await connection.scalars(blob.delete().where(blob.c.hash.in_(of_nobody), lone).returning(blob.c.hash))
    return list(gone)


async def known_blobs(connection: AsyncConnection, hashes: Sequence[str]) -> set[str]:
    """Those of the hashes that the database has."""
    out: set[str] = set()
    for k in range(0, len(hashes), BATCH):
        out.update(await connection.scalars(sa.select(blob.c.hash).where(blob.c.hash.in_(hashes[k : k + BATCH]))))
    return out
