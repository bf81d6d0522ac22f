"""How things were: a version each time one is changed, for models, tools, functions and whatever else is edited.

A thing's row says which version it is now. Who changes one has locked its row, so that its versions follow one another.
"""

from collections.abc import Collection
from typing import Any, Final

import msgspec
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from open_webui.models import tables
from open_webui.models.base import decode_json, new_id, now
from open_webui.models.repository import Owner

t, user = tables.version, tables.user
# Of one thing; the oldest go.
KEPT: Final = 200
PER_PAGE: Final = 30


class Version(msgspec.Struct, frozen=True, kw_only=True):
    """One version. author: whoever made it, None when they are gone. snapshot: the thing; {} where it was not asked for."""

    id: str
    parent_id: str | None
    user_id: str | None
    commit_message: str | None
    created_at: int
    author: Owner | None
    snapshot: dict[str, Any] = {}


_brief = (
    t.c.id, t.c.parent_id, t.c.user_id, t.c.commit_message, t.c.created_at, user.c.id, user.c.name, user.c.role, user.c.email,
)  # fmt: skip
_snapshot = sa.cast(t.c.snapshot, sa.Text)
_with_author = t.outerjoin(user, user.c.id == t.c.user_id)


def _of(kind: str, resource_id: str) -> "sa.ColumnElement[bool]":
    return sa.and_(t.c.kind == kind, t.c.resource_id == resource_id)


async def add(
    connection: AsyncConnection,
    kind: str,
    resource_id: str,
    snapshot: dict[str, Any],
    *,
    user_id: str | None,
    parent_id: str | None = None,
    message: str | None = None,
    version_id: str | None = None,
) -> str:
    """Keeps how a thing is now; gives the version's id, a new one where none is given.

    parent_id: the version that it was until now, which always stays.
    """
    made = {
        "id": version_id or new_id(), "kind": kind, "resource_id": resource_id, "parent_id": parent_id, "snapshot": snapshot,
        "user_id": user_id, "commit_message": message, "created_at": now(),
    }  # fmt: skip
    await connection.execute(t.insert().values(made))
    if parent_id is not None:
        oldest = sa.select(t.c.n).where(_of(kind, resource_id)).order_by(t.c.n.desc()).offset(KEPT).limit(1)
        before = oldest.scalar_subquery()
        await connection.execute(t.delete().where(_of(kind, resource_id), t.c.n <= before, t.c.id != parent_id))
    return str(made["id"])


async def page(
    connection: AsyncConnection,
    kind: str,
    resource_id: str,
    number: int = 1,
    *,
    size: int = PER_PAGE,
    whole: bool = False,
) -> list[Version]:
    """A page of a thing's versions, the newest first. whole: with their snapshots."""
    columns = (*_brief, _snapshot) if whole else _brief
    query = sa.select(*columns).select_from(_with_author).where(_of(kind, resource_id)).order_by(t.c.n.desc())
    rows = await connection.execute(query.limit(size).offset((number - 1) * size))
    return [_version(row) for row in rows]


async def get(connection: AsyncConnection, kind: str, resource_id: str, version_id: str) -> Version | None:
    """A version of this thing; None for one of another."""
    query = sa.select(*_brief, _snapshot).select_from(_with_author)
    row = (await connection.execute(query.where(_of(kind, resource_id), t.c.id == version_id))).first()
    return None if row is None else _version(row)


async def snapshots(connection: AsyncConnection, kind: str, resource_id: str) -> list[dict[str, Any]]:
    """All snapshots of a thing, the oldest first."""
    query = sa.select(_snapshot).where(_of(kind, resource_id)).order_by(t.c.n)
    found = [decode_json(row[0]) for row in await connection.execute(query)]
    return [one for one in found if isinstance(one, dict)]


async def members(connection: AsyncConnection, kind: str, resource_id: str, name: str) -> list[Any]:
    """One member of all snapshots of a thing; None where one has it not."""
    query = sa.select(sa.cast(t.c.snapshot[name], sa.Text)).where(_of(kind, resource_id))
    return [decode_json(row[0]) for row in await connection.execute(query)]


def _version(row: Any) -> Version:
    version_id, parent_id, user_id, message, created_at, *author = row[: len(_brief)]
    snapshot = decode_json(row[-1]) if len(row) > len(_brief) else None
    return Version(
        id=version_id,
        parent_id=parent_id,
        user_id=user_id,
        commit_message=message,
        created_at=created_at,
        author=None if author[0] is None else Owner(*author),
        snapshot=snapshot if isinstance(snapshot, dict) else {},
    )


async def delete(connection: AsyncConnection, kind: str, resource_id: str, version_id: str) -> bool:
    """Removes a version. Those that were made of it count as made of what it was made of. False: there is none."""
    version = await get(connection, kind, resource_id, version_id)
    if version is None:
        return False
    children = sa.and_(_of(kind, resource_id), t.c.parent_id == version_id)
    await connection.execute(t.update().where(children).values(parent_id=version.parent_id))
    await connection.execute(t.delete().where(_of(kind, resource_id), t.c.id == version_id))
    return True


async def clear_where(connection: AsyncConnection, kind: str, things: "sa.Select[Any]") -> None:
    """Removes all versions of the things whose ids a query gives; who deletes a thing calls it."""
    await connection.execute(t.delete().where(t.c.kind == kind, t.c.resource_id.in_(things)))


async def clear(connection: AsyncConnection, kind: str, resource_ids: Collection[str]) -> None:
    """The same of some things."""
    await connection.execute(t.delete().where(t.c.kind == kind, t.c.resource_id.in_(list(resource_ids))))
