"""Folders: a tree of places for chats."""

from typing import Annotated, Any

import msgspec
from fastapi import Path, Query

from open_webui import constants
from open_webui.access.policy import USER
from open_webui.deps import AppState, Caller, Page
from open_webui.errors import NotFound
from open_webui.models import folders as stored
from open_webui.models import grants
from open_webui.models.folders import Folder, FolderRow, SharedFolder
from open_webui.principal import Principal
from open_webui.routing import allow, new_router
from open_webui.schemas.chats import GrantsForm
from open_webui.schemas.folders import ExpandedForm, FolderForm, FolderUpdateForm, ParentForm
from open_webui.services import folders, sharing

router = new_router(prefix="/api/v1/folders", tag="folders")
READ, WRITE = USER.on("folder", "read").needs("features.folders"), USER.on("folder", "write").needs("features.folders")
FolderId = Annotated[str, Path(alias="id", max_length=constants.MAX_ID)]
PAGE = 10


@router.get("/")
@allow(USER.on("folder", "list"))
async def list_folders(state: AppState, caller: Caller) -> list[FolderRow]:
    async with state.database.read() as connection:
        return await stored.of_user(connection, caller.id)


@router.post("/")
@allow(USER.on("folder", "create").needs("features.folders"))
async def create(state: AppState, caller: Caller, form: FolderForm) -> Folder:
    return await folders.create(state, caller, form)


@router.get("/shared")
@allow(USER.on("folder", "list"))
async def shared(state: AppState, caller: Caller) -> list[SharedFolder]:
    """Other people's folders that one was let into."""
    async with state.database.read() as connection:
        return await stored.shared_with(connection, caller)


@router.get("/{id}")
@allow(READ)
async def get(state: AppState, caller: Caller, folder_id: FolderId) -> dict[str, Any]:
    async with state.database.read() as connection:
        folder = await stored.get(connection, caller, folder_id)
        if folder is None:
            raise NotFound
        is_owner = folder.user_id == caller.id
        may_write = is_owner or await stored.get(connection, caller, folder_id, "write") is not None
        given = await grants.of(connection, stored.RESOURCE, folder.id) if is_owner else []
    wire: dict[str, Any] = msgspec.structs.asdict(folder)
    if not may_write and isinstance(folder.data, dict):
        # The prompt of a folder is for those who may change it.
        wire["data"] = {k: v for k, v in folder.data.items() if k != "system_prompt"}
    return wire | {"access_grants": given, "write_access": may_write}


@router.delete("/{id}")
@allow(USER.on("folder", "delete").needs("features.folders"))
async def delete(state: AppState, caller: Caller, folder_id: FolderId, delete_contents: bool | None = True) -> bool:
    done = await folders.delete(state, caller, folder_id, delete_contents is not False)
    await state.turns.stop_gone()
    return done


@router.post("/{id}/update")
@allow(WRITE)
async def update(state: AppState, caller: Caller, folder_id: FolderId, form: FolderUpdateForm) -> Folder:
    return await folders.update(state, caller, folder_id, form)


@router.post("/{id}/update/parent")
@allow(WRITE)
async def move(state: AppState, caller: Caller, folder_id: FolderId, form: ParentForm) -> Folder:
    return await folders.move(state, caller, folder_id, form.parent_id)


@router.post("/{id}/update/expanded")
@allow(WRITE)
async def expand(state: AppState, caller: Caller, folder_id: FolderId, form: ExpandedForm) -> Folder:
    return await folders.set_expanded(state, caller, folder_id, form.is_expanded)


@router.post("/{id}/access/update")
@allow(USER.on("folder", "share").needs("features.folders"))
async def set_access(state: AppState, caller: Caller, folder_id: FolderId, form: GrantsForm) -> dict[str, Any]:
    folder, given = await sharing.set_folder_access(state, caller, folder_id, form)
    return msgspec.structs.asdict(folder) | {"access_grants": given, "write_access": True}


@router.post("/{id}/read")
@allow(WRITE)
async def mark_read(state: AppState, caller: Caller, folder_id: FolderId) -> dict[str, Any]:
    return await folders.mark_read(state, caller, folder_id)


@router.get("/{id}/shared/chats")
@allow(READ)
async def chats_in(
    state: AppState,
    caller: Caller,
    folder_id: FolderId,
    *,
    page: Page | None = None,
    sort_by: Annotated[str, Query(max_length=50)] = "unread_updated_at",
    sort_dir: Annotated[str, Query(max_length=50)] = "desc",
) -> dict[str, Any]:
    """The chats in a folder, whosever they are."""
    async with state.database.read() as connection:
        folder = await stored.get(connection, caller, folder_id)
        if folder is None:
            raise NotFound
        may_write = await stored.get(connection, caller, folder_id, "write") is not None
        size = PAGE if page else stored.MAX_FOLDERS
        offset = (page - 1) * PAGE if page else 0
        rows, total = await stored.chats_in(connection, folder_id, size, offset, sort_by, sort_dir != "asc")
    reply: dict[str, Any] = {
        "chats": [_line(row, caller, may_write, state.active_chats()) for row in rows],
        "folder_permission": "write" if may_write else "read",
    }
    if page:
        reply |= {"total": total, "has_more": page * PAGE < total}
    return reply


def _line(row: stored.ChatInFolder, caller: Principal, may_write: bool, active: frozenset[str]) -> dict[str, Any]:
    return {
        "id": row.id,
        "title": row.title,
        "user_id": row.user_id,
        "updated_at": row.updated_at,
        "created_at": row.created_at,
        "last_read_at": row.last_read_at if row.user_id == caller.id else row.updated_at,
        "owner_name": row.owner_name,
        "participants": [{"id": row.user_id, "name": row.owner_name}],
        "active": row.id in active,
        "readonly": row.user_id != caller.id and not may_write,
    }
