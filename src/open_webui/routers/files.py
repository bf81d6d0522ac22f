"""Files: uploaded, listed, read, changed; and their content, for those who may see it."""

from collections.abc import AsyncIterator
from typing import Annotated, Any, Final
from urllib.parse import quote

from fastapi import Path, Query, Request, Response
from fastapi.exceptions import RequestValidationError
from starlette.responses import StreamingResponse

from open_webui import constants
from open_webui.access.policy import ADMIN, OPTIONAL, USER
from open_webui.deps import AppState, Caller, OptionalCaller, Page
from open_webui.errors import NotFound
from open_webui.models.files import File
from open_webui.models.uploads import UNREAD, Upload
from open_webui.routing import allow, credential, encode, new_router
from open_webui.schemas import replies
from open_webui.schemas.files import ContentForm, RenameForm
from open_webui.schemas.replies.shape import Media, Shape
from open_webui.services import files, uploads
from open_webui.state import State
from open_webui.storage.base import BlobMissing, BlobStore
from open_webui.utils.loading import load
from open_webui.utils.pictures import TEXT
from open_webui.utils.pieces import begun

router = new_router(prefix="/api/v1/files", tag="files")
FileId = Annotated[str, Path(alias="id", max_length=constants.MAX_ID)]
Pattern = Annotated[str, Query(min_length=1, max_length=uploads.MAX_FILENAME)]
Skip = Annotated[int, Query(ge=0, le=1_000_000)]
Limit = Annotated[int, Query(ge=1, le=1_000)]
# Whatever somebody stored is never active content of our origin. Rights may end, so caches ask again each time.
SAFE: Final = {
    "content-security-policy": "default-src 'none'; sandbox",
    "x-content-type-options": "nosniff",
    "cache-control": "private, no-cache",
    "accept-ranges": "bytes",
}
# A page of HTML may have its own looks; it runs no scripts, loads nothing, and belongs to no origin.
PAGE: Final = SAFE | {
    "content-security-policy": "default-src 'none'; style-src 'unsafe-inline'; img-src data:; sandbox"
}
FORM: Final = {
    "requestBody": {
        "required": True,
        "content": {
            "multipart/form-data": {
                "schema": {
                    "type": "object",
                    "required": ["file"],
                    "properties": {
                        "file": {"type": "string", "contentMediaType": "application/octet-stream"},
                        "metadata": {"type": "string", "description": "A JSON object that is kept with the file."},
                    },
                }
            }
        },
    }
}


@router.post("/", openapi_extra=FORM)
@allow(USER.on("file", "create"))
async def upload(
    request: Request, state: AppState, caller: Caller, process: bool = True, process_in_background: bool = True
) -> "Annotated[dict[str, Any], Shape(replies.files.File)]":
    """Stores a file. Its text is taken out in the background, before the answer, or not at all, as `process` and
    `process_in_background` say.
    """
    kind = request.headers.get("content-type", "")
    try:
        stored = await uploads.upload(state, caller, kind, request.stream(), read=process)
    except uploads.NoFile:
        missing = {"type": "missing", "loc": ("body", "file"), "msg": "Field required", "input": None}
        raise RequestValidationError([missing]) from None
    if not process:
        return uploads.wire(stored)
    if not process_in_background:
        await uploads.wait(state, caller, stored)
    return uploads.wire(stored, path=True) | {"status": True}


@router.get("/")
@allow(USER.on("file", "list"))
async def listed(
    state: AppState, caller: Caller, page: Page = 1, content: bool = True
) -> "Annotated[dict[str, Any], Shape(replies.files.Files)]":
    """One's files, 50 a page, the last changed first; an administrator sees everybody's."""
    return await uploads.page(state, uploads.whose(state, caller), page, content=content)


@router.delete("/all")
@allow(ADMIN.on("file", "delete"))
async def delete_all(state: AppState) -> "Annotated[dict[str, str], Shape(replies.files.Done)]":
    """Deletes all files of everybody."""
    await uploads.delete_all(state)
    return {"message": "All files deleted successfully"}


