"""Signing in at tool servers: an admin's registration, and a person's way there and back."""

from typing import Annotated, Any

from fastapi import Query, Request, Response

from open_webui.access.policy import ADMIN, OPTIONAL, USER
from open_webui.deps import AppState, Caller, OptionalCaller
from open_webui.errors import BadRequest, NotFound, OuiError
from open_webui.routing import allow, new_router
from open_webui.schemas import replies
from open_webui.schemas.replies.shape import Media, Shape
from open_webui.schemas.tool_servers import OAuthClientRegistration

router = new_router(tag="configs")


@router.post("/api/v1/configs/oauth/clients/register")
@allow(ADMIN)
async def register(
    form: OAuthClientRegistration, request: Request, state: AppState
) -> "Annotated[dict[str, Any], Shape(replies.settings.OAuthClient)]":
    """Registers this server at a tool server, so that people can sign in there."""
    if request.query_params.get("type", "mcp") != "mcp":
        raise BadRequest("Only MCP servers are signed in to.")
    base = (state.config["webui.url"] or str(request.base_url)).rstrip("/")
    return {"status": True, "oauth_client_info": await state.tool_servers.sign_in.register(form, base)}


@router.get("/oauth/clients/{client_id}/authorize")
@allow(USER)
async def authorize(
    client_id: str, state: AppState, caller: Caller, more: Annotated[str, Query(max_length=4_000)] = ""
) -> "Annotated[Response, Media('text/html', also=(302,))]":
    """Sends a person to where they sign in at a tool server. more: what the server's own link says of rights that are wanted."""
    server = state.tool_servers.by_id(f"server:{client_id}")
    if server is None or not server.may_use(caller):
        raise NotFound
    return Response(status_code=302, headers={"location": state.tool_servers.sign_in.begin(caller, server, more)})


@router.get("/oauth/clients/{client_id}/callback")
@allow(OPTIONAL)
async def callback(
    client_id: str,
    state: AppState,
    caller: OptionalCaller,
    request: Request,
) -> "Annotated[Response, Media('text/html', also=(302,))]":
    """Where a person comes back to after it."""
    given = request.query_params
    if "error" in given:
        raise OuiError(
            f"The sign-in there failed: {given.get('error_description') or given['error']}"[:500], status=400
        )
    code, back = given.get("code", ""), given.get("state", "")
    await state.tool_servers.sign_in.finish(
        caller, state.tool_servers.by_id(f"server:{client_id}"), code[:4_000], back[:4_000]
    )
    return Response(status_code=302, headers={"location": "/"})
