"""Knowledge bases: files that are searched together."""

import asyncio
from collections.abc import AsyncIterator
from typing import Annotated, Any, Final
from urllib.parse import quote

from fastapi import Path, Query, Request, Response
from pydantic import BaseModel, Field
from starlette.responses import StreamingResponse

from open_webui import constants
from open_webui.access.policy import ADMIN, USER
from open_webui.deps import AppState, Caller, Page
from open_webui.errors import Forbidden, NotFound
from open_webui.models.knowledge_directories import Directory
from open_webui.models.repository import Query as Listing
from open_webui.routers.files import SAFE
from open_webui.routing import allow, credential, encode, new_router
from open_webui.schemas import replies
from open_webui.schemas.knowledge import (
    DirectoryForm,
    DirectoryUpdateForm,
    KnowledgeAccessForm,
    KnowledgeFileForm,
    KnowledgeFiles,
    KnowledgeForm,
    SyncCleanupForm,
    SyncDiffForm,
)
from open_webui.schemas.replies.shape import Media, Shape
from open_webui.services import knowledge, knowledge_export, knowledge_lists, knowledge_tree
from open_webui.state import State

router = new_router(prefix="/api/v1/knowledge", tag="knowledge")
LIST, READ, WRITE = (USER.on("knowledge", action) for action in ("list", "read", "write"))
KnowledgeId = Annotated[str, Path(alias="id", max_length=constants.MAX_ID)]
# Between two looks at what is being read.
LOOK_SECONDS: Final = 1.0
DirectoryId = Annotated[str, Path(alias="dir_id", max_length=constants.MAX_ID)]
Text = Annotated[str | None, Query(max_length=500)]


class Filters(BaseModel):
    """How lists are narrowed and ordered. view_option: "created" for one's own, "shared" for other people's."""

    query: Annotated[str | None, Field(max_length=500)] = None
    view_option: Annotated[str | None, Field(max_length=50)] = None
    order_by: Annotated[str | None, Field(max_length=50)] = None
    direction: Annotated[str | None, Field(max_length=50)] = None
    page: Annotated[int, Field(ge=1, le=1_000_000)] = 1

    def asked(self) -> Listing:
        return Listing(
            text=self.query, view=self.view_option, sort=self.order_by, direction=self.direction, number=self.page
        )


class BaseFilters(Filters):
    """source: "local" for bases that hold files, "external" for those that are found elsewhere."""

    source: Annotated[str | None, Field(max_length=50)] = None


class FileFilters(Filters):
    """directory_id: only what lies there; empty for the top, left out for all of the base."""

    directory_id: Annotated[str | None, Field(max_length=constants.MAX_ID)] = None
    include_content: bool = False


@router.get("/")
@allow(LIST)
async def list_bases(
    state: AppState, caller: Caller, page: Page = 1
) -> "Annotated[dict[str, Any], Shape(replies.knowledge.Bases)]":
    """The knowledge bases that one may read."""
    return await knowledge.listed(state, caller, Listing(number=page))


@router.get("/search")
@allow(USER.on("knowledge", "search"))
async def search(
    state: AppState,
    caller: Caller,
    filters: Annotated[BaseFilters, Query()],
) -> "Annotated[dict[str, Any], Shape(replies.knowledge.Bases)]":
    """Those of them with a text in their name or description, 30 a page."""
    return await knowledge.listed(state, caller, filters.asked(), filters.source)


@router.get("/search/files")
@allow(USER.on("knowledge", "search"))
async def search_files(
    state: AppState, caller: Caller, query: Text = None, include_content: bool = False, page: Page = 1
) -> "Annotated[dict[str, Any], Shape(replies.knowledge.FilesPage)]":
    """The files of all knowledge bases that one may read, with a text in their name."""
    return await knowledge_lists.search(state, caller, Listing(text=query, number=page), content=include_content)


@router.post("/create")
@allow(USER.on("knowledge", "create"))
async def create(
    state: AppState, caller: Caller, form: KnowledgeForm
) -> "Annotated[dict[str, Any], Shape(replies.knowledge.Base)]":
    """Makes a knowledge base; needs the permission workspace.knowledge."""
    return await knowledge.create(state, caller, form)


@router.post("/reindex")
@allow(USER)
async def reindex(state: AppState, caller: Caller) -> bool:
    """Has all texts of files and collections split and indexed as the settings say now, in the background; for administrators."""
    if not caller.is_admin:
        # The bare marker that pages know.
        raise Forbidden(constants.UNAUTHORIZED)
    await state.reindexing.begin()
    return True


