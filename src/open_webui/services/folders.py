"""What can be done with folders."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from typing import Any, Final

import msgspec
from sqlalchemy.ext.asyncio import AsyncConnection

from open_webui.errors import BadRequest, Forbidden, NotFound
from open_webui.internal.db import UnitOfWork
from open_webui.models import chats, file_uses, folders, users
from open_webui.models.base import clean, clean_json, now
from open_webui.models.folders import ChatInFolder, Folder
from open_webui.models.grants import Grant
from open_webui.principal import Principal
from open_webui.schemas.chats import GrantsForm
from open_webui.schemas.folders import FolderForm, FolderUpdateForm
from open_webui.services import attached, staging
from open_webui.services.deps import Deps

PAGE: Final = 10
TAKEN: Final = "There is a folder with this name here already."


async def own(unit: UnitOfWork, principal: Principal, folder_id: str) -> Folder:
    """A folder of the principal, in a transaction that is going to change it. Raises NotFound."""
    folder = await folders.repository.get_own(unit.connection, principal.id, folder_id, lock=True)
    if folder is None:
        raise NotFound
    return folder


@asynccontextmanager
async def _change_tree(deps: Deps, principal: Principal) -> AsyncIterator[UnitOfWork]:
    """A unit of work that may change which folders the principal has, how they are called, and what lies where.

    One at a time for a person: two that look at the tree at once could each put a folder into the other's.
    """
    async with deps.database.write() as unit:
        await users.lock(unit.connection, [principal.id])
        yield unit


async def create(deps: Deps, principal: Principal, given: FolderForm) -> Folder:
    async with _change_tree(deps, principal) as unit:
        if given.parent_id is not None:
            await own(unit, principal, given.parent_id)
        if len(await folders.parents(unit.connection, principal.id)) >= folders.MAX_FOLDERS:
            raise BadRequest(f"One can have at most {folders.MAX_FOLDERS} folders.")
        await attached.check(unit.connection, principal, (given.data or {}).get("files"))
        name = _name(given.name)
        if await folders.name_taken(unit.connection, principal.id, given.parent_id, name):
            raise BadRequest(TAKEN)
        values = {"parent_id": given.parent_id, "name": name, "data": clean_json(given.data)}
        made = await folders.repository.create(
            unit.connection, principal.id, values | {"meta": clean_json(given.meta), "items": None}
        )
        assert made is not None, "a new id is taken by nobody"
        await file_uses.link(unit.connection, "folder_id", made.id, principal.id, [made.data, made.meta], new=True)
    return made


def _name(given: str) -> str:
    name = clean(given).strip()
    if not name:
        raise BadRequest("A folder needs a name.")
    return name


async def update(deps: Deps, principal: Principal, folder_id: str, given: FolderUpdateForm) -> Folder:
    """Renames a folder; merges what is given over its data and meta."""
    async with _change_tree(deps, principal) as unit:
        folder = await own(unit, principal, folder_id)
        values: dict[str, Any] = {}
        if given.name is not None:
            values["name"] = _name(given.name)
            if await folders.name_taken(unit.connection, principal.id, folder.parent_id, values["name"], folder.id):
                raise BadRequest(TAKEN)
        for field, stored in (("data", folder.data), ("meta", folder.meta)):
            new = getattr(given, field)
            if new is not None:
                stood = stored if isinstance(stored, dict) else {}
                await attached.check(unit.connection, principal, new.get("files"), stood.get("files"))
                values[field] = clean_json(stood | new)
        if values:
            await folders.repository.change(unit.connection, folder.id, values)
        folder = await own(unit, principal, folder_id)
        await file_uses.link(unit.connection, "folder_id", folder.id, principal.id, [folder.data, folder.meta])
    return folder


async def set_expanded(deps: Deps, principal: Principal, folder_id: str, is_expanded: bool) -> Folder:
    async with deps.database.write() as unit:
        await own(unit, principal, folder_id)
        # Opening and closing a folder is no change of it.
        await folders.repository.change(unit.connection, folder_id, {"is_expanded": is_expanded}, touch=False)
        return await own(unit, principal, folder_id)


async def move(deps: Deps, principal: Principal, folder_id: str, parent_id: str | None) -> Folder:
    """Puts a folder into another, or to the top. A folder can't lie in itself."""
    async with _change_tree(deps, principal) as unit:
        folder = await own(unit, principal, folder_id)
        if parent_id is not None:
            await own(unit, principal, parent_id)
            if parent_id in below(await folders.parents(unit.connection, principal.id), folder_id):
                raise BadRequest("A folder can't be moved into itself.")
        if await folders.name_taken(unit.connection, principal.id, parent_id, folder.name, folder.id):
            raise BadRequest(TAKEN)
        await folders.repository.change(unit.connection, folder_id, {"parent_id": parent_id})
        return await own(unit, principal, folder_id)


