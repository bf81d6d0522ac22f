"""One's identities at providers, settings of sign-in by them, and why sign-ins went as they did."""

from typing import Annotated, Any

import msgspec
from fastapi import Query, Request, Response

from open_webui import constants
from open_webui.access.policy import ADMIN, PENDING, USER
from open_webui.deps import AppState, Caller
from open_webui.errors import BadRequest
from open_webui.routers.oauth import keeping
from open_webui.routers.sessions import base_url
from open_webui.routing import Json, address_of, allow, new_router
from open_webui.schemas import replies
from open_webui.schemas.oauth import Explain, OAuthConfig
from open_webui.schemas.replies.shape import Shape
from open_webui.services.oauth import explaining, own, settings

router = new_router(prefix="/api/v1/auths", tag="auths")
# A person at a page, not a key.
SESSION = msgspec.structs.replace(PENDING, session_only=True)


@router.get("/identities")
@allow(SESSION.on("identity", "list"))
async def identities(
    state: AppState, caller: Caller
) -> "Annotated[list[dict[str, Any]], Shape(list[replies.people.Identity])]":
    """By which other sites one signs in here."""
    return await own.listed(state, caller.id)


@router.post("/identities/{provider}/link")
@allow(SESSION.freshly_proven())
async def link(
    provider: str, request: Request, state: AppState, caller: Caller
) -> "Annotated[Response, Shape(replies.people.WayThere)]":
    """Where one signs in at a provider, so as to sign in by it here from then on."""
    begun = await state.provider_sign_in.begin(
        provider, base_url(request, state), address_of(request), user_id=caller.id
    )
    return keeping(begun, Json({"url": begun.url}), request, state)


@router.delete("/identities/{identity_id}")
@allow(SESSION.on("identity", "delete"))
async def unlink(identity_id: str, state: AppState, caller: Caller) -> bool:
    """Takes one away. The last way in stays."""
    await own.unlink(state, caller, identity_id)
    return True


@router.delete("/oauth/sessions/{provider:path}")
@allow(USER)
async def forget_tokens(provider: str, state: AppState, caller: Caller) -> bool:
    """Takes away what a provider, or a tool server (`mcp:...`), gave this server in one's name."""
    return await own.forget_tokens(state, caller, provider)


@router.get("/admin/config/oauth")
@allow(ADMIN)
async def oauth_config(
    state: AppState,
) -> "Annotated[dict[str, Any], Shape(replies.settings.shown('OAuthSettings', settings.PLAIN, settings.TEXTS))]":
    """How people sign in by other sites."""
    return settings.wire(state.config)


@router.post("/admin/config/oauth")
@allow(ADMIN.freshly_proven())
async def save_oauth_config(
    form: OAuthConfig, state: AppState
) -> "Annotated[dict[str, Any], Shape(replies.settings.shown('SavedOAuthSettings', settings.PLAIN, settings.TEXTS))]":
    """Changes that; what is left out stays."""
    await state.save_config(settings.changes(form))
    return settings.wire(state.config)


@router.get("/admin/sign-ins")
@allow(ADMIN)
async def sign_ins(
    state: AppState, before: Annotated[int | None, Query(ge=1, le=2**53)] = None
) -> "Annotated[list[dict[str, Any]], Shape(list[replies.people.SignIn])]":
    """What came of the last sign-ins by providers, the newest first. before: those with a smaller number."""
    return [msgspec.structs.asdict(row) for row in await explaining.last(state, before)]


@router.post("/admin/sign-ins/explain")
@allow(ADMIN)
async def explain(form: Explain, state: AppState) -> "Annotated[dict[str, Any], Shape(replies.people.Explained)]":
    """What the rules make of claims, or of those of an earlier sign-in, and why. Nothing is changed."""
    return await explaining.explain(state, form.provider, form.claims, form.attempt)


users = new_router(prefix="/api/v1/users", tag="users")


@users.get("/{user_id}/oauth/sessions")
@allow(ADMIN)
async def oauth_sessions(
    user_id: str, state: AppState
) -> "Annotated[list[dict[str, Any]], Shape(list[replies.people.ProviderSession])]":
    """Somebody's sessions that other sites began; the wire answers with a refusal where there is none."""
    found = await own.sessions_of(state, user_id)
    if not found:
        raise BadRequest(constants.NOT_FOUND)
    shown = ("provider", "user_id", "expires_at", "created_at", "updated_at")
    return [{"id": one.jti} | {name: getattr(one, name) for name in shown} for one in found]
