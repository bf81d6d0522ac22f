"""Knowledge bases: sets of files that are searched together, whose they are, and which files are in one.

A file is indexed once, however many bases hold it. `revision` of a base rises in each transaction that changes what a
search of it would find (`documents.changed`). Who changes a base holds its row first, and only then rows of files: so that
no two of these wait in a ring.
"""

from collections.abc import Collection, Mapping, Sequence
from typing import Any, Final

import msgspec
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from open_webui.models import documents, tables
from open_webui.models.base import among, new_id, now
from open_webui.models.grants import Grant
from open_webui.models.repository import Page, Query
from open_webui.models.resource import Resource, Sharing
from open_webui.principal import Principal

t, held, file, use = tables.knowledge, tables.knowledge_file, tables.file, tables.file_use


class Knowledge(msgspec.Struct, frozen=True, kw_only=True):
    """A knowledge base as the wire has it, with its grants."""

    id: str
    user_id: str
    name: str
    description: str
    meta: dict[str, Any] | None
    access_grants: tuple[Grant, ...] = ()
    created_at: int
    updated_at: int


repository: Final = Resource(
    "knowledge",
    t,
    Knowledge,
    sharing=Sharing(people="sharing.knowledge", public="sharing.public_knowledge"),
    admins=("read", "write"),
    searches=("name", "description"),
)


async def page(
    connection: AsyncConnection, principal: Principal, query: Query, source: str | None = None
) -> Page[Knowledge]:
    """A page of the bases that somebody may read. source: "local", those that hold files; "external", those that are
    found elsewhere; None, all.
    """
    elsewhere = t.c.connection_id.is_not(None)
    filters = {"external": [elsewhere], "local": [sa.not_(elsewhere)]}.get(source or "", [])
    return await repository.page(connection, principal, query, *filters)


async def count(connection: AsyncConnection) -> int:
    """How many bases there are."""
    return int(await connection.scalar(sa.select(sa.func.count()).select_from(t)) or 0)


async def readable(connection: AsyncConnection, principal: Principal, ids: Collection[str]) -> set[str]:
    """Those of some bases that somebody may read."""
    wanted = sa.select(t.c.id).where(among(t.c.id, ids), repository.readable_by(principal))
    return set(await connection.scalars(wanted))


async def by_ids(connection: AsyncConnection, ids: Collection[str]) -> dict[str, Knowledge]:
    """Bases by id, whoever asks."""
    return {row.id: row for row in await repository.all(connection, among(t.c.id, ids))}


async def revisions(connection: AsyncConnection, ids: Collection[str]) -> dict[str, int]:
    """The revisions of some bases, by id."""
    rows = await connection.execute(sa.select(t.c.id, t.c.revision).where(among(t.c.id, ids)))
    return {row[0]: row[1] for row in rows}


async def connection_of(connection: AsyncConnection, knowledge_id: str) -> str | None:
    """The connection through which a base is found; None for one that holds files, and where there is none."""
    found: str | None = await connection.scalar(sa.select(t.c.connection_id).where(t.c.id == knowledge_id))
    return found


# The files of a base


def holding(principal: Principal | None, action: Any = "read") -> "sa.ColumnElement[bool]":
    """A condition on `file`: it is in a base with which somebody may do this."""
    inside = sa.select(t.c.id).join(held, held.c.knowledge_id == t.c.id).where(repository.allowed(principal, action))
    return sa.exists(inside.where(held.c.file_id == file.c.id).correlate(file))


async def placeable(connection: AsyncConnection, principal: Principal, file_ids: Collection[str]) -> set[str]:
    """Those of the files that somebody may put into a base: own ones, and those of bases that they may change.

    They stay until the transaction is over.
    """
    allowed = sa.or_(file.c.user_id == principal.id, holding(principal, "write"))
    wanted = sa.select(file.c.id).where(among(file.c.id, file_ids), allowed)
    return set(await connection.scalars(wanted.with_for_update(read=True, key_share=True, of=file)))


async def add_files(
    connection: AsyncConnection, user_id: str, knowledge_id: str, placed: Mapping[str, str | None]
) -> list[str]:
    """Puts files into a base whose row the caller has locked. Gives the ids of those that were not in it.

    placed: the directory of each file, by the file's id; None for the top. The caller has checked both.
    """
    there = await within(connection, knowledge_id, placed)
    new, at = [i for i in placed if i not in there], now()
    if new:
        await connection.execute(
            held.insert(),
            [
                {
                    "id": new_id(),
                    "knowledge_id": knowledge_id,
                    "file_id": i,
                    "user_id": user_id,
                    "directory_id": placed[i],
                    "created_at": at,
                    "updated_at": at,
                }
                for i in new
            ],
        )
        await documents.changed(connection, [knowledge_id])
    return new


async def within(connection: AsyncConnection, knowledge_id: str, file_ids: Collection[str]) -> set[str]:
    """Those of the files that are in a base."""
    wanted = sa.select(held.c.file_id).where(held.c.knowledge_id == knowledge_id, among(held.c.file_id, file_ids))
    return set(await connection.scalars(wanted))


async def remove_files(connection: AsyncConnection, knowledge_id: str, file_ids: Collection[str] | None) -> list[str]:
    """Takes files (None: all) out of a base whose row the caller has locked. Gives the ids of those that were in it."""
    which = held.delete().where(held.c.knowledge_id == knowledge_id)
    if file_ids is not None:
        which = which.where(among(held.c.file_id, file_ids))
    gone = list(await connection.scalars(which.returning(held.c.file_id)))
    if gone:
        await documents.changed(connection, [knowledge_id])
    return gone


async def move_file(connection: AsyncConnection, knowledge_id: str, file_id: str, directory_id: str | None) -> bool:
    """Puts a file of a base into a directory of it (None: to the top). False where it is not in the base."""
    which = sa.and_(held.c.knowledge_id == knowledge_id, held.c.file_id == file_id)
    return (await connection.execute(held.update().where(which).values(directory_id=directory_id))).rowcount == 1


async def unneeded(connection: AsyncConnection, user_id: str, file_ids: Collection[str]) -> list[str]:
    """Those of a person's files that no base holds and nothing else uses."""
    used = sa.or_(sa.exists().where(held.c.file_id == file.c.id), sa.exists().where(use.c.file_id == file.c.id))
    wanted = sa.select(file.c.id).where(among(file.c.id, file_ids), file.c.user_id == user_id, sa.not_(used))
    return list(await connection.scalars(wanted))


async def file_counts(connection: AsyncConnection, ids: Sequence[str]) -> dict[str, int]:
    """How many files some bases hold; those without any are left out."""
    counts = sa.select(held.c.knowledge_id, sa.func.count()).where(among(held.c.knowledge_id, ids))
    return {row[0]: row[1] for row in await connection.execute(counts.group_by(held.c.knowledge_id))}
