"""Model rows: custom models, and overrides of what connections list; with their grants."""

from typing import Any, Final

import msgspec
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from open_webui.models import tables, tag_names, versions
from open_webui.models.grants import Action, Grant
from open_webui.models.repository import Condition, Page, Query
from open_webui.models.resource import Resource, Sharing
from open_webui.principal import Principal

t = tables.model
# The custom models, of all rows.
_custom: Final = t.c.base_model_id.is_not(None)


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
        return repository.may(self, principal, action)


repository: Final = Resource(
    "model",
    t,
    Model,
    sharing=Sharing(people="sharing.models", public="sharing.public_models"),
    admins=("read", "write"),
    searches=("name", "id"),
    belongings=(versions.clear_where,),
    # What connections offer stays an administrator's.
    managed=(_custom, lambda row: row.base_model_id is not None),
)


async def page(connection: AsyncConnection, principal: Principal, query: Query, tag: str | None = None) -> Page[Model]:
    """A page of the custom models that the principal may read."""
    filters: list[Condition] = [_custom]
    if tag:
        filters.append(tag_names.has(connection, t.c.meta, tag))
    return await repository.page(connection, principal, query, *filters)


async def accessible(connection: AsyncConnection, principal: Principal, action: Action) -> list[Model]:
    """The custom models that the principal may read or change, whole, the oldest first."""
    return await repository.all(connection, _custom, repository.allowed(principal, action))


async def overrides(connection: AsyncConnection) -> list[Model]:
    """The rows about connections' own models."""
    return await repository.all(connection, sa.not_(_custom))


async def tags(connection: AsyncConnection, principal: Principal | None) -> list[str]:
    """The names of the tags on the custom models that the principal may read; None: on all overrides. Sorted."""
    where: Condition = sa.not_(_custom)
    if principal is not None:
        where = sa.and_(_custom, repository.readable_by(principal))
    return await tag_names.distinct(connection, t.c.meta, where)
