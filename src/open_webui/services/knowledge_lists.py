"""What lists show of the files in knowledge bases: by directory, of all bases, and those that are being read."""

from collections.abc import Mapping
from typing import Any, Final

from open_webui.errors import NotFound
from open_webui.models import knowledge, knowledge_directories, knowledge_files
from open_webui.models.knowledge_files import HeldFile
from open_webui.models.repository import Query, owners_of
from open_webui.principal import Principal
from open_webui.services import uploads
from open_webui.services.knowledge import file_wire
from open_webui.services.knowledge_places import NO_DIRECTORY, Deps
from open_webui.services.knowledge_tree import Directories, names_of, path_of

# Files that are being read, in one reply.
MAX_PENDING: Final = 1_000
Wire = dict[str, Any]


async def files_of(
    deps: Deps, principal: Principal, knowledge_id: str, query: Query, directory_id: str | None, *, content: bool
) -> Wire:
    """A page of the files of a base. directory_id: "" for the top, None for the whole of it. content: with their texts.

    Raises NotFound (400 for a base, 404 for a directory).
    """
    async with deps.database.read() as connection:
        await knowledge.repository.require(connection, principal, knowledge_id, missing=400)
        there = await knowledge_directories.all_of(connection, knowledge_id)
        if directory_id and directory_id not in there:
            raise NotFound(NO_DIRECTORY)
        place = () if directory_id is None else (directory_id or None,)
        page = await knowledge_files.page(connection, principal, knowledge_id, query, place)
        owners = await owners_of(connection, principal, page.items)
    shown = [d for d in there.values() if place == (d.parent_id,) and (query.text or "").lower() in d.name.lower()]
    return {
        "items": [_line(one, wire, there, owners) for one, wire in await _wires(deps, page.items, content=content)],
        "directories": shown,
        "breadcrumbs": path_of(there, directory_id),
        "total": page.total,
    }


async def _wires(deps: Deps, found: list[HeldFile], *, content: bool) -> list[tuple[HeldFile, Wire]]:
    return list(zip(found, await uploads.listed(deps, found, content=content), strict=True))


def _line(one: HeldFile, wire: Wire, there: Directories, owners: Mapping[str, Any]) -> Wire:
    return file_wire(one, wire) | {
        "directory_id": one.directory_id,
        "directory_path": names_of(there, one.directory_id),
        "has_original": True,
        "user": owners.get(one.user_id or ""),
    }


async def search(deps: Deps, principal: Principal, query: Query, *, content: bool) -> Wire:
    """A page of the files of all bases that the caller may read, each with its base."""
    async with deps.database.read() as connection:
        page = await knowledge_files.search(connection, principal, query)
        bases = await knowledge.by_ids(connection, {one.knowledge_id for one in page.items})
        wanted = {one.directory_id for one in page.items if one.directory_id}
        there = await knowledge_directories.of_many(connection, wanted)
        owners = await owners_of(connection, principal, page.items)
    items = [
        _line(one, wire, there, owners) | {"collection": bases.get(one.knowledge_id)}
        for one, wire in await _wires(deps, page.items, content=content)
    ]
    return {"items": items, "directories": [], "breadcrumbs": [], "total": page.total}


async def pending(deps: Deps, principal: Principal, knowledge_id: str) -> list[Wire]:
    """The files of a base that are being read. Raises NotFound."""
    async with deps.database.read() as connection:
        await knowledge.repository.require(connection, principal, knowledge_id)
        found = await knowledge_files.pending(connection, knowledge_id, MAX_PENDING)
    return [_waiting(one) for one in found]


def _waiting(one: HeldFile) -> Wire:
    wire = uploads.wire(one)
    placed = {"knowledge_id": one.knowledge_id, "directory_id": one.directory_id}
    return wire | {"meta": wire["meta"] | {"data": (wire["meta"].get("data") or {}) | placed}}