@router.post("/metadata/reindex")
@allow(ADMIN)
async def reindex_metadata(state: AppState) -> "Annotated[dict[str, int], Shape(replies.knowledge.Reindexed)]":
    """How many knowledge bases there are: their names and descriptions are found as they are, and need no index."""
    count = await knowledge.count(state)
    return {"total": count, "success": count}


@router.get("/{id}")
@allow(READ)
async def get(
    state: AppState, caller: Caller, knowledge_id: KnowledgeId
) -> "Annotated[dict[str, Any], Shape(replies.knowledge.BaseWithFiles)]":
    """A knowledge base."""
    return await knowledge.get(state, caller, knowledge_id)


@router.post("/{id}/update")
@allow(WRITE)
async def update(
    state: AppState, caller: Caller, knowledge_id: KnowledgeId, form: KnowledgeForm
) -> "Annotated[dict[str, Any], Shape(replies.knowledge.BaseWithFiles)]":
    """Renames and describes a knowledge base, and sets the grants on it where they are given."""
    return await knowledge.update(state, caller, knowledge_id, form)


@router.post("/{id}/access/update")
@allow(USER.on("knowledge", "share"))
async def set_access(
    state: AppState, caller: Caller, knowledge_id: KnowledgeId, form: KnowledgeAccessForm
) -> "Annotated[dict[str, Any], Shape(replies.knowledge.BaseWithFiles)]":
    """Replaces the grants on a knowledge base."""
    return await knowledge.set_access(state, caller, knowledge_id, form.access_grants)


@router.delete("/{id}/delete")
@allow(USER.on("knowledge", "delete"))
async def delete(state: AppState, caller: Caller, knowledge_id: KnowledgeId) -> bool:
    """Removes a knowledge base. Its files stay their owners'."""
    return await knowledge.delete(state, caller, knowledge_id)


@router.post("/{id}/file/add")
@allow(WRITE)
async def add_file(
    state: AppState, caller: Caller, knowledge_id: KnowledgeId, form: KnowledgeFileForm
) -> "Annotated[dict[str, Any], Shape(replies.knowledge.BaseWithFiles)]":
    """Puts a file into a knowledge base."""
    return await knowledge.add_files(state, caller, knowledge_id, [form])


@router.post("/{id}/files/batch/add")
@allow(WRITE)
async def add_files(
    state: AppState, caller: Caller, knowledge_id: KnowledgeId, forms: KnowledgeFiles
) -> "Annotated[dict[str, Any], Shape(replies.knowledge.BaseWithFiles)]":
    """Puts files into a knowledge base: all of them or none."""
    return await knowledge.add_files(state, caller, knowledge_id, forms)


@router.post("/{id}/file/remove")
@allow(WRITE)
async def remove_file(
    state: AppState, caller: Caller, knowledge_id: KnowledgeId, form: KnowledgeFileForm, delete_file: bool = True
) -> "Annotated[dict[str, Any], Shape(replies.knowledge.BaseWithFiles)]":
    """Takes a file out of a knowledge base.

    delete_file: the file goes, too, if it is one's own and nothing else uses it.
    """
    return await knowledge.remove_file(state, caller, knowledge_id, form.file_id, delete_file=delete_file)


@router.post("/{id}/file/update")
@allow(WRITE)
async def update_file(
    state: AppState, caller: Caller, knowledge_id: KnowledgeId, form: KnowledgeFileForm
) -> "Annotated[dict[str, Any], Shape(replies.knowledge.BaseWithFiles)]":
    """Has a file of a knowledge base read, if it could not be read before."""
    return await knowledge.update_file(state, caller, knowledge_id, form.file_id)


@router.post("/{id}/file/move")
@allow(WRITE)
async def move_file(
    state: AppState, caller: Caller, knowledge_id: KnowledgeId, form: KnowledgeFileForm
) -> "Annotated[dict[str, Any], Shape(replies.server.Done)]":
    """Puts a file of a knowledge base into one of its directories, or to the top."""
    await knowledge_tree.move_file(state, caller, knowledge_id, form.file_id, form.directory_id)
    return {"status": True}


@router.get("/{id}/files")
@allow(READ)
async def files_of(
    state: AppState,
    caller: Caller,
    knowledge_id: KnowledgeId,
    *,
    filters: Annotated[FileFilters, Query()],
) -> "Annotated[dict[str, Any], Shape(replies.knowledge.FilesPage)]":
    """The files of a knowledge base that have been read, 30 a page."""
    place, content = filters.directory_id, filters.include_content
    return await knowledge_lists.files_of(state, caller, knowledge_id, filters.asked(), place, content=content)


