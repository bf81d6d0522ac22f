"""Memories: those of the person who asks, and nobody else's."""

from typing import Any

import msgspec

from open_webui.errors import NotFound
from open_webui.models import memories as stored
from open_webui.models.memories import Memory
from open_webui.schemas.memories import AddMemoryForm, MemoryUpdateForm, QueryMemoryForm
from open_webui.services import memories
from open_webui.services.facades.use import Use


def _wire(row: Memory) -> dict[str, Any]:
    return msgspec.structs.asdict(row)


async def own(use: Use) -> list[dict[str, Any]]:
    if use.has("user_id") and not use.is_own():
        return []
    return [_wire(row) for row in await memories.listed(use.deps, use.principal)]


async def by_id(use: Use) -> dict[str, Any] | None:
    async with use.deps.database.read() as connection:
        row = await stored.repository.get_for(connection, use.principal, use.text("id"))
    return None if row is None else _wire(row)


async def query(use: Use) -> dict[str, Any]:
    return await memories.query(use.deps, use.principal, use.form("form_data", QueryMemoryForm))


async def insert(use: Use) -> dict[str, Any] | None:
    if not use.is_own():
        return None
    return await _add(use, use.filled(AddMemoryForm, {"content": use.arguments.get("content")}))


async def add(use: Use) -> dict[str, Any]:
    return await _add(use, use.form("form_data", AddMemoryForm))


async def _add(use: Use, form: AddMemoryForm) -> dict[str, Any]:
    return _wire(await memories.add(use.deps, use.principal, form, by="plugin"))


async def set_content(use: Use) -> dict[str, Any] | None:
    if not use.is_own():
        return None
    return await _change(use, "id", use.filled(MemoryUpdateForm, {"content": use.arguments.get("content")}))


async def update(use: Use) -> dict[str, Any] | None:
    return await _change(use, "memory_id", use.form("form_data", MemoryUpdateForm))


async def _change(use: Use, name: str, form: MemoryUpdateForm) -> dict[str, Any] | None:
    try:
        return _wire(await memories.update(use.deps, use.principal, use.text(name), form))
    except NotFound:
        return None


async def delete_own(use: Use) -> bool:
    return use.is_own() and await memories.delete(use.deps, use.principal, use.text("id"))


async def delete(use: Use) -> bool:
    return await memories.delete(use.deps, use.principal, use.text("memory_id"))
