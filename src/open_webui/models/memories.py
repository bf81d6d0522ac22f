"""Memories: what people want models to know of them. They are their owner's alone: nobody else reads or finds them."""

from collections.abc import Collection, Mapping, Sequence
from typing import Any, Final, Literal

import msgspec
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from open_webui.internal import acts
from open_webui.models import tables
from open_webui.models.base import among
from open_webui.models.grants import Action
from open_webui.models.repository import Condition, Repository, contains
from open_webui.principal import Principal

Kind = Literal["user", "context"]
t, user = tables.memory, tables.user


class Memory(msgspec.Struct, frozen=True, kw_only=True):
    """A memory as the wire has it. type: "user" for what is told with every question, "context" for what fits some."""

    id: str
    user_id: str
    type: Kind
    path: str | None
    content: str
    meta: dict[str, Any] | None
    updated_at: int
    created_at: int


class Place(msgspec.Struct, frozen=True):
    """How many memories of a type stand at a path, and when the last of them was changed."""

    path: str | None
    type: Kind
    count: int
    updated_at: int


class Amount(msgspec.Struct, frozen=True):
    """How many memories of a type somebody has, and how many characters."""

    count: int = 0
    chars: int = 0


NONE: Final = Amount()


class _Memories(Repository[Memory]):
    def allowed(self, principal: Principal | None, action: Action) -> Condition:
        """One's own, whatever is done with them; admins have no other people's."""
        del action
        return sa.false() if principal is None else self.table.c.user_id == principal.id

    async def some(
        self, connection: AsyncConnection, where: Condition, order: "Sequence[sa.ColumnElement[Any]]", limit: int
    ) -> list[Memory]:
        """The first rows in an order."""
        return await self._rows(connection, self._select(where).order_by(*order).limit(limit))

    async def held(self, connection: AsyncConnection, where: Condition) -> list[Memory]:
        """Rows in the order of their ids, which others who are about to change them wait for."""
        query = self._select(where).order_by(self.table.c.id)
        return await self._rows(connection, query.with_for_update(of=self.table, key_share=True))


repository: Final = _Memories(t, Memory, searches=("content", "path"), sorts=())
_newest: Final = (t.c.updated_at.desc(), t.c.created_at.desc(), t.c.id)


async def hold(connection: AsyncConnection, user_id: str) -> None:
    """Lets nobody else add to a person's memories until this transaction is over, so that they can be counted."""
    held = sa.select(user.c.id).where(user.c.id == user_id).with_for_update(key_share=True)
    await connection.execute(held)


async def hold_some(
    connection: AsyncConnection, principal: Principal, ids: Collection[str], contents: Collection[str]
) -> list[Memory]:
    """Some of somebody's memories by their ids, and those that say one of some texts. They are kept from being changed until
    this transaction is over; in one order always, so that no two wait for each other in a ring.
    """
    named = sa.or_(among(t.c.id, ids), among(t.c.content, contents))
    return await repository.held(connection, sa.and_(repository.allowed(principal, "write"), named))


async def store(
    connection: AsyncConnection, made: Sequence[Memory], changed: Sequence[Memory], removed: Collection[str]
) -> None:
    """Stores new memories, and others of those that are held."""
    if removed:
        await connection.execute(t.delete().where(among(t.c.id, removed)))
    for row in changed:
        values = {"content": row.content, "type": row.type, "path": row.path, "updated_at": row.updated_at}
        await connection.execute(t.update().where(t.c.id == row.id).values(values))
    if made:
        await connection.execute(t.insert(), [msgspec.structs.asdict(row) for row in made])
        acts.about("memory", made[0].id)


async def count(connection: AsyncConnection, user_id: str) -> int:
    """How many somebody has."""
    return int(await connection.scalar(sa.select(sa.func.count()).where(t.c.user_id == user_id)) or 0)


async def totals(connection: AsyncConnection) -> tuple[int, int]:
    """How many accounts there are, and how many memories they have."""
    accounts, memories = (sa.select(sa.func.count()).select_from(one).scalar_subquery() for one in (user, t))
    found = (await connection.execute(sa.select(accounts, memories))).one()
    return found[0], found[1]


