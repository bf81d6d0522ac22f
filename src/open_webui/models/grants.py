"""Access grants: which principals may read or write somebody's thing. The rule stands here once, for SQL and for values."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from functools import lru_cache
from typing import Any, Final, Literal

import msgspec
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from open_webui import constants
from open_webui.errors import BadRequest
from open_webui.internal import acts
from open_webui.models import tables
from open_webui.models.base import inserting, new_id, now
from open_webui.principal import Principal

Action = Literal["read", "write"]
# Principal type and principal id: whom a grant names.
Audience = tuple[str, str]
# Principal type, principal id and permission: what a grant says, apart from which thing it is on.
GrantTriple = tuple[str, str, str]
t = tables.access_grant
# A write grant includes reading.
_ALLOWING: Final[Mapping[Action, tuple[str, ...]]] = {"read": ("read", "write"), "write": ("write",)}
_KINDS: Final = frozenset({"user", "group", "anyone"})
# Ids that travel in one statement: PostgreSQL's driver counts parameters in 16 bits.
_AT_ONCE: Final = 1_000


class Grant(msgspec.Struct, frozen=True):
    """A stored grant, as the wire has it."""

    id: str
    resource_type: str
    resource_id: str
    principal_type: str
    principal_id: str
    permission: str
    created_at: int

    @property
    def audience(self) -> Audience:
        return self.principal_type, self.principal_id

    @property
    def triple(self) -> GrantTriple:
        return self.principal_type, self.principal_id, self.permission


def audiences(principal: Principal | None) -> frozenset[Audience]:
    """Whom a grant may name to concern the principal (None: somebody without an account).

    An account that nobody has let in yet gets what anyone gets.
    """
    if principal is None or not principal.is_active:
        return _ANYONE
    return _audiences(principal.id, principal.groups)


_ANYONE: Final[frozenset[Audience]] = frozenset({("anyone", "*")})


@lru_cache(maxsize=4_096)
def _audiences(user_id: str, groups: frozenset[str]) -> frozenset[Audience]:
    return _ANYONE | {("user", user_id), ("user", "*")} | {("group", group) for group in groups}


def concerns(given: Grant, principal: Principal | None) -> bool:
    """Whether a grant is given to this person: by name, by group, or to everybody."""
    return given.audience in audiences(principal)


def allows(given: Iterable[Grant], principal: Principal | None, action: Action) -> bool:
    """Whether one of the grants on a thing gives the principal the action. `granted` says the same in SQL."""
    allowing, named = _ALLOWING[action], audiences(principal)
    return any(g.permission in allowing and g.audience in named for g in given)


def granted(
    resource_type: str, resource_id: "sa.ColumnElement[str]", principal: Principal | None, action: Action
) -> "sa.ColumnElement[bool]":
    """A condition of a query: some grant on the thing gives the principal the action. `allows` says the same of values."""
    return _granted(resource_type, resource_id, audiences(principal), action)


# Kept, since it costs more to make than a list to read: 0.5 ms, for a few KB each.
@lru_cache(maxsize=256)
def _granted(
    resource_type: str, resource_id: "sa.ColumnElement[str]", audience: frozenset[Audience], action: Action
) -> "sa.ColumnElement[bool]":
    named: dict[str, list[str]] = {}
    for kind, who in sorted(audience):
        named.setdefault(kind, []).append(who)
    return sa.exists().where(
        t.c.resource_type == resource_type,
        t.c.resource_id == resource_id,
        t.c.permission.in_(_ALLOWING[action]),
        sa.or_(*(sa.and_(t.c.principal_type == kind, t.c.principal_id.in_(ids)) for kind, ids in named.items())),
    )


def parse_grant(given: Mapping[str, Any]) -> GrantTriple:
    """A grant that a client sent. Raises BadRequest for what is none."""
    kind, who, permission = (given.get(k) for k in ("principal_type", "principal_id", "permission"))
    if not isinstance(kind, str | None) or not isinstance(permission, str | None):
        raise BadRequest("A grant names a user, a group or anyone, and whether they may read or write.", status=422)
    if kind not in _KINDS or permission not in {"read", "write"}:
        raise BadRequest("A grant names a user, a group or anyone, and whether they may read or write.")
    if not isinstance(who, str) or not 0 < len(who) <= constants.MAX_ID or "\x00" in who:
        raise BadRequest("A grant names whom it is for.")
    if who == "*" and kind == "group":
        raise BadRequest("A grant for a group names the group.")
    if kind == "anyone" and (who != "*" or permission != "read"):
        raise BadRequest("People without an account can only be allowed to read.")
    return kind, who, permission


_columns = tuple(t.c[name] for name in Grant.__struct_fields__)
_on_things = (
    sa.select(*_columns)
    .where(t.c.resource_type == sa.bindparam("type"), t.c.resource_id.in_(sa.bindparam("ids", expanding=True)))
    .order_by(t.c.created_at, t.c.id)
)


async def of(connection: AsyncConnection, resource_type: str, resource_id: str) -> list[Grant]:
    """All grants on one thing, oldest first."""
    return (await of_many(connection, resource_type, [resource_id])).get(resource_id, [])


async def of_many(
    connection: AsyncConnection, resource_type: str, resource_ids: Collection[str]
) -> dict[str, list[Grant]]:
    """The grants on several things by the thing's id, oldest first."""
    found: dict[str, list[Grant]] = {}
    for part in in_parts(resource_ids):
        for row in await connection.execute(_on_things, {"type": resource_type, "ids": part}):
            found.setdefault(row.resource_id, []).append(Grant(*row))
    return found


def in_parts(ids: Collection[str]) -> list[list[str]]:
    """Ids in portions that one statement can hold."""
    every = list(ids)
    return [every[k : k + _AT_ONCE] for k in range(0, len(every), _AT_ONCE)]


async def replace(
    connection: AsyncConnection, resource_type: str, resource_id: str, wanted: Sequence[GrantTriple]
) -> None:
    """Puts grants in the place of all there were on one thing; those that stay keep their id and time.

    The caller holds the thing's row, so that two of these don't mix.
    """
    stand = {g.triple: g.id for g in await of(connection, resource_type, resource_id)}
    stays = frozenset(wanted)
    gone = [grant_id for triple, grant_id in stand.items() if triple not in stays]
    for part in in_parts(gone):
        await connection.execute(t.delete().where(t.c.id.in_(part)))
    at = now()
    new = [
        {
            "id": new_id(),
            "resource_type": resource_type,
            "resource_id": resource_id,
            "principal_type": kind,
            "principal_id": principal,
            "permission": permission,
            "created_at": at,
        }
        for kind, principal, permission in dict.fromkeys(wanted)
        if (kind, principal, permission) not in stand
    ]
    if new:
        await connection.execute(inserting(connection, t).on_conflict_do_nothing(), new)
    if new or gone:
        acts.note(resource_type, resource_id, {"access": (sorted(stand), sorted(stays))})


async def clear(connection: AsyncConnection, resource_type: str, resource_ids: Collection[str]) -> None:
    """Removes all grants on some things; who deletes a thing calls it."""
    for part in in_parts(resource_ids):
        await connection.execute(t.delete().where(t.c.resource_type == resource_type, t.c.resource_id.in_(part)))


async def clear_where(connection: AsyncConnection, resource_type: str, things: "sa.Select[Any]") -> None:
    """Removes all grants on the things whose ids a query gives."""
    await connection.execute(t.delete().where(t.c.resource_type == resource_type, t.c.resource_id.in_(things)))
