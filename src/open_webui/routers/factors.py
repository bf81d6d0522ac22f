"""Second factors: the second step of a sign-in, one's own factor, and removing somebody's."""

from typing import Annotated, Any, Final

import msgspec
from fastapi import Path, Request, Response

from open_webui.access.policy import ADMIN, OPTIONAL, PENDING, PUBLIC
from open_webui.constants import MAX_ID
from open_webui.deps import AppState, Caller, OptionalCaller
from open_webui.errors import Forbidden, Unauthenticated
from open_webui.routers.sessions import (
    CHALLENGE_COOKIE,
    asking,
    session_of,
    session_reply,
    with_cookie,
    without_challenge,
)
from open_webui.routing import Json, address_of, allow, check_origin, new_router
from open_webui.schemas import replies
from open_webui.schemas.auths import Enrolled, MfaChallenge, MfaFactor, MfaRecovery, MfaVerify
from open_webui.schemas.replies.shape import Shape
from open_webui.services.factors import own, steps

router = new_router(prefix="/api/v1/auths/mfa", tag="auths")
users = new_router(prefix="/api/v1/users", tag="users")
# A person at a page, not a key.
SESSION = msgspec.structs.replace(PENDING, session_only=True)
# As recorded.
FOREIGN: Final = "Invalid request origin."
NOTHING_TO_GO_ON: Final = "There is no sign-in to go on with. Sign in again."


@router.get("/status")
@allow(SESSION)
async def status(state: AppState, caller: Caller) -> "Annotated[own.Status, Shape(replies.people.MfaStatus)]":
    """Whether one has a second factor, and must have one."""
    return await own.status(state, caller)


@router.post("/challenge")
@allow(OPTIONAL)
async def challenge(
    request: Request, state: AppState, caller: OptionalCaller
) -> "Annotated[Response, Shape(replies.people.MfaChallenge)]":
    """The step that comes next: of a sign-in by another site, which its cookie names, or of who is signed in and sets up a first
    factor.
    """
    _check_page(request, state)
    token = request.cookies.get(CHALLENGE_COOKIE, "")
    found = await steps.waiting(state, token, address_of(request)) if token else None
    if found is None and caller is not None and caller.via == "session":
        found = await own.begin(state, caller, asking(request, state))
    if found is None:
        raise Unauthenticated(NOTHING_TO_GO_ON)
    return await session_reply(request, state, found)


def _check_page(request: Request, state: AppState) -> None:
    """Refuses what no page of this server sends. Raises Forbidden."""
    if "origin" not in request.headers:
        raise Forbidden(FOREIGN, status=403)
    try:
        check_origin(request, state)
    except Forbidden:
        raise Forbidden(FOREIGN, status=403) from None


@router.post("/verify")
@allow(PUBLIC)
async def verify(
    form: MfaVerify, request: Request, state: AppState
) -> "Annotated[Response, Shape(replies.people.SessionUser)]":
    """Signs in with the code of one's app, or with a recovery code."""
    given = form.challenge_token, form.code, address_of(request)
    signed_in = await steps.verify(state, *given, recovery=form.recovery)
    return without_challenge(await session_reply(request, state, signed_in), request, state)


@router.post("/enroll/start")
@allow(PUBLIC)
async def start(
    form: MfaChallenge, request: Request, state: AppState
) -> "Annotated[Response, Shape(replies.people.MfaSetup)]":
    """What an app is told to make one's codes."""
    setup = await steps.start(state, form.challenge_token, address_of(request))
    return Json(setup, headers={"cache-control": "no-store"})


@router.post("/enroll/confirm")
@allow(PUBLIC)
async def confirm(
    form: MfaVerify, request: Request, state: AppState
) -> "Annotated[Response, Shape(replies.people.MfaEnrollment)]":
    """Sets the app up whose code this is, and signs in. All other sessions end."""
    done = await steps.confirm(state, form.challenge_token, form.code, address_of(request))
    signed_in = done.signed_in
    session = msgspec.structs.asdict(await session_of(state, signed_in))
    reply = Json(Enrolled(**session, recovery_codes=done.recovery_codes))
    return without_challenge(with_cookie(reply, request, state, signed_in.token, signed_in.claims), request, state)


@router.post("/recover")
@allow(PUBLIC)
async def recover(
    form: MfaRecovery, request: Request, state: AppState
) -> "Annotated[Response, Shape(replies.people.MfaChallenge)]":
    """Lets who lost their app set up another one: with a recovery code."""
    begun = await steps.recover(state, form.challenge_token, form.reset_token, address_of(request))
    return await session_reply(request, state, begun)


@router.post("/replace")
@allow(SESSION)
async def replace(
    form: MfaFactor, request: Request, state: AppState, caller: Caller
) -> "Annotated[Response, Shape(replies.people.MfaChallenge)]":
    """Begins to put another app in the place of one's own, whose code is needed. It stays until the other one is there."""
    begun = await own.replace(
        state, caller, asking(request, state), form.code, address_of(request), recovery=form.recovery
    )
    return await session_reply(request, state, begun)


@router.post("/recovery/codes")
@allow(SESSION)
async def recovery_codes(
    form: MfaFactor, request: Request, state: AppState, caller: Caller
) -> "Annotated[Response, Shape(replies.people.MfaRecoveryCodes)]":
    """Other recovery codes in place of one's own; a code of one's app is needed."""
    codes = await own.new_codes(state, caller, form.code, address_of(request), recovery=form.recovery)
    return Json({"recovery_codes": codes}, headers={"cache-control": "no-store"})


@users.post("/{user_id}/mfa/reset")
@allow(ADMIN.on("user", "write").freshly_proven())
async def reset(
    user_id: Annotated[str, Path(max_length=MAX_ID)], state: AppState, caller: Caller
) -> "Annotated[dict[str, Any], Shape(replies.people.MfaReset)]":
    """Removes somebody's second factor and recovery codes, for who lost them. It ends their sessions."""
    return {"removed": await own.remove_of(state, caller, user_id)}