@router.get("/{id}/files/pending")
@allow(READ)
async def pending(
    request: Request, state: AppState, caller: Caller, knowledge_id: KnowledgeId, stream: bool = False
) -> "Annotated[Any, Shape(list[replies.knowledge.WaitingFile]), Media('text/event-stream')]":
    """The files of a knowledge base that are being read. stream: again each time that it is another, until there is none."""
    found = await knowledge_lists.pending(state, caller, knowledge_id)
    if not stream:
        return found

    return StreamingResponse(
        _pending(state, credential(request)[0] or "", knowledge_id, found),
        headers={"cache-control": "no-store", "x-accel-buffering": "no"},
        media_type="text/event-stream",
    )


async def _pending(state: State, token: str, knowledge_id: str, found: list[dict[str, Any]]) -> AsyncIterator[bytes]:
    """It ends when nothing is being read any more, and with the right to see it."""
    last = None
    while True:
        if found != last:
            yield b"data: " + encode(found) + b"\n\n"
        if not found:
            return
        await asyncio.sleep(LOOK_SECONDS)
        last, caller = found, await state.identify(token)
        if caller is None or not caller.is_active:
            return
        try:
            found = await knowledge_lists.pending(state, caller, knowledge_id)
        except NotFound:
            return


@router.post("/{id}/dirs/create")
@allow(WRITE)
async def create_directory(
    state: AppState, caller: Caller, knowledge_id: KnowledgeId, form: DirectoryForm
) -> Directory:
    """Makes a directory in a knowledge base."""
    return await knowledge_tree.create(state, caller, knowledge_id, form)


@router.post("/{id}/dirs/{dir_id}/update")
@allow(WRITE)
async def update_directory(
    state: AppState, caller: Caller, knowledge_id: KnowledgeId, dir_id: DirectoryId, form: DirectoryUpdateForm
) -> Directory:
    """Renames a directory, puts it into another, or both."""
    return await knowledge_tree.update(state, caller, knowledge_id, dir_id, form)


@router.delete("/{id}/dirs/{dir_id}/delete")
@allow(USER.on("knowledge", "delete"))
async def delete_directory(
    state: AppState, caller: Caller, knowledge_id: KnowledgeId, dir_id: DirectoryId, move_files: bool = True
) -> "Annotated[dict[str, Any], Shape(replies.knowledge.DirectoryGone)]":
    """Removes a directory and those in it. move_files: their files come to lie where it lay; else they leave the base."""
    gone = await knowledge_tree.delete(state, caller, knowledge_id, dir_id, move_files=move_files)
    return {"status": True, "file_ids": gone}


@router.post("/{id}/reset")
@allow(USER.on("knowledge", "delete"))
async def reset(
    state: AppState, caller: Caller, knowledge_id: KnowledgeId, include_directories: bool = True
) -> "Annotated[dict[str, Any], Shape(replies.knowledge.Base)]":
    """Takes all files out of a knowledge base; they stay their owners'."""
    return await knowledge_tree.reset(state, caller, knowledge_id, directories=include_directories)


@router.post("/{id}/sync/diff")
@allow(WRITE)
async def compare(
    state: AppState, caller: Caller, knowledge_id: KnowledgeId, form: SyncDiffForm
) -> "Annotated[Any, Shape(replies.knowledge.Difference)]":
    """What is to be done so that a knowledge base has what a folder has; nothing is changed."""
    return await knowledge_tree.compare(state, caller, knowledge_id, form.manifest)


@router.post("/{id}/sync/cleanup")
@allow(USER.on("knowledge", "delete"))
async def clean_up(
    state: AppState, caller: Caller, knowledge_id: KnowledgeId, form: SyncCleanupForm
) -> "Annotated[dict[str, Any], Shape(replies.server.Done)]":
    """Takes files and directories out of a knowledge base."""
    await knowledge_tree.clean_up(state, caller, knowledge_id, form.file_ids, form.dir_ids)
    return {"status": True}


@router.get("/{id}/export")
@allow(ADMIN.on("knowledge", "read").or_by("knowledge"))
async def export(
    state: AppState, caller: Caller, knowledge_id: KnowledgeId
) -> "Annotated[Response, Media('application/zip')]":
    """The files of a knowledge base as a ZIP file."""
    base = await knowledge_export.base_of(state, caller, knowledge_id)
    headers = {"content-disposition": f"attachment; filename*=UTF-8''{quote(base.name, safe='')}.zip"}
    return StreamingResponse(
        knowledge_export.archive(state, base), headers=SAFE | headers, media_type="application/zip"
    )
