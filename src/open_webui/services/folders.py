"""What can be done with folders."""

from typing import Any

from open_webui.errors import BadRequest, Forbidden, NotFound
from open_webui.internal.db import UnitOfWork
from open_webui.models import chat_lists, chats, folders
from open_webui.models.base import clean, clean_json
from open_webui.models.folders import Folder
from open_webui.principal import Principal
from open_webui.schemas.folders import FolderForm, FolderUpdateForm
from open_webui.services.chats import House

TAKEN = "There is a folder with this name here already."


async def own(unit: UnitOfWork, principal: Principal, folder_id: str) -> Folder:
    """A folder of the principal, in a transaction that is going to change it. Raises NotFound."""
    folder = await folders.own(unit.connection, principal.id, folder_id)
    if folder is None:
        raise NotFound
    return folder


async def create(house: House, principal: Principal, given: FolderForm) -> Folder:
    async with house.database.write() as unit:
        if given.parent_id is not None:
            await own(unit, principal, given.parent_id)
        if len(await folders.parents(unit.connection, principal.id)) >= folders.MAX_FOLDERS:
            raise BadRequest(f"One can have at most {folders.MAX_FOLDERS} folders.")
        name = _name(given.name)
        if await folders.name_taken(unit.connection, principal.id, given.parent_id, name):
            raise BadRequest(TAKEN)
        return await folders.create(
            unit.connection, principal.id, name=name, parent_id=given.parent_id, data=given.data, meta=given.meta
        )


def _name(given: str) -> str:
    name = clean(given).strip()
    if not name:
        raise BadRequest("A folder needs a name.")
    return name


async def update(house: House, principal: Principal, folder_id: str, given: FolderUpdateForm) -> Folder:
    """Renames a folder; merges what is given over its data and meta."""
    async with house.database.write() as unit:
        folder = await own(unit, principal, folder_id)
        values: dict[str, Any] = {}
        if given.name is not None:
            values["name"] = _name(given.name)
            if await folders.name_taken(unit.connection, principal.id, folder.parent_id, values["name"], folder.id):
                raise BadRequest(TAKEN)
        for field, stored in (("data", folder.data), ("meta", folder.meta)):
            new = getattr(given, field)
            if new is not None:
                values[field] = clean_json((stored if isinstance(stored, dict) else {}) | new)
        if values:
            await folders.change(unit.connection, folder.id, **values)
        return await own(unit, principal, folder_id)


async def set_expanded(house: House, principal: Principal, folder_id: str, is_expanded: bool) -> Folder:
    async with house.database.write() as unit:
        await own(unit, principal, folder_id)
        await folders.change(unit.connection, folder_id, is_expanded=is_expanded)
        return await own(unit, principal, folder_id)


async def move(house: House, principal: Principal, folder_id: str, parent_id: str | None) -> Folder:
    """Puts a folder into another, or to the top. A folder can't lie in itself."""
    async with house.database.write() as unit:
        folder = await own(unit, principal, folder_id)
        if parent_id is not None:
            await own(unit, principal, parent_id)
            if parent_id in below(await folders.parents(unit.connection, principal.id), folder_id):
                raise BadRequest("A folder can't be moved into itself.")
        if await folders.name_taken(unit.connection, principal.id, parent_id, folder.name, folder.id):
            raise BadRequest(TAKEN)
        await folders.change(unit.connection, folder_id, parent_id=parent_id)
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


async def delete(house: House, principal: Principal, folder_id: str, delete_contents: bool) -> bool:
    """Removes a folder and those in it. Their chats go too, or (delete_contents false) come out of the folder."""
    async with house.database.write() as unit:
        await own(unit, principal, folder_id)
        gone = below(await folders.parents(unit.connection, principal.id), folder_id)
        if delete_contents:
            if not principal.may("chat.delete"):
                raise Forbidden("You may not delete chats, so this folder can only be removed without its contents.")
            await chats.delete_all(unit.connection, principal.id, gone)
        await folders.delete(unit.connection, gone)
    return True


async def mark_read(house: House, principal: Principal, folder_id: str) -> dict[str, Any]:
    """Marks the chats in a folder and in those in it as read."""
    async with house.database.write() as unit:
        await own(unit, principal, folder_id)
        ids = below(await folders.parents(unit.connection, principal.id), folder_id)
        count = await chat_lists.mark_read(unit.connection, principal.id, ids)
        counts = await folders.unread_counts(unit.connection, principal.id)
    return {"folder_id": folder_id, "folder_ids": ids, "updated_count": count, "folder_unread_counts": counts}
