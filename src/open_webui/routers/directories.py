"""Signing in by a directory (LDAP, Active Directory), and the settings of that."""

from typing import Annotated, Any

import msgspec
from fastapi import Request, Response

from open_webui.access.policy import ADMIN, PENDING, PUBLIC
from open_webui.deps import AppState, Caller
from open_webui.routers.sessions import session_reply
from open_webui.routing import address_of, allow, new_router
from open_webui.schemas import replies
from open_webui.schemas.auths import LdapServerConfig, LdapSignIn, LdapSwitch
from open_webui.schemas.replies.shape import Shape
from open_webui.services import ldap

router = new_router(prefix="/api/v1/auths", tag="auths")
# A person at a page, not a key.
SESSION = msgspec.structs.replace(PENDING, session_only=True)


@router.post("/ldap")
@allow(PUBLIC)
async def sign_in(
    form: LdapSignIn, request: Request, state: AppState
) -> "Annotated[Response, Shape(replies.people.SessionUser), Shape(replies.people.MfaChallenge)]":
    """Signs in with the name and the password that one has in a directory."""
    return await session_reply(request, state, await ldap.sign_in(state, form, address_of(request)))


@router.post("/ldap/link")
@allow(SESSION.freshly_proven())
async def link(form: LdapSignIn, request: Request, state: AppState, caller: Caller) -> bool:
    """Proves who one is in a directory, so as to sign in by it here from then on."""
    await ldap.link(state, form, address_of(request), caller)
    return True


@router.get("/admin/config/ldap")
@allow(ADMIN)
async def ldap_config(state: AppState) -> "Annotated[dict[str, bool], Shape(replies.settings.LdapSwitch)]":
    """Whether people sign in by directories."""
    return ldap.is_on(state.config)


@router.post("/admin/config/ldap")
@allow(ADMIN.freshly_proven())
async def save_ldap_config(
    form: LdapSwitch, state: AppState
) -> "Annotated[dict[str, bool], Shape(replies.settings.LdapSwitch)]":
    """Switches that."""
    if form.enable_ldap is not None:
        await state.save_config({"ldap.enable": form.enable_ldap})
    return ldap.is_on(state.config)


@router.get("/admin/config/ldap/server")
@allow(ADMIN)
async def ldap_server(
    state: AppState,
) -> "Annotated[dict[str, Any], Shape(replies.settings.shown('LdapServer', ldap.SETTINGS))]":
    """The directory of the settings page."""
    return ldap.wire(state.config)


@router.post("/admin/config/ldap/server")
@allow(ADMIN.freshly_proven())
async def save_ldap_server(
    form: LdapServerConfig, state: AppState
) -> "Annotated[dict[str, Any], Shape(replies.settings.shown('SavedLdapServer', ldap.SETTINGS))]":
    """Changes it."""
    await state.save_config(ldap.changes(state.config, form))
    return ldap.wire(state.config)
