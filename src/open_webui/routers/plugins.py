"""Help with writing plugins: what a text is and needs, and its layout."""

from typing import Annotated, Any

from open_webui.access.policy import ADMIN, USER
from open_webui.deps import AppState, Caller
from open_webui.routing import allow, new_router
from open_webui.schemas import replies
from open_webui.schemas.plugins import CheckForm, CodeForm
from open_webui.schemas.replies.shape import Shape
from open_webui.services import plugin_checks

router = new_router(tag="plugins")


@router.post("/api/v1/plugins/check")
@allow(USER)
async def check(
    form: CheckForm, state: AppState, caller: Caller
) -> "Annotated[dict[str, Any], Shape(replies.plugins.Checked)]":
    """What a text is before it is saved: its kind, its tools and forms, what it needs, and which of that is not there.

    Needs a permission to save tools. Nothing of it is run or kept.
    """
    return await plugin_checks.check(state, caller, form.content)


@router.get("/api/v1/plugins/events")
@allow(ADMIN)
async def events(state: AppState) -> "Annotated[dict[str, Any], Shape(replies.plugins.Events)]":
    """How event functions of this process are doing: how much waits, how much was not told, and what failed, the newest first."""
    return state.event_functions.shown()


@router.post("/api/v1/utils/code/format")
@allow(ADMIN)
async def format_code(form: CodeForm, state: AppState) -> "Annotated[dict[str, str], Shape(replies.plugins.Formatted)]":
    """Python in the usual layout, where the formatter black is installed; else as it is. Refused is what is no Python."""
    return {"code": await state.sources.format(form.code)}
