"""Pages of the web, transcripts of videos, and searches of the web, put into collections of one's own."""

from typing import Annotated, Any

from open_webui.access.policy import USER
from open_webui.deps import AppState, Caller
from open_webui.routing import allow, new_router
from open_webui.schemas import replies
from open_webui.schemas.replies.shape import Shape
from open_webui.schemas.web import SearchForm, UrlForm
from open_webui.utils.loading import load

# Not needed to start.
SERVICE = "open_webui.services.web"
router = new_router(prefix="/api/v1/retrieval/process", tag="retrieval")


@router.post("/url")
@router.post("/web")
@router.post("/youtube")
@allow(USER)
async def read(
    state: AppState,
    caller: Caller,
    form: UrlForm,
    process: bool = True,
) -> "Annotated[dict[str, Any], Shape(replies.web.ReadPage)]":
    """Reads a page or what is said in a video, and puts it into a collection of one's own; with process=false, only reads it."""
    page: dict[str, Any] = await (await _service()).page(state, caller, form, store=process)
    return page


@router.post("/web/search")
@allow(USER)
async def search(
    state: AppState, caller: Caller, form: SearchForm
) -> "Annotated[dict[str, Any], Shape(replies.web.FoundPages)]":
    """Searches the web, reads what is found, and puts it into a collection of one's own that goes after some days."""
    found: dict[str, Any] = await (await _service()).search(state, caller, form)
    return found


async def _service() -> Any:
    return await load(SERVICE)