@router.get("/count")
@allow(USER.on("file", "list"))
async def count(state: AppState, caller: Caller) -> int:
    """How many files one's list has."""
    return await uploads.count(state, uploads.whose(state, caller))


@router.get("/user/count")
@allow(USER.on("file", "list"))
async def count_own(state: AppState, caller: Caller) -> int:
    """How many files of one's own there are."""
    return await uploads.count(state, caller.id)


@router.get("/search")
@allow(USER.on("file", "search"))
async def search(
    state: AppState, caller: Caller, filename: Pattern, *, content: bool = True, skip: Skip = 0, limit: Limit = 100
) -> "Annotated[list[dict[str, Any]], Shape(list[replies.files.File])]":
    """Files of one's list by their names: "*" stands for any characters, "?" for one."""
    whose = uploads.whose(state, caller)
    found = await uploads.search(state, whose, filename, skip=skip, limit=limit, content=content)
    if not found:
        raise NotFound(uploads.NO_MATCH)
    return found


@router.get("/user/search")
@allow(USER.on("file", "search"))
async def search_own(
    state: AppState,
    caller: Caller,
    filename: Pattern = "*",
    *,
    content: bool = False,
    skip: Skip = 0,
    limit: Limit = 50,
) -> "Annotated[list[dict[str, Any]], Shape(list[replies.files.File])]":
    """Files of one's own by their names."""
    return await uploads.search(state, caller.id, filename, skip=skip, limit=limit, content=content)


@router.get("/{id}")
@allow(USER.on("file", "read"))
async def get(
    state: AppState, caller: Caller, file_id: FileId
) -> "Annotated[dict[str, Any], Shape(replies.files.File)]":
    """A file, with its text."""
    return await uploads.whole(state, await uploads.require(state, caller, file_id))


@router.delete("/{id}")
@allow(USER.on("file", "delete"))
async def delete(
    state: AppState, caller: Caller, file_id: FileId
) -> "Annotated[dict[str, str], Shape(replies.files.Done)]":
    """Deletes a file, wherever it is used. Messages keep its name, answers what they took from it."""
    await uploads.delete(state, caller, file_id)
    return {"message": "File deleted successfully"}


@router.get("/{id}/process/status")
@allow(USER.on("file", "read"))
async def status(
    request: Request, state: AppState, caller: Caller, file_id: FileId, stream: bool = False
) -> "Annotated[Any, Shape(replies.files.Reading), Media('text/event-stream')]":
    """How far the server is with a file's text: once, or as a stream until it is done."""
    found = await uploads.require(state, caller, file_id)
    if not stream:
        return uploads.reading(found)
    token = credential(request)[0] or ""
    return StreamingResponse(_statuses(state, token, found), headers=NO_CACHE, media_type="text/event-stream")


NO_CACHE: Final = {"cache-control": "no-store", "x-accel-buffering": "no"}


async def _statuses(state: State, token: str, found: Upload) -> AsyncIterator[bytes]:
    """It ends with the file, with its last status, and with the right to read it."""

    async def look() -> Upload | None:
        caller = await state.identify(token)
        return None if caller is None else await uploads.find(state, caller, found.id)

    now: Upload | None = found
    while now is not None:
        yield b"data: " + encode(uploads.reading(now)) + b"\n\n"
        if now.status not in UNREAD:
            return
        now = await state.ingestion.next_status(now.status, look, now.id)


@router.post("/{id}/rename")
@allow(USER.on("file", "write"))
async def rename(
    state: AppState, caller: Caller, file_id: FileId, form: RenameForm
) -> "Annotated[dict[str, Any], Shape(replies.files.File)]":
    """Gives a file another name."""
    return await uploads.whole(state, await uploads.rename(state, caller, file_id, form.filename))


