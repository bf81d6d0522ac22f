"""Signing up, in and out, one's own account and API key, and the settings about them."""

from typing import Annotated, Any

import msgspec
from fastapi import Request, Response

from open_webui import constants
from open_webui.access.permissions import tree
from open_webui.access.policy import ADMIN, OPTIONAL, PENDING, PUBLIC, USER
from open_webui.access.trusted_headers import said, trusted_headers
from open_webui.deps import AppState, Caller
from open_webui.errors import Forbidden
from open_webui.internal.forwarded import may_be_rebound
from open_webui.routers.sessions import asking, base_url, flags, image_url, session_reply, with_cookie
from open_webui.routing import TOKEN_COOKIE, Json, address_of, allow, credential, new_router
from open_webui.schemas import replies
from open_webui.schemas.auths import (
    AddedUser,
    AddUser,
    AdminConfig,
    Profile,
    SessionInfo,
    SignIn,
    SignUp,
    UpdatePassword,
    UpdateProfile,
    UpdateTimezone,
)
from open_webui.schemas.replies.shape import Shape
from open_webui.services import accounts, admin_config
from open_webui.services import trusted_headers as by_proxy
from open_webui.services.oauth import logout

router = new_router(prefix="/api/v1/auths", tag="auths")
# A person at a page, not a key. Those who wait to be let in have a session too.
SESSION = msgspec.structs.replace(PENDING, session_only=True)


@router.get("/")
@allow(SESSION)
async def session(
    request: Request, state: AppState, caller: Caller
) -> "Annotated[Response, Shape(replies.people.SessionInfo)]":
    """Who the caller is, and the cookie anew with the same token."""
    token, _ = credential(request)
    claims = asking(request, state)
    assert token is not None, "it was read"
    user = await accounts.get(state, caller.id)
    info = SessionInfo(
        status_emoji=user.status_emoji,
        status_message=user.status_message,
        status_expires_at=user.status_expires_at,
        id=user.id,
        name=user.name,
        role=user.role,
        email=user.email,
        profile_image_url=user.profile_image_url,
        token=token,
        expires_at=claims.exp,
        permissions=tree(caller.permissions),
        bio=user.bio,
        gender=user.gender,
        date_of_birth=user.date_of_birth,
    )
    return with_cookie(Json(info), request, state, token, claims)


@router.post("/signup")
@allow(PUBLIC)
async def sign_up(
    form: SignUp, request: Request, state: AppState
) -> "Annotated[Response, Shape(replies.people.SessionUser), Shape(replies.people.MfaChallenge)]":
    """Makes an account, and signs in with it."""
    if trusted_headers(state.settings) is not None:
        raise Forbidden(by_proxy.BY_PROXY, status=403)
    address = address_of(request)
    strange = may_be_rebound(address, request.headers.get("host", ""))
    return await session_reply(request, state, await accounts.sign_up(state, form, address, may_be_first=not strange))


@router.post("/signin")
@allow(PUBLIC)
async def sign_in(
    form: SignIn, request: Request, state: AppState
) -> "Annotated[Response, Shape(replies.people.SessionUser), Shape(replies.people.MfaChallenge)]":
    """Signs in with an e-mail address and a password; where a proxy says who asks, by its word, whatever the form has."""
    trusted = trusted_headers(state.settings)
    if trusted is not None:
        signed_in = await by_proxy.sign_in(state, said(trusted, request.scope), address_of(request))
        return await session_reply(request, state, signed_in)
    return await session_reply(request, state, await accounts.sign_in(state, form, address_of(request)))


# Optional, so that the Origin of a cookie is checked and yet a stale session can be left.
@router.post("/signout")
@allow(OPTIONAL)
async def sign_out(request: Request, state: AppState) -> "Annotated[Response, Shape(replies.people.SignedOut)]":
    """Ends the session, and takes its cookie away. redirect_url: where who came by another site, or
    by a proxy, signs out there, too.
    """
    token, _ = credential(request)
    claims = await accounts.sign_out(state, token) if token is not None else None
    way = state.settings.webui_auth_signout_redirect_url or None
    if claims is not None and claims.auth_method == "oauth":
        way = await logout.way_out(state, state.provider_sign_in, claims, base_url(request, state)) or way
    response = Json({"status": True} | ({} if way is None else {"redirect_url": way}))
    response.delete_cookie(TOKEN_COOKIE, httponly=True, **flags(request, state))
    return response


