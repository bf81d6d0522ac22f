"""Terminal servers, as people use them: which there are, and requests and sockets that go through to them."""

from typing import Annotated, Any, Final

from fastapi import Path, Request, Response
from starlette.routing import WebSocketRoute
from starlette.websockets import WebSocket

from open_webui.access.policy import USER, declare
from open_webui.constants import NOT_AUTHENTICATED
from open_webui.deps import AppState, Caller
from open_webui.errors import NotFound, Unauthenticated
from open_webui.principal import Principal
from open_webui.routing import allow, check_origin, credential, new_router
from open_webui.schemas import replies
from open_webui.schemas.replies.shape import Media, Shape
from open_webui.state import State
from open_webui.utils.loading import load

router = new_router(prefix="/api/v1/terminals", tag="terminals")
METHODS: Final = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")
# Not needed to start.
PROXY: Final = "open_webui.services.terminals.proxy"
SOCKETS: Final = "open_webui.services.terminals.sockets"
ServerId = Annotated[str, Path(max_length=100)]
ChatId = Annotated[str, Path(max_length=500)]


@router.get("/")
@allow(USER)
async def listed(
    state: AppState, caller: Caller
) -> "Annotated[list[dict[str, str]], Shape(list[replies.settings.TerminalServer])]":
    """The terminal servers that one may use: id, name, and their address here."""
    return state.terminals.listed(caller)


@allow(USER)
async def through_for_chat(
    request: Request, server_id: ServerId, chat_id: ChatId, path: str, state: AppState, caller: Caller
) -> "Annotated[Response, Media('*/*', (204, 304))]":
    """Passes a request on to a terminal server, for one of one's chats. What comes back is never active content here."""
    _token(request, state)
    sockets: Any = await load(SOCKETS)
    try:
        await sockets.check_chat(state.terminals, caller, chat_id)
    except NotFound:
        # Whether there is such a server is nobody's business then.
        state.terminals.find(caller, server_id)
        raise
    return await _through(request, state, caller, server_id, path, chat_id)


@allow(USER)
async def through(
    request: Request, server_id: ServerId, path: str, state: AppState, caller: Caller
) -> "Annotated[Response, Media('*/*', (204, 304))]":
    """Passes a request on to a terminal server. What comes back is never active content here."""
    return await _through(request, state, caller, server_id, path, None)


def _token(request: Request, state: State) -> str:
    """The credential. Raises Forbidden where a page of another site sends a cookie along, by whatever method."""
    token, from_cookie = credential(request)
    if token is None:
        raise Unauthenticated(NOT_AUTHENTICATED)
    if from_cookie:
        check_origin(request, state)
    return token


async def _through(
    request: Request, state: State, caller: Principal, server_id: str, path: str, chat_id: str | None
) -> Response:
    """Raises NotFound, Forbidden for what a page of another site has asked for, BadRequest for a path that leads out."""
    proxy: Any = await load(PROXY)
    token = _token(request, state)
    server = state.terminals.find(caller, server_id)
    below = proxy.addresses.below(path)
    response: Response = proxy.Through(state.terminals, request, (token, caller), server, below, chat_id)
    return response


@declare(USER)
async def socket(websocket: WebSocket) -> None:
    """A terminal's own socket: the first message is `{"type": "auth", "token": ...}`, unless a header says who it is."""
    sockets: Any = await load(SOCKETS)
    state: State = websocket.app.state.oui
    parameters = websocket.path_params
    await sockets.attach(state.terminals, websocket, parameters["server_id"], parameters["session_id"])


# In the order of matching. A route for each method: each is an operation of its own.
for _path, _endpoint in (
    ("/{server_id}/chats/{chat_id}/{path:path}", through_for_chat),
    ("/{server_id}/{path:path}", through),
):
    for _method in METHODS:
        router.add_api_route(_path, _endpoint, methods=[_method])
router.routes.append(WebSocketRoute("/api/v1/terminals/{server_id}/api/terminals/{session_id}", socket))
