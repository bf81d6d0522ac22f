"""Skills: instructions that models read when they need them, whose they are, and who may use and change them."""

from collections.abc import Collection, Mapping
from typing import Any, Final

import msgspec
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from open_webui.models import tables, versions
from open_webui.models.base import among, inserting
from open_webui.models.grants import Grant
from open_webui.models.repository import MAX_PAGE_SIZE
from open_webui.models.resource import Resource, Sharing
from open_webui.principal import Principal

KIND: Final = "skill"
t, file = tables.skill, tables.skill_file


class SkillRow(msgspec.Struct, frozen=True, kw_only=True):
    """A skill without its text, in the order of the wire."""

    version_id: str | None
    id: str
    user_id: str
    name: str
    description: str | None
    meta: dict[str, Any]
    is_active: bool
    access_grants: tuple[Grant, ...] = ()
    updated_at: int
    created_at: int


class Skill(SkillRow, frozen=True, kw_only=True):
    """The whole of it. content: its SKILL.md. files: the others, without what stands in them."""

    content: str
    files: list[Any]


def _resource(row: type[Any]) -> Resource[Any]:
    return Resource(
        KIND,
        t,
        row,
        sharing=Sharing(people="sharing.skills", public="sharing.public_skills"),
        admins=("read", "write"),
        searches=("name", "id", "description"),
        belongings=(versions.clear_where,),
    )


# For lists: texts are long.
brief: Final[Resource[SkillRow]] = _resource(SkillRow)
repository: Final[Resource[Skill]] = _resource(Skill)


async def usable(connection: AsyncConnection, principal: Principal, ids: Collection[str]) -> dict[str, Skill]:
    """Those of some skills that are switched on and that somebody may use, in the order of the ids."""
    where = (among(t.c.id, ids), t.c.is_active, repository.readable_by(principal))
    found = {row.id: row for row in await repository.all(connection, *where)}
    return {one: found[one] for one in ids if one in found}


async def by_ids(connection: AsyncConnection, ids: Collection[str]) -> dict[str, SkillRow]:
    """Some skills whoever asks."""
    return {row.id: row for row in await brief.all(connection, among(t.c.id, ids))}


async def count_of(connection: AsyncConnection, user_id: str) -> int:
    """How many skills somebody has."""
    query = sa.select(sa.func.count()).select_from(t).where(t.c.user_id == user_id)
    return int(await connection.scalar(query) or 0)


async def with_names(connection: AsyncConnection, principal: Principal, names: Collection[str]) -> list[SkillRow]:
    """The skills with some names that somebody may use."""
    return await brief.all(connection, among(t.c.name, names), brief.readable_by(principal))


async def readable_ids(connection: AsyncConnection, principal: Principal, ids: Collection[str] | None) -> list[str]:
    """The ids of the skills that somebody may use, the oldest first; of some, where they are named."""
    where = [repository.readable_by(principal), *([] if ids is None else [among(t.c.id, ids)])]
    query = sa.select(t.c.id).where(*where).order_by(t.c.created_at, t.c.id).limit(MAX_PAGE_SIZE)
    return list(await connection.scalars(query))


async def readable(connection: AsyncConnection, principal: Principal, ids: Collection[str]) -> list[Skill]:
    """Some skills, whole, as far as somebody may use them."""
    return await repository.all(connection, among(t.c.id, ids), repository.readable_by(principal))


# What stands in files


async def keep(connection: AsyncConnection, skill_id: str, contents: Mapping[str, bytes]) -> None:
    """Keeps contents by their hashes. One that is there stays."""
    for digest, content in contents.items():
        row = {"skill_id": skill_id, "hash": digest, "size": len(content), "content": content}
        await connection.execute(inserting(connection, file).values(row).on_conflict_do_nothing())


async def contents(connection: AsyncConnection, skill_id: str, hashes: Collection[str]) -> dict[str, bytes]:
    """Contents by their hashes."""
    if not hashes:
        return {}
    query = sa.select(file.c.hash, file.c.content).where(file.c.skill_id == skill_id, among(file.c.hash, hashes))
    return {row.hash: bytes(row.content) for row in await connection.execute(query)}


async def contents_of_all(
    connection: AsyncConnection, wanted: Collection[tuple[str, str]]
) -> dict[tuple[str, str], bytes]:
    """Contents of several skills, by the skills' ids and the hashes."""
    ids, hashes = {skill_id for skill_id, _ in wanted}, {digest for _, digest in wanted}
    if not wanted:
        return {}
    query = sa.select(file).where(among(file.c.skill_id, ids), among(file.c.hash, hashes))
    found = await connection.execute(query)
    return {(row.skill_id, row.hash): bytes(row.content) for row in found if (row.skill_id, row.hash) in wanted}


async def kept_bytes(connection: AsyncConnection, skill_id: str) -> int:
    """How much the files of a skill and all its versions take."""
    query = sa.select(sa.func.coalesce(sa.func.sum(file.c.size), 0)).where(file.c.skill_id == skill_id)
    return int(await connection.scalar(query) or 0)


async def tidy(connection: AsyncConnection, skill_id: str) -> None:
    """Removes the contents that no version of a skill has."""
    used: set[str] = set()
    for files in await versions.members(connection, KIND, skill_id, "files"):
        used.update(one["hash"] for one in files or () if isinstance(one, dict) and isinstance(one.get("hash"), str))
    gone = sa.and_(file.c.skill_id == skill_id, sa.not_(among(file.c.hash, used)))
    await connection.execute(file.delete().where(gone))
