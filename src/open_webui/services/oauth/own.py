"""Somebody's identities at providers: listed, and taken away, but never the last way in."""

from typing import Any

from open_webui.access.oauth.ways import ways_in
from open_webui.errors import BadRequest, NotFound
from open_webui.models import identities, provider_sessions, tool_server_tokens, users
from open_webui.models.identities import Identity
from open_webui.models.provider_sessions import ProviderSession
from open_webui.principal import Principal
from open_webui.services.deps import Deps
from open_webui.services.oauth.logout import end_all

NO_SESSION = "No OAuth session found for this provider"
LAST = "This is the only way in to your account. Link another one, or have an administrator set a password, first."


async def listed(deps: Deps, user_id: str) -> list[dict[str, Any]]:
    """Without what a provider calls the person."""
    async with deps.database.read() as connection:
        found = await identities.of_user(connection, user_id)
        has_password = await identities.has_password(connection, user_id)
    known = ways_in(deps.config, deps.settings)
    return [
        {
            "id": one.id,
            "provider": one.provider,
            "label": known[one.provider].label if one.provider in known else one.provider,
            "email": one.email,
            "created_at": one.created_at,
            "last_used_at": one.last_used_at,
            "removable": has_password or _others(found, one.id, frozenset(known)),
        }
        for one in found
    ]


def _others(found: list[Identity], identity_id: str, known: frozenset[str]) -> bool:
    """Whether another one lets its owner in now: of a provider that is still set up."""
    return any(one.id != identity_id and one.provider in known for one in found)


async def unlink(deps: Deps, principal: Principal, identity_id: str) -> None:
    """Takes an identity away, and ends the sessions that it began. Raises NotFound, and BadRequest for the last way in."""
    async with deps.database.write() as unit:
        # Of two at once, the second one sees what the first one left.
        await users.get(unit.connection, principal.id, lock=True)
        found = await identities.of_user(unit.connection, principal.id)
        if all(one.id != identity_id for one in found):
            raise NotFound
        has_password = await identities.has_password(unit.connection, principal.id)
        if not has_password and not _others(found, identity_id, frozenset(ways_in(deps.config, deps.settings))):
            raise BadRequest(LAST)
        await end_all(deps, unit, await provider_sessions.of_identity(unit.connection, identity_id))
        await identities.remove(unit.connection, principal.id, identity_id)


async def forget_tokens(deps: Deps, principal: Principal, provider: str) -> bool:
    """Takes a provider's, or a tool server's (`mcp:...`), tokens away from who asks. Raises NotFound."""
    async with deps.database.write() as unit:
        gone = await provider_sessions.forget_tokens(unit.connection, principal.id, provider)
        server = f"server:{provider}"
        if (
            provider.startswith("mcp:")
            and await tool_server_tokens.get(unit.connection, principal.id, server) is not None
        ):
            await tool_server_tokens.delete(unit.connection, principal.id, server)
            gone = True
    if not gone:
        raise NotFound(NO_SESSION)
    return True


async def sessions_of(deps: Deps, user_id: str) -> list[ProviderSession]:
    """Somebody's sessions that providers began."""
    async with deps.database.read() as connection:
        return await provider_sessions.of_user(connection, user_id)