async def amounts(connection: AsyncConnection, principal: Principal) -> dict[Kind, Amount]:
    """How much of each type somebody has; without what there is nothing of."""
    chars = sa.func.coalesce(sa.func.sum(sa.func.length(t.c.content)), 0)
    query = sa.select(t.c.type, sa.func.count(), chars).where(t.c.user_id == principal.id).group_by(t.c.type)
    return {row[0]: Amount(int(row[1]), int(row[2])) for row in await connection.execute(query)}


def total(held: Mapping[Kind, Amount]) -> Amount:
    """How many memories that are, whatever their type."""
    return Amount(sum(one.count for one in held.values()), sum(one.chars for one in held.values()))


async def listed(
    connection: AsyncConnection,
    principal: Principal,
    *,
    kind: Kind | None = None,
    words: Sequence[str] = (),
    path: str | None = None,
    beneath: bool = False,
    memory_id: str | None = None,
    limit: int,
) -> list[Memory]:
    """Some of somebody's memories, the newest change first.

    words: each of them stands in the text or the path. path: only what stands there, or with `beneath` below it as well.
    """
    where: list[Condition] = [repository.allowed(principal, "read"), *(_says(word) for word in words)]
    if kind is not None:
        where.append(t.c.type == kind)
    if memory_id is not None:
        where.append(t.c.id == memory_id)
    if path is not None:
        where.append(_at(path, beneath=beneath))
    return await repository.some(connection, sa.and_(*where), _newest, limit)


async def by_ids(connection: AsyncConnection, principal: Principal, ids: Collection[str]) -> dict[str, Memory]:
    """Those of some memories that are somebody's, by id."""
    found = await repository.all(connection, repository.allowed(principal, "read"), among(t.c.id, ids))
    return {row.id: row for row in found}


async def with_content(connection: AsyncConnection, principal: Principal, content: str, kind: Kind) -> Memory | None:
    """The oldest of a type that says exactly this."""
    same = sa.and_(repository.allowed(principal, "read"), t.c.type == kind, t.c.content == content)
    found = await repository.some(connection, same, (t.c.created_at, t.c.id), 1)
    return found[0] if found else None


async def places(
    connection: AsyncConnection,
    principal: Principal,
    *,
    kind: Kind | None = None,
    words: Sequence[str] = (),
    below: str | None = None,
    limit: int,
) -> list[Place]:
    """Where somebody's memories stand, by path; those without one first. below: only what stands below this path."""
    where: list[Condition] = [repository.allowed(principal, "read"), *(contains([t.c.path], word) for word in words)]
    if kind is not None:
        where.append(t.c.type == kind)
    if below is not None:
        where.append(_at(below, beneath=True))
    newest = sa.func.max(t.c.updated_at)
    query = sa.select(t.c.path, t.c.type, sa.func.count(), newest).where(*where).group_by(t.c.path, t.c.type)
    query = query.order_by(sa.func.coalesce(t.c.path, ""), t.c.type).limit(limit)
    return [Place(*row) for row in await connection.execute(query)]


async def delete_of(connection: AsyncConnection, principal: Principal) -> int:
    """Removes all that somebody has. Says how many there were."""
    return (await connection.execute(t.delete().where(repository.allowed(principal, "write")))).rowcount


async def next_texts(
    connection: AsyncConnection, after: str, limit: int, user_id: str | None = None
) -> list[tuple[str, str]]:
    """Ids and texts of memories whose ids come after one, in the order of the ids; of everybody, or of one person."""
    query = sa.select(t.c.id, t.c.content).where(t.c.id > after).order_by(t.c.id).limit(limit)
    if user_id is not None:
        query = query.where(t.c.user_id == user_id)
    return [(row[0], row[1]) for row in await connection.execute(query.with_for_update(key_share=True))]


def _says(word: str) -> Condition:
    return contains([t.c.content, t.c.path], word)


def _at(path: str, *, beneath: bool) -> Condition:
    here = t.c.path == path
    below = sa.func.substr(t.c.path, 1, len(path) + 1) == f"{path}/"
    return sa.or_(here, below) if beneath else here
