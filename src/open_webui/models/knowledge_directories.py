"""Directories inside knowledge bases: a tree of each base. Who changes it has locked the row of the base."""

from collections.abc import Collection
from typing import Any, Final

import msgspec
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from open_webui.models import tables
from open_webui.models.base import among, new_id, now

t, held = tables.knowledge_directory, tables.knowledge_file
# Of one base.
MAX_DIRECTORIES: Final = 10_000


class Directory(msgspec.Struct, frozen=True, kw_only=True):
    """A directory as the wire has it. user_id: who made it, "" when they are gone."""

    id: str
    knowledge_id: str
    parent_id: str | None
    name: str
    user_id: str
    created_at: int
    updated_at: int


_columns: Final = [sa.func.coalesce(t.c.user_id, "") if n == "user_id" else t.c[n] for n in Directory.__struct_fields__]


async def all_of(connection: AsyncConnection, knowledge_id: str) -> dict[str, Directory]:
    """All directories of a base by id, in the order of their names."""
    rows: Any = await connection.execute(
        sa.select(*_columns).where(t.c.knowledge_id == knowledge_id).order_by(t.c.name, t.c.id)
    )
    return {row[0]: Directory(**dict(zip(Directory.__struct_fields__, row, strict=True))) for row in rows}


async def of_many(connection: AsyncConnection, ids: Collection[str]) -> dict[str, Directory]:
    """Directories by their ids, with all above them."""
    out: dict[str, Directory] = {}
    wanted = set(ids)
    while wanted:
        rows = await connection.execute(sa.select(*_columns).where(among(t.c.id, sorted(wanted))))
        found = [Directory(**dict(zip(Directory.__struct_fields__, row, strict=True))) for row in rows]
        out.update((d.id, d) for d in found)
        wanted = {d.parent_id for d in found if d.parent_id is not None} - out.keys()
    return out


async def add(
    connection: AsyncConnection, knowledge_id: str, user_id: str, name: str, parent_id: str | None
) -> Directory:
    """A new directory. The caller has checked its parent and its name."""
    at = now()
    made = Directory(
        id=new_id(), knowledge_id=knowledge_id, parent_id=parent_id, name=name, user_id=user_id, created_at=at,
        updated_at=at,
    )  # fmt: skip
    await connection.execute(t.insert().values(msgspec.structs.asdict(made)))
    return made


async def change(connection: AsyncConnection, directory_id: str, name: str, parent_id: str | None) -> int:
    """Renames and moves a directory. Gives the time of it."""
    at = now()
    await connection.execute(
        t.update().where(t.c.id == directory_id).values(name=name, parent_id=parent_id, updated_at=at)
    )
    return at


async def remove(connection: AsyncConnection, knowledge_id: str, ids: Collection[str] | None = None) -> None:
    """Removes directories of a base (None: all). The files in them come to lie at the top."""
    which = t.delete().where(t.c.knowledge_id == knowledge_id)
    await connection.execute(which if ids is None else which.where(among(t.c.id, ids)))


async def files_in(connection: AsyncConnection, ids: Collection[str]) -> list[str]:
    """The ids of the files that lie in some directories."""
    return list(await connection.scalars(sa.select(held.c.file_id).where(among(held.c.directory_id, ids))))


async def move_files(connection: AsyncConnection, ids: Collection[str], to: str | None) -> None:
    """Puts the files of some directories into another, or to the top."""
    await connection.execute(held.update().where(among(held.c.directory_id, ids)).values(directory_id=to))
