"""Model rows: custom models, and overrides of what connections list; with their grants."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal

import msgspec
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from open_webui.models import grants, tables
from open_webui.models.base import inserting, new_id, now
from open_webui.models.grants import Grant
from open_webui.principal import Principal

t, grant = tables.model, tables.access_grant
RESOURCE = "model"
Action = Literal["read", "write"]
GrantTriple = tuple[str, str, str]


class Model(msgspec.Struct, frozen=True, kw_only=True):
    """A model's row with its grants, in the order of the wire.

    base_model_id: what a custom model is made of; None for an override of a connection's model of the same id.
    """

    version_id: str | None
    id: str
    user_id: str
    base_model_id: str | None
    name: str
    params: dict[str, Any]
    meta: dict[str, Any]
    access_grants: tuple[Grant, ...] = ()
    is_active: bool
    updated_at: int
    created_at: int

    def may(self, principal: Principal, action: Action) -> bool:
        """Whether the principal may do it: its owner, an admin, or by a grant (writing includes reading)."""
        if principal.is_admin or self.user_id == principal.id:
            return True
        return any(g.permission in {action, "write"} and concerns(g, principal) for g in self.access_grants)


def concerns(given: Grant, principal: Principal) -> bool:
    """Whether a grant is given to this person: by name, by group, or to everybody."""
    match given.principal_type:
        case "user":
            return given.principal_id in {principal.id, "*"} and principal.is_active
        case "group":
            return given.principal_id in principal.groups and principal.is_active
        case _:
            return given.principal_type == "anyone" and given.principal_id == "*"


_columns = [t.c[name] for name in Model.__struct_fields__ if name != "access_grants"]
_grant_columns = [grant.c[name] for name in Grant.__struct_fields__]


async def _with_grants(connection: AsyncConnection, query: "sa.Select[Any]", ids: Sequence[str] | None) -> list[Model]:
    rows = list((await connection.execute(query)).mappings())
    given: dict[str, list[Grant]] = {}
    found = sa.select(*_grant_columns).where(grant.c.resource_type == RESOURCE)
    if ids is not None:
        found = found.where(grant.c.resource_id.in_(ids))
    if rows:
        for row in await connection.execute(found.order_by(grant.c.created_at, grant.c.id)):
            given.setdefault(row.resource_id, []).append(Grant(*row))
    return [Model(**row, access_grants=tuple(given.get(row["id"], ()))) for row in rows]


async def all_models(connection: AsyncConnection) -> list[Model]:
    """Every row, for the catalogue, which judges access itself."""
    return await _with_grants(connection, sa.select(*_columns).order_by(t.c.created_at, t.c.id), None)


async def accessible(connection: AsyncConnection, principal: Principal, action: Action) -> list[Model]:
    """The custom models that the principal may read or change, newest change first."""
    query = sa.select(*_columns).where(t.c.base_model_id.is_not(None))
    if not principal.is_admin:
        query = query.where(sa.or_(t.c.user_id == principal.id, grants.granted(RESOURCE, t.c.id, principal, action)))
    return await _with_grants(connection, query.order_by(t.c.updated_at.desc(), t.c.id), None)


async def overrides(connection: AsyncConnection) -> list[Model]:
    """The rows about connections' own models."""
    query = sa.select(*_columns).where(t.c.base_model_id.is_(None))
    return await _with_grants(connection, query.order_by(t.c.created_at, t.c.id), None)


async def get(connection: AsyncConnection, model_id: str, *, lock: bool = False) -> Model | None:
    """One row whoever asks; ask `Model.may` next. lock: keeps other writers waiting until the unit of work ends."""
    query = sa.select(*_columns).where(t.c.id == model_id)
    found = await _with_grants(connection, query.with_for_update() if lock else query, [model_id])
    return found[0] if found else None


async def insert(connection: AsyncConnection, owner_id: str, model_id: str, values: Mapping[str, Any]) -> bool:
    """A new row; False when its id is taken."""
    at = now()
    statement = inserting(connection, t).values(
        id=model_id, user_id=owner_id, version_id=new_id(), created_at=at, updated_at=at, **values
    )
    return (await connection.execute(statement.on_conflict_do_nothing(index_elements=[t.c.id]))).rowcount == 1


async def update(
    connection: AsyncConnection, model_id: str, values: Mapping[str, Any], *, version: bool = True
) -> None:
    """Changes a row. version: it is another version of the model now."""
    changed = {"version_id": new_id()} if version else {}
    await connection.execute(t.update().where(t.c.id == model_id).values(updated_at=now(), **changed, **values))


async def set_grants(connection: AsyncConnection, model_id: str, given: Sequence[GrantTriple]) -> None:
    await grants.replace(connection, RESOURCE, model_id, given)


async def delete(connection: AsyncConnection, model_ids: Iterable[str]) -> None:
    """Removes rows and what was granted on them."""
    ids = list(model_ids)
    await connection.execute(t.delete().where(t.c.id.in_(ids)))
    await grants.clear(connection, RESOURCE, ids)


async def delete_all(connection: AsyncConnection) -> None:
    await connection.execute(t.delete())
    await connection.execute(grant.delete().where(grant.c.resource_type == RESOURCE))