@router.get("/{id}/data/content")
@allow(USER.on("file", "read"))
async def text(
    state: AppState, caller: Caller, file_id: FileId, pages: bool = False
) -> "Annotated[dict[str, Any], Shape(replies.files.Content)]":
    """The text that was taken out of a file. pages: and where its pages begin."""
    found = await uploads.require(state, caller, file_id)
    out: dict[str, Any] = {"content": await uploads.text_of(state, found) or ""}
    return out | {"pages": found.data.get("pages") or []} if pages else out


@router.post("/{id}/data/content/update")
@allow(USER.on("file", "write"))
async def set_text(
    state: AppState, caller: Caller, file_id: FileId, form: ContentForm
) -> "Annotated[dict[str, str], Shape(replies.files.Content)]":
    """Puts a text in the place of what was taken out of a file; answers are found in it from then on."""
    await uploads.set_text(state, caller, file_id, form.content)
    await state.ingestion.finished(file_id)
    return {"content": form.content}


@router.get("/{id}/content")
@allow(OPTIONAL.on("file", "read"))
async def content(
    id: str,  # noqa: A002 - the wire's name
    request: Request,
    state: AppState,
    caller: OptionalCaller,
    attachment: bool = False,
    thumbnail: bool = False,
) -> "Annotated[Response, Media('*/*', also=(304,))]":
    """The bytes of a file: of one's own, or of one that something uses which the caller may read.

    thumbnail: of a picture, a small one, of at most 320 pixels, where the server can make one.
    """
    found = await files.get(state, caller, id)
    if thumbnail and files.is_shown(found):
        found = await (await load("open_webui.services.images.thumbnails")).small(state, state.pictures, found)
    return await serve(state.blobs, found, request, attachment=attachment)


@router.get("/{id}/content/html")
@allow(USER.on("file", "read"))
async def html(state: AppState, caller: Caller, file_id: FileId) -> "Annotated[Response, Media('text/html')]":
    """A page of HTML to look at: without scripts, and without anything that it would load."""
    found = await uploads.require(state, caller, file_id)
    if found.mime != TEXT or not found.filename.lower().endswith((".html", ".htm", ".xhtml")):
        raise NotFound
    pieces = await begun(state.blobs.read(found.blob))
    return StreamingResponse(pieces, headers=PAGE, media_type="text/html; charset=utf-8")


@router.get("/{id}/content/{file_name}")
@allow(USER.on("file", "read"))
async def named(
    request: Request, state: AppState, caller: Caller, file_id: FileId
) -> "Annotated[Response, Media('*/*', also=(304,))]":
    """The bytes of a file, for saving. Whatever name stands at the end of the address, it is saved under its own."""
    return await serve(state.blobs, await files.get(state, caller, file_id), request, attachment=True)


async def serve(store: BlobStore, file: File, request: Request, *, attachment: bool = False) -> Response:
    """A file's bytes as a reply: whole, a range of them, or the news that the client has them already.

    Raises BlobMissing, StoreAway.
    """
    etag = f'"{file.blob}"'
    headers = SAFE | {"etag": etag}
    if request.headers.get("if-none-match") in {etag, f"W/{etag}"}:
        return Response(status_code=304, headers=headers)
    if await store.size(file.blob) != file.size:
        raise BlobMissing
    if attachment or not files.is_shown(file):
        headers["content-disposition"] = f"attachment; filename*=UTF-8''{quote(file.filename, safe='')}"
    wanted = request.headers.get("range") if request.headers.get("if-range", etag) == etag else None
    span = files.span_of(wanted, file.size)
    headers["content-type"] = file.mime
    if span is None:
        pieces = await begun(store.read(file.blob))
        return StreamingResponse(pieces, headers=headers | {"content-length": str(file.size)})
    pieces = await begun(store.read(file.blob, span.start, span.length))
    headers |= {"content-length": str(span.length), "content-range": _part(span, file.size)}
    return StreamingResponse(pieces, status_code=206, headers=headers)


def _part(span: files.Span, size: int) -> str:
    return f"bytes {span.start}-{span.start + span.length - 1}/{size}"
