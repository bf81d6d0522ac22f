"""Where things lie: folders of chats, and knowledge bases with their directories and files."""

from typing import Any, Final

from open_webui.constants import MAX_NAME
from open_webui.models import documents, file_uses, files, grants, knowledge, knowledge_directories, moved, uploads
from open_webui.models.folders import MAX_FOLDERS
from open_webui.models.grants import GrantTriple
from open_webui.models.knowledge_directories import MAX_DIRECTORIES
from open_webui.moving_in.move import Move, Part, below
from open_webui.moving_in.rows import Left, Row
from open_webui.services.ingestion import ask_for
from open_webui.utils import tree

_MAX_DOCUMENT: Final = 40_000_000


# Folders


async def folder(move: Move, row: Row) -> tuple[dict[str, Any], list[GrantTriple], list[files.NewFile]]:
    folder_id, owner = row.need_id(), move.owner(row)
    counted = move.folders.get(owner, 0) + 1
    if counted > MAX_FOLDERS:
        raise Left(f"one can have at most {MAX_FOLDERS:,} folders")
    above = move.parents.get("folder", {}).get(folder_id)
    told = {name: row.json(name) for name in ("items", "meta", "data")}
    if sum(len(row.raw(name) or "") for name in told) > _MAX_DOCUMENT:
        raise Left("what it says of itself is too large")
    taken, pictures = await move.without_pictures(owner, told)
    values = {
        "id": folder_id,
        "user_id": owner,
        "parent_id": above if move.is_here("folder", above) else None,
        "name": row.need("name", MAX_NAME),
        "is_expanded": row.flag("is_expanded"),
    }
    move.folders[owner] = counted
    return values | taken | row.times(move.at), await move.grants("folder", row, folder_id), pictures


async def store_folder(move: Move, made: tuple[dict[str, Any], list[GrantTriple], list[files.NewFile]]) -> bool:
    values, given, pictures = made
    async with move.database.write() as unit:
        connection = unit.connection
        await files.add(connection, values["user_id"], pictures)
        if not await moved.insert(connection, "folder", values):
            return False
        used = [values["meta"], values["data"]]
        await file_uses.link(connection, "folder_id", values["id"], values["user_id"], used, new=True)
        await grants.replace(connection, "folder", values["id"], given)
    return True


# Knowledge bases


async def base(move: Move, row: Row) -> tuple[dict[str, Any], list[dict[str, Any]], list[GrantTriple]]:
    """A base, its directories (those above come first), and the grants on it."""
    base_id, owner = row.need_id(), move.owner(row)
    values = {
        "id": base_id,
        "user_id": owner,
        "name": row.need("name", MAX_NAME),
        "description": row.text("description", 100_000) or "",
        "meta": row.object("meta"),
        "connection_id": None,
    } | row.times(move.at)
    found = await move.source.select("knowledge_directory", "knowledge_id", [base_id], limit=MAX_DIRECTORIES + 1)
    if len(found) > MAX_DIRECTORIES:
        raise Left(f"it has more than {MAX_DIRECTORIES:,} directories")
    return values, _directories(move, row, base_id, found), await move.grants("knowledge", row, base_id)


def _directories(move: Move, base_row: Row, base_id: str, found: list[Row]) -> list[dict[str, Any]]:
    rows = {one: row for row in found if (one := row.id()) is not None}
    parents = tree.repair({one: row.id("parent_id") for one, row in rows.items()})
    taken: set[tuple[str | None, str]] = set()
    out: list[dict[str, Any]] = []
    waiting = [one for one in rows if parents[one] is None]
    children = tree.children_of(parents)
    while waiting:
        one = waiting.pop()
        row, above = rows[one], parents[one]
        said = (row.text("name", MAX_NAME) or "").replace("/", "_").strip() or "directory"
        name, number = said, 1
        while (above, name) in taken:
            number += 1
            name = f"{said[: MAX_NAME - 10]} ({number})"
        if name != said:
            base_row.mended.append("two of its directories had the same name; one has another now")
        taken.add((above, name))
        owner = move.people.get(row.id("user_id") or "")
        values = {"id": one, "knowledge_id": base_id, "parent_id": above, "name": name, "user_id": owner}
        out.append(values | row.times(move.at))
        waiting += children[one]
    return out


async def store_base(move: Move, made: tuple[dict[str, Any], list[dict[str, Any]], list[GrantTriple]]) -> bool:
    values, directories, given = made
    async with move.database.write() as unit:
        if not await moved.insert(unit.connection, "knowledge", values):
            return False
        for directory in directories:
            await moved.insert(unit.connection, "knowledge_directory", directory)
        await grants.replace(unit.connection, "knowledge", values["id"], given)
    return True


async def placed(move: Move, row: Row) -> dict[str, Any]:
    """That a base holds a file. Both are of this import: no file of somebody here gets into a foreign base."""
    base_id, file_id = row.id("knowledge_id"), row.id("file_id")
    if not move.is_here("knowledge", base_id):
        raise Left("its knowledge base did not come along")
    if not move.is_here("file", file_id):
        raise Left("its file did not come along")
    return {
        "id": row.need_id(),
        "knowledge_id": base_id,
        "file_id": file_id,
        "user_id": move.people.get(row.id("user_id") or ""),
        "directory_id": row.id("directory_id"),
    } | row.times(move.at)


async def store_placed(move: Move, made: dict[str, Any]) -> bool:
    async with move.database.write() as unit:
        connection = unit.connection
        if await knowledge.repository.get(connection, made["knowledge_id"], lock=True) is None:
            raise Left("its knowledge base is gone")
        inside = made["directory_id"]
        if inside is not None:
            there = (await knowledge_directories.of_many(connection, [inside])).get(inside)
            if there is None or there.knowledge_id != made["knowledge_id"]:
                made["directory_id"] = None
        if not await moved.insert(connection, "knowledge_file", made):
            return False
        await documents.changed(connection, [made["knowledge_id"]])
        for file_id in await uploads.have_read(connection, [made["file_id"]]):
            await ask_for(connection, file_id)
    return True


FOLDERS: Final = Part(
    "folder",
    "folder",
    ("id", "user_id", "name"),
    folder,
    store_folder,
    order=below("folder", "parent_id", same_owner=True),
    at_once=1,
)
BASES: Final = Part("knowledge", "knowledge", ("id", "user_id", "name"), base, store_base)
PLACED: Final = Part("knowledge_file", "knowledge_file", ("id", "knowledge_id", "file_id"), placed, store_placed)
