"""What routes that open sessions share: the reply, the cookie, and where a request comes from."""

import time
from typing import Any, Final

from fastapi import Request, Response

from open_webui.access.permissions import tree
from open_webui.access.tokens import Claims
from open_webui.routing import TOKEN_COOKIE, Json, address_of
from open_webui.schemas.auths import Session
from open_webui.services.accounts import SignedIn
from open_webui.state import State

# Browsers keep no cookie longer; a session without an end renews its cookie at each visit.
LONGEST_COOKIE: Final = 400 * 86_400


async def session_reply(request: Request, state: State, signed_in: SignedIn) -> Response:
    """What somebody gets who has just signed in."""
    user, claims = signed_in.user, signed_in.claims
    principal = await state.identify(signed_in.token)
    reply = Session(
        id=user.id,
        name=user.name,
        role=user.role,
        email=user.email,
        profile_image_url=image_url(user.id),
        token=signed_in.token,
        expires_at=claims.exp,
        permissions=tree(principal.permissions if principal is not None else frozenset()),
    )
    return with_cookie(Json(reply), request, state, signed_in.token, claims)


def image_url(user_id: str) -> str:
    return f"/api/v1/users/{user_id}/profile/image"


def with_cookie(response: Response, request: Request, state: State, token: str, claims: Claims) -> Response:
    """The reply that gives a browser its session, which is listed from now on."""
    if state.uses.is_due(claims.jti):
        state.uses.note_session(claims, address_of(request), request.headers.get("user-agent", ""))
    left = LONGEST_COOKIE if claims.exp is None else max(0, claims.exp - int(time.time()))
    response.set_cookie(TOKEN_COOKIE, token, max_age=min(left, LONGEST_COOKIE), httponly=True, **flags(request, state))
    response.headers["Cache-Control"] = "no-store"
    return response


def flags(request: Request, state: State) -> dict[str, Any]:
    """How the session's cookie is set."""
    settings = state.settings
    secure = settings.webui_auth_cookie_secure or request.url.scheme == "https"
    return {"secure": secure, "samesite": settings.webui_auth_cookie_same_site, "path": "/"}


def base_url(request: Request, state: State) -> str:
    """The address of this server as people know it, without a slash at its end."""
    base: str = state.config["webui.url"] or str(request.base_url)
    return base.rstrip("/")
