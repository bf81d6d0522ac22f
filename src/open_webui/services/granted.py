"""What can be done with any granted thing: listing, reading, making, changing, opening to others, deleting.

A resource without rules of its own needs no more than these, its form and its handlers ("Add a resource" in the docs).
"""

from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

import msgspec

from open_webui.errors import Conflict, NotFound
from open_webui.models.repository import Page, Query
from open_webui.models.resource import Resource
from open_webui.principal import Principal
from open_webui.services.deps import Deps

R = TypeVar("R", bound=msgspec.Struct)
Given = Sequence[Mapping[str, Any]]
Wire = dict[str, Any]


async def list_page(deps: Deps, resource: Resource[Any], principal: Principal, query: Query) -> Wire:
    """A page of the things that the caller may read, each with its owner and whether the caller may change it."""
    async with deps.database.read() as connection:
        page = await resource.page(connection, principal, query)
    return shown_page(resource, principal, page)


def shown_page(resource: Resource[Any], principal: Principal, page: Page[Any]) -> Wire:
    """A page of things as the wire has it."""
    items = [
        msgspec.structs.asdict(row)
        | {"user": page.owners.get(row.user_id), "write_access": resource.may(row, principal, "write")}
        for row in page.items
    ]
    return {"items": items, "total": page.total}


async def get(deps: Deps, resource: Resource[Any], principal: Principal, row_id: str) -> Wire:
    """One thing, and whether the caller may change it. Raises NotFound."""
    async with deps.database.read() as connection:
        row = await resource.require(connection, principal, row_id)
    return msgspec.structs.asdict(row) | {"write_access": resource.may(row, principal, "write")}


async def create(
    deps: Deps,
    resource: Resource[R],
    principal: Principal,
    values: Mapping[str, Any],
    given: Given | None = None,
    *,
    row_id: str | None = None,
) -> R:
    """A new thing. Grants that the caller may not give are left out. Raises Conflict when its id is taken."""
    async with deps.database.write() as unit:
        made: Any = await resource.create(unit.connection, principal.id, values, row_id=row_id)
        if made is None:
            raise Conflict("This id is taken. Choose another one.")
        await resource.set_grants(unit.connection, principal, made.id, given or (), strict=False)
        return await _stored(unit.connection, resource, made.id)


async def update(
    deps: Deps,
    resource: Resource[R],
    principal: Principal,
    row_id: str,
    values: Mapping[str, Any],
    given: Given | None = None,
) -> R:
    """Changes a thing, and its grants where they are given. Grants that the caller may not give are left out.

    Raises NotFound, Forbidden.
    """
    async with deps.database.write() as unit:
        await resource.require(unit.connection, principal, row_id, "write", lock=True)
        await resource.change(unit.connection, row_id, values)
        if given is not None:
            await resource.set_grants(unit.connection, principal, row_id, given, strict=False)
        return await _stored(unit.connection, resource, row_id)


async def set_access(deps: Deps, resource: Resource[R], principal: Principal, row_id: str, given: Given) -> R:
    """Replaces the grants on a thing. Raises NotFound, Forbidden: with 403 when a grant is not the caller's to give."""
    async with deps.database.write() as unit:
        await resource.require(unit.connection, principal, row_id, "write", lock=True)
        await resource.set_grants(unit.connection, principal, row_id, given, strict=True)
        return await _stored(unit.connection, resource, row_id)


async def delete(deps: Deps, resource: Resource[Any], principal: Principal, row_id: str) -> bool:
    """Removes a thing with the grants on it. Raises NotFound, Forbidden."""
    async with deps.database.write() as unit:
        await resource.require(unit.connection, principal, row_id, "write", lock=True)
        await resource.delete(unit.connection, [row_id])
    return True


async def _stored(connection: Any, resource: Resource[R], row_id: str) -> R:
    row = await resource.get(connection, row_id)
    if row is None:
        raise NotFound
    return row