@router.post("/add")
@allow(ADMIN.on("user", "create").keeping_files().freshly_proven())
async def add(form: AddUser, state: AppState, caller: Caller) -> AddedUser:
    """Makes an account for somebody else."""
    made = await accounts.add(state, caller, form)
    user = made.user
    return AddedUser(
        id=user.id,
        name=user.name,
        role=user.role,
        email=user.email,
        profile_image_url=image_url(user.id),
        token=made.token,
    )


@router.post("/update/profile")
@allow(USER.keeping_files())
async def update_profile(form: UpdateProfile, state: AppState, caller: Caller) -> Profile:
    """Changes what one says of oneself."""
    user = await accounts.update_profile(state, caller.id, form)
    return Profile(
        id=user.id, name=user.name, role=user.role, email=user.email, profile_image_url=user.profile_image_url
    )


@router.post("/update/timezone")
@allow(PENDING)
async def update_timezone(
    form: UpdateTimezone, state: AppState, caller: Caller
) -> "Annotated[dict[str, bool], Shape(replies.server.Done)]":
    """Notes where on earth one's days begin."""
    await accounts.change(state, caller.id, {"timezone": form.timezone or None})
    return {"status": True}


# Stricter than the wire, which lets API keys change the password: a leaked key would take over the account.
@router.post("/update/password")
@allow(SESSION)
async def update_password(
    form: UpdatePassword, request: Request, state: AppState, caller: Caller
) -> "Annotated[Response, Shape(bool)]":
    """Sets a new password.

    All sessions end; the page that asked goes on with a fresh cookie.
    """
    fresh = await accounts.change_password(state, caller.id, form, asking(request, state))
    return with_cookie(Json(True), request, state, fresh.token, fresh.claims)


@router.post("/api_key")
@allow(SESSION)
async def create_api_key(state: AppState, caller: Caller) -> "Annotated[dict[str, str], Shape(replies.people.ApiKey)]":
    """Makes an API key; an earlier one ends."""
    return {"api_key": await accounts.create_key(state, caller)}


@router.get("/api_key")
@allow(SESSION)
async def show_api_key(state: AppState, caller: Caller) -> "Annotated[dict[str, str], Shape(replies.people.ApiKey)]":
    """One's API key."""
    return {"api_key": await accounts.show_key(state, caller.id)}


@router.delete("/api_key")
@allow(SESSION)
async def delete_api_key(state: AppState, caller: Caller) -> bool:
    """Ends one's API key."""
    return await accounts.delete_key(state, caller.id)


@router.get("/admin/details")
@allow(PENDING)
async def admin_details(state: AppState) -> "Annotated[dict[str, str], Shape(replies.people.AdminContact)]":
    """Whom somebody who waits to be let in may write to."""
    admin = await accounts.admin_contact(state)
    if admin is None:
        raise Forbidden(constants.ACTION_PROHIBITED, status=403)
    return {"name": admin.name, "email": admin.email}


@router.get("/admin/config")
@allow(ADMIN)
async def read_admin_config(
    state: AppState,
) -> "Annotated[dict[str, Any], Shape(replies.settings.shown('AdminConfig', admin_config.SETTINGS))]":
    """The general settings."""
    return admin_config.wire(state.config)


@router.post("/admin/config")
@allow(ADMIN.freshly_proven())
async def write_admin_config(
    form: AdminConfig, request: Request, state: AppState
) -> (
    "Annotated[dict[str, Any], Shape(replies.settings.shown('SavedConfig', admin_config.SETTINGS, admin_config.SAVED))]"
):
    """Changes general settings; what is left out stays. sessions_revoked: the session that asked has ended with it, since its
    owner must have a second factor now.
    """
    await state.save_config(admin_config.changes(form))
    token, _ = credential(request)
    ended = token is not None and await state.identify(token) is None
    return admin_config.wire(state.config) | dict(admin_config.SAVED) | {"sessions_revoked": ended}
