"""Files: what their content is, for those who may see it."""

from collections.abc import AsyncIterator
from typing import Annotated, Final
from urllib.parse import quote

from fastapi import Request, Response
from starlette.responses import StreamingResponse

from open_webui.access.policy import OPTIONAL
from open_webui.deps import AppState, OptionalCaller
from open_webui.models.files import File
from open_webui.routing import allow, new_router
from open_webui.schemas.replies.shape import Media
from open_webui.services import files
from open_webui.storage.base import BlobMissing, BlobStore

router = new_router(prefix="/api/v1/files", tag="files")
# Whatever somebody stored is never active content of our origin. Rights may end, so caches ask again each time.
SAFE: Final = {
    "content-security-policy": "default-src 'none'; sandbox",
    "x-content-type-options": "nosniff",
    "cache-control": "private, no-cache",
    "accept-ranges": "bytes",
}


@router.get("/{id}/content")
@allow(OPTIONAL.on("file", "read"))
async def content(
    id: str,  # noqa: A002 - the wire's name
    request: Request,
    state: AppState,
    caller: OptionalCaller,
    attachment: bool = False,
) -> "Annotated[Response, Media('*/*', also=(304,))]":
    """The bytes of a file: of one's own, or of one that something uses which the caller may read."""
    return await serve(state.blobs, await files.get(state, caller, id), request, attachment=attachment)


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
        pieces = await _begun(store.read(file.blob))
        return StreamingResponse(pieces, headers=headers | {"content-length": str(file.size)})
    pieces = await _begun(store.read(file.blob, span.start, span.length))
    headers |= {"content-length": str(span.length), "content-range": _part(span, file.size)}
    return StreamingResponse(pieces, status_code=206, headers=headers)


async def _begun(pieces: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """The same pieces, the first of which is there: a store that can't give it is told by the reply's status."""
    first = await anext(pieces, b"")

    async def all_of_them() -> AsyncIterator[bytes]:
        yield first
        async for piece in pieces:
            yield piece

    return all_of_them()


def _part(span: files.Span, size: int) -> str:
    return f"bytes {span.start}-{span.start + span.length - 1}/{size}"
