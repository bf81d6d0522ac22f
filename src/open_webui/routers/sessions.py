"""What routes that open sessions share: the reply, the cookies, and where a request comes from."""

import time
from typing import Any, Final

from fastapi import Request, Response

from open_webui.access.permissions import tree
from open_webui.access.tokens import Claims
from open_webui.errors import Unauthenticated
from open_webui.routing import TOKEN_COOKIE, Json, address_of, credential
from open_webui.schemas.auths import Session
from open_webui.services.signing_in import Admitted, Challenged, SignedIn
from open_webui.state import State

# Browsers keep no cookie longer; a session without an end renews its cookie at each visit.
LONGEST_COOKIE: Final = 400 * 86_400
# Who comes back from another site has no page yet that could hold the challenge of a second factor: it waits in a cookie, which
# only the routes of second factors see.
CHALLENGE_COOKIE: Final = "sign_in_challenge"
_FACTOR_ROUTES: Final = "/api/v1/auths/mfa"


async def session_reply(request: Request, state: State, admitted: Admitted) -> Response:
    """What somebody gets who has just signed in, or who has a step to do before that."""
    if isinstance(admitted, Challenged):
        response = Json(admitted)
        response.headers["Cache-Control"] = "no-store"
        return response
    return with_cookie(Json(await session_of(state, admitted)), request, state, admitted.token, admitted.claims)


async def session_of(state: State, signed_in: SignedIn) -> Session:
    """A fresh session, as its page reads it."""
    user = signed_in.user
    principal = await state.identify(signed_in.token)
    return Session(
        id=user.id,
        name=user.name,
        role=user.role,
        email=user.email,
        profile_image_url=image_url(user.id),
        token=signed_in.token,
        expires_at=signed_in.claims.exp,
        permissions=tree(principal.permissions if principal is not None else frozenset()),
    )


def asking(request: Request, state: State) -> Claims:
    """What the session of a request says. Raises Unauthenticated."""
    token, _ = credential(request)
    claims = state.tokens.verify(token) if token is not None else None
    if claims is None:
        raise Unauthenticated
    return claims


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


def with_challenge(response: Response, request: Request, state: State, challenged: Challenged) -> Response:
    """The reply that gives a browser the next step of its sign-in."""
    token, seconds = challenged.challenge_token, challenged.expires_in
    response.set_cookie(CHALLENGE_COOKIE, token, max_age=seconds, httponly=True, **_challenge_flags(request, state))
    response.headers["Cache-Control"] = "no-store"
    return response


def without_challenge(response: Response, request: Request, state: State) -> Response:
    """The reply after which there is none any more."""
    if CHALLENGE_COOKIE in request.cookies:
        response.delete_cookie(CHALLENGE_COOKIE, httponly=True, **_challenge_flags(request, state))
    return response


def _challenge_flags(request: Request, state: State) -> dict[str, Any]:
    return flags(request, state) | {"samesite": "lax", "path": _FACTOR_ROUTES}


def flags(request: Request, state: State) -> dict[str, Any]:
    """How the session's cookie is set."""
    settings = state.settings
    secure = settings.webui_auth_cookie_secure or request.url.scheme == "https"
    return {"secure": secure, "samesite": settings.webui_auth_cookie_same_site, "path": "/"}


def base_url(request: Request, state: State) -> str:
    """The address of this server as people know it, without a slash at its end."""
    base: str = state.config["webui.url"] or str(request.base_url)
    return base.rstrip("/")
