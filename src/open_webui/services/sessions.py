"""Where people are signed in: listed and ended, by themselves and by administrators."""

from functools import partial
from typing import Any, Final

from open_webui import constants
from open_webui.errors import BadRequest, NotFound, Unauthenticated
from open_webui.models import accounts, provider_sessions, sessions, users
from open_webui.models.sessions import NEVER, Session
from open_webui.principal import Principal
from open_webui.services.deps import Deps
from open_webui.services.signing_in import SignedIn

GONE: Final = "There is no such session any more."
Wire = dict[str, Any]


def wire(session: Session, current: str = "") -> Wire:
    return {
        "id": session.jti,
        "device": session.device,
        "auth_method": session.auth_method,
        "first_address": session.first_address,
        "last_address": session.last_address,
        "created_at": session.created_at,
        "last_used_at": session.last_used_at,
        "expires_at": None if session.expires_at == NEVER else session.expires_at,
        "is_current": session.jti == current,
    }


async def listed(deps: Deps, user_id: str, current: str = "") -> list[Wire]:
    """Somebody's, those used last first. current: the id of the session that asks."""
    await deps.uses.flush()
    async with deps.database.read() as connection:
        return [wire(one, current) for one in await sessions.of_user(connection, user_id)]


async def listed_for_admin(deps: Deps, user_id: str) -> list[Wire]:
    """Raises BadRequest for an unknown id, as the wire does under users."""
    async with deps.database.read() as connection:
        if await users.get(connection, user_id) is None:
            raise BadRequest(constants.NOT_FOUND)
    return await listed(deps, user_id)


async def end(deps: Deps, user_id: str, session_id: str) -> None:
    """Ends one of somebody's: HTTP, sockets and streams of every process refuse its token once this is committed."""
    await deps.uses.flush()
    async with deps.database.write() as unit:
        found = await sessions.remove(unit.connection, user_id, session_id)
        if found is None:
            raise NotFound(GONE)
        until = None if found.expires_at == NEVER else found.expires_at
        await accounts.revoke(unit.connection, found.jti, until)
        await provider_sessions.remove(unit.connection, found.jti)
        unit.after_commit(partial(deps.identifier.forget, user_id))


async def end_others(deps: Deps, principal: Principal, token: str) -> SignedIn:
    """Ends all of somebody's sessions but the one that asks, which goes on with another token. What is listed nowhere ends,
    too.
    """
    await deps.uses.flush()
    async with deps.database.write() as unit:
        user = await users.get(unit.connection, principal.id, lock=True)
        stamp = await accounts.new_stamp(unit.connection, principal.id, principal.session)
        renewed = deps.tokens.renewed(token, stamp)
        if user is None or renewed is None:
            raise Unauthenticated
        fresh, claims = renewed
        await sessions.move(unit.connection, principal.session, claims.jti, stamp)
        await provider_sessions.move(unit.connection, principal.session, claims.jti)
        unit.after_commit(partial(deps.identifier.forget, principal.id))
    return SignedIn(user, fresh, claims)
