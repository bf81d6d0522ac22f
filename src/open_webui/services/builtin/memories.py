"""Memories: found, listed, made, changed and removed for their owner."""

from typing import Any, Final

from open_webui.errors import NotFound
from open_webui.models.memories import Kind, Memory
from open_webui.schemas.memories import AddMemoryForm, MemoryUpdateForm, SearchMemoriesForm
from open_webui.services import memories
from open_webui.services.builtin.row import Use, formed

UNKNOWN: Final = "There is no such memory. search_memories and list_memories tell the ids."
_KINDS: Final[dict[str, Kind]] = {"user": "user", "context": "context"}


async def search(use: Use) -> dict[str, Any]:
    """By meaning where there are vectors, and by words; and those that have all words of the query as parts of theirs."""
    deps, principal, query = use.deps, use.asked.principal, use.text("query")
    count = use.number("count", 5, least=1, most=20)
    found = [row for row, _ in await memories.find(deps, principal, query, count)]
    if len(found) < count:
        known = {row.id for row in found}
        worded = await memories.search(deps, principal, SearchMemoriesForm(query=query, limit=count))
        found += [row for row in worded if row.id not in known]
    return {"memories": [_shown(row) for row in found[:count]]}


async def list_all(use: Use) -> dict[str, Any]:
    kind = use.arguments.get("type")
    form = SearchMemoriesForm(
        type=_KINDS.get(kind, "all") if isinstance(kind, str) else "all",
        path=use.text("path", limit=500) if use.arguments.get("path") else None,
        limit=use.number("count", 20, least=1, most=100),
    )
    return {"memories": [_shown(row) for row in await memories.search(use.deps, use.asked.principal, form)]}


async def add(use: Use) -> dict[str, Any]:
    given = {name: use.arguments[name] for name in ("content", "type", "path") if use.arguments.get(name) is not None}
    form = formed(AddMemoryForm, given)
    return _shown(await memories.add(use.deps, use.asked.principal, form, by="tool"))


async def replace(use: Use) -> dict[str, Any]:
    form = MemoryUpdateForm(content=use.text("content", limit=100_000))
    try:
        return _shown(await memories.update(use.deps, use.asked.principal, use.text("memory_id", limit=300), form))
    except NotFound:
        raise NotFound(UNKNOWN) from None


async def delete(use: Use) -> dict[str, Any]:
    memory_id = use.text("memory_id", limit=300)
    if not await memories.delete(use.deps, use.asked.principal, memory_id):
        raise NotFound(UNKNOWN)
    return {"deleted": memory_id}


def _shown(row: Memory) -> dict[str, Any]:
    return {
        "id": row.id,
        "content": row.content,
        "type": row.type,
        "path": row.path,
        "created_at": row.created_at,
        "updated_at": row.updated_at,
    }
