"""API keys with names and limits, and accounts that only keys get into. The wire's one key is in auths.py."""

from typing import Annotated, Any, Final

import msgspec
from fastapi import Path, Response

from open_webui.access.policy import ADMIN, PENDING
from open_webui.constants import MAX_ID
from open_webui.deps import AppState, Caller
from open_webui.routing import FromRequest, Json, allow, new_router
from open_webui.schemas import replies
from open_webui.schemas.keys import NewKeyForm, RotateForm, ServiceAccountForm
from open_webui.schemas.replies.shape import Shape
from open_webui.services import api_keys

router = new_router(prefix="/api/v1/auths", tag="auths")
# A person at a page, not a key: a key makes no key.
SESSION = msgspec.structs.replace(PENDING, session_only=True)
ADMINS_SESSION = msgspec.structs.replace(ADMIN, session_only=True)
KeyId = Annotated[str, Path(max_length=MAX_ID)]
UserId = Annotated[str, Path(max_length=MAX_ID)]
# The tags of all routes: what keys may be kept to.
Scopes = Annotated[frozenset[str], FromRequest(lambda request: request.app.state.scopes)]
_SECRET: Final = {"Cache-Control": "no-store"}


@router.get("/keys")
@allow(SESSION.on("api_key", "list"))
async def keys(
    state: AppState, caller: Caller, scopes: Scopes
) -> "Annotated[dict[str, Any], Shape(replies.keys.Keys)]":
    """One's API keys without their secrets, the scopes that there are, and how many keys one may have."""
    return {"items": await api_keys.listed(state, caller), "scopes": sorted(scopes), "most": api_keys.MOST}


@router.post("/keys")
@allow(SESSION)
async def create(
    form: NewKeyForm, state: AppState, caller: Caller, scopes: Scopes
) -> "Annotated[Response, Shape(replies.keys.MadeKey)]":
    """Makes an API key. Its secret is in this reply and nowhere else."""
    return Json(await api_keys.create(state, caller, form, scopes), headers=_SECRET)


@router.post("/keys/{key_id}/rotate")
@allow(SESSION.on("api_key", "write"))
async def rotate(
    key_id: KeyId, form: RotateForm, state: AppState, caller: Caller
) -> "Annotated[Response, Shape(replies.keys.MadeKey)]":
    """Gives a key another secret, which is in this reply and nowhere else.

    overlap: seconds for which the old one is good, too.
    """
    return Json(await api_keys.rotate(state, caller, key_id, form), headers=_SECRET)


@router.delete("/keys/{key_id}")
@allow(SESSION.on("api_key", "delete"))
async def revoke(key_id: KeyId, state: AppState, caller: Caller) -> bool:
    """Ends a key, with what goes on by it."""
    await api_keys.revoke(state, caller, key_id)
    return True


@router.get("/service-accounts")
@allow(ADMINS_SESSION)
async def service_accounts(
    state: AppState,
) -> "Annotated[list[dict[str, Any]], Shape(list[replies.keys.ServiceAccount])]":
    """The accounts that only keys get into."""
    return await api_keys.service_accounts(state)


@router.post("/service-accounts")
@allow(ADMINS_SESSION.freshly_proven())
async def create_service_account(
    form: ServiceAccountForm, state: AppState
) -> "Annotated[dict[str, Any], Shape(replies.keys.ServiceAccount)]":
    """Makes one, with the role user. It is removed as every account is."""
    return await api_keys.create_service_account(state, form)


@router.get("/service-accounts/{user_id}/keys")
@allow(ADMINS_SESSION)
async def keys_of(
    user_id: UserId, state: AppState, caller: Caller
) -> "Annotated[list[dict[str, Any]], Shape(list[replies.keys.Key])]":
    """The keys of a service account."""
    return await api_keys.keys_of(state, caller, user_id)


@router.post("/service-accounts/{user_id}/keys")
@allow(ADMINS_SESSION.freshly_proven())
async def create_for(
    user_id: UserId, form: NewKeyForm, state: AppState, caller: Caller, scopes: Scopes
) -> "Annotated[Response, Shape(replies.keys.MadeKey)]":
    """Makes a key for a service account."""
    return Json(await api_keys.create_for(state, caller, user_id, form, scopes), headers=_SECRET)
