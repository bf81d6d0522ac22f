"""Where one is signed in, and where others are, for administrators."""

from typing import Annotated, Any

import msgspec
from fastapi import Path, Request, Response

from open_webui.access.policy import ADMIN, PENDING
from open_webui.constants import MAX_ID
from open_webui.deps import AppState, Caller
from open_webui.errors import Unauthenticated
from open_webui.routers.sessions import session_reply
from open_webui.routing import allow, credential, new_router
from open_webui.schemas import replies
from open_webui.schemas.replies.shape import Shape
from open_webui.services import sessions

router = new_router(prefix="/api/v1/auths", tag="auths")
users = new_router(prefix="/api/v1/users", tag="users")
SESSION = msgspec.structs.replace(PENDING, session_only=True)
SessionId = Annotated[str, Path(max_length=MAX_ID)]


@router.get("/sessions")
@allow(SESSION.on("session", "list"))
async def own(
    state: AppState, caller: Caller
) -> "Annotated[list[dict[str, Any]], Shape(list[replies.keys.OwnSession])]":
    """Where one is signed in, those used last first."""
    return await sessions.listed(state, caller.id, caller.session)


@router.delete("/sessions/{session_id}")
@allow(SESSION.on("session", "delete"))
async def end(session_id: SessionId, state: AppState, caller: Caller) -> bool:
    """Ends one of one's sessions."""
    await sessions.end(state, caller.id, session_id)
    return True


@router.delete("/sessions")
@allow(SESSION)
async def end_others(
    request: Request, state: AppState, caller: Caller
) -> "Annotated[Response, Shape(replies.people.SessionUser)]":
    """Ends all of one's sessions but this one, which goes on with the token of the reply."""
    token, _ = credential(request)
    if token is None:
        raise Unauthenticated
    return await session_reply(request, state, await sessions.end_others(state, caller, token))


@users.get("/{user_id}/sessions")
@allow(ADMIN)
async def of_somebody(
    user_id: str, state: AppState
) -> "Annotated[list[dict[str, Any]], Shape(list[replies.keys.OwnSession])]":
    """Where somebody is signed in."""
    return await sessions.listed_for_admin(state, user_id)


@users.delete("/{user_id}/sessions/{session_id}")
@allow(ADMIN)
async def end_somebodys(user_id: str, session_id: SessionId, state: AppState) -> bool:
    """Ends one of somebody's sessions."""
    await sessions.end(state, user_id, session_id)
    return True
