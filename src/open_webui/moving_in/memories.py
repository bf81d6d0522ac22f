"""Memories: what people want models to know of them."""

from typing import Any, Final

from open_webui.errors import BadRequest
from open_webui.models import documents, memories, moved
from open_webui.moving_in.move import Move, Part
from open_webui.moving_in.rows import Left, Row
from open_webui.services.memories import MOST, path_of

_LONGEST: Final = 100_000


async def memory(move: Move, row: Row) -> dict[str, Any]:
    owner = move.owner(row)
    content = row.need("content", _LONGEST + 1)
    if len(content) > _LONGEST:
        raise Left(f"it has more than {_LONGEST:,} characters")
    try:
        path = path_of(row.text("path", 2_000))
    except BadRequest:
        path = None
        row.mended.append("its path has too many parts")
    kind = row.text("type")
    return {
        "id": row.need_id(),
        "user_id": owner,
        "type": kind if kind in {"user", "context"} else "context",
        "path": path,
        "content": content,
        "meta": row.object("meta", 100_000),
    } | row.times(move.at)


async def store_memory(move: Move, made: dict[str, Any]) -> bool:
    async with move.database.write() as unit:
        connection = unit.connection
        await memories.hold(connection, made["user_id"])
        if await memories.count(connection, made["user_id"]) >= MOST:
            raise Left(f"one can have at most {MOST:,} memories")
        if not await moved.insert(connection, "memory", made):
            return False
        await documents.put_memories(connection, {made["id"]: made["content"]})
    return True


MEMORIES: Final = Part("memory", "memory", ("id", "user_id", "content"), memory, store_memory)
