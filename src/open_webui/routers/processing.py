"""Reading files and texts into collections, at somebody's request."""

from typing import Annotated, Any

from open_webui.access.policy import USER
from open_webui.deps import AppState, Caller
from open_webui.routing import allow, new_router
from open_webui.schemas import replies
from open_webui.schemas.files import BatchForm, ProcessFileForm, ProcessTextForm
from open_webui.schemas.replies.shape import Shape
from open_webui.services import processing

router = new_router(prefix="/api/v1/retrieval/process", tag="retrieval")


@router.post("/file")
@allow(USER.on("file", "write"))
async def file(
    state: AppState, caller: Caller, form: ProcessFileForm
) -> "Annotated[dict[str, Any], Shape(replies.files.ProcessedFile)]":
    """Reads a file anew, or puts a text in the place of what was read; and puts the file into a knowledge base, if one is
    named.
    """
    return await processing.file(state, caller, form)


@router.post("/files/batch")
@allow(USER.on("file", "write"))
async def batch(
    state: AppState, caller: Caller, form: BatchForm
) -> "Annotated[dict[str, Any], Shape(replies.files.Batch)]":
    """Puts files into a knowledge base and reads those that have not been read. Each goes its own way."""
    return await processing.batch(state, caller, form)


@router.post("/text")
@allow(USER)
async def text(
    state: AppState, caller: Caller, form: ProcessTextForm
) -> "Annotated[dict[str, Any], Shape(replies.files.ProcessedText)]":
    """Keeps a text in a collection of one's own, in which it is found from then on."""
    return await processing.text(state, caller, form)
