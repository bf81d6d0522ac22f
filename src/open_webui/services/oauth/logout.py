"""Signing out: here with a way on to the provider, and there with word to us, which ends our sessions in every process."""

import hashlib
import time
from collections.abc import Iterable
from functools import partial
from typing import Any, Final

import msgspec

from open_webui.access.oauth import id_tokens
from open_webui.access.oauth.providers import Provider, providers
from open_webui.access.tokens import Claims
from open_webui.errors import NotFound
from open_webui.internal.db import UnitOfWork
from open_webui.internal.log import get_logger
from open_webui.internal.oauth import SignInFailed, is_address, with_query
from open_webui.models import accounts as credentials
from open_webui.models import provider_sessions
from open_webui.models.provider_sessions import NEVER, ProviderSession
from open_webui.services.deps import Deps
from open_webui.services.oauth.sign_in import ProviderSignIn

log = get_logger(__name__)
# What the page sees in its address when somebody comes back from signing out, so that it doesn't sign them in again at once.
STATE: Final = "logout"


async def way_out(deps: Deps, sign_in: ProviderSignIn, claims: Claims, base_url: str) -> str | None:
    """Where somebody whose session has ended signs out of the provider that began it; None where there is no such place."""
    async with deps.database.write() as unit:
        session = await provider_sessions.get(unit.connection, claims.jti)
        await provider_sessions.remove(unit.connection, claims.jti)
    chosen = providers(deps.config).get(session.provider) if session is not None else None
    if session is None or chosen is None:
        return None
    place = await _end_session(sign_in, chosen)
    if not place:
        return None
    fields = {"client_id": chosen.client_id, "post_logout_redirect_uri": f"{base_url}/auth", "state": STATE}
    tokens = tokens_of(deps, session)
    if tokens.get("id_token"):
        fields["id_token_hint"] = tokens["id_token"]
    return with_query(place, fields)


async def _end_session(sign_in: ProviderSignIn, chosen: Provider) -> str:
    if is_address(chosen.end_session):
        return chosen.end_session
    try:
        return (await sign_in.discovery.metadata(chosen)).end_session_endpoint
    except SignInFailed as error:
        log.info("a provider could not be asked where people sign out", provider=chosen.id, why=error.detail)
        return ""


def tokens_of(deps: Deps, session: ProviderSession) -> dict[str, Any]:
    """The provider's tokens of a session; none once they were taken away, or under another secret."""
    text = deps.sealer.unseal(session.sealed, session.user_id) if session.sealed else None
    found = None if text is None else msgspec.json.decode(text)
    return found if isinstance(found, dict) else {}


async def hear(deps: Deps, sign_in: ProviderSignIn, token: str, address: str) -> int:
    """A provider's word that somebody signed out there: how many sessions ended. Raises SignInFailed, NotFound."""
    known = [one for one in providers(deps.config).values() if one.kind == "openid"]
    if not known:
        raise NotFound
    await deps.attempts.hear_logout(address)
    # Nothing is asked of anybody for what is no token, or names no provider of ours.
    _, pretended = id_tokens.unverified(token)
    audience = pretended.get("aud")
    named = audience if isinstance(audience, list) else [audience]
    for chosen in known:
        if chosen.client_id not in named:
            continue
        metadata = await sign_in.discovery.metadata(chosen)
        if pretended.get("iss") != metadata.issuer and "{" not in metadata.issuer:
            continue
        claims = await id_tokens.verified(token, metadata, partial(sign_in.discovery.keys, chosen))
        subject, sid, jti = id_tokens.check_logout(claims, metadata, chosen.client_id)
        return await _end(deps, chosen, subject, sid, jti)
    raise SignInFailed("The provider's token can't be used: it is of no provider of this server.")


async def _end(deps: Deps, chosen: Provider, subject: str, sid: str, jti: str) -> int:
    name = f"logout {hashlib.sha256(f'{chosen.id} {jti}'.encode()).hexdigest()}"
    until = int(time.time()) + 2 * id_tokens.LOGOUT_SECONDS
    async with deps.database.write() as unit:
        if not await credentials.spend(unit.connection, name, until):
            raise SignInFailed("The provider's token can't be used: it was used already.")
        ended = await provider_sessions.of_subject(unit.connection, chosen.id, subject, sid)
        await end_all(deps, unit, ended)
    log.info("a provider signed somebody out", provider=chosen.id, sessions=len(ended))
    return len(ended)


async def end_all(deps: Deps, unit: UnitOfWork, sessions: Iterable[ProviderSession]) -> None:
    """Ends sessions: HTTP, sockets and streams of every process refuse their tokens once this is committed."""
    people = set()
    for session in sessions:
        until = None if session.expires_at == NEVER else session.expires_at
        await credentials.revoke(unit.connection, session.jti, until)
        await provider_sessions.remove(unit.connection, session.jti)
        people.add(session.user_id)
    for user_id in people:
        unit.after_commit(partial(deps.identifier.forget, user_id))
