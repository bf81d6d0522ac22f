"""Folders: a tree of places for chats."""

from typing import Annotated, Any

import msgspec
from fastapi import Path, Query

from open_webui import constants
from open_webui.access.policy import USER
from open_webui.deps import AppState, Caller, Page
from open_webui.models import folders as stored
from open_webui.models.folders import Folder, FolderRow, SharedFolder
from open_webui.routing import allow, new_router
from open_webui.schemas import replies
from open_webui.schemas.chats import GrantsForm
from open_webui.schemas.folders import ExpandedForm, FolderForm, FolderUpdateForm, ParentForm
from open_webui.schemas.replies.shape import Shape
from open_webui.services import folders

router = new_router(prefix="/api/v1/folders", tag="folders")
READ, WRITE = USER.on("folder", "read").needs("features.folders"), USER.on("folder", "write").needs("features.folders")
FolderId = Annotated[str, Path(alias="id", max_length=constants.MAX_ID)]


@router.get("/")
@allow(USER.on("folder", "list"))
async def list_folders(state: AppState, caller: Caller) -> list[FolderRow]:
    """One's folders."""
    async with state.database.read() as connection:
        return await stored.of_user(connection, caller.id)


@router.post("/")
@allow(USER.on("folder", "create").needs("features.folders").keeping_files())
async def create(state: AppState, caller: Caller, form: FolderForm) -> Folder:
    """Makes a folder."""
    return await folders.create(state, caller, form)


@router.get("/shared")
@allow(USER.on("folder", "list"))
async def shared(state: AppState, caller: Caller) -> list[SharedFolder]:
    """Other people's folders that one was let into."""
    async with state.database.read() as connection:
        return await stored.shared_with(connection, caller)


@router.get("/{id}")
@allow(READ)
async def get(
    state: AppState, caller: Caller, folder_id: FolderId
) -> "Annotated[dict[str, Any], Shape(replies.chats.Folder)]":
    """A folder."""
    return await folders.get(state, caller, folder_id)


@router.delete("/{id}")
@allow(USER.on("folder", "delete").needs("features.folders"))
async def delete(state: AppState, caller: Caller, folder_id: FolderId, delete_contents: bool | None = True) -> bool:
    """Removes a folder and those in it."""
    done = await folders.delete(state, caller, folder_id, delete_contents is not False)
    await state.running.stop_gone()
    return done


@router.post("/{id}/update")
@allow(WRITE.keeping_files())
async def update(state: AppState, caller: Caller, folder_id: FolderId, form: FolderUpdateForm) -> Folder:
    """Changes a folder's name, picture or settings."""
    return await folders.update(state, caller, folder_id, form)


@router.post("/{id}/update/parent")
@allow(WRITE)
async def move(state: AppState, caller: Caller, folder_id: FolderId, form: ParentForm) -> Folder:
    """Puts a folder into another, or to the top."""
    return await folders.move(state, caller, folder_id, form.parent_id)


@router.post("/{id}/update/expanded")
@allow(WRITE)
async def expand(state: AppState, caller: Caller, folder_id: FolderId, form: ExpandedForm) -> Folder:
    """Notes whether a folder is shown open."""
    return await folders.set_expanded(state, caller, folder_id, form.is_expanded)


@router.post("/{id}/access/update")
@allow(USER.on("folder", "share").needs("features.folders"))
async def set_access(
    state: AppState, caller: Caller, folder_id: FolderId, form: GrantsForm
) -> "Annotated[dict[str, Any], Shape(replies.chats.Folder)]":
    """Sets who may see what is in a folder."""
    folder, given = await folders.set_access(state, caller, folder_id, form)
    return msgspec.structs.asdict(folder) | {"access_grants": given, "write_access": True}


@router.post("/{id}/read")
@allow(WRITE)
async def mark_read(
    state: AppState, caller: Caller, folder_id: FolderId
) -> "Annotated[dict[str, Any], Shape(replies.chats.FolderRead)]":
    """Marks the chats in a folder and in those in it as read."""
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
) -> "Annotated[dict[str, Any], Shape(replies.chats.ChatsOfFolder)]":
    """The chats in a folder, whosever they are."""
    return await folders.chats_in(state, caller, folder_id, page, sort_by, descending=sort_dir != "asc")