def below(parents: dict[str, str | None], folder_id: str) -> list[str]:
    """A folder and all in it, each once, also where stored parents go in circles."""
    children: dict[str | None, list[str]] = {}
    for i, parent in parents.items():
        children.setdefault(parent, []).append(i)
    out = [folder_id]
    seen = {folder_id}
    for i in out:
        inside = [c for c in children.get(i, []) if c not in seen]
        seen.update(inside)
        out += inside
    return out


async def set_access(deps: Deps, principal: Principal, folder_id: str, given: GrantsForm) -> tuple[Folder, list[Grant]]:
    """Puts grants in the place of those on one's folder."""
    async with deps.database.write() as unit:
        folder = await own(unit, principal, folder_id)
        await folders.repository.set_grants(unit.connection, principal, folder.id, given.access_grants, strict=True)
        unit.after_commit(partial(deps.identifier.renew, ()))
        return folder, await folders.repository.grants_on(unit.connection, folder.id)


async def get(deps: Deps, principal: Principal, folder_id: str) -> dict[str, Any]:
    """A folder as one who may read it sees it. Raises NotFound."""
    async with deps.database.read() as connection:
        folder = await folders.repository.require(connection, principal, folder_id)
        may_write = await _may_write(connection, principal, folder_id)
        is_owner = folder.user_id == principal.id
        given = await folders.repository.grants_on(connection, folder.id) if is_owner else []
    wire: dict[str, Any] = msgspec.structs.asdict(folder)
    wire["data"] = folders.for_reader(folder.data, may_write=may_write)
    return wire | {"access_grants": given, "write_access": may_write}


async def _may_write(connection: AsyncConnection, principal: Principal, folder_id: str) -> bool:
    return await folders.repository.get_for(connection, principal, folder_id, "write") is not None


async def chats_in(
    deps: Deps, principal: Principal, folder_id: str, page: int | None, sort_by: str, *, descending: bool
) -> dict[str, Any]:
    """The chats in a folder, whosever they are: a page of them, or (page None) all. Raises NotFound."""
    async with deps.database.read() as connection:
        await folders.repository.require(connection, principal, folder_id)
        may_write = await _may_write(connection, principal, folder_id)
        size = PAGE if page else folders.MAX_FOLDERS
        offset = (page - 1) * PAGE if page else 0
        rows, total = await folders.chats_in(connection, folder_id, size, offset, sort_by, descending)
    active = deps.active_chats()
    reply: dict[str, Any] = {
        "chats": [_line(row, principal, may_write, active) for row in rows],
        "folder_permission": "write" if may_write else "read",
    }
    return reply | ({"total": total, "has_more": page * PAGE < total} if page else {})


def _line(row: ChatInFolder, principal: Principal, may_write: bool, active: frozenset[str]) -> dict[str, Any]:
    return {
        "id": row.id,
        "title": row.title,
        "user_id": row.user_id,
        "updated_at": row.updated_at,
        "created_at": row.created_at,
        "last_read_at": row.last_read_at if row.user_id == principal.id else row.updated_at,
        "owner_name": row.owner_name,
        "participants": [{"id": row.user_id, "name": row.owner_name}],
        "active": row.id in active,
        "readonly": row.user_id != principal.id and not may_write,
    }


async def delete(deps: Deps, principal: Principal, folder_id: str, delete_contents: bool) -> bool:
    """Removes a folder and those in it. Their chats go too, or (delete_contents false) come out of the folder."""
    async with _change_tree(deps, principal) as unit:
        await own(unit, principal, folder_id)
        gone = below(await folders.parents(unit.connection, principal.id), folder_id)
        await folders.hold_all(unit.connection, gone)
        if delete_contents:
            if not principal.may("chat.delete"):
                raise Forbidden("You may not delete chats, so this folder can only be removed without its contents.")
            held = await chats.lock_all(unit.connection, principal.id, "all", gone)
            await staging.remove(deps.database, unit, held)
        await folders.repository.delete(unit.connection, gone)
    return True


async def mark_read(deps: Deps, principal: Principal, folder_id: str) -> dict[str, Any]:
    """Marks the chats in a folder and in those in it as read."""
    async with deps.database.write() as unit:
        await own(unit, principal, folder_id)
        ids = below(await folders.parents(unit.connection, principal.id), folder_id)
        unread = await chats.lock_all(unit.connection, principal.id, "unread", ids)
        await chats.change_all(unit.connection, unread, last_read_at=now())
        counts = await folders.unread_counts(unit.connection, principal.id)
    return {"folder_id": folder_id, "folder_ids": ids, "updated_count": len(unread.ids), "folder_unread_counts": counts}
