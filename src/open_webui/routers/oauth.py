"""Signing in by other sites: the way there and back for browsers, tokens of programs, and providers' word on sign-outs."""

from typing import Annotated, Any, Final
from urllib.parse import parse_qs, quote, urlencode

from fastapi import Query, Request, Response
from fastapi.responses import RedirectResponse

from open_webui.access.policy import OPTIONAL, PUBLIC
from open_webui.deps import AppState, OptionalCaller
from open_webui.errors import NotFound, OuiError
from open_webui.internal.oauth import SignInFailed
from open_webui.routers.sessions import base_url, flags, session_reply, with_challenge, with_cookie
from open_webui.routing import TOKEN_COOKIE, Json, address_of, allow, new_router
from open_webui.schemas import replies
from open_webui.schemas.oauth import TokenExchange
from open_webui.schemas.replies.shape import Media, Shape
from open_webui.services.oauth import logout
from open_webui.services.oauth.sign_in import FLOW_SECONDS, Begun
from open_webui.services.signing_in import Challenged
from open_webui.state import State

router = new_router(tag="auths")
# Begins of names: a sign-in under way, one cookie each, so that two tabs don't disturb each other.
FLOW_COOKIE: Final = "sign_in_"
MAX_FLOWS: Final = 5
# What a provider sends back with a person.
SENT_BACK: Final = frozenset({"code", "state", "iss", "error", "error_description"})
# Why a sign-in failed, for the page to show: nobody else can set it, as they could an address.
PROBLEM_COOKIE: Final = "sign_in_problem"
# Pages of Open WebUI read the new session's token in the address /auth, where it is readable for so many seconds.
PAGE: Final = "/auth"
HANDED_SECONDS: Final = 60


@router.get("/oauth/{provider}/login")
@allow(PUBLIC)
async def login(
    provider: str, request: Request, state: AppState, redirect: Annotated[str, Query(max_length=2_000)] = ""
) -> "Annotated[Response, Media('text/html', also=(302,))]":
    """Sends somebody to where they sign in. redirect: the path of this server at which they go on."""
    begun = await state.provider_sign_in.begin(provider, base_url(request, state), address_of(request), back=redirect)
    return keeping(begun, RedirectResponse(begun.url, status_code=302), request, state)


@router.get("/oauth/{provider}/callback")
@allow(OPTIONAL)
async def callback(
    provider: str, request: Request, state: AppState, caller: OptionalCaller
) -> "Annotated[Response, Media('text/html', also=(302,))]":
    """Where they come back to."""
    given = {name: value for name, value in request.query_params.items() if name != TOKEN_COOKIE}
    name = flow_cookie(given.get("state", ""))
    sealed = request.cookies.get(name, "")
    try:
        finished = await state.provider_sign_in.finish(provider, given, sealed, caller, address_of(request))
    except NotFound:
        raise
    except OuiError as error:
        return _without(name, _failed(error, request, state), request, state)
    page = PAGE if state.settings.frontend_build_dir is not None else "/"
    signed_in = finished.signed_in
    if isinstance(signed_in, Challenged):
        # The page there asks for the second factor, and then goes on to where the person wanted to.
        wanted = {"redirect": finished.back} if finished.back else {}
        there = RedirectResponse(f"{page}?{urlencode({'mfa': '1'} | wanted)}", status_code=302)
        return _without(name, with_challenge(there, request, state, signed_in), request, state)
    response: Response = RedirectResponse(finished.back or page, status_code=302)
    if signed_in is not None:
        response = with_cookie(response, request, state, signed_in.token, signed_in.claims)
        if state.settings.frontend_build_dir is not None:
            response.set_cookie(TOKEN_COOKIE, signed_in.token, max_age=HANDED_SECONDS, **_flags(request, state, PAGE))
    return _without(name, response, request, state)


@router.get("/oauth/{provider}/login/callback")
@allow(PUBLIC)
async def old_callback(provider: str, request: Request) -> "Annotated[Response, Media('text/html', also=(302,))]":
    """Where people come back to whose provider knows the address of earlier releases."""
    query = urlencode([(name, value) for name, value in request.query_params.multi_items() if name in SENT_BACK])
    return RedirectResponse(f"/oauth/{quote(provider, safe='')}/callback?{query}", status_code=302)


@router.post("/api/v1/auths/oauth/{provider}/token/exchange")
@allow(PUBLIC)
async def exchange(
    provider: str, form: TokenExchange, request: Request, state: AppState
) -> "Annotated[Response, Shape(replies.people.SessionUser), Shape(replies.people.MfaChallenge)]":
    """A session for a program that has a provider's token which was given to this server's client."""
    signed_in = await state.provider_sign_in.exchange(provider, form.token, address_of(request))
    return await session_reply(request, state, signed_in)


@router.post("/oauth/backchannel-logout")
@allow(PUBLIC)
async def back_channel(request: Request, state: AppState) -> "Annotated[Response, Shape(replies.people.LogoutRefused)]":
    """A provider says that somebody signed out there: the sessions that it began end, in every process."""
    fields = parse_qs((await request.body()).decode(errors="replace"), max_num_fields=20)
    tokens = fields.get("logout_token", [])
    headers = {"cache-control": "no-store"}
    try:
        if len(tokens) != 1:
            raise SignInFailed("There is no logout_token.")
        await logout.hear(state, state.provider_sign_in, tokens[0], address_of(request))
    except SignInFailed as error:
        refused = Json({"error": "invalid_request", "error_description": error.detail}, status_code=400)
        refused.headers.update(headers)
        return refused
    return Json({}, headers=headers)


def flow_cookie(flow_state: str) -> str:
    """The name of the cookie of a sign-in under way."""
    return FLOW_COOKIE + "".join(c for c in flow_state[:16] if c.isalnum())


def keeping(begun: Begun, response: Response, request: Request, state: State) -> Response:
    """The reply with which a browser keeps what it needs to come back. Of many that were begun the first ones are dropped."""
    name = flow_cookie(begun.state)
    others = [one for one in request.cookies if one.startswith(FLOW_COOKIE) and one not in {name, PROBLEM_COOKIE}]
    for old in others[: max(0, len(others) - MAX_FLOWS + 1)]:
        _without(old, response, request, state)
    kept = _flags(request, state, "/oauth")
    response.set_cookie(name, begun.sealed, max_age=FLOW_SECONDS, httponly=True, **kept)
    response.headers["Cache-Control"] = "no-store"
    return response


def _without(name: str, response: Response, request: Request, state: State) -> Response:
    response.delete_cookie(name, httponly=True, **_flags(request, state, "/oauth"))
    response.headers["Cache-Control"] = "no-store"
    return response


def _flags(request: Request, state: State, path: str) -> dict[str, Any]:
    """As the session's, but it comes along when another site sends one back here."""
    return flags(request, state) | {"samesite": "lax", "path": path}


def _failed(error: OuiError, request: Request, state: State) -> Response:
    """Back to the page that signs people in, with the reason."""
    page = "/" if state.settings.frontend_build_dir is None else f"{PAGE}?{urlencode({'error': error.detail})}"
    response = RedirectResponse(page, status_code=302)
    response.set_cookie(PROBLEM_COOKIE, quote(error.detail), max_age=HANDED_SECONDS, **_flags(request, state, "/"))
    return response
