"""Signing in by what a listed proxy says, and ending the session of who is somebody else by now."""

from functools import partial
from typing import Any, Final

from open_webui.access.oauth.exchange import Brought
from open_webui.access.oauth.ways import PROXY, of_proxy
from open_webui.access.trusted_headers import Said, lists_proxies, trusted_headers
from open_webui.env import Settings
from open_webui.errors import BadRequest
from open_webui.internal.log import get_logger
from open_webui.models import accounts as credentials
from open_webui.models import identities
from open_webui.principal import Principal
from open_webui.services.deps import Deps
from open_webui.services.oauth import settling
from open_webui.services.signing_in import Admitted

log = get_logger(__name__)
NOT_NAMED: Final = (
    "This server signs people in by its proxy, and the proxy did not say who you are. Open the server by its usual address,"
    " or tell an administrator."
)
BY_PROXY: Final = "People come to this server by its proxy, which says who they are. Nobody signs up here."


def warn(settings: Settings) -> None:
    """What is said at the start where headers are named and nobody is believed."""
    name = settings.webui_auth_trusted_email_header
    if not name:
        return
    if not lists_proxies(settings.forwarded_allow_ips):
        log.warning(
            "WEBUI_AUTH_TRUSTED_EMAIL_HEADER has no effect: no proxy is named that may say who asks. Name its address or its"
            " network in FORWARDED_ALLOW_IPS; * is not enough, since whoever connects could be anybody then",
            header=name,
        )
        return
    log.info("proxies say who asks", header=name, proxies=settings.forwarded_allow_ips)


async def sign_in(deps: Deps, said: Said | None, address: str) -> Admitted:
    """Who the proxy says it is; an account is made where there is none. Raises BadRequest, Forbidden."""
    trusted = trusted_headers(deps.settings)
    if trusted is None or said is None or not said.email:
        raise BadRequest(NOT_NAMED)
    await deps.attempts.come_back(address)
    claims: dict[str, Any] = {"sub": said.email, "email": said.email, "email_verified": True, "name": said.name}
    if said.groups:
        claims["groups"] = said.groups
    if said.role:
        claims["role"] = said.role
    signed_in = await settling.settle(deps, of_proxy(trusted), Brought(claims=claims), None)
    assert signed_in is not None, "nothing is linked"
    return signed_in


async def is_same(deps: Deps, said: Said, principal: Principal) -> bool:
    """Whether a session is of whom the proxy names. The account may have another address here by now."""
    if principal.email.lower() == said.email:
        return True
    async with deps.database.read() as connection:
        known = await identities.find(connection, PROXY, said.email)
    return known is not None and known.user_id == principal.id


async def end(deps: Deps, token: str) -> None:
    """Ends the session of a token that came with somebody else's name, in all processes."""
    claims = deps.tokens.verify(token)
    if claims is None:
        return
    async with deps.database.write() as unit:
        await credentials.revoke(unit.connection, claims.jti, claims.exp)
        unit.after_commit(partial(deps.identifier.forget, claims.id))
    log.info("a session ended: the proxy names somebody else now", user_id=claims.id)
