"""Knowledge bases: making, changing and sharing them, and the files in them."""

from collections.abc import Sequence
from typing import Any

import msgspec
from sqlalchemy.ext.asyncio import AsyncConnection

from open_webui import constants
from open_webui.errors import BadRequest, Forbidden, NotFound
from open_webui.models import knowledge, knowledge_files, uploads
from open_webui.models.knowledge import Knowledge
from open_webui.models.knowledge_files import HeldFile
from open_webui.models.repository import Query
from open_webui.principal import Principal
from open_webui.schemas.knowledge import KnowledgeFileForm, KnowledgeForm
from open_webui.services import granted
from open_webui.services import uploads as uploads_service
from open_webui.services.knowledge_places import NOT_HERE, Deps, forget, place, writable

Wire = dict[str, Any]


# Bases


async def listed(deps: Deps, principal: Principal, query: Query, source: str | None = None) -> Wire:
    """A page of the bases that the caller may read, each with the number of its files. source: see `knowledge.page`."""
    async with deps.database.read() as connection:
        page = await knowledge.page(connection, principal, query, source)
        counts = await knowledge.file_counts(connection, [row.id for row in page.items])
    items = [
        msgspec.structs.asdict(row)
        | {
            "user": page.owners.get(row.user_id),
            "file_count": counts.get(row.id, 0),
            "write_access": knowledge.repository.may(row, principal, "write"),
        }
        for row in page.items
    ]
    return {"items": items, "total": page.total}


async def count(deps: Deps) -> int:
    """How many bases there are."""
    async with deps.database.read() as connection:
        return await knowledge.count(connection)


async def create(deps: Deps, principal: Principal, form: KnowledgeForm) -> Wire:
    """A new base. Grants that the caller may not give are left out."""
    if not principal.may("workspace.knowledge"):
        # The bare marker that pages know.
        raise Forbidden(constants.UNAUTHORIZED)
    made = await granted.create(
        deps, knowledge.repository, principal, form.values() | {"meta": None}, form.access_grants
    )
    return msgspec.structs.asdict(made) | {"files": None}


async def get(deps: Deps, principal: Principal, knowledge_id: str) -> Wire:
    """One base, and whether the caller may change it. Raises NotFound, Forbidden."""
    async with deps.database.read() as connection:
        row = await knowledge.repository.get(connection, knowledge_id)
    if row is None:
        raise NotFound
    if not knowledge.repository.may(row, principal, "read"):
        raise Forbidden
    return _wire(row, None, write_access=knowledge.repository.may(row, principal, "write"))


async def update(deps: Deps, principal: Principal, knowledge_id: str, form: KnowledgeForm) -> Wire:
    async with deps.database.write() as unit:
        await writable(unit, principal, knowledge_id)
        await knowledge.repository.change(unit.connection, knowledge_id, form.values())
        if form.access_grants is not None:
            await knowledge.repository.set_grants(
                unit.connection, principal, knowledge_id, form.access_grants, strict=False
            )
        return await _stored(unit.connection, knowledge_id)


async def set_access(deps: Deps, principal: Principal, knowledge_id: str, given: Sequence[Wire]) -> Wire:
    """Replaces the grants on a base. Raises Forbidden (403) when a new one is not the caller's to give."""
    async with deps.database.write() as unit:
        await writable(unit, principal, knowledge_id)
        await knowledge.repository.set_grants(unit.connection, principal, knowledge_id, given, strict=True)
        return await _stored(unit.connection, knowledge_id)


async def delete(deps: Deps, principal: Principal, knowledge_id: str) -> bool:
    """Removes a base. Its files stay whose they are."""
    async with deps.database.write() as unit:
        await writable(unit, principal, knowledge_id)
        await knowledge.repository.delete(unit.connection, [knowledge_id])
    return True


# Files


async def add_files(deps: Deps, principal: Principal, knowledge_id: str, given: Sequence[KnowledgeFileForm]) -> Wire:
    """Puts files into a base: all or none. One that is in it stays where it is.

    Raises BadRequest for a file that the caller may not put there, and for a directory that is not the base's.
    """
    async with deps.database.write() as unit:
        await writable(unit, principal, knowledge_id)
        await place(deps, unit, principal, knowledge_id, {one.file_id: one.directory_id for one in given})
        return await _stored(unit.connection, knowledge_id)


async def update_file(deps: Deps, principal: Principal, knowledge_id: str, file_id: str) -> Wire:
    """Has a file of a base read that could not be read before. Raises BadRequest where it is not in the base."""
    async with deps.database.write() as unit:
        await writable(unit, principal, knowledge_id)
        if not await knowledge.within(unit.connection, knowledge_id, [file_id]):
            raise BadRequest(NOT_HERE)
        for unread in await uploads.have_read(unit.connection, [file_id], failed=True):
            await deps.ingestion.enqueue(unit, unread)
        return await _stored(unit.connection, knowledge_id)


async def remove_file(deps: Deps, principal: Principal, knowledge_id: str, file_id: str, *, delete_file: bool) -> Wire:
    """Takes a file out of a base. delete_file: and removes it, if it is the caller's own and nothing else uses it."""
    async with deps.database.write() as unit:
        await writable(unit, principal, knowledge_id)
        if not await knowledge.remove_files(unit.connection, knowledge_id, [file_id]):
            raise BadRequest(NOT_HERE)
        if delete_file:
            await forget(deps, unit, principal, [file_id])
        return await _stored(unit.connection, knowledge_id)


# What they share


async def _stored(connection: AsyncConnection, knowledge_id: str) -> Wire:
    """A base that was just changed, with the files that came into it last."""
    row = await knowledge.repository.get(connection, knowledge_id)
    if row is None:
        raise NotFound
    shown = await knowledge_files.newest(connection, knowledge_id)
    wires = [file_wire(one, uploads_service.wire(one)) for one in shown]
    brief = [{n: wire[n] for n in ("id", "hash", "meta", "created_at", "updated_at")} for wire in wires]
    return _wire(row, brief, write_access=True)


def _wire(row: Knowledge, shown: list[Wire] | None, *, write_access: bool) -> Wire:
    return msgspec.structs.asdict(row) | {"files": shown, "write_access": write_access}


def file_wire(held: HeldFile, wire: Wire) -> Wire:
    """A file of a base as lists of bases have it. wire: as lists of files have it."""
    shown = wire["meta"] | {"file_hash": held.blob, "collection_name": held.knowledge_id}
    is_plain = held.status == "completed" and "content" not in wire["data"]
    return wire | {"data": None if is_plain else wire["data"], "meta": shown}
