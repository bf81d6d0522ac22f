"""Tool servers, as an admin sets them up."""

from typing import Annotated, Any

from open_webui.access.policy import ADMIN
from open_webui.deps import AppState, Caller
from open_webui.errors import BadRequest
from open_webui.routers.configs import save
from open_webui.routing import allow, new_router
from open_webui.schemas import replies
from open_webui.schemas.documents import clean
from open_webui.schemas.replies.shape import Object, Shape
from open_webui.schemas.tool_servers import KEY, ToolServerConnection, ToolServers
from open_webui.state import State

router = new_router(prefix="/api/v1/configs/tool_servers", tag="configs")


def _shown(state: State) -> dict[str, list[Any]]:
    return {"TOOL_SERVER_CONNECTIONS": state.config[KEY]}


def _entry(form: ToolServerConnection) -> dict[str, Any]:
    if form.forward_cookies:
        raise BadRequest("Cookies of people are not passed on to other servers. Use the sign-in `session` instead.")
    try:
        entry: dict[str, Any] = clean(form.model_dump())
    except ValueError as error:
        raise BadRequest(f"The tool server can't be stored: it {error}.") from None
    return entry


@router.get("")
@allow(ADMIN)
async def tool_servers(
    state: AppState,
) -> "Annotated[dict[str, list[Any]], Shape(replies.settings.ToolServersConfig)]":
    """The tool servers as they are in force."""
    return _shown(state)


@router.post("")
@allow(ADMIN)
async def set_tool_servers(
    form: ToolServers, state: AppState
) -> "Annotated[dict[str, list[Any]], Shape(replies.settings.ToolServersConfig)]":
    """Replaces the tool servers; refused where the environment fixes them otherwise."""
    entries = [_entry(connection) for connection in form.TOOL_SERVER_CONNECTIONS]
    state.tool_servers.check(entries)
    await save(state, {KEY: entries})
    return _shown(state)


@router.post("/verify")
@allow(ADMIN)
async def verify(
    form: ToolServerConnection, state: AppState, caller: Caller
) -> "Annotated[dict[str, Any], Shape(Object)]":
    """Asks a server what it offers, to see whether it answers; nothing is stored."""
    return await state.tool_servers.verify(_entry(form), caller)
